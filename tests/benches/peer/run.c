// Runs sweeps in turn and prints the best time of each.
//
//   run compare ROUNDS OURS.bpf.o PEER.bpf.o...   and its ratio to the programs of that name in
//                                                 the peers; then a walk of /proc/*/task/*/stat
//   run history ROUNDS OURS.bpf.o                 and what each adds to the first, a thread
//   run pin DIRECTORY PEER.bpf.o                  keeps the iterators there, to be read
//   run resident SECONDS PEER.bpf.o               lets it tick so long; the CPU share of its sweeps
//
// Programs are those named sweep_*, run by a system call, or iterators, linked to one thread
// and read.
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PROGRAMS 64

struct sweep {
    const char *name;
    const char *file;
    int program;
    // Of an iterator, else negative.
    int link;
    double best;
};

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static void die(const char *what) { perror(what); exit(1); }

static void once(struct sweep *sweep) {
    static char buffer[1 << 20];
    double start = now_ns();
    if (sweep->link >= 0) {
        int fd = bpf_iter_create(sweep->link);
        ssize_t bytes;
        while ((bytes = read(fd, buffer, sizeof buffer)) > 0) {}
        if (bytes < 0) die(sweep->name);
        close(fd);
    } else {
        LIBBPF_OPTS(bpf_test_run_opts, options);
        if (bpf_prog_test_run_opts(sweep->program, &options)) die(sweep->name);
    }
    double took = now_ns() - start;
    if (took < sweep->best) sweep->best = took;
}

// An iterator over this thread alone.
static int link_iterator(struct bpf_program *program) {
    union bpf_iter_link_info info = {.task.tid = getpid()};
    LIBBPF_OPTS(bpf_iter_attach_opts, options, .link_info = &info, .link_info_len = sizeof info);
    struct bpf_link *link = bpf_program__attach_iter(program, &options);
    if (!link) die(bpf_program__name(program));
    return bpf_link__fd(link);
}

