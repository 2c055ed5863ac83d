// A sweep by hand that the kernel repeats by itself: a timer that queues work ten times a second,
// and in it the walk of sweep_idle. `took` adds up what the sweeps take, in ns.
#include "peer.h"

extern int bpf_wq_init(struct bpf_wq *wq, void *map, unsigned int flags) __ksym;
extern int bpf_wq_start(struct bpf_wq *wq, unsigned int flags) __ksym;
extern int bpf_wq_set_callback_impl(struct bpf_wq *wq, int (callback)(void *, int *, void *),
                                    unsigned int flags, void *aux__ign) __ksym;

enum { BOOTTIME = 7, TICK_NS = 100 * 1000 * 1000 };

struct ticking { struct bpf_timer timer; struct bpf_wq work; };
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, int);
    __type(value, struct ticking);
} ticking SEC(".maps");

u64 took, ticks;

static int sweep(void *map, int *key, void *value) {
    struct bpf_iter_task it;
    struct task_struct *task;
    u64 rows = 0, began = bpf_ktime_get_boot_ns();
    bpf_rcu_read_lock();
    bpf_iter_task_new(&it, 0, ALL_THREADS);
    while ((task = bpf_iter_task_next(&it))) {
        rows++;
        if (task->se.sum_exec_runtime > 1ull << 60) {
            struct { u64 missing, tid; } record = {.tid = task->pid};
            EMIT(record);
        }
    }
    bpf_iter_task_destroy(&it);
    bpf_rcu_read_unlock();
    visited = rows;
    took += bpf_ktime_get_boot_ns() - began;
    ticks++;
    return 0;
}

static int tick(void *map, int *key, struct ticking *value) {
    bpf_wq_start(&value->work, 0);
    bpf_timer_start(&value->timer, TICK_NS, 0);
    return 0;
}

SEC("syscall") int start(void *ctx) {
    int zero = 0;
    struct ticking *value = bpf_map_lookup_elem(&ticking, &zero);
    if (!value) return 1;
    bpf_timer_init(&value->timer, &ticking, BOOTTIME);
    bpf_timer_set_callback(&value->timer, tick);
    bpf_wq_init(&value->work, &ticking, 0);
    bpf_wq_set_callback_impl(&value->work, sweep, 0, 0);
    return bpf_timer_start(&value->timer, 0, 0);
}
