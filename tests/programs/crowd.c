// Is more than anybody expects, or is gone before anybody looks; prints READY when in
// position, and ends by itself.
//
//   crowd files MOST SECONDS       open files, as many as are allowed up to MOST
//   crowd mappings COUNT SECONDS   mappings of a page each
//   crowd churn WORKERS SECONDS    processes that lock and wait, and in the middle of it fork,
//                                  exec, change their namespaces, unmap the mutex or end
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *self;

static void files(long most) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (long i = 0; i < most; i++)
        if (eventfd(0, 0) < 0) break;
}

static void mappings(long count) {
    // Neighbours that may be used in different ways do not become one.
    for (long i = 0; i < count; i++)
        if (mmap(0, 4096, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) {
            perror("mmap");
            exit(1);
        }
}

static pthread_mutex_t *lock;

static void *takes(void *unused) {
    pthread_mutex_lock(lock);
    return unused;
}

// One life: somebody waits for a mutex, and then the ground is taken away.
static void life(unsigned seed) {
    pthread_t thread;
    alarm(2);
    // The C library has something to say about mutexes that change under its hands.
    close(2);
    lock = mmap(0, 4096, PROT_READ | PROT_WRITE,
                (seed & 8 ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t kind;
    pthread_mutexattr_init(&kind);
    if (seed & 8) pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
    if (seed & 16) pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(lock, &kind);
    if (seed & 32) {
        pthread_create(&thread, 0, takes, 0);
        pthread_join(thread, 0);
    } else {
        pthread_mutex_lock(lock);
    }
    pthread_create(&thread, 0, takes, 0);
    usleep(seed % 3000);
    switch (seed >> 16 & 7) {
    case 0: munmap(lock, 4096); break;
    case 1: mprotect(lock, 4096, PROT_NONE); break;
    case 2: memset(lock, seed, sizeof *lock); break;
    case 3: execl(self, self, "rest", "1", "1", (char *)0); break;
    case 4: unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS); break;
    case 5: prctl(PR_SET_NAME, "\033[2J\n\377"); break;
    case 6: pthread_exit(0);
    default: break;
    }
    if (!fork()) { usleep(seed % 5000); _exit(0); }
    usleep(seed % 7000);
    _exit(0);
}

static void churn(unsigned worker) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGCHLD, SIG_IGN);
    for (unsigned turn = worker * 2654435761u;; turn = turn * 1664525 + 1013904223) {
        pid_t pid = fork();
        if (pid < 0) usleep(1000);
        else if (!pid) life(turn >> 3);
        else usleep(turn % 2000);
    }
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    self = argv[0];
    long count = atol(argv[2]);
    unsigned seconds = atoi(argv[3]);
    if (!strcmp(argv[1], "rest")) { usleep(5000); return 0; }
    if (!strcmp(argv[1], "files")) files(count);
    else if (!strcmp(argv[1], "mappings")) mappings(count);
    else if (!strcmp(argv[1], "churn")) {
        for (long i = 0; i < count; i++)
            if (!fork()) { alarm(seconds); churn(i + 1); }
    } else return 2;
    usleep(200000);
    puts("READY");
    fflush(stdout);
    alarm(seconds);
    for (;;) pause();
}
