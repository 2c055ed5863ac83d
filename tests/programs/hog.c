// Misbehaves in one chosen way, prints READY when in position, and ends by itself.
//
//   hog spin THREADS PERCENT SECONDS      burns this share of a CPU in each thread
//   hog change AFTER SECONDS              sleeps for so many seconds, then burns a CPU
//   hog hold MIB SECONDS                  holds touched memory
//   hog reserve MIB SECONDS               maps memory that it never touches
//   hog leak KIB_A_SECOND SECONDS         grows steadily
//   hog renew MIB SECONDS                 maps, touches and unmaps memory all the time
//   hog idle THREADS SECONDS              threads that only sleep
//   hog breed A_SECOND SECONDS            more and more threads, from 120 on
//   hog turnover A_SECOND SECONDS         120 threads, of which some end and others begin all the time
//   hog files KIND COUNT LIMIT SECONDS    regular, pipe, socket, eventfd
//   hog shm KIND MIB SECONDS              memfd, tmpfs, sysv, anon: mapped and touched;
//                                         file: a file of a disk, mapped and shared
//   hog zombie COUNT SECONDS              children that nobody waits for
//   hog fork A_SECOND SECONDS             short-lived children, waited for
//   hog children COUNT SECONDS            children that sleep
//   hog write KIB_A_SECOND SECONDS        writes to a file, with fsync
//   hog reread KIB_A_SECOND SECONDS       reads a file that the page cache holds
//   hog evict A_SECOND SECONDS            touches pages of a file that no cache holds
//   hog vfork ANY SECONDS                 waits for a child in vfork(2), uninterruptibly
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what) { perror(what); exit(1); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void ready(void) { puts("READY"); fflush(stdout); }

static int percent;

static void *spin(void *unused) {
    for (;;) {
        double start = now(), busy = 0.02 * percent / 100;
        while (now() - start < busy) {}
        if (percent < 100) usleep((0.02 - busy) * 1e6);
    }
    return unused;
}

static void *change(void *after) {
    sleep((long)after);
    for (;;) {}
    return 0;
}

static void *rest(void *unused) { pause(); return unused; }

static void threads(int count, void *(*body)(void *), long argument) {
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 16384);
    for (int i = 0; i < count; i++) {
        pthread_t thread;
        if (pthread_create(&thread, &attr, body, (void *)argument)) die("pthread_create");
    }
}

// In turns one more, one less, and another in the place of one, wherever it stands among them.
static void turn_over(int step) {
    enum { MOST = 121 };
    static pthread_t all[MOST];
    static int alive;
    int wanted = step < 0 ? MOST - 1 : step % 3 == 0 ? MOST : MOST - 1;
    if (step >= 0 && step % 3) {
        int gone = rand() % alive;
        if (pthread_cancel(all[gone]) || pthread_join(all[gone], 0)) die("pthread_cancel");
        all[gone] = all[--alive];
    }
    while (alive < wanted)
        if (pthread_create(&all[alive++], 0, rest, 0)) die("pthread_create");
}

static void touch(char *memory, size_t bytes) {
    for (size_t at = 0; at < bytes; at += 4096) memory[at] = 1;
}

static char *map(size_t bytes, int flags, int fd) {
    char *memory = mmap(0, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (memory == MAP_FAILED) die("mmap");
    return memory;
}

static void files(const char *kind, int count, int most) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = most;
    if (limit.rlim_max < limit.rlim_cur) limit.rlim_max = limit.rlim_cur;
    if (setrlimit(RLIMIT_NOFILE, &limit)) die("setrlimit");
    while (count > 0) {
        int pair[2];
        if (!strcmp(kind, "pipe")) { if (pipe(pair)) die("pipe"); count -= 2; }
        else if (!strcmp(kind, "socket")) {
            if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) die("socketpair");
            count -= 2;
        } else if (!strcmp(kind, "eventfd")) { if (eventfd(0, 0) < 0) die("eventfd"); count--; }
        else { if (open("/proc/self/exe", O_RDONLY) < 0) die("open"); count--; }
    }
}

// A file without a name on the disk of this directory.
static int file(size_t bytes) {
    static char block[65536];
    char path[] = "hog-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0) die("mkstemp");
    unlink(path);
    for (size_t at = 0; at < bytes; at += sizeof block)
        if (write(fd, block, sizeof block) != sizeof block) die("write");
    if (fsync(fd)) die("fsync");
    return fd;
}

// Page faults that have to wait for the disk.
static void evict(int fd, int pages) {
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    size_t bytes = (size_t)pages * 4096;
    volatile char *memory = mmap(0, bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) die("mmap");
    // No page is read before it is asked for.
    madvise((char *)memory, bytes, MADV_RANDOM);
    for (size_t at = 0; at < bytes; at += 4096) memory[at];
    munmap((char *)memory, bytes);
}

static int segment = -1;
static char shm_name[64];

static void clean(void) {
    if (segment >= 0) shmctl(segment, IPC_RMID, 0);
    if (shm_name[0]) shm_unlink(shm_name);
}

