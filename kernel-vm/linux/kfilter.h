/* SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0 */
/* What /dev/kfilter has: filters, what they remember, and files that sweep with them. */
#ifndef KFILTER_H
#define KFILTER_H

#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/types.h>

#include "kfilter_abi.h"
#include "kfilter_vm.h"

#define X(name, number, bytes, tables) KFILTER_COLUMN_##name = number,
enum kfilter_column { KFILTER_COLUMNS(X) };
#undef X

/* What a sweep must look up for a row, beside the task itself. */
#define KFILTER_NEEDS_SUMS	1	/* counters, added up over a process's threads */
#define KFILTER_NEEDS_MEMORY	2	/* the address space */
#define KFILTER_NEEDS_RESIDENT	4	/* its counters of resident pages */
#define KFILTER_NEEDS_SHARES	8	/* its mappings, added up */
#define KFILTER_NEEDS_WAITS	32	/* whom the thread waits for */
#define KFILTER_NEEDS_OBJECTS	16	/* and how many objects those are of */

/* What a column is a member of; others take code. */
enum kfilter_source {
	KFILTER_FROM_CODE = 0,
	KFILTER_FROM_TASK,
	KFILTER_FROM_SIGNAL,
	KFILTER_FROM_SUMS,
	KFILTER_FROM_MEMORY,
};

/* A column of the row and where it stands there. */
struct kfilter_cell {
	u16 column;
	u16 offset;
	bool is_copied;		/* no integer */
	u8 source;		/* enum kfilter_source */
	u8 bytes;		/* of the member that it is */
	bool is_signed;
	u32 at;			/* in the source */
	u32 also;		/* of another that is added */
};

/* What a filter remembers of one task. */
struct kfilter_past {
	struct kfilter_past *next;
	u64 started_ns;
	pid_t nr;
	u64 bytes[];
};

/* In the order of the task's numbers, as sweeps go. */
struct kfilter_history {
	struct kfilter_past *first;
	struct kfilter_past **at;	/* where this sweep is */
	struct kfilter_past *spare;
	unsigned int spares;
	unsigned long kept;
};

/* What an open or mapped file is. */
#define KFILTER_OBJECT_NAME_BYTES 64
struct kfilter_object {
	u64 device, inode;
	u64 size, resident;
	u64 position, flags;
	u32 kind;
	char name[KFILTER_OBJECT_NAME_BYTES];
};

/* A row of a table below processes: a mapping, or a descriptor and its file. */
#define KFILTER_ITEMS_MAX 64
struct kfilter_item {
	u64 start;			/* address, or number of the descriptor */
	u64 end;
	u64 access;			/* VM_... */
	struct kfilter_object object;
};

/* The shared mappings of a process; which it is, if it has any. */
struct kfilter_shares {
	bool known;
	pid_t process;
	u64 all, tmpfs, sysv, anon, objects;
};

/* Objects that one process may map without any being counted twice. */
#define KFILTER_KEYS_MAX 16384
struct kfilter_key {
	u64 device, inode;
};

/* What user space has said of whom threads wait for; none when it has said nothing. */
struct kfilter_waits {
	struct kfilter_wait *all;
	u32 count;
	u32 at;				/* where the sweep is */
};

struct kfilter_records {
	u8 *bytes;
	size_t room;
	size_t used;
};

/* The counters of a thread, or of a process with all its threads. */
struct kfilter_sums {
	u64 exec, user, system;
	u64 minor_faults, major_faults;
	u64 voluntary, involuntary;
	u64 read_bytes, write_bytes, read_chars, write_chars;
};

/* An address space; all zeros for a task that has none. */
struct kfilter_memory {
	u64 file, anon, shared, swap;
	u64 peak, total, page_tables, locked, stack, data, mappings;
};

