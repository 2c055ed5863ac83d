// What the peers share: the kernel's iterators, and one place for results.
#pragma once
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

extern int bpf_iter_task_new(struct bpf_iter_task *it, struct task_struct *task,
                             unsigned int flags) __ksym;
extern struct task_struct *bpf_iter_task_next(struct bpf_iter_task *it) __ksym;
extern void bpf_iter_task_destroy(struct bpf_iter_task *it) __ksym;
extern int bpf_iter_task_vma_new(struct bpf_iter_task_vma *it, struct task_struct *task,
                                 u64 address) __ksym;
extern struct vm_area_struct *bpf_iter_task_vma_next(struct bpf_iter_task_vma *it) __ksym;
extern void bpf_iter_task_vma_destroy(struct bpf_iter_task_vma *it) __ksym;
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;
extern struct task_struct *bpf_task_from_pid(s32 pid) __ksym;
extern void bpf_task_release(struct task_struct *task) __ksym;
extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;

enum { PROCESSES = 0, ALL_THREADS = 1 };

char LICENSE[] SEC("license") = "Dual MIT/GPL";

// The sweep's statistics.
u64 visited, matched;

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1 << 20);
} records SEC(".maps");

struct output { struct seq_file *seq; };

// READ: records go to who reads a file, not to the ring buffer.
#ifdef READ
#define EMIT(record)                                              \
    do {                                                          \
        bpf_seq_write(output->seq, &(record), sizeof(record));    \
        matched++;                                                \
    } while (0)
#else
#define EMIT(record)                                                             \
    do {                                                                         \
        bpf_ringbuf_output(&records, &(record), sizeof(record), BPF_RB_NO_WAKEUP); \
        matched++;                                                               \
    } while (0)
#endif
