/* A process whose name would colour a terminal, break a line and is not UTF-8. */
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(void)
{
    prctl(PR_SET_NAME, "\033[31m\na\\b\305\276\377");
    puts("READY");
    fflush(stdout);
    for (;;)
        pause();
}
