// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0
/*
 * A sweep: every process or thread once, or what each process has, in the order of numbers.
 *
 * The walk's position is a number, so it can be left at any task and taken up again: RCU is
 * held for a chunk of rows, and between chunks memory is made ready and others may run. A
 * task that lives through the whole sweep is seen exactly once.
 *
 * For what one must wait for, a task is taken out of the walk: it is held, looked at without
 * RCU, and its rows are made under RCU if it is still there.
 */
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/radix-tree.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

#include "kfilter.h"

/* Numbers that are looked at in one chunk, rows or not. */
#define LOOKS_A_CHUNK 1024
/* For address spaces that are locked. */
#define LOCK_WAITS_A_SWEEP 200

int32_t kfilter_emit(void *context, const uint8_t *record, size_t length)
{
	struct kfilter *kf = context;
	struct kfilter_records *records = kf->records;
	u8 *to = records->bytes + records->used;
	size_t at;

	/* One record a row: the last one that it emits. */
	if (length != kf->header.record_size || records->room - records->used < length)
		return 0;
	/* A few words, mostly whole ones: longer takes only the start of a copy of any length. */
	for (at = 0; at + sizeof(u64) <= length; at += sizeof(u64))
		memcpy(to + at, record + at, sizeof(u64));
	if (at < length)
		memcpy(to + at, record + at, length - at);
	kf->emitted = true;
	return 1;
}

uint64_t kfilter_now(void *context)
{
	const struct kfilter *kf = context;

	return kf->stats.started_ns;
}

/* Room for a record of each row of a chunk, up to the limit. */
static int reserve_records(struct kfilter *kf)
{
	struct kfilter_records *records = kf->records;
	size_t wanted = records->used + (size_t)kf->rows_a_chunk * kf->header.record_size;
	size_t room = max(wanted, records->room * 2);
	u8 *bytes;

	if (wanted <= records->room)
		return 0;
	room = min_t(size_t, room, READ_ONCE(kfilter_records_max));
	if (room <= records->room)
		return 0;
	bytes = kvmalloc(room, GFP_KERNEL_ACCOUNT);
	if (!bytes)
		return -ENOMEM;
	if (records->used)
		memcpy(bytes, records->bytes, records->used);
	kvfree(records->bytes);
	records->bytes = bytes;
	records->room = room;
	return 0;
}

static enum pid_type rows_are_of(const struct kfilter *kf)
{
	return kf->header.table == KFILTER_TABLE_THREAD ? PIDTYPE_PID : PIDTYPE_TGID;
}

static void visit(struct kfilter *kf, struct task_struct *task, pid_t nr)
{
	struct kfilter_stats *stats = &kf->stats;
	u64 verdict = KFILTER_VM_UNREADABLE;

	stats->visited++;
	kf->budget--;
	if (kf->header.state_size) {
		kf->run.state = kfilter_history_of(kf, nr, task->start_boottime);
		if (!kf->run.state) {
			stats->dropped++;
			return;
		}
	}
	kfilter_fill(kf, task);
	kf->emitted = false;
	if (kfilter_vm_run(&kf->vm, &kf->run, &verdict))
		verdict = KFILTER_VM_UNREADABLE;
	switch (verdict) {
	case KFILTER_VM_PASS:
		break;
	case KFILTER_VM_MATCH:
		stats->matched++;
		if (kf->emitted)
			kf->records->used += kf->header.record_size;
		else
			stats->dropped++;
		break;
	case KFILTER_VM_WARMING:
		stats->warming++;
		break;
	default:
		stats->unreadable++;
	}
}

/* Rows from number *next on; false after the last. */
static bool walk_chunk(struct kfilter *kf, unsigned long *next)
{
	enum pid_type type = rows_are_of(kf);
	struct radix_tree_iter iter;
	int looks = LOOKS_A_CHUNK;
	void __rcu **slot;

	radix_tree_for_each_slot(slot, &init_pid_ns.idr.idr_rt, &iter, *next) {
		struct pid *pid = radix_tree_deref_slot(slot);
		struct task_struct *task;

		if (!pid)
			continue;
		if (radix_tree_deref_retry(pid)) {
			slot = radix_tree_iter_retry(&iter);
			continue;
		}
		if (kf->budget <= 0 || looks-- <= 0) {
			*next = iter.index;
			return true;
		}
		task = pid_task(pid, type);
		if (task)
			visit(kf, task, iter.index);
	}
	return false;
}

