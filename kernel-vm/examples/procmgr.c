/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A process manager in the manner of QNX that answers filters: the worked example of
 * docs/embedding.md, and a test.
 *
 *     procmgr IMAGE     sweeps its tables twice with the filter in IMAGE
 *
 * The tables hold what QNX's debug_process_t and debug_thread_t show. What an embedding
 * writes itself stands here in this order: where each column is, rows and their state, the
 * load of a filter, the sweep. Everything else is in kfilter_vm.h's core.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kfilter_abi.h"
#include "kfilter_vm.h"

/* --- The kernel's own tables ----------------------------------------------------------- */

enum { MAX_PROCESSES = 8, MAX_THREADS = 8, STATE_BYTES = 4096 };
enum thread_state { STATE_RUNNING = 1, STATE_MUTEX = 14, STATE_NANOSLEEP = 16 };

struct thread {
	int32_t tid;
	uint8_t state, priority, policy;
	int32_t last_cpu;
	uint64_t start_time, sutime; /* nanoseconds */
	/* The filter's state of this row: freed with the thread. */
	_Alignas(8) uint8_t history[STATE_BYTES];
};

struct process {
	int32_t pid, parent, pgrp, sid;
	uint32_t uid, gid, euid;
	uint32_t num_threads, num_fdcons;
	uint64_t start_time, utime, stime, cutime, cstime; /* nanoseconds */
	char name[16];
	struct thread threads[MAX_THREADS];
	_Alignas(8) uint8_t history[STATE_BYTES];
};

static struct process table[MAX_PROCESSES];
static uint64_t clock_ns;

/* --- Where each column is --------------------------------------------------------------- */

/* The state of a thread as filters count it: kfilter fields state. */
static int64_t state_of(uint8_t state)
{
	return state == STATE_RUNNING ? 0 : 1;
}

/* A number of the process, or of its thread in the table of threads. False: unknown here. */
static bool number(uint32_t column, const struct process *p, const struct thread *t,
		   int64_t *value)
{
	const struct thread *first = t ? t : &p->threads[0];

	switch (column) {
	case 1: *value = p->pid; return true;
	case 2: *value = first->tid; return true;
	case 3: *value = p->parent; return true;
	case 6: *value = p->sid; return true;
	case 7: *value = p->pgrp; return true;
	case 8: *value = p->uid; return true;
	case 9: *value = p->gid; return true;
	case 10: *value = p->euid; return true;
	case 12: *value = state_of(first->state); return true;
	case 13: *value = 0; return true;
	case 20: *value = first->priority; return true;
	case 23: *value = first->policy; return true;
	case 24: *value = first->last_cpu; return true;
	case 25: *value = t ? t->sutime : p->utime + p->stime; return true;
	case 26: *value = p->utime; return !t;
	case 27: *value = p->stime; return !t;
	case 28: *value = t ? t->start_time : p->start_time; return true;
	case 29: *value = clock_ns - (t ? t->start_time : p->start_time); return true;
	case 30: *value = p->num_threads; return true;
	case 31: *value = p->cutime + p->cstime; return true;
	case 80: *value = p->num_fdcons; return true;
	default: return false;
	}
}

/* --- A loaded filter -------------------------------------------------------------------- */

struct filter {
	struct kfilter_header header;
	const struct kfilter_place *places;
	uint8_t *params;
	struct kfilter_vm vm;
	void *stack, *ops;
	uint8_t *row;
	uint64_t visited, matched, unreadable;
};

static const uint32_t column_bytes[] = {
#define BYTES(name, column, bytes, tables) [column] = bytes,
	KFILTER_COLUMNS(BYTES)
};

/* Everything in an image is an allegation: nothing is used before it is checked here, and
 * the program not before it is verified. */
