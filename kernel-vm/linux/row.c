// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0
/*
 * Where the kernel has each column: the one place. The caller of kfilter_fill holds the RCU
 * read lock.
 */
#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/mm.h>
#include <linux/pid.h>
#include <linux/sched/prio.h>
#include <linux/sched/task.h>
#include <linux/string.h>
#include <asm/word-at-a-time.h>

#include "kfilter.h"

/*
 * What has been looked up for the row at hand: sums and memory if a column needs them. Those are
 * large and not on the stack, which kernels may clear at every call.
 */
struct lookup {
	struct task_struct *task;
	u64 now_ns;
	const struct kfilter_sums *sums;
	const struct kfilter_memory *memory;
	const struct kfilter_shares *shares;
	const struct kfilter_item *item;
	const struct kfilter_wait *wait;
};

static unsigned int needs_of(u32 column)
{
	switch ((enum kfilter_column)column) {
	case KFILTER_COLUMN_CPU_TIME:
	case KFILTER_COLUMN_USER_TIME:
	case KFILTER_COLUMN_SYSTEM_TIME:
	case KFILTER_COLUMN_MINOR_FAULTS:
	case KFILTER_COLUMN_MAJOR_FAULTS:
	case KFILTER_COLUMN_PAGE_FAULTS:
	case KFILTER_COLUMN_VOLUNTARY_SWITCHES:
	case KFILTER_COLUMN_INVOLUNTARY_SWITCHES:
	case KFILTER_COLUMN_CONTEXT_SWITCHES:
	case KFILTER_COLUMN_READ_BYTES:
	case KFILTER_COLUMN_WRITE_BYTES:
	case KFILTER_COLUMN_READ_CHARS:
	case KFILTER_COLUMN_WRITE_CHARS:
		return KFILTER_NEEDS_SUMS;
	case KFILTER_COLUMN_RSS:
	case KFILTER_COLUMN_RSS_ANON:
	case KFILTER_COLUMN_RSS_FILE:
	case KFILTER_COLUMN_RSS_SHARED:
	case KFILTER_COLUMN_SWAP:
	case KFILTER_COLUMN_PEAK_RSS:
		return KFILTER_NEEDS_MEMORY | KFILTER_NEEDS_RESIDENT;
	case KFILTER_COLUMN_VIRTUAL_SIZE:
	case KFILTER_COLUMN_PAGE_TABLES:
	case KFILTER_COLUMN_LOCKED:
	case KFILTER_COLUMN_STACK:
	case KFILTER_COLUMN_DATA:
	case KFILTER_COLUMN_MAPPINGS:
		return KFILTER_NEEDS_MEMORY;
	case KFILTER_COLUMN_SHARED_MAPPED:
	case KFILTER_COLUMN_SHM_TMPFS:
	case KFILTER_COLUMN_SHM_SYSV:
	case KFILTER_COLUMN_SHM_ANON:
		return KFILTER_NEEDS_SHARES;
	case KFILTER_COLUMN_SHM_OBJECTS:
		return KFILTER_NEEDS_SHARES | KFILTER_NEEDS_OBJECTS;
	case KFILTER_COLUMN_WAITS_ON:
	case KFILTER_COLUMN_WAITS_FOR:
	case KFILTER_COLUMN_WAIT_CLASS:
	case KFILTER_COLUMN_CYCLE_ID:
	case KFILTER_COLUMN_CYCLE_LENGTH:
		return KFILTER_NEEDS_WAITS;
	default:
		return 0;
	}
}

/* Whether it is a column of copy_column. */
static bool is_copied(u32 column)
{
	switch ((enum kfilter_column)column) {
	case KFILTER_COLUMN_COMM:
	case KFILTER_COLUMN_FILE_NAME:
	case KFILTER_COLUMN_MAPPING_PERMISSIONS:
	case KFILTER_COLUMN_MAPPING_OBJECT:
	case KFILTER_COLUMN_MAPPING_OBJECT_NAME:
		return true;
	default:
		return false;
	}
}

/* A column that is a member of something, as it stands there. */
struct member {
	u8 of;				/* enum kfilter_source; 0 for no member */
	u8 bytes;
	bool is_signed;
	u32 at;
	u32 also;			/* of another of 8 bytes that is added; 0 for none */
};

#define OF(source, type, column, member) [KFILTER_COLUMN_##column] = {		\
	.of = KFILTER_FROM_##source, .bytes = sizeof_field(type, member),	\
	.is_signed = is_signed_type(typeof(((type *)0)->member)),		\
	.at = offsetof(type, member) }
