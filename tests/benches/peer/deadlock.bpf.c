// Deadlocks among mutexes by hand: who waits for what in one walk over all threads, the owners
// read from the waiters' memory, rings among them, and a second look at every member of one.
// Normal, robust and priority-inheriting mutexes of one pid namespace.
#include "peer.h"

enum { CANDIDATES = 16384, FUTEX = 202 };
enum { KIND_ROBUST = 16, KIND_INHERITS = 32, WAITERS = 1u << 31, OWNER = 0x3fffffff };

struct candidate {
    u64 start, switches, address;
    u32 tid, pid, operation, expected, owner, colour, member, moved;
};
struct user_mutex { u32 word, count, owner, users, kind; };
struct record { u64 missing, pid, tid, mutex, owner, length; char comm[16]; };

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, CANDIDATES);
    __type(key, u32);
    __type(value, struct candidate);
} candidates SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, CANDIDATES);
    __type(key, u32);
    __type(value, u32);
} by_tid SEC(".maps");

u32 found, length, moved;
u32 at, start, met;

static struct candidate *candidate(u32 index) { return bpf_map_lookup_elem(&candidates, &index); }

static __always_inline int blocked(struct task_struct *task) {
    return (task->__state & 3) && !task->on_cpu && !(task->flags & 0x200000);
}

static u32 owner(struct candidate *c, struct task_struct *task) {
    struct user_mutex m;
    if (bpf_copy_from_user_task(&m, sizeof m, (void *)c->address, task, 0)) return 0;
    if (m.kind & ~0x3ff) return 0;
    int by_kernel = c->operation == 6 || c->operation == 13;
    if (by_kernel) return m.kind & KIND_INHERITS ? m.word & OWNER : 0;
    if (m.word != c->expected) return 0;
    if (m.kind & KIND_ROBUST) return m.word & WAITERS ? m.word & OWNER : 0;
    if (m.kind & KIND_INHERITS || m.word != 2 || !m.users) return 0;
    return m.owner;
}

static void collect(void) {
    struct bpf_iter_task it;
    struct task_struct *task;
    bpf_rcu_read_lock();
    bpf_iter_task_new(&it, 0, ALL_THREADS);
    while ((task = bpf_iter_task_next(&it))) {
        visited++;
        if (!blocked(task)) continue;
        struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
        if (regs->orig_ax != FUTEX) continue;
        u32 operation = regs->si & 0x7f, expected = regs->dx;
        if (operation != 0 && operation != 9 && operation != 6 && operation != 13) continue;
        if ((operation == 0 || operation == 9) && expected != 2 && !(expected & WAITERS)) continue;
        struct candidate *c = candidate(found);
        if (!c) break;
        *c = (struct candidate){
            .start = task->start_boottime, .switches = task->nvcsw + task->nivcsw,
            .address = regs->di, .tid = task->pid, .pid = task->tgid,
            .operation = operation, .expected = expected};
        found++;
    }
    bpf_iter_task_destroy(&it);
    bpf_rcu_read_unlock();
}

static long ask(u32 index, void *unused) {
    struct candidate *c = candidate(index);
    struct task_struct *task = c ? bpf_task_from_pid(c->tid) : 0;
    if (!task) return 0;
    c->owner = owner(c, task);
    bpf_task_release(task);
    u32 tid = c->tid, number = index + 1;
    if (c->owner) bpf_map_update_elem(&by_tid, &tid, &number, BPF_ANY);
    return 0;
}

static struct candidate *next(struct candidate *c) {
    u32 tid = c->owner, *number = tid ? bpf_map_lookup_elem(&by_tid, &tid) : 0;
    if (!number) return 0;
    at = *number - 1;
    return candidate(at);
}

static long step(u32 index, void *unused) {
    struct candidate *c = candidate(at);
    if (!c) return 1;
    if (c->colour == start) { met = at + 1; return 1; }
    if (c->colour) return 1;
    c->colour = start;
    return !next(c);
}

static long look_again(u32 index, void *unused) {
    struct candidate *c = candidate(at);
    struct task_struct *task = c ? bpf_task_from_pid(c->tid) : 0;
    if (!task) { moved = 1; return 1; }
    if (task->start_boottime != c->start || !blocked(task) ||
        task->nvcsw + task->nivcsw != c->switches || owner(c, task) != c->owner)
        moved = 1;
    bpf_task_release(task);
    length++;
    return !next(c) || at + 1 == met;
}

static long report(u32 index, struct output *output) {
    struct candidate *c = candidate(at);
    struct task_struct *task = c ? bpf_task_from_pid(c->tid) : 0;
    if (!task) return 1;
    struct record record = {.pid = c->pid, .tid = c->tid, .mutex = c->address,
                            .owner = c->owner, .length = length};
    bpf_probe_read_kernel(record.comm, 16, task->comm);
    bpf_task_release(task);
    EMIT(record);
    return !next(c) || at + 1 == met;
}

static long follow(u32 index, struct output *output) {
    struct candidate *c = candidate(index);
    if (!c) return 1;
    if (!c->owner || c->colour) return 0;
    at = index, start = index + 1, met = 0, length = 0, moved = 0;
    bpf_loop(found + 1, step, 0, 0);
    if (!met) return 0;
    at = met - 1;
    bpf_loop(found, look_again, 0, 0);
    at = met - 1;
    if (!moved) bpf_loop(length, report, output, 0);
    return 0;
}

static long forget(u32 index, void *unused) {
    struct candidate *c = candidate(index);
    if (!c) return 1;
    u32 tid = c->tid;
    bpf_map_delete_elem(&by_tid, &tid);
    return 0;
}

static __always_inline void deadlocks(struct output *output) {
    visited = matched = 0;
    bpf_loop(found, forget, 0, 0);
    found = 0;
    collect();
    bpf_loop(found, ask, 0, 0);
    bpf_loop(found, follow, output, 0);
}

#ifndef READ
SEC("syscall") int sweep_deadlock(void *ctx) {
    struct output output = {};
    deadlocks(&output);
    return 0;
}
#endif