static const char *load(struct filter *f, const uint8_t *image, size_t bytes)
{
	struct kfilter_header *h = &f->header;
	size_t places, params, program, scratch_bytes;
	const uint64_t machine[2] = { UINT64_C(1) << 30, 4 };
	struct kfilter_vm_why why = { 0, 0 };
	void *scratch;
	int32_t error;

	if (bytes < sizeof *h)
		return "the image is too short";
	memcpy(h, image, sizeof *h);
	if (h->magic != KFILTER_MAGIC || h->version != KFILTER_VERSION ||
	    h->schema != KFILTER_SCHEMA_VERSION)
		return "the image is of another version";
	if (h->table != KFILTER_TABLE_PROCESS && h->table != KFILTER_TABLE_THREAD)
		return "there is no such table";
	if (h->columns > KFILTER_COLUMNS_MAX || h->insns > KFILTER_INSNS_MAX ||
	    h->row_size < KFILTER_ROW_HEADER_BYTES || h->row_size > KFILTER_REGION_BYTES_MAX ||
	    h->params_size < sizeof machine || h->params_size > KFILTER_REGION_BYTES_MAX ||
	    h->state_size > STATE_BYTES || h->record_size > KFILTER_VM_RECORD_BYTES_MAX)
		return "the filter is too large";
	places = sizeof *h;
	params = places + h->columns * sizeof(struct kfilter_place);
	program = params + (h->params_size + 7) / 8 * 8;
	if (bytes != program + (size_t)h->insns * 8)
		return "the image's parts do not add up";
	f->places = (const void *)(image + places);
	/* The compiler knows nothing of this machine: its memory and its CPUs. */
	f->params = calloc(1, h->params_size + sizeof machine);
	if (!f->params)
		return "no memory for its parameters";
	memcpy(f->params, image + params, h->params_size);
	memcpy(f->params, machine, sizeof machine);
	for (uint32_t i = 0; i < h->columns; i++) {
		const struct kfilter_place *at = &f->places[i];
		const size_t known = sizeof column_bytes / sizeof column_bytes[0];

		if (at->column >= known || column_bytes[at->column] == 0)
			return "it reads a column that is not known here";
		if (at->offset < KFILTER_ROW_HEADER_BYTES || at->offset > h->row_size ||
		    h->row_size - at->offset < column_bytes[at->column])
			return "a column lies outside of the row";
	}

	scratch_bytes = kfilter_vm_scratch_bytes(h->insns);
	scratch = aligned_alloc(KFILTER_VM_ALIGN, (scratch_bytes + 15) / 16 * 16);
	if (!scratch)
		return "no memory to verify it in";
	error = kfilter_vm_verify(&f->vm, image + program, (size_t)h->insns * 8,
				  &(struct kfilter_vm_spec){ h->row_size, h->state_size,
							     h->params_size, h->record_size },
				  scratch, scratch_bytes, &why);
	free(scratch);
	if (error) {
		fprintf(stderr, "refused at insn %" PRIu32 ", reason %" PRIu32 "\n", why.insn,
			why.reason);
		return "the program is not safe";
	}
	/* What one run may take is known before it runs: long ones are nobody's filter. */
	if (kfilter_vm_max_insns(&f->vm) > KFILTER_RUN_INSNS_MAX)
		return "a run would take too long";
	bytes = kfilter_vm_ops_bytes(h->insns);
	if (bytes && (f->ops = aligned_alloc(KFILTER_VM_ALIGN, (bytes + 15) / 16 * 16)))
		kfilter_vm_thread(&f->vm, f->ops, bytes);
	f->stack = aligned_alloc(KFILTER_VM_ALIGN, KFILTER_VM_STACK_BYTES);
	f->row = calloc(1, h->row_size);
	if (!f->stack || !f->row)
		return "no memory to run it in";
	memset(f->stack, 0, KFILTER_VM_STACK_BYTES);
	return NULL;
}

/* --- The sweep -------------------------------------------------------------------------- */

/* Called back with each record: here it would go into the message that is replied. */
static int32_t emit(void *context, const uint8_t *record, size_t length)
{
	uint64_t word;

	(void)context;
	printf("record");
	for (size_t i = 0; i + 8 <= length; i += 8) {
		memcpy(&word, record + i, 8);
		printf(" %" PRId64, (int64_t)word);
	}
	printf("\n");
	return 1;
}

