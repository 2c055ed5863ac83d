// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0
/*
 * What filters remember about tasks from sweep to sweep.
 *
 * A list in the order of the tasks' numbers, which is the order of sweeps: each sweep walks
 * along it and frees what belongs to tasks that are gone. A number that was given to another
 * task starts anew, as its start time differs. There is at most one entry a living task,
 * and never more than the module's limit.
 */
#include <linux/slab.h>

#include "kfilter.h"

static size_t entry_bytes(const struct kfilter *kf)
{
	return struct_size((struct kfilter_past *)NULL, bytes,
			   DIV_ROUND_UP(kf->header.state_size, sizeof(u64)));
}

/* Entries for a chunk of rows, allocated where one may sleep. */
int kfilter_history_reserve(struct kfilter *kf)
{
	struct kfilter_history *history = &kf->history;
	size_t bytes = entry_bytes(kf);

	if (!kf->header.state_size)
		return 0;
	while (history->spares < kf->rows_a_chunk) {
		unsigned long all = history->kept + history->spares + 1;
		struct kfilter_past *past;

		if (all * bytes > READ_ONCE(kfilter_history_max))
			return 0;
		past = kmalloc(bytes, GFP_KERNEL_ACCOUNT);
		if (!past)
			return -ENOMEM;
		past->next = history->spare;
		history->spare = past;
		history->spares++;
	}
	return 0;
}

/* The state of a task, zeros when it is first seen; NULL when there is no room. */
u8 *kfilter_history_of(struct kfilter *kf, pid_t nr, u64 started_ns)
{
	struct kfilter_history *history = &kf->history;
	struct kfilter_past *past;

	while ((past = *history->at) && past->nr < nr) {
		*history->at = past->next;
		kfree(past);
		history->kept--;
	}
	if (!past || past->nr != nr) {
		past = history->spare;
		if (!past)
			return NULL;
		history->spare = past->next;
		history->spares--;
		past->next = *history->at;
		*history->at = past;
		past->nr = nr;
		past->started_ns = ~started_ns;
		history->kept++;
	}
	if (past->started_ns != started_ns) {
		past->started_ns = started_ns;
		memset(past->bytes, 0, ALIGN(kf->header.state_size, sizeof(u64)));
	}
	history->at = &past->next;
	return (u8 *)past->bytes;
}

static void free_list(struct kfilter_past *past)
{
	while (past) {
		struct kfilter_past *next = past->next;

		kfree(past);
		past = next;
		cond_resched();
	}
}

/* After the last row: what is behind it belongs to nobody. */
void kfilter_history_end(struct kfilter *kf)
{
	struct kfilter_history *history = &kf->history;
	struct kfilter_past *past;

	for (past = *history->at; past; past = past->next)
		history->kept--;
	free_list(*history->at);
	*history->at = NULL;
}

void kfilter_history_free(struct kfilter *kf)
{
	free_list(kf->history.first);
	free_list(kf->history.spare);
	kf->history = (struct kfilter_history) { 0 };
}
