// Locks in one chosen way, prints READY when in position, and ends by itself.
//
//   lock ring KIND N SECONDS        a ring of threads, each waiting for the next one's lock
//   lock tail KIND N SECONDS        such a ring, and a thread that waits for a member of it
//   lock processes KIND N SECONDS   a ring of processes that share their locks
//   lock self KIND SECONDS          a thread that waits for its own lock
//   lock abandoned KIND SECONDS     waits for a lock whose owner has exited
//   lock leader KIND SECONDS        the same, and the owner was the process's first thread
//   lock contend KIND N SECONDS     many wait for one that sleeps: no ring
//   lock chain KIND N SECONDS       each waits for the next one, the last sleeps: no ring
//   lock ordered KIND N SECONDS     heavy locking in one order: no ring, ever
//   lock backoff KIND N SECONDS     heavy locking in any order, with trylock: no ring
//   lock condition KIND N SECONDS   threads in condition variables
//   lock signalled KIND N SECONDS   a busy condition variable, whose mutex is contended
//   lock corrupt KIND N SECONDS     threads that wait on words among random ones
//   lock rewait KIND SECONDS        two threads, one of which comes back from a condition
//   lock handler KIND SECONDS       a signal's handler waits for what it interrupted
//   lock pipeline KIND N SECONDS    a chain of processes, the last of which sleeps: no ring
//
// Before a mode: `inner-` runs it in a pid namespace of its own; `outer-` gives every process
// of `processes` or `pipeline` one, `half-` every second one; `stopped-` stops and continues
// everybody once; `orphan-` ends the first thread.
//
// KIND: words joined by `+` of: normal, recursive, errorcheck, adaptive, timed, robust, pi,
// protect, rwlock, shared; reader: the second lock is taken for reading; mixed: every third lock is a
// rwlock, every third robust
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST 256

struct shared {
    pthread_mutex_t mutex[MOST];
    pthread_rwlock_t rwlock[MOST];
    pthread_barrier_t barrier;
};

static struct shared *all;
static const char *kind;
static int n, seconds, across;

static int is(const char *name) {
    size_t length = strlen(name);
    for (const char *at = kind; (at = strstr(at, name)); at += length)
        if ((at == kind || at[-1] == '+') && (!at[length] || at[length] == '+')) return 1;
    return 0;
}

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
#ifdef __GLIBC__
    if (is("adaptive")) pthread_mutexattr_settype(&mutex, PTHREAD_MUTEX_ADAPTIVE_NP);
#endif
    if (is("robust")) pthread_mutexattr_setrobust(&mutex, PTHREAD_MUTEX_ROBUST);
    if (is("pi") && pthread_mutexattr_setprotocol(&mutex, PTHREAD_PRIO_INHERIT)) exit(3);
#ifdef __GLIBC__
    if (is("protect")) {
        // Who locks it must have a real-time priority of at most its ceiling.
        struct sched_param priority = {.sched_priority = 1};
        if (sched_setscheduler(0, SCHED_FIFO, &priority)) exit(3);
        pthread_mutexattr_setprotocol(&mutex, PTHREAD_PRIO_PROTECT);
        pthread_mutexattr_setprioceiling(&mutex, 2);
    }
#endif
    if (across || is("shared")) {
        pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
        pthread_rwlockattr_setpshared(&rwlock, PTHREAD_PROCESS_SHARED);
        pthread_barrierattr_setpshared(&barrier, PTHREAD_PROCESS_SHARED);
    }
    for (int i = 0; i < MOST; i++) {
        if (is("mixed")) pthread_mutexattr_setrobust(&mutex, i % 3 == 2);
        pthread_mutex_init(&all->mutex[i], &mutex);
        pthread_rwlock_init(&all->rwlock[i], &rwlock);
    }
    pthread_barrier_init(&all->barrier, &barrier, parties);
}