static void on_term(int signal) { clean(); _exit(128 + signal); }

static void shm(const char *kind, size_t bytes) {
    char *memory;
    signal(SIGTERM, on_term);
    if (!strcmp(kind, "sysv")) {
        segment = shmget(IPC_PRIVATE, bytes, IPC_CREAT | 0600);
        if (segment < 0) die("shmget");
        memory = shmat(segment, 0, 0);
        if (memory == (char *)-1) die("shmat");
        // Marked for removal at once: it goes with its last user.
        shmctl(segment, IPC_RMID, 0);
        segment = -1;
    } else if (!strcmp(kind, "anon")) {
        memory = map(bytes, MAP_SHARED | MAP_ANONYMOUS, -1);
    } else {
        int fd;
        if (!strcmp(kind, "memfd")) fd = memfd_create("hog", 0);
        else if (!strcmp(kind, "file")) fd = file(0);
        else {
            snprintf(shm_name, sizeof shm_name, "/kfilter-hog-%d", getpid());
            fd = shm_open(shm_name, O_RDWR | O_CREAT, 0600);
        }
        if (fd < 0 || ftruncate(fd, bytes)) die(kind);
        memory = map(bytes, MAP_SHARED, fd);
    }
    if (strcmp(kind, "file")) touch(memory, bytes);
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    const char *mode = argv[1];
    double end = now() + atoi(argv[argc - 1]);
    int n = atoi(argv[2]);
    if (!strcmp(mode, "spin")) { percent = atoi(argv[3]); threads(n, spin, 0); ready(); }
    else if (!strcmp(mode, "change")) { threads(1, change, n); ready(); }
    else if (!strcmp(mode, "reserve")) {
        map((size_t)n << 20, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
        ready();
    } else if (!strcmp(mode, "hold")) {
        size_t bytes = (size_t)n << 20;
        touch(map(bytes, MAP_PRIVATE | MAP_ANONYMOUS, -1), bytes);
        ready();
    } else if (!strcmp(mode, "idle")) { threads(n, rest, 0); ready(); }
    else if (!strcmp(mode, "files")) { files(argv[2], atoi(argv[3]), atoi(argv[4])); ready(); }
    else if (!strcmp(mode, "shm")) { shm(argv[2], (size_t)atoi(argv[3]) << 20); ready(); }
    else if (!strcmp(mode, "zombie")) {
        for (int i = 0; i < n; i++) if (!fork()) _exit(0);
        usleep(100000);
        ready();
    } else if (!strcmp(mode, "leak")) {
        for (ready(); now() < end; usleep(50000)) {
            size_t bytes = (size_t)n * 1024 / 20;
            touch(map(bytes, MAP_PRIVATE | MAP_ANONYMOUS, -1), bytes);
        }
    } else if (!strcmp(mode, "renew")) {
        for (ready(); now() < end; usleep(1000)) {
            size_t bytes = (size_t)n << 20;
            char *memory = map(bytes, MAP_PRIVATE | MAP_ANONYMOUS, -1);
            touch(memory, bytes);
            munmap(memory, bytes);
        }
    } else if (!strcmp(mode, "breed")) {
        threads(120, rest, 0);
        for (ready(); now() < end; usleep(1000000 / n)) threads(1, rest, 0);
    } else if (!strcmp(mode, "turnover")) {
        turn_over(-1);
        ready();
        for (int step = 0; now() < end; usleep(1000000 / n)) turn_over(step++);
    } else if (!strcmp(mode, "children")) {
        for (int i = 0; i < n; i++) if (!fork()) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            alarm(end - now() + 1);
            for (;;) pause();
        }
        ready();
    } else if (!strcmp(mode, "vfork")) {
        ready();
        // The child's only work is to keep this process waiting.
        if (!vfork()) { sleep(end - now()); _exit(0); }
    } else if (!strcmp(mode, "reread")) {
        static char block[65536];
        int fd = file(1 << 20);
        for (ready(); now() < end; usleep(100000))
            for (int at = 0; at < n / 10; at += 64)
                if (pread(fd, block, sizeof block, (off_t)at % 1024 * 1024) < 0) die("pread");
    } else if (!strcmp(mode, "evict")) {
        int fd = file(4 << 20);
        for (ready(); now() < end; usleep(100000)) evict(fd, n / 10);
    } else if (!strcmp(mode, "fork")) {
        for (ready(); now() < end; usleep(1000000 / n)) {
            pid_t child = fork();
            if (!child) _exit(0);
            waitpid(child, 0, 0);
        }
    } else if (!strcmp(mode, "write")) {
        char block[1024] = {0};
        int fd = file(0);
        for (ready(); now() < end; usleep(100000)) {
            lseek(fd, 0, SEEK_SET);
            for (int i = 0; i < n / 10; i++) if (write(fd, block, sizeof block) < 0) die("write");
            fsync(fd);
        }
    } else return 2;
    while (now() < end) usleep(50000);
    clean();
    return 0;
}
