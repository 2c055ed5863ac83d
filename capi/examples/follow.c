/* Follows a filter that the kernel sweeps by itself, and sleeps until something matches.
 *
 *     kfilter load --every 1s /usr/local/share/kfilter/filters/memory_hog.kf
 *     cc follow.c -o follow $(pkg-config --cflags --libs kfilter)
 *     ./follow memory_hog
 *
 * Ends with the library's status when the filter is unloaded, or replaced by one with other
 * records.
 */
#include <inttypes.h>
#include <kfilter.h>
#include <stdio.h>

static void print_record(const kfilter *filter)
{
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

int main(int argc, char **argv)
{
    kfilter *filter = NULL;
    struct kfilter_stats stats;
    int status;

    if (argc != 2) {
        fprintf(stderr, "usage: %s NAME\n", argv[0]);
        return KFILTER_BAD_INPUT;
    }
    status = kfilter_open(argv[1], &filter);
    while (status == KFILTER_OK) {
        status = kfilter_poll(filter, 0, -1);
        while (status == KFILTER_OK && kfilter_next(filter, NULL) != NULL)
            print_record(filter);
        if (status == KFILTER_OK && kfilter_stats(filter, &stats) == KFILTER_OK && stats.dropped)
            printf("and %" PRIu64 " more that found no room\n", stats.dropped);
        fflush(stdout);
    }
    if (status != KFILTER_NOTHING_MATCHED)
        fprintf(stderr, "%s\n", kfilter_error());
    kfilter_close(filter);
    return status;
}