static int load(const char *path, struct sweep *sweeps) {
    struct bpf_object *object = bpf_object__open_file(path, 0);
    struct bpf_program *program;
    int count = 0;
    if (!object || bpf_object__load(object)) die(path);
    bpf_object__for_each_program(program, object) {
        int is_iterator = bpf_program__type(program) == BPF_PROG_TYPE_TRACING;
        const char *name = bpf_program__name(program);
        const char *file = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
        if ((!is_iterator && strncmp(name, "sweep_", 6)) || count == PROGRAMS) continue;
        int link = is_iterator ? link_iterator(program) : -1;
        sweeps[count++] = (struct sweep){name, file, bpf_program__fd(program), link, 1e18};
    }
    return count;
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

// Those that are compared take turns often, so that a noisy moment does not fall on one alone.
enum { TURNS = 20 };

// The peers of that name.
static int same(struct sweep *own, struct sweep *peers, int count, struct sweep **found) {
    int others = 0;
    for (int i = 0; i < count; i++)
        if (!strcmp(peers[i].name, own->name)) found[others++] = &peers[i];
    return others;
}

static void compare(struct sweep *ours, int count, struct sweep *peers, int peer_count, int rounds) {
    double fastest = 1e18;
    struct sweep *found[PROGRAMS];
    for (int turn = 0; turn < rounds; turn += TURNS)
        for (struct sweep *own = ours; own < ours + count; own++) {
            int others = same(own, peers, peer_count, found);
            for (int round = 0; round < TURNS && others; round++) {
                once(own);
                for (int i = 0; i < others; i++) once(found[i]);
            }
        }
    for (struct sweep *own = ours; own < ours + count; own++) {
        int others = same(own, peers, peer_count, found);
        for (int i = 0; i < others; i++)
            printf("%-16s ours %9.1f us  %-20s %9.1f us  ratio %.3f\n", own->name,
                   own->best / 1e3, found[i]->file, found[i]->best / 1e3,
                   own->best / found[i]->best);
        if (others && own->best < fastest) fastest = own->best;
    }
    double best = 1e18;
    for (int i = 0; i < 5; i++) {
        double start = now_ns();
        walk();
        if (now_ns() - start < best) best = now_ns() - start;
    }
    printf("walk of /proc, %ld threads: %.1f ms, %.0f times the fastest sweep\n", walk(),
           best / 1e6, best / fastest);
}

static void history(struct sweep *sweeps, int count, int rounds) {
    long threads = walk();
    struct sweep without[PROGRAMS];
    for (int i = 0; i < count; i++) without[i] = sweeps[0];
    for (int turn = 0; turn < rounds; turn += TURNS)
        for (int i = 1; i < count; i++)
            for (int round = 0; round < TURNS && sweeps[i].link < 0; round++)
                once(&without[i]), once(&sweeps[i]);
    for (int i = 1; i < count; i++)
        if (sweeps[i].link < 0)
            printf("%-16s %9.1f us  without %9.1f us  %6.1f ns a thread\n", sweeps[i].name,
                   sweeps[i].best / 1e3, without[i].best / 1e3,
                   (sweeps[i].best - without[i].best) / threads);
}

static int pin(const char *directory, const char *path) {
    struct bpf_object *object = bpf_object__open_file(path, 0);
    struct bpf_program *program;
    if (!object || bpf_object__load(object)) die(path);
    bpf_object__for_each_program(program, object) {
        char name[512];
        // Any thread does; the first one stays.
        union bpf_iter_link_info info = {.task.tid = 1};
        LIBBPF_OPTS(bpf_iter_attach_opts, options, .link_info = &info, .link_info_len = sizeof info);
        struct bpf_link *link = bpf_program__attach_iter(program, &options);
        snprintf(name, sizeof name, "%s/%s", directory, bpf_program__name(program));
        if (!link || bpf_link__pin(link, name)) die(name);
    }
    return 0;
}

static unsigned long long counter(struct bpf_object *object, const char *name) {
    struct bpf_map *bss = bpf_object__find_map_by_name(object, ".bss");
    struct btf *btf = bpf_object__btf(object);
    const struct btf_type *section = btf__type_by_id(btf, btf__find_by_name(btf, ".bss"));
    const struct btf_var_secinfo *variable = btf_var_secinfos(section);
    static char data[1 << 20];
    int zero = 0;
    if (bpf_map_lookup_elem(bpf_map__fd(bss), &zero, data)) die(name);
    for (int i = 0; i < btf_vlen(section); i++) {
        const struct btf_type *type = btf__type_by_id(btf, variable[i].type);
        if (!strcmp(btf__name_by_offset(btf, type->name_off), name))
            return *(unsigned long long *)(data + variable[i].offset);
    }
    die(name);
    return 0;
}

static int resident(int seconds, const char *path) {
    struct bpf_object *object = bpf_object__open_file(path, 0);
    if (!object || bpf_object__load(object)) die(path);
    LIBBPF_OPTS(bpf_test_run_opts, options);
    struct bpf_program *start = bpf_object__find_program_by_name(object, "start");
    if (!start || bpf_prog_test_run_opts(bpf_program__fd(start), &options) || options.retval)
        die("start");
    sleep(1);
    double began = now_ns();
    unsigned long long before = counter(object, "took");
    sleep(seconds);
    printf("%.6f\n", (counter(object, "took") - before) / (now_ns() - began));
    return 0;
}

int main(int argc, char **argv) {
    static struct sweep ours[PROGRAMS], peers[8 * PROGRAMS];
    if (argc < 4 || argc > 11) return 2;
    if (!strcmp(argv[1], "pin")) return pin(argv[2], argv[3]);
    if (!strcmp(argv[1], "resident")) return resident(atoi(argv[2]), argv[3]);
    int rounds = atoi(argv[2]), count = load(argv[3], ours), others = 0;
    for (int i = 4; i < argc; i++) others += load(argv[i], peers + others);
    if (strcmp(argv[1], "history")) compare(ours, count, peers, others, rounds);
    else history(ours, count, rounds);
    return 0;
}
