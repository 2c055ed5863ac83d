// Runs the sweeps of two objects in turn and prints, for each that both have, the best time
// of each and their ratio; then a C walk of /proc/*/task/*/stat in the same run.
//
//   run OURS.bpf.o PEER.bpf.o ROUNDS
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static double once(struct bpf_program *program) {
    LIBBPF_OPTS(bpf_test_run_opts, options);
    double start = now_ns();
    if (bpf_prog_test_run_opts(bpf_program__fd(program), &options) || options.retval) exit(1);
    return now_ns() - start;
}

static long walk(void) {
    static char text[4096];
    long threads = 0;
    DIR *proc = opendir("/proc");
    for (struct dirent *process; (process = readdir(proc));) {
        if (process->d_name[0] < '0' || process->d_name[0] > '9') continue;
        char path[512];
        snprintf(path, sizeof path, "/proc/%s/task", process->d_name);
        DIR *tasks = opendir(path);
        if (!tasks) continue;
        for (struct dirent *task; (task = readdir(tasks));) {
            if (task->d_name[0] == '.') continue;
            char file[1024];
            snprintf(file, sizeof file, "%s/%s/stat", path, task->d_name);
            int fd = open(file, O_RDONLY);
            if (fd < 0) continue;
            threads += read(fd, text, sizeof text) > 0;
            close(fd);
        }
        closedir(tasks);
    }
    closedir(proc);
    return threads;
}

static struct bpf_object *load(const char *path) {
    struct bpf_object *object = bpf_object__open_file(path, 0);
    if (!object || bpf_object__load(object)) exit(1);
    return object;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    struct bpf_object *ours = load(argv[1]), *peer = load(argv[2]);
    int rounds = atoi(argv[3]);
    double fastest = 1e18;
    struct bpf_program *program;
    bpf_object__for_each_program(program, ours) {
        const char *name = bpf_program__name(program);
        struct bpf_program *other = bpf_object__find_program_by_name(peer, name);
        if (!other) continue;
        double a = 1e18, b = 1e18;
        for (int i = 0; i < rounds; i++) {
            double mine = once(program), theirs = once(other);
            if (mine < a) a = mine;
            if (theirs < b) b = theirs;
        }
        printf("%-12s ours %8.1f us  by hand %8.1f us  ratio %.3f\n", name, a / 1e3, b / 1e3, a / b);
        if (a < fastest) fastest = a;
    }
    double best = 1e18;
    long threads = 0;
    for (int i = 0; i < 5; i++) {
        double start = now_ns();
        threads = walk();
        if (now_ns() - start < best) best = now_ns() - start;
    }
    printf("walk of /proc, %ld threads: %.1f ms, %.0f times the fastest sweep\n", threads,
           best / 1e6, best / fastest);
    return 0;
}
