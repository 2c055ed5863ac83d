// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0
/*
 * From what was written to a filter that can be swept.
 *
 * Every number that user space gives is an allegation: lengths are compared with what came,
 * columns with the table, and the program goes through kernel-vm's verifier.
 */
#include <linux/err.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "kfilter.h"

/* Rows between two places where others may run, when a run takes few insns. */
#define ROWS_A_CHUNK 256

struct known_column {
	u16 number;
	u16 bytes;
	u32 tables;
};

#define X(name, number, bytes, tables) { number, bytes, tables },
static const struct known_column known_columns[] = { KFILTER_COLUMNS(X) };
#undef X

static int refuse(struct kfilter *kf, u32 where, u32 reason)
{
	kf->why.where = where;
	kf->why.reason = reason;
	return -EINVAL;
}

static const struct known_column *find_column(u32 number)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(known_columns); i++)
		if (known_columns[i].number == number)
			return &known_columns[i];
	return NULL;
}

static int check_header(struct kfilter *kf, const struct kfilter_header *header, size_t length)
{
	u64 expected = sizeof(*header) + (u64)header->columns * sizeof(struct kfilter_place) +
		       ALIGN((u64)header->params_size, 8) + (u64)header->insns * 8;

	if (header->magic != KFILTER_MAGIC || header->version != KFILTER_VERSION ||
	    header->schema != KFILTER_SCHEMA_VERSION)
		return refuse(kf, header->version, KFILTER_REFUSED_VERSION);
	/* What is below a process has no history: nothing says when it is another. */
	if (header->table < KFILTER_TABLE_PROCESS || header->table > KFILTER_TABLE_MAPPING ||
	    (header->table > KFILTER_TABLE_THREAD && header->state_size))
		return refuse(kf, header->table, KFILTER_REFUSED_TABLE);
	if (header->columns > KFILTER_COLUMNS_MAX || header->insns > KFILTER_INSNS_MAX ||
	    header->row_size > KFILTER_REGION_BYTES_MAX ||
	    header->state_size > KFILTER_REGION_BYTES_MAX ||
	    header->params_size > KFILTER_REGION_BYTES_MAX ||
	    header->record_size > KFILTER_REGION_BYTES_MAX)
		return refuse(kf, 0, KFILTER_REFUSED_SIZE);
	if (expected != length)
		return refuse(kf, 0, KFILTER_REFUSED_HEADER);
	if (header->row_size < KFILTER_ROW_HEADER_BYTES || header->row_size % 8)
		return refuse(kf, 0, KFILTER_REFUSED_ROW);
	return 0;
}

static int take_columns(struct kfilter *kf, const struct kfilter_place *places)
{
	const struct kfilter_header *header = &kf->header;
	u32 i;

	for (i = 0; i < header->columns; i++) {
		const struct known_column *column = find_column(places[i].column);
		u32 offset = places[i].offset;

		if (!column || !(column->tables & 1U << header->table))
			return refuse(kf, places[i].column, KFILTER_REFUSED_COLUMN);
		if (offset < KFILTER_ROW_HEADER_BYTES || offset % 8 ||
		    offset > header->row_size || column->bytes > header->row_size - offset)
			return refuse(kf, places[i].column, KFILTER_REFUSED_ROW);
		kf->cells[i].column = column->number;
		kf->cells[i].offset = offset;
		kf->needs |= kfilter_resolve(&kf->cells[i], header->table);
	}
	return 0;
}

/* Memory as kernel-vm wants it: only powers of two are aligned in every kind of kernel. */
static void *allocate_for_vm(size_t bytes)
{
	if (bytes < PAGE_SIZE)
		bytes = roundup_pow_of_two(max_t(size_t, bytes, KFILTER_VM_ALIGN));
	return kvmalloc(bytes, GFP_KERNEL_ACCOUNT);
}

/* Threaded code, where the core has it and the program is not too long. */
static int thread(struct kfilter *kf)
{
	size_t bytes = kfilter_vm_ops_bytes(kf->header.insns);

	if (!bytes)
		return 0;
	kf->ops = allocate_for_vm(bytes);
	if (!kf->ops)
		return -ENOMEM;
	return kfilter_vm_thread(&kf->vm, kf->ops, bytes) ? -EINVAL : 0;
}

static int verify(struct kfilter *kf)
{
	const struct kfilter_header *header = &kf->header;
	const struct kfilter_vm_spec spec = {
		.row_size = header->row_size,
		.state_size = header->state_size,
		.params_size = header->params_size,
		.record_size = header->record_size,
	};
	size_t bytes = kfilter_vm_scratch_bytes(header->insns);
	struct kfilter_vm_why why = { 0 };
	void *scratch;
	u64 most;
	int error;

	if (!bytes)
		return refuse(kf, 0, KFILTER_VM_BAD_LENGTH);
	scratch = allocate_for_vm(bytes);
	if (!scratch)
		return -ENOMEM;
	error = kfilter_vm_verify(&kf->vm, kf->program, (size_t)header->insns * 8, &spec, scratch,
				  bytes, &why);
	kvfree(scratch);
	if (error == KFILTER_VM_REJECTED)
		return refuse(kf, why.insn, why.reason);
	if (error)
		return -EINVAL;
	most = kfilter_vm_max_insns(&kf->vm);
	if (most > KFILTER_RUN_INSNS_MAX)
		return refuse(kf, most, KFILTER_REFUSED_RUN);
	error = thread(kf);
	if (error)
		return error;
	kf->rows_a_chunk = clamp_t(u64, KFILTER_RUN_INSNS_MAX / max(most, 1ULL), 1, ROWS_A_CHUNK);
	return 0;
}

