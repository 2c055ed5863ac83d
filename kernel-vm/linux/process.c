// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0
/* Counters of threads and processes, and open files. The caller holds the RCU read lock. */
#include <linux/bitmap.h>
#include <linux/fdtable.h>
#include <linux/math64.h>
#include <linux/sched/cputime.h>
#include <linux/sched/task.h>
#include <linux/seqlock.h>

#include "kfilter.h"

static void add_thread(struct kfilter_sums *sums, const struct task_struct *task)
{
	sums->exec += READ_ONCE(task->se.sum_exec_runtime);
	sums->user += task->utime;
	sums->system += task->stime;
	sums->minor_faults += task->min_flt;
	sums->major_faults += task->maj_flt;
	sums->voluntary += task->nvcsw;
	sums->involuntary += task->nivcsw;
#ifdef CONFIG_TASK_XACCT
	sums->read_chars += task->ioac.rchar;
	sums->write_chars += task->ioac.wchar;
#endif
#ifdef CONFIG_TASK_IO_ACCOUNTING
	sums->read_bytes += task->ioac.read_bytes;
	sums->write_bytes += task->ioac.write_bytes;
#endif
}

/* What the threads had that are gone. */
static void take_dead(struct kfilter_sums *sums, const struct signal_struct *signal)
{
	*sums = (struct kfilter_sums) {
		.exec = signal->sum_sched_runtime,
		.user = signal->utime,
		.system = signal->stime,
		.minor_faults = signal->min_flt,
		.major_faults = signal->maj_flt,
		.voluntary = signal->nvcsw,
		.involuntary = signal->nivcsw,
#ifdef CONFIG_TASK_XACCT
		.read_chars = signal->ioac.rchar,
		.write_chars = signal->ioac.wchar,
#endif
#ifdef CONFIG_TASK_IO_ACCOUNTING
		.read_bytes = signal->ioac.read_bytes,
		.write_bytes = signal->ioac.write_bytes,
#endif
	};
}

/*
 * The counters of a thread, or of a process: those of its dead threads and of the living. A
 * thread that ends meanwhile moves its own from one to the other; the sequence tells.
 */
void kfilter_sum(struct kfilter *kf, struct task_struct *task, struct kfilter_sums *sums)
{
	struct signal_struct *signal = task->signal;
	struct task_struct *thread;
	unsigned long flags;
	int seq, next = 0;

	if (kf->header.table == KFILTER_TABLE_THREAD) {
		*sums = (struct kfilter_sums) { 0 };
		add_thread(sums, task);
		return;
	}
	do {
		seq = next;
		flags = read_seqbegin_or_lock_irqsave(&signal->stats_lock, &seq);
		take_dead(sums, signal);
		for_each_thread(task, thread) {
			add_thread(sums, thread);
			kf->budget--;
		}
		next = 1;
	} while (need_seqretry(&signal->stats_lock, seq));
	done_seqretry_irqrestore(&signal->stats_lock, seq, flags);
	kf->budget++;
}

/*
 * The system's part of the CPU time. User and system time are sampled at ticks, the whole is
 * exact: the samples are scaled to it, as the kernel does for /proc.
 */
u64 kfilter_system_time(const struct kfilter_sums *sums)
{
	if (!sums->system)
		return 0;
	if (!sums->user)
		return sums->exec;
	return mul_u64_u64_div_u64(sums->system, sums->exec, sums->system + sums->user);
}

u64 kfilter_open_files(struct task_struct *task)
{
	struct fdtable *table;
	u64 count = 0;

	task_lock(task);
	if (task->files) {
		table = files_fdtable(task->files);
		count = bitmap_weight(table->open_fds, table->max_fds);
	}
	task_unlock(task);
	return count;
}
