// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0
/*
 * What an open or mapped file is. The caller keeps it from going away.
 *
 * The kernel's own tmpfs mount, which nobody can name files in, holds SysV segments, memfds
 * and shared anonymous memory; they are told apart by the names that the kernel gives them.
 * Descriptors without a file proper (eventfd and its like) are told by name too.
 */
#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/stat.h>
#include <linux/string.h>

#include "kfilter.h"

#define PID_FS 0x50494446	/* has a name from Linux 6.9 on */

struct named {
	const char *start;
	u32 kind;
};

static const struct named anon_names[] = {
	{ "[eventfd", KFILTER_FILE_KIND_EVENTFD },
	{ "[eventpo", KFILTER_FILE_KIND_EPOLL },
	{ "[timerfd", KFILTER_FILE_KIND_TIMERFD },
	{ "[signalf", KFILTER_FILE_KIND_SIGNALFD },
	{ "inotify", KFILTER_FILE_KIND_INOTIFY },
	{ "[pidfd]", KFILTER_FILE_KIND_PIDFD },
	{ "[io_urin", KFILTER_FILE_KIND_IO_URING },
	{ "bpf-", KFILTER_FILE_KIND_BPF },
	{ "bpf_", KFILTER_FILE_KIND_BPF },
	{ "btf", KFILTER_FILE_KIND_BPF },
};

static const struct named memory_names[] = {
	{ "SYSV", KFILTER_OBJECT_KIND_SYSV },
	{ "memfd:", KFILTER_OBJECT_KIND_MEMFD },
	{ "dev/zero", KFILTER_OBJECT_KIND_SHARED_ANON },
};

static u32 by_name(const struct named *names, size_t count, const char *name, u32 otherwise)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (!strncmp(name, names[i].start, strlen(names[i].start)))
			return names[i].kind;
	return otherwise;
}

static u32 file_kind(const struct inode *inode, const char *name)
{
	const struct super_block *of = inode->i_sb;

	if (of->s_magic == PID_FS)
		return KFILTER_FILE_KIND_PIDFD;
	if (of->s_magic == ANON_INODE_FS_MAGIC)
		return by_name(anon_names, ARRAY_SIZE(anon_names), name, KFILTER_FILE_KIND_ANON);
	switch (inode->i_mode & S_IFMT) {
	case S_IFIFO:
		return KFILTER_FILE_KIND_PIPE;
	case S_IFSOCK:
		return KFILTER_FILE_KIND_SOCKET;
	case S_IFDIR:
		return KFILTER_FILE_KIND_DIRECTORY;
	case S_IFCHR:
		return KFILTER_FILE_KIND_CHAR_DEVICE;
	case S_IFBLK:
		return KFILTER_FILE_KIND_BLOCK_DEVICE;
	case S_IFLNK:
		return KFILTER_FILE_KIND_SYMLINK;
	case S_IFREG:
		if (of->s_flags & SB_KERNMOUNT && !strncmp(name, "memfd:", 6))
			return KFILTER_FILE_KIND_MEMFD;
		return KFILTER_FILE_KIND_REGULAR;
	default:
		return KFILTER_FILE_KIND_UNKNOWN;
	}
}

static u32 object_kind(const struct inode *inode, const char *name)
{
	const struct super_block *of = inode->i_sb;
	u32 kind;

	if (S_ISCHR(inode->i_mode) || S_ISBLK(inode->i_mode))
		return KFILTER_OBJECT_KIND_DEVICE;
	if (of->s_magic == TMPFS_MAGIC)
		kind = KFILTER_OBJECT_KIND_TMPFS;
	else if (of->s_magic == HUGETLBFS_MAGIC)
		kind = KFILTER_OBJECT_KIND_HUGETLB;
	else
		return KFILTER_OBJECT_KIND_FILE;
	if (!(of->s_flags & SB_KERNMOUNT))
		return kind;
	return by_name(memory_names, ARRAY_SIZE(memory_names), name, kind);
}

static void copy_name(struct dentry *dentry, char *name)
{
	size_t length;

	memset(name, 0, KFILTER_OBJECT_NAME_BYTES);
	spin_lock(&dentry->d_lock);
	length = min_t(size_t, dentry->d_name.len, KFILTER_OBJECT_NAME_BYTES - 1);
	memcpy(name, dentry->d_name.name, length);
	spin_unlock(&dentry->d_lock);
}

void kfilter_look_at(const struct file *file, bool is_mapped, struct kfilter_object *object)
{
	const struct inode *inode = file_inode(file);

	object->device = inode->i_sb->s_dev;
	object->inode = inode->i_ino;
	object->size = i_size_read(inode);
	object->resident = (u64)READ_ONCE(inode->i_mapping->nrpages) << PAGE_SHIFT;
	object->position = file->f_pos;
	object->flags = file->f_flags;
	copy_name(file->f_path.dentry, object->name);
	if (is_mapped) {
		object->kind = object_kind(inode, object->name);
		return;
	}
	object->kind = file_kind(inode, object->name);
	/* Inside the kernel these have names that say nothing, or the root's. */
	if (object->kind == KFILTER_FILE_KIND_PIPE || object->kind == KFILTER_FILE_KIND_SOCKET ||
	    object->kind == KFILTER_FILE_KIND_PIDFD)
		memset(object->name, 0, sizeof(object->name));
}
