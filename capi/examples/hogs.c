/* A probe in C: who matches the filter of a file?
 *
 *     cc hogs.c -o hogs $(pkg-config --cflags --libs kfilter)
 *     ./hogs /usr/local/share/kfilter/filters/memory_hog.kf max=10%
 *
 * Exit status: 0 nobody, 2 somebody, 3 it could not be found out.
 */
#include <inttypes.h>
#include <kfilter.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    kfilter *filter = NULL;
    int found = 0;
    size_t size;

    if (argc < 2) {
        fprintf(stderr, "usage: %s FILE [NAME=VALUE]...\n", argv[0]);
        return 3;
    }
    /* argv ends with NULL, as the list of parameters does. */
    if (kfilter_load(argv[1], NULL, (const char *const *)&argv[2], KFILTER_HOST_AUTO, &filter) !=
            KFILTER_OK ||
        kfilter_sweep(filter) != KFILTER_OK) {
        fprintf(stderr, "%s\n", kfilter_error());
        kfilter_close(filter);
        return 3;
    }
    while (kfilter_next(filter, &size) != NULL) {
        found = 1;
        for (size_t i = 0; i < kfilter_fields(filter); i++) {
            char text[256];
            int64_t number;

            if (kfilter_text(filter, i, text, sizeof text) >= 0)
                printf("%s=%s ", kfilter_field_name(filter, i), text);
            else if (kfilter_integer(filter, i, &number))
                printf("%s=%" PRId64 " ", kfilter_field_name(filter, i), number);
        }
        printf("\n");
    }
    kfilter_close(filter);
    return found ? 2 : 0;
}
