// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0
/*
 * /dev/kfilter: an open file is a loaded filter.
 *
 * One write loads it, reads sweep and return records, and closing the file frees all of it,
 * unless it was given a name to be kept under; see keep.c. The filter's program was verified
 * by kernel-vm before it is run; see load.c.
 */
#include <linux/capability.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "kfilter.h"

unsigned long kfilter_history_max = 64UL << 20;
module_param_named(history_bytes, kfilter_history_max, ulong, 0644);
MODULE_PARM_DESC(history_bytes, "Most bytes that a filter remembers about tasks");

unsigned long kfilter_records_max = 64UL << 20;
module_param_named(record_bytes, kfilter_records_max, ulong, 0644);
MODULE_PARM_DESC(record_bytes, "Most bytes of records of a sweep; what finds no room is counted");

/* Rows are of all pid namespaces and users, so who opens it must see all of them anyway. */
static int kfilter_open(struct inode *inode, struct file *file)
{
	struct kfilter_file *own;

	if (!perfmon_capable())
		return -EPERM;
	own = kzalloc(sizeof(*own), GFP_KERNEL_ACCOUNT);
	if (!own)
		return -ENOMEM;
	mutex_init(&own->lock);
	file->private_data = own;
	return 0;
}

static int kfilter_release(struct inode *inode, struct file *file)
{
	struct kfilter_file *own = file->private_data;

	if (own->kf)
		kfilter_put(own->kf);
	kvfree(own->records.bytes);
	kfilter_forget_waits(&own->waits);
	kfree(own);
	return 0;
}

static ssize_t kfilter_write(struct file *file, const char __user *from, size_t length,
			     loff_t *pos)
{
	struct kfilter_file *own = file->private_data;
	struct kfilter *kf;

	if (mutex_lock_interruptible(&own->lock))
		return -ERESTARTSYS;
	kf = own->kf ? ERR_PTR(-EBUSY) : kfilter_load(from, length, &own->why);
	if (!IS_ERR(kf))
		WRITE_ONCE(own->kf, kf);
	mutex_unlock(&own->lock);
	return IS_ERR(kf) ? PTR_ERR(kf) : length;
}

static int sweep(struct kfilter_file *own)
{
	int error;

	if (mutex_lock_interruptible(&own->kf->lock))
		return -ERESTARTSYS;
	error = kfilter_sweep(own->kf, &own->records, &own->waits);
	own->stats = own->kf->stats;
	kfilter_forget_waits(&own->waits);
	mutex_unlock(&own->kf->lock);
	return error;
}

/* At the start it sweeps; a read of nothing is the end of the records and goes back there. */
static ssize_t kfilter_read(struct file *file, char __user *to, size_t length, loff_t *pos)
{
	struct kfilter_file *own = file->private_data;
	ssize_t result = 0;
	size_t left;

	if (!length)
		return 0;
	if (mutex_lock_interruptible(&own->lock))
		return -ERESTARTSYS;
	if (!own->kf) {
		result = -ENODATA;
		goto out;
	}
	if (*pos == 0) {
		result = sweep(own);
		if (result)
			goto out;
	}
	left = *pos < own->records.used ? own->records.used - *pos : 0;
	if (!left) {
		*pos = 0;
		goto out;
	}
	if (length > left)
		length = left;
	if (copy_to_user(to, own->records.bytes + *pos, length)) {
		result = -EFAULT;
		goto out;
	}
	*pos += length;
	result = length;
out:
	mutex_unlock(&own->lock);
	return result;
}

/* A loaded filter can always be swept. */
static __poll_t kfilter_poll(struct file *file, struct poll_table_struct *wait)
{
	struct kfilter_file *own = file->private_data;

	return READ_ONCE(own->kf) ? EPOLLIN | EPOLLRDNORM : EPOLLOUT | EPOLLWRNORM;
}

static int set_params(struct kfilter *kf, const void __user *from)
{
	u32 length = kf->header.params_size;
	u8 *params;

	if (!length)
		return -EINVAL;
	params = kvmalloc(length, GFP_KERNEL);
	if (!params)
		return -ENOMEM;
	if (copy_from_user(params, from, length)) {
		kvfree(params);
		return -EFAULT;
	}
	mutex_lock(&kf->lock);
	memcpy(kf->params, params, length);
	mutex_unlock(&kf->lock);
	kvfree(params);
	return 0;
}

/* The file becomes one of a kept filter, with the counters of its last sweep. */
static int attach(struct kfilter_file *own, const void __user *name)
{
	struct kfilter *kf;

	if (own->kf)
		return -EBUSY;
	kf = kfilter_get_kept(name);
	if (IS_ERR(kf))
		return PTR_ERR(kf);
	mutex_lock(&kf->lock);
	own->stats = kf->stats;
	mutex_unlock(&kf->lock);
	WRITE_ONCE(own->kf, kf);
	return 0;
}

static long of_a_filter(struct kfilter_file *own, unsigned int command, void __user *user)
{
	if (!own->kf)
		return -EINVAL;
	switch (command) {
	case KFILTER_IOC_PARAMS:
		return set_params(own->kf, user);
	case KFILTER_IOC_KEEP:
		return kfilter_keep(own->kf, user);
	default:
		return kfilter_describe(own->kf, user);
	}
}

static long kfilter_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct kfilter_file *own = file->private_data;
	const struct kfilter_info info = {
		.version = KFILTER_VERSION, .schema = KFILTER_SCHEMA_VERSION,
	};
	void __user *user = (void __user *)argument;
	long result;

	if (mutex_lock_interruptible(&own->lock))
		return -ERESTARTSYS;
	switch (command) {
	case KFILTER_IOC_INFO:
		result = copy_to_user(user, &info, sizeof(info)) ? -EFAULT : 0;
		break;
	case KFILTER_IOC_WHY:
		result = copy_to_user(user, &own->why, sizeof(own->why)) ? -EFAULT : 0;
		break;
	case KFILTER_IOC_STATS:
		result = copy_to_user(user, &own->stats, sizeof(own->stats)) ? -EFAULT : 0;
		break;
	case KFILTER_IOC_PARAMS:
	case KFILTER_IOC_KEEP:
	case KFILTER_IOC_DESCRIBE:
		result = of_a_filter(own, command, user);
		break;
	case KFILTER_IOC_WAITS:
		result = kfilter_take_waits(&own->waits, user);
		break;
	case KFILTER_IOC_ATTACH:
		result = attach(own, user);
		break;
	case KFILTER_IOC_LIST:
		result = kfilter_list(user);
		break;
	case KFILTER_IOC_REMOVE:
		result = kfilter_remove(user);
		break;
	default:
		result = -ENOTTY;
	}
	mutex_unlock(&own->lock);
	return result;
}

static const struct file_operations kfilter_fops = {
	.owner = THIS_MODULE,
	.open = kfilter_open,
	.release = kfilter_release,
	.read = kfilter_read,
	.write = kfilter_write,
	.poll = kfilter_poll,
	.unlocked_ioctl = kfilter_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = default_llseek,
};

static struct miscdevice kfilter_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "kfilter",
	.fops = &kfilter_fops,
	.mode = 0600,
};

module_misc_device(kfilter_device);

MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Filters over the process and thread tables, verified and run in the kernel");