#define TASK2(column, member, other) [KFILTER_COLUMN_##column] = {		\
	.of = KFILTER_FROM_TASK, .bytes = sizeof(u64),				\
	.at = offsetof(struct task_struct, member),				\
	.also = offsetof(struct task_struct, other) }
#define TASK(column, member) OF(TASK, struct task_struct, column, member)
#define SIGNAL(column, member) OF(SIGNAL, struct signal_struct, column, member)
#define SUM(column, member) OF(SUMS, struct kfilter_sums, column, member)
#define MEMORY(column, member) OF(MEMORY, struct kfilter_memory, column, member)

static const struct member members[] = {
	TASK(PID, tgid),
	TASK(TID, pid),
	TASK(RT_PRIORITY, rt_priority),
	TASK(POLICY, policy),
	TASK(START_TIME, start_boottime),
	SIGNAL(THREADS, nr_threads),
	SIGNAL(OOM_SCORE_ADJ, oom_score_adj),
	SUM(CPU_TIME, exec),
	SUM(MINOR_FAULTS, minor_faults),
	SUM(MAJOR_FAULTS, major_faults),
	SUM(VOLUNTARY_SWITCHES, voluntary),
	SUM(INVOLUNTARY_SWITCHES, involuntary),
	MEMORY(RSS_ANON, anon),
	MEMORY(RSS_FILE, file),
	MEMORY(RSS_SHARED, shared),
	MEMORY(SWAP, swap),
	MEMORY(VIRTUAL_SIZE, total),
	MEMORY(PAGE_TABLES, page_tables),
	MEMORY(LOCKED, locked),
	MEMORY(STACK, stack),
	MEMORY(DATA, data),
	MEMORY(PEAK_RSS, peak),
	MEMORY(MAPPINGS, mappings),
};

/* What is a sum over threads of a process, a thread has itself. */
static const struct member of_thread[] = {
	TASK(CPU_TIME, se.sum_exec_runtime),
	TASK(MINOR_FAULTS, min_flt),
	TASK(MAJOR_FAULTS, maj_flt),
	TASK2(PAGE_FAULTS, min_flt, maj_flt),
	TASK(VOLUNTARY_SWITCHES, nvcsw),
	TASK(INVOLUNTARY_SWITCHES, nivcsw),
	TASK2(CONTEXT_SWITCHES, nvcsw, nivcsw),
};

static const struct member *find_member(u32 column, u32 table)
{
	if (table == KFILTER_TABLE_THREAD && column < ARRAY_SIZE(of_thread) && of_thread[column].of)
		return &of_thread[column];
	return column < ARRAY_SIZE(members) && members[column].of ? &members[column] : NULL;
}

/* Where a column comes from, once and for all rows, and what must be looked up for it. */
unsigned int kfilter_resolve(struct kfilter_cell *cell, u32 table)
{
	const struct member *member = find_member(cell->column, table);

	cell->is_copied = is_copied(cell->column);
	cell->source = member ? member->of : KFILTER_FROM_CODE;
	if (!member)
		return needs_of(cell->column);
	cell->at = member->at;
	cell->also = member->also;
	cell->bytes = member->bytes;
	cell->is_signed = member->is_signed;
	return cell->source == KFILTER_FROM_TASK ? 0 : needs_of(cell->column);
}

/* The number that a member is, or that two are together. */
static __always_inline s64 read_member(const struct kfilter_cell *cell, const void *of)
{
	const void *at = of + cell->at;

	if (cell->also)
		return READ_ONCE(*(const u64 *)at) + READ_ONCE(*(const u64 *)(of + cell->also));
	if (cell->bytes == sizeof(u64))
		return READ_ONCE(*(const u64 *)at);
	if (cell->bytes == sizeof(u32))
		return cell->is_signed ? READ_ONCE(*(const s32 *)at) : READ_ONCE(*(const u32 *)at);
	return cell->is_signed ? READ_ONCE(*(const s16 *)at) : READ_ONCE(*(const u16 *)at);
}

/* A pid's number in its own namespace, the innermost. */
static s64 inner_number(const struct pid *pid, bool *missing)
{
	*missing = !pid;
	return pid ? pid->numbers[pid->level].nr : 0;
}

static s64 outer_number(struct pid *pid, bool *missing)
{
	*missing = !pid;
	return pid_nr(pid);
}

static s64 cgroup_number(struct task_struct *task, bool *missing)
{
#ifdef CONFIG_CGROUPS
	struct cgroup *cgroup = task_dfl_cgroup(task);

	*missing = !cgroup;
	return cgroup ? cgroup_id(cgroup) : 0;
#else
	*missing = true;
	return 0;
#endif
}