/* A loaded filter. It is freed with the last file that has it, unless it is kept by name. */
struct kfilter {
	refcount_t refs;
	struct mutex lock;		/* one sweep at a time */
	struct kfilter_header header;
	struct kfilter_why why;
	struct kfilter_stats stats;
	struct kfilter_vm vm;
	struct kfilter_vm_host host;
	struct kfilter_vm_run run;
	unsigned int needs;
	struct kfilter_cell cells[KFILTER_COLUMNS_MAX];
	void *program;
	void *ops;
	u8 *params;
	u8 *row;
	void *stack;
	struct kfilter_history history;
	/* Of one that is or was kept; see keep.c. */
	struct list_head kept;
	u8 name[KFILTER_NAME_BYTES_MAX];
	void *description;
	u32 description_bytes;
	/* The sweep under way. */
	struct kfilter_records *records;
	struct kfilter_waits *waits;
	bool emitted;
	unsigned int lock_waits;	/* that are left, of half a millisecond each */
	struct kfilter_shares shares;
	struct kfilter_key *keys;	/* of the objects of the process at hand */
	u32 keys_used;
	struct kfilter_item *items;	/* of the process at hand, some at a time */
	u32 items_a_turn;
	const struct kfilter_item *item;
	struct kfilter_sums sums;	/* of the task at hand */
	struct kfilter_memory memory;
	unsigned int rows_a_chunk;
	long budget;			/* work that is left until others may run */
};

/* An open file: the filter that it was given, and what the last sweep through it found. */
struct kfilter_file {
	struct mutex lock;		/* goes before that of the filter */
	struct kfilter *kf;
	struct kfilter_why why;
	struct kfilter_stats stats;
	struct kfilter_records records;
	struct kfilter_waits waits;	/* for its next sweep */
};

/* load.c */
struct kfilter *kfilter_load(const void __user *from, size_t length, struct kfilter_why *why);
void kfilter_put(struct kfilter *kf);

/* keep.c */
long kfilter_keep(struct kfilter *kf, const void __user *from);
struct kfilter *kfilter_get_kept(const void __user *name);
long kfilter_describe(const struct kfilter *kf, const void __user *where);
long kfilter_list(const void __user *where);
long kfilter_remove(const void __user *name);

/* sweep.c */
int kfilter_sweep(struct kfilter *kf, struct kfilter_records *records,
		  struct kfilter_waits *waits);
int32_t kfilter_emit(void *context, const uint8_t *record, size_t length);
uint64_t kfilter_now(void *context);

/* history.c */
int kfilter_history_reserve(struct kfilter *kf);
u8 *kfilter_history_of(struct kfilter *kf, pid_t nr, u64 started_ns);
void kfilter_history_end(struct kfilter *kf);
void kfilter_history_free(struct kfilter *kf);

/* row.c */
unsigned int kfilter_resolve(struct kfilter_cell *cell, u32 table);
void kfilter_fill(struct kfilter *kf, struct task_struct *task);

/* process.c */
void kfilter_sum(struct kfilter *kf, struct task_struct *task, struct kfilter_sums *sums);
u64 kfilter_system_time(const struct kfilter_sums *sums);
u64 kfilter_open_files(struct task_struct *task);

/* memory.c */
void kfilter_measure(struct task_struct *task, bool resident, struct kfilter_memory *memory);

/* object.c */
void kfilter_look_at(const struct file *file, bool is_mapped, struct kfilter_object *object);

/* mapping.c */
void kfilter_share(struct kfilter *kf, struct task_struct *task);
int kfilter_next_mappings(struct kfilter *kf, struct task_struct *task, unsigned long *address);

/* waits.c */
int kfilter_take_waits(struct kfilter_waits *waits, const void __user *from);
void kfilter_forget_waits(struct kfilter_waits *waits);
const struct kfilter_wait *kfilter_wait_of(struct kfilter_waits *waits, u64 tid);

/* files.c */
int kfilter_next_files(struct kfilter *kf, struct task_struct *task, unsigned long *fd);

extern unsigned long kfilter_history_max;
extern unsigned long kfilter_records_max;

#endif
