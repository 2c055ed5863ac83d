// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0
/*
 * Whom threads wait for, as user space has found out.
 *
 * Who owns a lock stands in the memory of the processes that use it, in the manner of their C
 * library; what knows those is the loader. It says what it has found before a sweep, by the
 * threads' numbers, and the sweep's rows have it. What was said is for one sweep.
 */
#include <linux/mm.h>
#include <linux/pid_namespace.h>
#include <linux/uaccess.h>

#include "kfilter.h"

/* A thread that waits for nobody. */
static const struct kfilter_wait none;

static bool is_in_order(const struct kfilter_wait *waits, u32 count)
{
	u32 i;

	for (i = 1; i < count; i++)
		if (waits[i - 1].tid >= waits[i].tid)
			return false;
	return true;
}

int kfilter_take_waits(struct kfilter_waits *waits, const void __user *from)
{
	struct kfilter_buffer buffer;
	struct kfilter_wait *all;

	/* Numbers are those of the first pid namespace. */
	if (task_active_pid_ns(current) != &init_pid_ns)
		return -EXDEV;
	if (copy_from_user(&buffer, from, sizeof(buffer)))
		return -EFAULT;
	if (buffer.length % sizeof(*all) || buffer.length / sizeof(*all) > KFILTER_WAITS_MAX)
		return -E2BIG;
	all = kvmalloc(max_t(size_t, buffer.length, 16), GFP_KERNEL_ACCOUNT);
	if (!all)
		return -ENOMEM;
	if (copy_from_user(all, u64_to_user_ptr(buffer.bytes), buffer.length)) {
		kvfree(all);
		return -EFAULT;
	}
	if (!is_in_order(all, buffer.length / sizeof(*all))) {
		kvfree(all);
		return -EINVAL;
	}
	kfilter_forget_waits(waits);
	waits->all = all;
	waits->count = buffer.length / sizeof(*all);
	return 0;
}

void kfilter_forget_waits(struct kfilter_waits *waits)
{
	kvfree(waits->all);
	*waits = (struct kfilter_waits) { 0 };
}

/* Rows come in the order of their numbers too. NULL when it is not known. */
const struct kfilter_wait *kfilter_wait_of(struct kfilter_waits *waits, u64 tid)
{
	const struct kfilter_wait *wait;

	if (!waits->all)
		return NULL;
	while (waits->at < waits->count && waits->all[waits->at].tid < tid)
		waits->at++;
	wait = &waits->all[waits->at];
	if (waits->at == waits->count || wait->tid != tid)
		return &none;
	return wait->is_known ? wait : NULL;
}
