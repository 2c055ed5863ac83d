// Locks in one chosen way, prints READY when in position, and ends by itself.
//
//   lock ring KIND THREADS SECONDS    a ring of threads, each waiting for the next one's lock
//   lock self KIND SECONDS            a thread that waits for its own lock
//   lock abandoned KIND SECONDS       waits for a lock whose owner has exited
//   lock processes KIND N SECONDS     a ring of processes that share their locks
//   lock contend KIND THREADS SECONDS many wait for one that sleeps: no ring
//   lock ordered KIND THREADS SECONDS heavy locking in one order: no ring, ever
//   lock condition KIND THREADS SECONDS  threads in condition variables
//
// KIND: normal, recursive, errorcheck, timed, robust, pi, rwlock
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST 128

struct shared {
    pthread_mutex_t mutex[MOST];
    pthread_rwlock_t rwlock[MOST];
    pthread_barrier_t barrier;
};

static struct shared *all;
static const char *kind;
static int n, seconds, across;

static int is(const char *name) { return !strcmp(kind, name); }

static void ready(void) { puts("READY"); fflush(stdout); }

static void init(int parties) {
    pthread_mutexattr_t mutex;
    pthread_rwlockattr_t rwlock;
    pthread_barrierattr_t barrier;
    all = mmap(0, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_init(&mutex);
    pthread_rwlockattr_init(&rwlock);
    pthread_barrierattr_init(&barrier);
    if (is("recursive")) pthread_mutexattr_settype(&mutex, PTHREAD_MUTEX_RECURSIVE);
    if (is("errorcheck")) pthread_mutexattr_settype(&mutex, PTHREAD_MUTEX_ERRORCHECK);
    if (is("robust")) pthread_mutexattr_setrobust(&mutex, PTHREAD_MUTEX_ROBUST);
    if (is("pi")) pthread_mutexattr_setprotocol(&mutex, PTHREAD_PRIO_INHERIT);
    if (across) {
        pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
        pthread_rwlockattr_setpshared(&rwlock, PTHREAD_PROCESS_SHARED);
        pthread_barrierattr_setpshared(&barrier, PTHREAD_PROCESS_SHARED);
    }
    for (int i = 0; i < MOST; i++) {
        pthread_mutex_init(&all->mutex[i], &mutex);
        pthread_rwlock_init(&all->rwlock[i], &rwlock);
    }
    pthread_barrier_init(&all->barrier, &barrier, parties);
}

static void take(int i) {
    if (is("rwlock")) pthread_rwlock_wrlock(&all->rwlock[i]);
    else if (is("timed")) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 3600;
        pthread_mutex_timedlock(&all->mutex[i], &until);
    } else pthread_mutex_lock(&all->mutex[i]);
}

static void leave(int i) {
    if (is("rwlock")) pthread_rwlock_unlock(&all->rwlock[i]);
    else pthread_mutex_unlock(&all->mutex[i]);
}

static void *member(void *number) {
    long i = (long)number;
    take(i);
    pthread_barrier_wait(&all->barrier);
    take((i + 1) % n);
    // A priority-inheriting ring is refused by the kernel at its last edge.
    pause();
    return 0;
}

static void *owner_that_exits(void *unused) { take(0); return unused; }
static void *waiter(void *unused) { take(0); return unused; }
static void *own(void *unused) { take(0); take(0); pause(); return unused; }

static void *ordered(void *unused) {
    for (;;) {
        for (int i = 0; i < 4; i++) take(i);
        for (int i = 3; i >= 0; i--) leave(i);
    }
    return unused;
}

static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static void *condition(void *number) {
    long i = (long)number % MOST;
    pthread_mutex_lock(&all->mutex[i]);
    for (;;) pthread_cond_wait(&never, &all->mutex[i]);
    return 0;
}

static void start(int count, void *(*body)(void *)) {
    for (long i = 0; i < count; i++) {
        pthread_t thread;
        if (pthread_create(&thread, 0, body, (void *)i)) exit(1);
    }
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    const char *mode = argv[1];
    kind = argv[2];
    n = argc > 4 ? atoi(argv[3]) : 1;
    seconds = atoi(argv[argc - 1]);
    if (n > MOST) return 2;
    across = !strcmp(mode, "processes");
    init(n);
    if (!strcmp(mode, "ring")) start(n, member);
    else if (!strcmp(mode, "self")) start(1, own);
    else if (!strcmp(mode, "abandoned")) {
        pthread_t thread;
        pthread_create(&thread, 0, owner_that_exits, 0);
        pthread_join(thread, 0);
        start(1, waiter);
    } else if (across) {
        for (long i = 0; i < n; i++) if (!fork()) { alarm(seconds); member((void *)i); _exit(0); }
    } else if (!strcmp(mode, "contend")) { take(0); start(n, waiter); }
    else if (!strcmp(mode, "ordered")) start(n, ordered);
    else if (!strcmp(mode, "condition")) start(n, condition);
    else return 2;
    // Long enough for everybody to be where they stay.
    usleep(300000);
    ready();
    sleep(seconds);
    return 0;
}
