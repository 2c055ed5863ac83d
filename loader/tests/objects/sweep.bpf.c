// An object in the form that the compiler writes, made by clang, so that the loader's tests
// do not depend on the compiler. Build with `make -C loader/tests/objects`.
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

#define SEC(name) __attribute__((section(name), used))
#define CORE __attribute__((preserve_access_index))
#define KSYM extern __attribute__((section(".ksyms")))

struct sched_entity { u64 sum_exec_runtime; } CORE;
struct task_struct {
	int pid;
	int tgid;
	char comm[16];
	struct sched_entity se;
	unsigned int in_execve : 1;
} CORE;
struct task_struct___other { int no_such_field; } CORE;
enum pid_type___short { PIDTYPE_PID, PIDTYPE_TGID, PIDTYPE_PGID, PIDTYPE_SID };
struct no_such_type { int x; } CORE;

struct bpf_iter_task { u64 opaque[3]; } __attribute__((aligned(8)));
KSYM int bpf_iter_task_new(struct bpf_iter_task *it, struct task_struct *task, u32 flags);
KSYM struct task_struct *bpf_iter_task_next(struct bpf_iter_task *it);
KSYM void bpf_iter_task_destroy(struct bpf_iter_task *it);
KSYM void bpf_rcu_read_lock(void);
KSYM void bpf_rcu_read_unlock(void);
KSYM void bpf_no_such_function(void) __attribute__((weak));

static u64 (*bpf_ktime_get_boot_ns)(void) = (void *)125;
static long (*bpf_ringbuf_output)(void *ring, void *data, u64 size, u64 flags) = (void *)130;
static void *(*bpf_task_storage_get)(void *map, struct task_struct *task, void *value, u64 flags) = (void *)156;
static long (*bpf_probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static long (*bpf_loop)(u32 count, void *callback, void *ctx, u64 flags) = (void *)181;

struct state { u64 last; u64 seen; };
struct {
	int (*type)[29];
	int (*map_flags)[1];
	int *key;
	struct state *value;
} state_hog SEC(".maps");
struct {
	int (*type)[27];
	int (*max_entries)[4096];
} records_hog SEC(".maps");

struct params { s64 memory, cpus, least; };
const volatile struct params hog_params SEC(".rodata") = {0, 0, 7};
const volatile u64 hog_as_lines SEC(".rodata") = 0;
struct stats { u64 sweeps, visited, matched, unreadable, warming, dropped, started_ns, took_ns, busy; };
struct stats hog_stats;

struct record { u64 missing; s64 pid, pid_type, cpu; char comm[16]; };

char LICENSE[] SEC("license") = "Dual MIT/GPL";

static long nothing(u32 index, void *ctx) { return index == 2; }

static __attribute__((noinline)) void emit(struct task_struct *task)
{
	struct record r = {};
	r.pid = task->pid;
	r.pid_type = __builtin_preserve_enum_value(*(enum pid_type___short *)PIDTYPE_SID, 1);
	r.cpu = task->se.sum_exec_runtime;
	bpf_probe_read_kernel(r.comm, sizeof r.comm, task->comm);
	if (bpf_ringbuf_output(&records_hog, &r, sizeof r, 1))
		hog_stats.dropped++;
}

SEC("syscall") int sweep_hog(void *ctx)
{
	struct bpf_iter_task it;
	struct task_struct *task;
	u64 visited = 0, matched = 0;
	if (__sync_val_compare_and_swap(&hog_stats.busy, 0, 1))
		return 1;
	hog_stats.started_ns = bpf_ktime_get_boot_ns();
	hog_stats.dropped = 0;
	if (__builtin_preserve_type_info(*(struct no_such_type *)0, 0))
		bpf_no_such_function();
	bpf_loop(4, nothing, 0, 0);
	bpf_rcu_read_lock();
	bpf_iter_task_new(&it, 0, 0);
	while ((task = bpf_iter_task_next(&it))) {
		struct task_struct___other *t = (void *)task;
		struct state *state = bpf_task_storage_get(&state_hog, task, 0, 1);
		visited++;
		u64 bit = __builtin_preserve_field_info(task->in_execve, 0) + __builtin_preserve_field_info(task->in_execve, 4) + __builtin_preserve_field_info(task->in_execve, 5);
		hog_stats.warming = bit + __builtin_preserve_type_info(*(struct task_struct *)0, 1);
		if (state)
			state->seen++;
		if (__builtin_preserve_field_info(t->no_such_field, 2) && t->no_such_field)
			continue;
		if (task->pid < hog_params.least)
			continue;
		emit(task);
		matched++;
	}
	bpf_iter_task_destroy(&it);
	bpf_rcu_read_unlock();
	hog_stats.visited = visited;
	hog_stats.matched = matched;
	hog_stats.sweeps++;
	hog_stats.took_ns = bpf_ktime_get_boot_ns() - hog_stats.started_ns;
	hog_stats.busy = 0;
	return 0;
}

// Refused by the verifier: it reads a pointer that may be NULL.
SEC("?syscall") int sweep_bad(void *ctx)
{
	struct state *state = bpf_task_storage_get(&state_hog, (void *)0, 0, 0);
	hog_stats.busy = 0;
	return state->seen;
}

struct bpf_iter__task { void *meta; struct task_struct *task; } CORE;
SEC("iter/task") int read_hog(struct bpf_iter__task *ctx)
{
	return ctx->task == 0;
}
