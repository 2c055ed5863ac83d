// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0
/*
 * Filters that stay loaded under a name, with no file that has them.
 *
 * Each name holds a reference to the module, as every thing does that somebody asked the
 * kernel to keep: rmmod says "in use" until they are removed, and what was loaded never goes
 * unasked. There are at most KFILTER_KEPT_MAX, and what each takes is bounded as that of an
 * open file is.
 *
 * Locks: a file's, then the list's, then a filter's.
 */
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "kfilter.h"

static LIST_HEAD(kept);
static unsigned int kept_count;
static DEFINE_MUTEX(kept_lock);

/* Letters, digits, `_` and `-`, then zeros: equal names are equal in all bytes. */
static bool is_name(const u8 *name)
{
	unsigned int length = 0, i;

	while (length < KFILTER_NAME_BYTES_MAX &&
	       ((name[length] | 0x20) - 'a' < 26U || name[length] - '0' < 10U ||
		name[length] == '_' || name[length] == '-'))
		length++;
	for (i = length; i < KFILTER_NAME_BYTES_MAX; i++)
		if (name[i])
			return false;
	return length > 0;
}

static struct kfilter *find(const u8 *name)
{
	struct kfilter *kf;

	lockdep_assert_held(&kept_lock);
	list_for_each_entry(kf, &kept, kept)
		if (!memcmp(kf->name, name, KFILTER_NAME_BYTES_MAX))
			return kf;
	return NULL;
}

/* The same program over the same rows: what one remembers the other can go on with. */
static bool is_same(const struct kfilter *one, const struct kfilter *other)
{
	return !memcmp(&one->header, &other->header, sizeof(one->header)) &&
	       !memcmp(one->cells, other->cells, sizeof(one->cells)) &&
	       !memcmp(one->program, other->program, (size_t)one->header.insns * 8);
}

/* From the old to the new, which nobody else has yet. */
static bool move_history(struct kfilter *kf, struct kfilter *old)
{
	if (!kf->header.state_size || !is_same(kf, old))
		return false;
	mutex_lock(&old->lock);
	kfilter_history_free(kf);
	kf->history = old->history;
	old->history = (struct kfilter_history) { 0 };
	mutex_unlock(&old->lock);
	return true;
}

/* What was done, as KFILTER_KEEP_..., or the error. */
static long put_under_name(struct kfilter *kf, bool may_replace)
{
	struct kfilter *old = find(kf->name);
	long done = 0;

	if (!old && kept_count >= KFILTER_KEPT_MAX)
		return -ENOSPC;
	if (old && !may_replace)
		return -EEXIST;
	refcount_inc(&kf->refs);
	if (!old) {
		/* The caller's open file holds the module: this one more cannot fail. */
		__module_get(THIS_MODULE);
		kept_count++;
		list_add_tail(&kf->kept, &kept);
		return 0;
	}
	done = KFILTER_KEEP_REPLACE;
	if (move_history(kf, old))
		done |= KFILTER_KEEP_HISTORY;
	list_replace_init(&old->kept, &kf->kept);
	kfilter_put(old);
	return done;
}

/* Keeps the filter of a file, whose lock the caller has. Once: its name is what it was. */
long kfilter_keep(struct kfilter *kf, const void __user *from)
{
	struct kfilter_keep keep;
	void *description;
	long result = -EFAULT;

	if (copy_from_user(&keep, from, sizeof(keep)))
		return -EFAULT;
	if (!is_name(keep.name) || keep.flags & ~KFILTER_KEEP_REPLACE || !keep.length ||
	    keep.length > KFILTER_DESCRIPTION_BYTES_MAX)
		return -EINVAL;
	description = kvmalloc(keep.length, GFP_KERNEL_ACCOUNT);
	if (!description)
		return -ENOMEM;
	if (copy_from_user(description, u64_to_user_ptr(keep.description), keep.length))
		goto out;
	mutex_lock(&kept_lock);
	result = -EBUSY;
	if (!kf->description) {
		memcpy(kf->name, keep.name, sizeof(kf->name));
		result = put_under_name(kf, keep.flags & KFILTER_KEEP_REPLACE);
		if (result >= 0) {
			kf->description_bytes = keep.length;
			swap(kf->description, description);
		}
	}
	mutex_unlock(&kept_lock);
out:
	kvfree(description);
	return result;
}

/* One more has the filter of this name. */
struct kfilter *kfilter_get_kept(const void __user *from)
{
	u8 name[KFILTER_NAME_BYTES_MAX];
	struct kfilter *kf;

	if (copy_from_user(name, from, sizeof(name)))
		return ERR_PTR(-EFAULT);
	mutex_lock(&kept_lock);
	kf = find(name);
	if (kf)
		refcount_inc(&kf->refs);
	mutex_unlock(&kept_lock);
	return kf ? kf : ERR_PTR(-ENOENT);
}

/* As much as there is room for; how much there is. */
static long copy_out(const void *bytes, u32 length, const void __user *where)
{
	struct kfilter_buffer buffer;

	if (copy_from_user(&buffer, where, sizeof(buffer)))
		return -EFAULT;
	if (copy_to_user(u64_to_user_ptr(buffer.bytes), bytes, min(length, buffer.length)))
		return -EFAULT;
	return length;
}

/* What was said of a kept filter: it does not change, and lives as long as the filter. */
long kfilter_describe(const struct kfilter *kf, const void __user *where)
{
	if (!kf->description)
		return -ENODATA;
	return copy_out(kf->description, kf->description_bytes, where);
}

/* Their names, one after the other. */
long kfilter_list(const void __user *where)
{
	u8 (*names)[KFILTER_NAME_BYTES_MAX];
	struct kfilter *kf;
	u32 count = 0;
	long result;

	names = kmalloc_array(KFILTER_KEPT_MAX, sizeof(*names), GFP_KERNEL);
	if (!names)
		return -ENOMEM;
	mutex_lock(&kept_lock);
	list_for_each_entry(kf, &kept, kept)
		memcpy(names[count++], kf->name, sizeof(*names));
	mutex_unlock(&kept_lock);
	result = copy_out(names, count * sizeof(*names), where);
	kfree(names);
	return result;
}

/* The name is free; who has the filter open goes on with it. */
long kfilter_remove(const void __user *from)
{
	u8 name[KFILTER_NAME_BYTES_MAX];
	struct kfilter *kf;

	if (copy_from_user(name, from, sizeof(name)))
		return -EFAULT;
	mutex_lock(&kept_lock);
	kf = find(name);
	if (kf) {
		list_del_init(&kf->kept);
		kept_count--;
	}
	mutex_unlock(&kept_lock);
	if (!kf)
		return -ENOENT;
	kfilter_put(kf);
	module_put(THIS_MODULE);
	return 0;
}