static void take(int i) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 3600;
    pthread_mutex_t *mutex = &all->mutex[i];
    pthread_rwlock_t *rwlock = &all->rwlock[i];
    if (is("rwlock") && is("timed")) pthread_rwlock_timedwrlock(rwlock, &until);
    else if (is("rwlock") || (is("mixed") && i % 3 == 0)) pthread_rwlock_wrlock(rwlock);
    else if (is("timed")) pthread_mutex_timedlock(mutex, &until);
    else pthread_mutex_lock(mutex);
}

// What a thread wants that has a lock already.
static void want(int i) {
    if (is("reader")) pthread_rwlock_rdlock(&all->rwlock[i]);
    else take(i);
}

static void leave(int i) {
    if (is("rwlock")) pthread_rwlock_unlock(&all->rwlock[i]);
    else pthread_mutex_unlock(&all->mutex[i]);
}

static void *member(void *number) {
    long i = (long)number;
    take(i);
    pthread_barrier_wait(&all->barrier);
    // A priority-inheriting ring is refused by the kernel at its last edge.
    want((i + 1) % n);
    pause();
    return 0;
}

static void *link_of_chain(void *number) {
    long i = (long)number;
    take(i);
    pthread_barrier_wait(&all->barrier);
    if (i + 1 < n) take(i + 1);
    for (;;) pause();
    return 0;
}

// The first waits for a condition with one lock and keeps another, which the second wants.
static void *rewaits(void *number) {
    static pthread_cond_t woken = PTHREAD_COND_INITIALIZER;
    if (number) pthread_barrier_wait(&all->barrier);
    else take(1);
    take(0);
    if (number) {
        pthread_cond_broadcast(&woken);
        take(1);
    } else {
        pthread_barrier_wait(&all->barrier);
        pthread_cond_wait(&woken, &all->mutex[0]);
    }
    pause();
    return 0;
}

static void interrupted(int unused) { (void)unused; take(0); }
static void *handler(void *unused) {
    signal(SIGUSR1, interrupted);
    take(0);
    raise(SIGUSR1);
    pause();
    return unused;
}

static void *owner_that_exits(void *unused) { take(0); return unused; }
static void *waiter(void *unused) { take(0); pause(); return unused; }
static void *own(void *unused) { take(0); take(0); pause(); return unused; }

static void *ordered(void *unused) {
    for (;;) {
        for (int i = 0; i < 4; i++) take(i);
        for (int i = 3; i >= 0; i--) leave(i);
    }
    return unused;
}

static void *backoff(void *number) {
    for (unsigned at = (long)number;; at++) {
        int first = at % 4, second = (at * 7 + 1) % 4;
        take(first);
        if (second != first && !pthread_mutex_trylock(&all->mutex[second])) leave(second);
        leave(first);
    }
    return 0;
}

static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static void *condition(void *number) {
    long i = (long)number % MOST;
    pthread_mutex_lock(&all->mutex[i]);
    for (;;) pthread_cond_wait(&never, &all->mutex[i]);
    return 0;
}

static void *signalled(void *number) {
    static pthread_cond_t often = PTHREAD_COND_INITIALIZER;
    for (;;) {
        pthread_mutex_lock(&all->mutex[0]);
        if (number) pthread_cond_wait(&often, &all->mutex[0]);
        else pthread_cond_broadcast(&often);
        pthread_mutex_unlock(&all->mutex[0]);
    }
    return 0;
}

// Words that look like locks of all sorts, and point anywhere.
static void *corrupt(void *number) {
    static uint32_t words[MOST][64];
    static const uint32_t odd[] = {0, 1, 2, 3, 16, 32, 128, 0x80000000, 0x7fffffff, 0xffffffff};
    uint32_t seed = (long)number * 2654435761u + 1;
    uint32_t *word = words[(long)number];
    for (int i = 0; i < 64; i++) {
        seed = seed * 1664525 + 1013904223;
        word[i] = seed >> 28 < 10 ? odd[seed >> 28] : seed;
    }
    static const uint32_t expected[] = {1, 2, 3, 0x80000001};
    uint32_t *futex = word + 16;
    if (number == 0) futex = (uint32_t *)((char *)mmap(0, 4096, PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + 4092);
    *futex = expected[(long)number % 4];
    if ((long)number % 4 == 3) *futex |= (uint32_t)gettid();
    // FUTEX_WAIT, and the same with FUTEX_PRIVATE_FLAG.
    syscall(SYS_futex, futex, (long)number % 8 < 4 ? 0 : 128, *futex, 0, 0, 0);
    pause();
    return 0;
}

static void start(int count, void *(*body)(void *)) {
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 65536);
    for (long i = 0; i < count; i++) {
        pthread_t thread;
        if (pthread_create(&thread, &attr, body, (void *)i)) exit(1);
    }
}

