// Questions about processes by hand: open files, resident memory, shared memory; and about
// what is below them, open files and mappings one by one.
#include "peer.h"

#define MAY_SHARE 0x80
#define TMPFS_MAGIC 0x01021994
#define KERNEL_MOUNT (1 << 22)

static __always_inline u64 ones(u64 x) {
    x -= x >> 1 & 0x5555555555555555;
    x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
    return (x + (x >> 4) & 0x0f0f0f0f0f0f0f0f) * 0x0101010101010101 >> 56;
}

// Loops keep their state here: on the stack it would keep the verifier from ending.
u64 sum, bitmap, words;
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, u64[64]);
} chunk SEC(".maps");

static long count(u32 index, void *unused) {
    u32 zero = 0;
    u64 first = index * 64ull, *part = bpf_map_lookup_elem(&chunk, &zero), total = 0;
    if (!part || first >= words) return 1;
    u64 left = words - first;
    if (left > 64) left = 64;
    if (bpf_probe_read_kernel(part, left * 8, (void *)(bitmap + first * 8))) return 1;
    for (u64 i = 0; i < 64 && i < left; i++) total += ones(part[i]);
    sum += total;
    return 0;
}

SEC("syscall") int sweep_files(void *ctx) {
    struct bpf_iter_task it;
    struct task_struct *task;
    u64 rows = 0;
    matched = 0;
    bpf_rcu_read_lock();
    bpf_iter_task_new(&it, 0, PROCESSES);
    while ((task = bpf_iter_task_next(&it))) {
        rows++;
        struct files_struct *files = task->files;
        if (!files) continue;
        struct fdtable *table = files->fdt;
        if (!table) continue;
        sum = 0;
        words = BPF_CORE_READ(table, max_fds) / 64;
        bitmap = (u64)BPF_CORE_READ(table, open_fds);
        bpf_loop((words + 63) / 64, count, 0, 0);
        if (sum <= 1000000) continue;
        struct { u64 missing, pid, files; } record = {.pid = task->tgid, .files = sum};
        EMIT(record);
    }
    bpf_iter_task_destroy(&it);
    bpf_rcu_read_unlock();
    visited = rows;
    return 0;
}

// Resident pages, exact: the common counter, and what each CPU has not yet added to it. Where
// a CPU's memory is is learnt from an element of a map.
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, u64);
} element SEC(".maps");
u64 distance[256];
u32 cpus;

static void learn_cpus(void) {
    u32 zero = 0;
    void *map = &element;
    u64 array = 0, common = 0;
    bpf_probe_read_kernel(&array, 8, &map);
    bpf_probe_read_kernel(&common, 8,
                          (void *)(array + bpf_core_field_offset(struct bpf_array, pptrs)));
    for (u32 cpu = 0; cpu < 256; cpu++) {
        void *own = bpf_map_lookup_percpu_elem(&element, &zero, cpu);
        u64 address = 0;
        if (!own) break;
        bpf_probe_read_kernel(&address, 8, &own);
        distance[cpu] = address - common;
        cpus = cpu + 1;
    }
}

static __always_inline s64 pages(struct mm_struct *mm, int counter) {
    s64 total = mm->rss_stat[counter].count;
    u64 base = 0;
    bpf_probe_read_kernel(&base, 8, &mm->rss_stat[counter].counters);
    for (u32 cpu = 0; cpu < 256 && cpu < cpus; cpu++) {
        s32 own = 0;
        bpf_probe_read_kernel(&own, 4, (void *)(base + distance[cpu]));
        total += own;
    }
    return total;
}

SEC("syscall") int sweep_memory(void *ctx) {
    struct bpf_iter_task it;
    struct task_struct *task;
    u64 rows = 0;
    matched = 0;
    if (!cpus) learn_cpus();
    bpf_rcu_read_lock();
    bpf_iter_task_new(&it, 0, PROCESSES);
    while ((task = bpf_iter_task_next(&it))) {
        rows++;
        struct mm_struct *mm = task->mm;
        if (!mm) continue;
        s64 rss = pages(mm, 0) + pages(mm, 1) + pages(mm, 3);
        if (rss <= 1 << 30) continue;
        struct { u64 missing, pid, rss; } record = {.pid = task->tgid, .rss = rss * 4096};
        EMIT(record);
    }
    bpf_iter_task_destroy(&it);
    bpf_rcu_read_unlock();
    visited = rows;
    return 0;
}

SEC("syscall") int sweep_mapped(void *ctx) {
    struct bpf_iter_task it;
    struct task_struct *task;
    u64 rows = 0;
    matched = 0;
    bpf_rcu_read_lock();
    bpf_iter_task_new(&it, 0, PROCESSES);
    while ((task = bpf_iter_task_next(&it))) {
        struct bpf_iter_task_vma mappings;
        struct vm_area_struct *vma;
        u64 shared = 0;
        rows++;
        bpf_iter_task_vma_new(&mappings, task, 0);
        while ((vma = bpf_iter_task_vma_next(&mappings)))
            if (vma->vm_flags & MAY_SHARE) shared += vma->vm_end - vma->vm_start;
        bpf_iter_task_vma_destroy(&mappings);
        if (shared <= 1ull << 50) continue;
        struct { u64 missing, pid, bytes; } record = {.pid = task->tgid, .bytes = shared};
        EMIT(record);
    }
    bpf_iter_task_destroy(&it);
    bpf_rcu_read_unlock();
    visited = rows;
    return 0;
}

