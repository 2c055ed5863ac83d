// The work of ../read.kf by hand: iterators that are linked to one thread, whose last call makes
// the sweep, so that one read(2) has the records of all. WANTED is a process with some threads.
#define READ
#include "deadlock.bpf.c"

struct end { u64 visited, matched; char rest[52]; };
struct short_record { u64 missing, pid, tid; };
struct some_record { u64 missing, pid, tid; char comm[16]; };

static __always_inline void finish(struct output *output) {
    struct end end = {.visited = visited, .matched = matched};
    bpf_seq_write(output->seq, &end, 68);
}

SEC("iter.s/task") int idle(struct bpf_iter__task *ctx) {
    struct output on_stack = {.seq = ctx->meta->seq}, *output = &on_stack;
    struct bpf_iter_task it;
    struct task_struct *task;
    u64 rows = 0;
    if (ctx->task) return 0;
    matched = 0;
    bpf_rcu_read_lock();
    bpf_iter_task_new(&it, 0, ALL_THREADS);
    while ((task = bpf_iter_task_next(&it))) {
        rows++;
        if (task->se.sum_exec_runtime > 1ull << 60) {
            struct short_record record = {.pid = task->tgid, .tid = task->pid};
            EMIT(record);
        }
    }
    bpf_iter_task_destroy(&it);
    bpf_rcu_read_unlock();
    visited = rows;
    finish(output);
    return 0;
}

SEC("iter.s/task") int some(struct bpf_iter__task *ctx) {
    struct output on_stack = {.seq = ctx->meta->seq}, *output = &on_stack;
    struct bpf_iter_task it;
    struct task_struct *task;
    u64 rows = 0;
    if (ctx->task) return 0;
    matched = 0;
    bpf_rcu_read_lock();
    bpf_iter_task_new(&it, 0, ALL_THREADS);
    while ((task = bpf_iter_task_next(&it))) {
        rows++;
        if (task->tgid == WANTED) {
            struct some_record record = {.pid = task->tgid, .tid = task->pid};
            bpf_probe_read_kernel(record.comm, 16, task->comm);
            EMIT(record);
        }
    }
    bpf_iter_task_destroy(&it);
    bpf_rcu_read_unlock();
    visited = rows;
    finish(output);
    return 0;
}

SEC("iter.s/task") int deadlock(struct bpf_iter__task *ctx) {
    struct output output = {.seq = ctx->meta->seq};
    if (ctx->task) return 0;
    deadlocks(&output);
    finish(&output);
    return 0;
}