/* The first task from number *nr on, held; its number is left there. */
static struct task_struct *hold_next(enum pid_type type, unsigned long *nr)
{
	struct task_struct *task = NULL;
	struct radix_tree_iter iter;
	void __rcu **slot;

	rcu_read_lock();
	radix_tree_for_each_slot(slot, &init_pid_ns.idr.idr_rt, &iter, *nr) {
		struct pid *pid = radix_tree_deref_slot(slot);

		if (!pid)
			continue;
		if (radix_tree_deref_retry(pid)) {
			slot = radix_tree_iter_retry(&iter);
			continue;
		}
		task = pid_task(pid, type);
		if (task) {
			get_task_struct(task);
			*nr = iter.index;
			break;
		}
	}
	rcu_read_unlock();
	return task;
}

static void visit_held(struct kfilter *kf, struct task_struct *task, pid_t nr)
{
	rcu_read_lock();
	if (pid_alive(task))
		visit(kf, task, nr);
	rcu_read_unlock();
}

/* All mappings or descriptors of a process, some at a time. */
static int visit_items(struct kfilter *kf, struct task_struct *task, pid_t nr)
{
	unsigned long at = 0;
	int count, i;

	for (;;) {
		int error = reserve_records(kf);

		if (error)
			return error;
		count = kf->header.table == KFILTER_TABLE_MAPPING ?
			kfilter_next_mappings(kf, task, &at) : kfilter_next_files(kf, task, &at);
		if (count < 0)
			kf->stats.unreadable++;
		if (count <= 0)
			return 0;
		rcu_read_lock();
		for (i = 0; i < count && pid_alive(task); i++) {
			kf->item = &kf->items[i];
			visit(kf, task, nr);
		}
		rcu_read_unlock();
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
}

/* The rows of the next task, which is looked at while it is held. */
static int walk_apart(struct kfilter *kf, unsigned long *next, bool *more)
{
	struct task_struct *task = hold_next(rows_are_of(kf), next);
	int error = 0;

	*more = task;
	if (!task)
		return 0;
	if (kf->items) {
		error = visit_items(kf, task, *next);
	} else {
		kfilter_share(kf, task);
		visit_held(kf, task, *next);
	}
	put_task_struct(task);
	++*next;
	return error;
}

/* Rows of as many tasks as may be looked at in one go. */
static int walk(struct kfilter *kf, unsigned long *next, bool *more)
{
	int error = reserve_records(kf);

	if (!error)
		error = kfilter_history_reserve(kf);
	if (error)
		return error;
	kf->budget = kf->rows_a_chunk;
	if (kf->items || kf->needs & KFILTER_NEEDS_SHARES)
		return walk_apart(kf, next, more);
	rcu_read_lock();
	*more = walk_chunk(kf, next);
	rcu_read_unlock();
	return 0;
}

/* The caller has the filter's lock. */
int kfilter_sweep(struct kfilter *kf, struct kfilter_records *records,
		  struct kfilter_waits *waits)
{
	u64 began_ns = ktime_get_ns();
	u64 sweeps = kf->stats.sweeps;
	unsigned long next = 1;
	bool more = true;

	kf->stats = (struct kfilter_stats) {
		.sweeps = sweeps, .started_ns = ktime_get_boottime_ns(),
	};
	kf->records = records;
	kf->waits = waits;
	waits->at = 0;
	records->used = 0;
	kf->history.at = &kf->history.first;
	kf->shares = (struct kfilter_shares) { 0 };
	kf->lock_waits = LOCK_WAITS_A_SWEEP;
	while (more) {
		int error = walk(kf, &next, &more);

		if (!error && fatal_signal_pending(current))
			error = -EINTR;
		if (error) {
			records->used = 0;
			return error;
		}
		cond_resched();
	}
	kfilter_history_end(kf);
	kf->stats.sweeps = sweeps + 1;
	kf->stats.took_ns = ktime_get_ns() - began_ns;
	return 0;
}