/* A region for the program; one of no bytes is a pointer that is never followed. */
static void *region(const void *from, size_t length)
{
	void *bytes = kvmalloc(max_t(size_t, length, 16), GFP_KERNEL_ACCOUNT | __GFP_ZERO);

	if (bytes && from)
		memcpy(bytes, from, length);
	return bytes;
}

/* For what a row is not read from at once. */
static int make_room(struct kfilter *kf)
{
	if (kf->needs & KFILTER_NEEDS_OBJECTS) {
		kf->keys = kvmalloc_array(KFILTER_KEYS_MAX, sizeof(*kf->keys), GFP_KERNEL_ACCOUNT);
		if (!kf->keys)
			return -ENOMEM;
	}
	if (kf->header.table > KFILTER_TABLE_THREAD) {
		kf->items_a_turn = min_t(u32, kf->rows_a_chunk, KFILTER_ITEMS_MAX);
		kf->items = kvmalloc_array(kf->items_a_turn, sizeof(*kf->items),
					   GFP_KERNEL_ACCOUNT);
		if (!kf->items)
			return -ENOMEM;
	}
	return 0;
}

static int take(struct kfilter *kf, const u8 *image)
{
	const struct kfilter_header *header = &kf->header;
	const u8 *places = image + sizeof(*header);
	const u8 *params = places + header->columns * sizeof(struct kfilter_place);
	const u8 *program = params + ALIGN(header->params_size, 8);
	int error = take_columns(kf, (const struct kfilter_place *)places);

	if (error)
		return error;
	kf->program = region(program, (size_t)header->insns * 8);
	kf->params = region(params, header->params_size);
	kf->row = region(NULL, header->row_size);
	kf->stack = region(NULL, KFILTER_VM_STACK_BYTES);
	if (!kf->program || !kf->params || !kf->row || !kf->stack)
		return -ENOMEM;
	error = verify(kf);
	if (error)
		return error;
	error = make_room(kf);
	if (error)
		return error;
	kf->host = (struct kfilter_vm_host) {
		.context = kf, .emit = kfilter_emit, .boot_ns = kfilter_now,
	};
	kf->run = (struct kfilter_vm_run) {
		.row = kf->row, .row_size = header->row_size,
		.state_size = header->state_size,
		.params = kf->params, .params_size = header->params_size,
		.stack = kf->stack, .host = &kf->host, .fuel = KFILTER_RUN_INSNS_MAX,
	};
	return 0;
}

static void free_filter(struct kfilter *kf)
{
	kfilter_history_free(kf);
	kvfree(kf->description);
	kvfree(kf->items);
	kvfree(kf->keys);
	kvfree(kf->stack);
	kvfree(kf->row);
	kvfree(kf->params);
	kvfree(kf->ops);
	kvfree(kf->program);
	kfree(kf);
}

/* The filter that was written, or the error; *why says more of a refusal. */
struct kfilter *kfilter_load(const void __user *from, size_t length, struct kfilter_why *why)
{
	const size_t most = sizeof(struct kfilter_header) +
			    KFILTER_COLUMNS_MAX * sizeof(struct kfilter_place) +
			    KFILTER_REGION_BYTES_MAX + (size_t)KFILTER_INSNS_MAX * 8;
	struct kfilter *kf = kzalloc(sizeof(*kf), GFP_KERNEL_ACCOUNT);
	u8 *image = NULL;
	int error;

	if (!kf)
		return ERR_PTR(-ENOMEM);
	refcount_set(&kf->refs, 1);
	mutex_init(&kf->lock);
	INIT_LIST_HEAD(&kf->kept);
	if (length < sizeof(kf->header) || length > most) {
		error = refuse(kf, 0, KFILTER_REFUSED_HEADER);
		goto out;
	}
	error = -ENOMEM;
	image = kvmalloc(length, GFP_KERNEL_ACCOUNT);
	if (!image)
		goto out;
	error = -EFAULT;
	if (copy_from_user(image, from, length))
		goto out;
	memcpy(&kf->header, image, sizeof(kf->header));
	error = check_header(kf, &kf->header, length);
	if (!error)
		error = take(kf, image);
out:
	kvfree(image);
	*why = kf->why;
	if (!error)
		return kf;
	free_filter(kf);
	return ERR_PTR(error);
}

/* One less has it. */
void kfilter_put(struct kfilter *kf)
{
	if (refcount_dec_and_test(&kf->refs))
		free_filter(kf);
}
