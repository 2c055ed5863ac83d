// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0
/* The open files of a process, one by one. */
#include <linux/fdtable.h>
#include <linux/sched/task.h>

#include "kfilter.h"

struct collecting {
	struct kfilter *kf;
	u32 *count;
};

/* Under the table's lock nothing in it is closed. A number that is not 0 ends the walk. */
static int collect(const void *context, struct file *file, unsigned int fd)
{
	const struct collecting *to = context;
	struct kfilter_item *item;

	if (*to->count == to->kf->items_a_turn)
		return fd + 1;
	item = &to->kf->items[(*to->count)++];
	memset(item, 0, sizeof(*item));
	item->start = fd;
	kfilter_look_at(file, false, &item->object);
	return 0;
}

/* The descriptors from *fd on, into the filter's items; the one after them. */
int kfilter_next_files(struct kfilter *kf, struct task_struct *task, unsigned long *fd)
{
	u32 count = 0;
	const struct collecting to = { .kf = kf, .count = &count };
	int stopped;

	task_lock(task);
	if (task->files && *fd <= INT_MAX) {
		stopped = iterate_fd(task->files, *fd, collect, &to);
		*fd = stopped ? stopped - 1 : (unsigned long)INT_MAX + 1;
	}
	task_unlock(task);
	return count;
}