/* A limit above the largest signed number becomes it. */
static s64 open_files_limit(const struct signal_struct *signal)
{
	return min_t(u64, READ_ONCE(signal->rlim[RLIMIT_NOFILE].rlim_cur), S64_MAX);
}

/* A counter that kernels may be built without. */
static s64 counter(u64 value, bool kept, bool *missing)
{
	*missing = !kept;
	return value;
}

/* A sum over mappings, unless they could not be looked at. */
static s64 share(const struct kfilter_shares *shares, u64 sum, bool *missing)
{
	*missing = !shares->known;
	return sum;
}

/* The same of whom the thread waits for. */
#define WAIT(row, member) (*missing = !(row)->wait, (row)->wait ? (row)->wait->member : 0)

/* The value of an integer column that takes more than a look, or *missing. */
static s64 read_column(const struct lookup *row, enum kfilter_column column, bool *missing)
{
	const bool has_io = IS_ENABLED(CONFIG_TASK_IO_ACCOUNTING);
	const bool has_chars = IS_ENABLED(CONFIG_TASK_XACCT);
	struct task_struct *task = row->task;
	const struct signal_struct *signal = task->signal;
	const struct kfilter_sums *sums = row->sums;
	const struct kfilter_memory *mm = row->memory;
	const struct kfilter_shares *shares = row->shares;
	const struct kfilter_item *item = row->item;

	switch (column) {
#define IS(name, value) case KFILTER_COLUMN_##name: return (value)
	IS(PPID, rcu_dereference(task->real_parent)->tgid);
	IS(VPID, inner_number(task_tgid(task), missing));
	IS(VTID, inner_number(task_pid(task), missing));
	IS(SESSION, outer_number(task_session(task), missing));
	IS(PGRP, outer_number(task_pgrp(task), missing));
	IS(UID, __kuid_val(__task_cred(task)->uid));
	IS(GID, __kgid_val(__task_cred(task)->gid));
	IS(EUID, __kuid_val(__task_cred(task)->euid));
	IS(STATE, task_state_index(task));
	IS(KERNEL_THREAD, !!(task->flags & PF_KTHREAD));
	IS(EXITING, !!(task->flags & PF_EXITING));
	IS(PRIORITY, task->prio - MAX_RT_PRIO);
	IS(NICE, task_nice(task));
	IS(PROCESSOR, task_cpu(task));
	IS(SYSTEM_TIME, kfilter_system_time(sums));
	IS(USER_TIME, sums->exec - kfilter_system_time(sums));
	IS(AGE, max_t(s64, row->now_ns - task->start_boottime, 0));
	IS(CHILDREN_TIME, signal->cutime + signal->cstime);
	IS(RSS, mm->file + mm->anon + mm->shared);
	IS(PAGE_FAULTS, sums->minor_faults + sums->major_faults);
	IS(CONTEXT_SWITCHES, sums->voluntary + sums->involuntary);
	IS(READ_BYTES, counter(sums->read_bytes, has_io, missing));
	IS(WRITE_BYTES, counter(sums->write_bytes, has_io, missing));
	IS(READ_CHARS, counter(sums->read_chars, has_chars, missing));
	IS(WRITE_CHARS, counter(sums->write_chars, has_chars, missing));
	IS(CGROUP, cgroup_number(task, missing));
	IS(FILES, kfilter_open_files(task));
	IS(FILE_LIMIT, open_files_limit(signal));
	IS(SHARED_MAPPED, share(shares, shares->all, missing));
	IS(SHM_OBJECTS, share(shares, shares->objects, missing));
	IS(SHM_TMPFS, share(shares, shares->tmpfs, missing));
	IS(SHM_SYSV, share(shares, shares->sysv, missing));
	IS(SHM_ANON, share(shares, shares->anon, missing));
	IS(WAITS_ON, WAIT(row, waits_on));
	IS(WAITS_FOR, WAIT(row, waits_for));
	IS(WAIT_CLASS, WAIT(row, wait_class));
	IS(CYCLE_ID, WAIT(row, cycle_id));
	IS(CYCLE_LENGTH, WAIT(row, cycle_length));
	IS(FILE_FD, item->start);
	IS(FILE_KIND, item->object.kind);
	IS(FILE_DEVICE, item->object.device);
	IS(FILE_INODE, item->object.inode);
	IS(FILE_FLAGS, item->object.flags);
	IS(FILE_POSITION, item->object.position);
	IS(FILE_SIZE, item->object.size);
	IS(MAPPING_ADDRESS, item->start);
	IS(MAPPING_SIZE, item->end - item->start);
	IS(MAPPING_SHARED, !!(item->access & VM_MAYSHARE));
	IS(MAPPING_WRITABLE, !!(item->access & VM_WRITE));
	IS(MAPPING_EXECUTABLE, !!(item->access & VM_EXEC));
	IS(MAPPING_OBJECT_DEVICE, item->object.device);
	IS(MAPPING_OBJECT_INODE, item->object.inode);
	IS(MAPPING_OBJECT_KIND, item->object.kind);
	IS(MAPPING_OBJECT_RESIDENT, item->object.resident);
#undef IS
	default:
		break;
	}
	*missing = true;
	return 0;
}