static uint64_t boot_ns(void *context)
{
	(void)context;
	return clock_ns;
}

static void row(struct filter *f, struct process *p, struct thread *t)
{
	const struct kfilter_vm_host host = { .emit = emit, .boot_ns = boot_ns };
	uint64_t missing = 0, verdict = KFILTER_VM_PASS;
	const struct kfilter_vm_run run = {
		.row = f->row,
		.row_size = f->header.row_size,
		.state = t ? t->history : p->history,
		.state_size = f->header.state_size,
		.params = f->params,
		.params_size = f->header.params_size,
		.stack = f->stack,
		.host = &host,
		.fuel = kfilter_vm_max_insns(&f->vm),
	};

	memset(f->row, 0, f->header.row_size);
	memcpy(f->row + KFILTER_VM_ROW_NOW_OFFSET, &clock_ns, 8);
	for (uint32_t i = 0; i < f->header.columns; i++) {
		const struct kfilter_place *at = &f->places[i];
		int64_t value;

		if (column_bytes[at->column] == sizeof p->name)
			memcpy(f->row + at->offset, p->name, sizeof p->name);
		else if (number(at->column, p, t, &value))
			memcpy(f->row + at->offset, &value, 8);
		else
			missing |= UINT64_C(1) << i;
	}
	memcpy(f->row + KFILTER_VM_ROW_MISSING_OFFSET, &missing, 8);
	f->visited++;
	if (kfilter_vm_run(&f->vm, &run, &verdict) != 0)
		abort(); /* Verified programs do not fail. */
	f->matched += verdict == KFILTER_VM_MATCH;
	f->unreadable += verdict == KFILTER_VM_UNREADABLE;
}

/* In a kernel: under the lock of the table, a chunk at a time. */
static void sweep(struct filter *f)
{
	f->visited = f->matched = f->unreadable = 0;
	for (struct process *p = table; p < table + MAX_PROCESSES; p++) {
		if (!p->pid)
			continue;
		if (f->header.table == KFILTER_TABLE_PROCESS)
			row(f, p, NULL);
		else
			for (uint32_t i = 0; i < p->num_threads; i++)
				row(f, p, &p->threads[i]);
	}
	printf("swept %" PRIu64 " matched %" PRIu64 " unreadable %" PRIu64 "\n", f->visited,
	       f->matched, f->unreadable);
}

/* --- Something to look at --------------------------------------------------------------- */

static void process(int slot, int32_t pid, const char *name, uint32_t threads)
{
	struct process *p = &table[slot];

	*p = (struct process){ .pid = pid, .parent = 1, .num_threads = threads, .num_fdcons = 3 };
	strncpy(p->name, name, sizeof p->name - 1);
	for (uint32_t i = 0; i < threads; i++)
		p->threads[i] = (struct thread){ .tid = i + 1, .state = STATE_NANOSLEEP,
						 .priority = 10 };
}

int main(int argc, char **argv)
{
	static uint8_t image[1 << 20];
	static struct filter filter;
	FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
	const char *wrong;

	if (!file) {
		fprintf(stderr, "usage: procmgr IMAGE\n");
		return 2;
	}
	wrong = load(&filter, image, fread(image, 1, sizeof image, file));
	fclose(file);
	if (wrong) {
		fprintf(stderr, "%s\n", wrong);
		return 1;
	}
	process(0, 1, "procnto", 1);
	process(1, 4097, "io-pkt", 4);
	process(2, 8194, "spinner", 2);
	clock_ns = UINT64_C(60000000000);
	sweep(&filter);
	/* A second later the spinner has had one CPU for nearly all of it. */
	clock_ns += UINT64_C(1000000000);
	table[2].utime += UINT64_C(950000000);
	table[2].threads[1].sutime += UINT64_C(950000000);
	table[2].threads[1].state = STATE_RUNNING;
	sweep(&filter);
	return 0;
}
