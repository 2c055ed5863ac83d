// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0
/*
 * The mappings of a process: one by one, or added up.
 *
 * The lock of an address space is waited for, and not for long: one that somebody keeps
 * makes the row unreadable, and many together hold a sweep up for a fifth of a second. The caller sleeps nowhere else
 * with it, and holds no RCU.
 */
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sort.h>

#include "kfilter.h"

#define LOCK_WAITS_MAX 20
#define LOOKS_A_TURN 64

static bool lock_mappings(struct kfilter *kf, struct mm_struct *mm)
{
	unsigned int waits = 0;

	while (!mmap_read_trylock(mm)) {
		if (waits++ == LOCK_WAITS_MAX || !kf->lock_waits || fatal_signal_pending(current))
			return false;
		kf->lock_waits--;
		usleep_range(500, 1000);
	}
	return true;
}

/* Mappings from an address on, into the filter's items; the address after them. */
static u32 collect(struct kfilter *kf, struct mm_struct *mm, unsigned long *address)
{
	struct vm_area_struct *vma;
	u32 count = 0;

	while (count < kf->items_a_turn && (vma = find_vma(mm, *address))) {
		struct kfilter_item *item = &kf->items[count++];

		memset(item, 0, sizeof(*item));
		item->start = vma->vm_start;
		item->end = vma->vm_end;
		item->access = vma->vm_flags;
		if (vma->vm_file)
			kfilter_look_at(vma->vm_file, true, &item->object);
		*address = vma->vm_end;
	}
	return count;
}

/* The next items; 0 after the last, or the error. */
int kfilter_next_mappings(struct kfilter *kf, struct task_struct *task, unsigned long *address)
{
	struct mm_struct *mm = get_task_mm(task);
	int count = -EAGAIN;

	if (!mm)
		return 0;
	if (lock_mappings(kf, mm)) {
		count = collect(kf, mm, address);
		mmap_read_unlock(mm);
	}
	mmput(mm);
	return count;
}

static int compare(const void *one, const void *other)
{
	const struct kfilter_key *a = one, *b = other;

	if (a->device != b->device)
		return a->device < b->device ? -1 : 1;
	return a->inode < b->inode ? -1 : a->inode > b->inode;
}

/* Often it is the object of the mapping before. What finds no room is counted each time. */
static void note_object(struct kfilter *kf, const struct kfilter_object *object)
{
	const struct kfilter_key key = { object->device, object->inode };

	if (!kf->keys || (kf->keys_used && !compare(&kf->keys[kf->keys_used - 1], &key)))
		return;
	if (kf->keys_used == KFILTER_KEYS_MAX)
		kf->shares.objects++;
	else
		kf->keys[kf->keys_used++] = key;
}

static void count_objects(struct kfilter *kf)
{
	u32 i;

	if (!kf->keys_used)
		return;
	sort(kf->keys, kf->keys_used, sizeof(*kf->keys), compare, NULL);
	kf->shares.objects++;
	for (i = 1; i < kf->keys_used; i++)
		kf->shares.objects += !!compare(&kf->keys[i - 1], &kf->keys[i]);
}

static void add(struct kfilter *kf, const struct vm_area_struct *vma)
{
	struct kfilter_shares *shares = &kf->shares;
	u64 bytes = vma->vm_end - vma->vm_start;
	struct kfilter_object object;

	if (!(vma->vm_flags & VM_MAYSHARE))
		return;
	shares->all += bytes;
	if (!vma->vm_file)
		return;
	kfilter_look_at(vma->vm_file, true, &object);
	switch (object.kind) {
	case KFILTER_OBJECT_KIND_TMPFS:
	case KFILTER_OBJECT_KIND_MEMFD:
		shares->tmpfs += bytes;
		break;
	case KFILTER_OBJECT_KIND_SYSV:
		shares->sysv += bytes;
		break;
	case KFILTER_OBJECT_KIND_SHARED_ANON:
		shares->anon += bytes;
		break;
	default:
		return;
	}
	note_object(kf, &object);
}

/* What the task's process shares; all zeros for a task without mappings. */
void kfilter_share(struct kfilter *kf, struct task_struct *task)
{
	struct vm_area_struct *vma;
	unsigned int looks = 0;
	struct mm_struct *mm;

	/* Threads mostly come one after the other, and share it all. */
	if (kf->shares.process == task->tgid)
		return;
	kf->shares = (struct kfilter_shares) { .known = true };
	kf->keys_used = 0;
	mm = get_task_mm(task);
	if (!mm)
		return;
	if (lock_mappings(kf, mm)) {
		for (vma = find_vma(mm, 0); vma; vma = find_vma(mm, vma->vm_end)) {
			add(kf, vma);
			if (!(++looks % LOOKS_A_TURN))
				cond_resched();
		}
		mmap_read_unlock(mm);
		count_objects(kf);
	} else {
		kf->shares.known = false;
	}
	kf->shares.process = task->tgid;
	mmput(mm);
}