// A child that does not outlive this program, nor its time; 0 in the child. In a namespace
// of its own it is a child's child.
static pid_t child(int apart) {
    pid_t pid = fork();
    if (pid < 0) exit(3);
    if (pid) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(seconds);
    if (!apart) return 0;
    if (unshare(CLONE_NEWPID)) exit(3);
    if (child(0)) { wait(0); _exit(0); }
    return 0;
}

int main(int argc, char **argv) {
    // Those that are busy are so among themselves, and who looks at them goes before.
    (void)!nice(10);
    if (argc < 4) return 2;
    const char *mode = argv[1];
    kind = argv[2];
    n = argc > 4 ? atoi(argv[3]) : 1;
    seconds = atoi(argv[argc - 1]);
    if (n > MOST) return 2;
    if (!strncmp(mode, "inner-", 6)) {
        mode += 6;
        if (child(1)) { wait(0); return 0; }
    }
    int apart = !strncmp(mode, "outer-", 6) ? 1 : !strncmp(mode, "half-", 5) ? 2 : 0;
    if (apart) mode = strchr(mode, '-') + 1;
    int stopped = !strncmp(mode, "stopped-", 8);
    if (stopped) mode += 8;
    int orphan = !strncmp(mode, "orphan-", 7);
    if (orphan) mode += 7;
    int pipeline = !strcmp(mode, "pipeline");
    across = pipeline || !strcmp(mode, "processes");
    init(!strcmp(mode, "rewait") ? 2 : n);
    if (!strcmp(mode, "ring")) start(n, member);
    else if (!strcmp(mode, "tail")) { start(n, member); usleep(200000); start(1, waiter); }
    else if (!strcmp(mode, "self")) start(1, own);
    else if (!strcmp(mode, "abandoned")) {
        pthread_t thread;
        pthread_create(&thread, 0, owner_that_exits, 0);
        pthread_join(thread, 0);
        start(1, waiter);
    } else if (across) {
        for (long i = 0; i < n; i++)
            if (!child(apart == 1 || (apart && i % 2))) {
                (pipeline ? link_of_chain : member)((void *)i);
                _exit(0);
            }
    } else if (!strcmp(mode, "contend")) { take(0); start(n, waiter); }
    else if (!strcmp(mode, "leader")) { take(0); start(1, waiter); }
    else if (!strcmp(mode, "chain")) start(n, link_of_chain);
    else if (!strcmp(mode, "ordered")) start(n, ordered);
    else if (!strcmp(mode, "backoff")) start(n, backoff);
    else if (!strcmp(mode, "condition")) start(n, condition);
    else if (!strcmp(mode, "signalled")) start(n, signalled);
    else if (!strcmp(mode, "corrupt")) start(n, corrupt);
    else if (!strcmp(mode, "rewait")) start(2, rewaits);
    else if (!strcmp(mode, "handler")) start(1, handler);
    else return 2;
    // Long enough for everybody to be where they stay.
    usleep(300000);
    if (stopped) {
        pid_t self = getpid();
        if (!fork()) {
            kill(self, SIGSTOP);
            usleep(100000);
            kill(self, SIGCONT);
            _exit(0);
        }
        wait(0);
        usleep(100000);
    }
    ready();
    alarm(seconds);
    if (orphan || !strcmp(mode, "leader")) pthread_exit(0);
    sleep(seconds);
    return 0;
}
