// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0
/* Counters of threads and processes, and open files. The caller holds the RCU read lock. */
#include <linux/bitmap.h>
#include <linux/fdtable.h>
#include <linux/math64.h>
#include <linux/sched/cputime.h>
#include <linux/sched/task.h>
#include <linux/seqlock.h>

#include "kfilter.h"

#ifdef CONFIG_TASK_XACCT
#define CHARS(member) (member)
#else
#define CHARS(member) 0
#endif
#ifdef CONFIG_TASK_IO_ACCOUNTING
#define BYTES(member) (member)
#else
#define BYTES(member) 0
#endif

/* Threads have them by the names by which `signal` keeps those of the dead, but for one. */
#define COUNTERS(of, run_time) {				\
	.exec = (run_time),					\
	.user = (of)->utime,					\
	.system = (of)->stime,					\
	.minor_faults = (of)->min_flt,				\
	.major_faults = (of)->maj_flt,				\
	.voluntary = (of)->nvcsw,				\
	.involuntary = (of)->nivcsw,				\
	.read_bytes = BYTES((of)->ioac.read_bytes),		\
	.write_bytes = BYTES((of)->ioac.write_bytes),		\
	.read_chars = CHARS((of)->ioac.rchar),			\
	.write_chars = CHARS((of)->ioac.wchar),			\
}

static __always_inline struct kfilter_sums of_thread(const struct task_struct *task)
{
	return (struct kfilter_sums)COUNTERS(task, READ_ONCE(task->se.sum_exec_runtime));
}

static __always_inline struct kfilter_sums of_dead(const struct signal_struct *signal)
{
	return (struct kfilter_sums)COUNTERS(signal, signal->sum_sched_runtime);
}

static void add_thread(struct kfilter_sums *sums, const struct task_struct *task)
{
	const struct kfilter_sums one = of_thread(task);

	sums->exec += one.exec;
	sums->user += one.user;
	sums->system += one.system;
	sums->minor_faults += one.minor_faults;
	sums->major_faults += one.major_faults;
	sums->voluntary += one.voluntary;
	sums->involuntary += one.involuntary;
	sums->read_bytes += one.read_bytes;
	sums->write_bytes += one.write_bytes;
	sums->read_chars += one.read_chars;
	sums->write_chars += one.write_chars;
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
		*sums = of_thread(task);
		return;
	}
	do {
		seq = next;
		flags = read_seqbegin_or_lock_irqsave(&signal->stats_lock, &seq);
		*sums = of_dead(signal);
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