// A mapping's file, if that is shared memory.
static __always_inline struct inode *shared_memory(struct vm_area_struct *vma) {
    struct file *file = vma->vm_flags & MAY_SHARE ? vma->vm_file : 0;
    struct inode *inode = file ? file->f_inode : 0;
    return inode && inode->i_sb->s_magic == TMPFS_MAGIC ? inode : 0;
}

enum kind { TMPFS, SYSV, ANON };

// Objects on the kernel's own tmpfs are told apart by their names.
static __always_inline enum kind kind(struct vm_area_struct *vma, struct inode *inode) {
    if (!(inode->i_sb->s_flags & KERNEL_MOUNT)) return TMPFS;
    char name[4] = {};
    bpf_probe_read_kernel(name, sizeof name, vma->vm_file->f_path.dentry->d_name.name);
    if (name[0] == 'S' && name[1] == 'Y' && name[2] == 'S' && name[3] == 'V') return SYSV;
    return name[0] == 'd' ? ANON : TMPFS;
}

SEC("syscall") int sweep_shared(void *ctx) {
    struct bpf_iter_task it;
    struct task_struct *task;
    u64 rows = 0;
    matched = 0;
    bpf_rcu_read_lock();
    bpf_iter_task_new(&it, 0, PROCESSES);
    while ((task = bpf_iter_task_next(&it))) {
        struct bpf_iter_task_vma mappings;
        struct vm_area_struct *vma;
        u64 tmpfs = 0, sysv = 0, anon = 0;
        rows++;
        bpf_iter_task_vma_new(&mappings, task, 0);
        while ((vma = bpf_iter_task_vma_next(&mappings))) {
            struct inode *inode = shared_memory(vma);
            if (!inode) continue;
            u64 bytes = vma->vm_end - vma->vm_start;
            enum kind of = kind(vma, inode);
            if (of == SYSV) sysv += bytes;
            else if (of == ANON) anon += bytes;
            else tmpfs += bytes;
        }
        bpf_iter_task_vma_destroy(&mappings);
        if (tmpfs + sysv + anon <= 1ull << 50) continue;
        struct { u64 missing, pid, tmpfs, sysv, anon; } record = {
            .pid = task->tgid, .tmpfs = tmpfs, .sysv = sysv, .anon = anon};
        EMIT(record);
    }
    bpf_iter_task_destroy(&it);
    bpf_rcu_read_unlock();
    visited = rows;
    return 0;
}

struct object { u64 pid, device, inode; };
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 16384);
    __type(key, struct object);
    __type(value, u64);
} objects SEC(".maps");

static long conclude(void *map, struct object *key, u64 *bytes, void *unused) {
    if (*bytes > 1ull << 50) {
        struct { u64 missing; struct object object; u64 bytes; } record = {
            .object = *key, .bytes = *bytes};
        EMIT(record);
    }
    bpf_map_delete_elem(map, key);
    return 0;
}

SEC("syscall") int sweep_objects(void *ctx) {
    struct bpf_iter_task it;
    struct task_struct *task;
    u64 rows = 0;
    matched = 0;
    bpf_rcu_read_lock();
    bpf_iter_task_new(&it, 0, PROCESSES);
    while ((task = bpf_iter_task_next(&it))) {
        struct bpf_iter_task_vma mappings;
        struct vm_area_struct *vma;
        bpf_iter_task_vma_new(&mappings, task, 0);
        while ((vma = bpf_iter_task_vma_next(&mappings))) {
            rows++;
            struct inode *inode = shared_memory(vma);
            if (!inode) continue;
            struct object key = {task->tgid, inode->i_sb->s_dev, inode->i_ino};
            u64 bytes = vma->vm_end - vma->vm_start, *known = bpf_map_lookup_elem(&objects, &key);
            if (known) *known += bytes;
            else bpf_map_update_elem(&objects, &key, &bytes, BPF_NOEXIST);
        }
        bpf_iter_task_vma_destroy(&mappings);
    }
    bpf_iter_task_destroy(&it);
    bpf_for_each_map_elem(&objects, conclude, 0, 0);
    bpf_rcu_read_unlock();
    visited = rows;
    return 0;
}

SEC("syscall") int sweep_open(void *ctx) {
    struct bpf_iter_task it;
    struct task_struct *task;
    u64 rows = 0;
    matched = 0;
    bpf_rcu_read_lock();
    bpf_iter_task_new(&it, 0, PROCESSES);
    while ((task = bpf_iter_task_next(&it))) {
        struct files_struct *files = task->files;
        if (!files) continue;
        struct fdtable *table = files->fdt;
        struct file **array = BPF_CORE_READ(table, fd);
        struct bpf_iter_num numbers;
        int *number;
        bpf_iter_num_new(&numbers, 0, BPF_CORE_READ(table, max_fds));
        while ((number = bpf_iter_num_next(&numbers))) {
            struct file *file = 0;
            if (bpf_probe_read_kernel(&file, 8, array + *number) || !file) continue;
            rows++;
            struct inode *inode = BPF_CORE_READ(file, f_inode);
            if ((BPF_CORE_READ(inode, i_mode) & 0xf000) != 0x8000) continue;
            if (BPF_CORE_READ(inode, i_size) <= 1ll << 50) continue;
            struct { u64 missing, pid, fd; } record = {.pid = task->tgid, .fd = *number};
            EMIT(record);
        }
        bpf_iter_num_destroy(&numbers);
    }
    bpf_iter_task_destroy(&it);
    bpf_rcu_read_unlock();
    visited = rows;
    return 0;
}
