// What a careful author writes by hand for the same work as ../sweep.kf: the peer that the
// compiled filters are measured against.
#include "peer.h"

struct past { u64 time, value; };

struct {
    __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, struct past);
} pasts SEC(".maps");

struct record { u64 missing, pid, tid, cpu; char comm[16]; };

SEC("syscall") int sweep_idle(void *ctx) {
    struct bpf_iter_task it;
    struct task_struct *task;
    u64 rows = 0, hits = 0;
    bpf_rcu_read_lock();
    bpf_iter_task_new(&it, 0, ALL_THREADS);
    while ((task = bpf_iter_task_next(&it))) {
        rows++;
        if (task->se.sum_exec_runtime > 1ull << 60) {
            struct record record = {.pid = task->tgid, .tid = task->pid};
            bpf_ringbuf_output(&records, &record, sizeof record, BPF_RB_NO_WAKEUP);
            hits++;
        }
    }
    bpf_iter_task_destroy(&it);
    bpf_rcu_read_unlock();
    visited = rows;
    matched = hits;
    return 0;
}

SEC("syscall") int sweep_rate(void *ctx) {
    struct bpf_iter_task it;
    struct task_struct *task;
    u64 rows = 0, hits = 0, now = bpf_ktime_get_boot_ns();
    bpf_rcu_read_lock();
    bpf_iter_task_new(&it, 0, ALL_THREADS);
    while ((task = bpf_iter_task_next(&it))) {
        rows++;
        struct past *past = bpf_task_storage_get(&pasts, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
        if (!past) continue;
        u64 value = task->se.sum_exec_runtime, time = past->time;
        u64 used = value - past->value, passed = now - time;
        past->time = now;
        past->value = value;
        if (!time || !passed || used * 1000000 / passed <= 500000) continue;
        struct record record = {
            .pid = task->tgid, .tid = task->pid, .cpu = used * 1000000 / passed};
        bpf_probe_read_kernel(record.comm, 16, task->comm);
        bpf_ringbuf_output(&records, &record, sizeof record, BPF_RB_NO_WAKEUP);
        hits++;
    }
    bpf_iter_task_destroy(&it);
    bpf_rcu_read_unlock();
    visited = rows;
    matched = hits;
    return 0;
}