static void permissions(u64 access, char *to)
{
	*(u64 *)to = 0;
	to[0] = access & VM_READ ? 'r' : '-';
	to[1] = access & VM_WRITE ? 'w' : '-';
	to[2] = access & VM_EXEC ? 'x' : '-';
	to[3] = access & VM_MAYSHARE ? 's' : 'p';
}

/* A name until its first zero, zeros behind it. Another CPU may be writing it. */
static __always_inline void copy_comm(const struct task_struct *task, u64 *to)
{
	const struct word_at_a_time constants = WORD_AT_A_TIME_CONSTANTS;
	const unsigned long *from = (const unsigned long *)task->comm;
	unsigned long words[2] = { READ_ONCE(from[0]), READ_ONCE(from[1]) };
	unsigned long found;
	int i;

	BUILD_BUG_ON(TASK_COMM_LEN != sizeof(words));
	for (i = 0; i < 2; i++) {
		if (has_zero(words[i], &found, &constants)) {
			found = prep_zero_mask(words[i], found, &constants);
			words[i] &= zero_bytemask(create_zero_mask(found));
			if (!i)
				words[1] = 0;
			break;
		}
	}
	to[0] = words[0];
	to[1] = words[1];
	((char *)to)[TASK_COMM_LEN - 1] = 0;
}

/* A column that is no integer. */
static void copy_column(const struct lookup *row, enum kfilter_column column, u8 *to)
{
	u64 *words = (u64 *)to;

	switch (column) {
	case KFILTER_COLUMN_COMM:
		copy_comm(row->task, words);
		break;
	case KFILTER_COLUMN_MAPPING_PERMISSIONS:
		permissions(row->item->access, (char *)to);
		break;
	case KFILTER_COLUMN_MAPPING_OBJECT:
		words[0] = row->item->object.device;
		words[1] = row->item->object.inode;
		break;
	default:
		memcpy(to, row->item->object.name, KFILTER_OBJECT_NAME_BYTES);
	}
}

void kfilter_fill(struct kfilter *kf, struct task_struct *task)
{
	const void *const sources[] = {
		[KFILTER_FROM_CODE] = NULL,
		[KFILTER_FROM_TASK] = task,
		[KFILTER_FROM_SIGNAL] = task->signal,
		[KFILTER_FROM_SUMS] = &kf->sums,
		[KFILTER_FROM_MEMORY] = &kf->memory,
	};
	/* All of it here: what is left out, some kernels clear first. */
	struct lookup row = {
		.task = task,
		.now_ns = kf->stats.started_ns,
		.sums = &kf->sums,
		.memory = &kf->memory,
		.shares = &kf->shares,
		.item = kf->item,
		.wait = NULL,
	};
	u64 missing = 0;
	u32 i;

	if (kf->needs & KFILTER_NEEDS_SUMS)
		kfilter_sum(kf, task, &kf->sums);
	if (kf->needs & KFILTER_NEEDS_MEMORY)
		kfilter_measure(task, kf->needs & KFILTER_NEEDS_RESIDENT, &kf->memory);
	if (kf->needs & KFILTER_NEEDS_WAITS)
		row.wait = kfilter_wait_of(kf->waits, task->pid);
	for (i = 0; i < kf->header.columns; i++) {
		const struct kfilter_cell *cell = &kf->cells[i];
		const void *of = sources[cell->source];
		u8 *to = kf->row + cell->offset;
		bool is_missing = false;

		if (of) {
			*(s64 *)to = read_member(cell, of);
			continue;
		}
		if (cell->is_copied) {
			copy_column(&row, cell->column, to);
			continue;
		}
		*(s64 *)to = read_column(&row, cell->column, &is_missing);
		if (is_missing) {
			*(s64 *)to = 0;
			missing |= 1ULL << i;
		}
	}
	*(u64 *)kf->row = row.now_ns;
	*(u64 *)(kf->row + 8) = missing;
}
