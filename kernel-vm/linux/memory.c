// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0
/* What a task's address space takes. A task without one, such as a kernel thread, has zeros. */
#include <linux/mm.h>
#include <linux/percpu_counter.h>
#include <linux/sched/task.h>
#include <linux/version.h>

#include "kfilter.h"

/* Exact where the counter is spread over CPUs, like the bpf host's. */
static u64 resident(struct mm_struct *mm, int member)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
	return (u64)percpu_counter_sum_positive(&mm->rss_stat[member]) << PAGE_SHIFT;
#else
	return (u64)get_mm_counter(mm, member) << PAGE_SHIFT;
#endif
}

static void take(struct mm_struct *mm, bool with_resident, struct kfilter_memory *memory)
{
	memory->total = (u64)READ_ONCE(mm->total_vm) << PAGE_SHIFT;
	memory->page_tables = mm_pgtables_bytes(mm);
	memory->locked = (u64)READ_ONCE(mm->locked_vm) << PAGE_SHIFT;
	memory->stack = (u64)READ_ONCE(mm->stack_vm) << PAGE_SHIFT;
	memory->data = (u64)READ_ONCE(mm->data_vm) << PAGE_SHIFT;
	memory->mappings = READ_ONCE(mm->map_count);
	if (!with_resident)
		return;
	memory->file = resident(mm, MM_FILEPAGES);
	memory->anon = resident(mm, MM_ANONPAGES);
	memory->shared = resident(mm, MM_SHMEMPAGES);
	memory->swap = resident(mm, MM_SWAPENTS);
	memory->peak = max((u64)READ_ONCE(mm->hiwater_rss) << PAGE_SHIFT,
			   memory->file + memory->anon + memory->shared);
}

/* The lock keeps the task from giving its address space up meanwhile. */
void kfilter_measure(struct task_struct *task, bool with_resident, struct kfilter_memory *memory)
{
	*memory = (struct kfilter_memory) { 0 };
	if (task->flags & PF_KTHREAD)
		return;
	task_lock(task);
	if (task->mm)
		take(task->mm, with_resident, memory);
	task_unlock(task);
}
