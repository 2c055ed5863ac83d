/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * kernel-vm for kernels that are written in C: a verified BPF (RFC 9669) machine without
 * allocation, floating point or reachable panic. docs/embedding.md shows how to build the
 * core and how to put it behind a kernel's process and thread tables.
 *
 * A program is verified once, in memory that the caller gives, and then run once for each
 * row of a table. It can reach the row, the row's state, the parameters, its own stack and
 * the three callbacks below; nothing else, whatever its bytes are.
 */
#ifndef KFILTER_VM_H
#define KFILTER_VM_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stddef.h>
#include <stdint.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define KFILTER_VM_ABI 1
/* Bytes of the stack that a run needs. */
#define KFILTER_VM_STACK_BYTES 5120
/* Alignment of that stack and of the verifier's memory. */
#define KFILTER_VM_ALIGN 16
/* Most slots of 8 bytes of a program. */
#define KFILTER_VM_INSNS_MAX 1048576

/* Bytes before the first column of a row: the time and the bitmap of missing columns. */
#define KFILTER_VM_ROW_HEADER_BYTES 16
#define KFILTER_VM_ROW_NOW_OFFSET 0
#define KFILTER_VM_ROW_MISSING_OFFSET 8
#define KFILTER_VM_ROW_COLUMNS_MAX 64
#define KFILTER_VM_RECORD_BYTES_MAX 320

/* What a run over one row decided. */
enum kfilter_vm_verdict {
	KFILTER_VM_PASS = 0,
	KFILTER_VM_MATCH = 1,
	/* No match, and a column that was consulted could not be read. */
	KFILTER_VM_UNREADABLE = 2,
	/* No match yet: the row's history is too short. */
	KFILTER_VM_WARMING = 3,
};

enum kfilter_vm_error {
	/* The program is refused; struct kfilter_vm_why says where and why. */
	KFILTER_VM_REJECTED = -1,
	/* A pointer is null or badly aligned, or a length does not fit. */
	KFILTER_VM_BAD_ARGUMENT = -2,
	/* The struct kfilter_vm holds no program. */
	KFILTER_VM_EMPTY = -3,
	/* A region is shorter than the program was verified for. */
	KFILTER_VM_SHORT_REGION = -4,
	KFILTER_VM_OUT_OF_FUEL = -5,
	/* An insn that verification excludes: a fault of the machine. */
	KFILTER_VM_CORRUPT = -6,
};

/* Why a program is refused. */
enum kfilter_vm_reason {
	KFILTER_VM_BAD_LENGTH = 1,
	KFILTER_VM_SCRATCH_TOO_SMALL = 2,
	KFILTER_VM_DECODE = 3,
	KFILTER_VM_BACKWARD = 4,
	KFILTER_VM_JUMP_OUTSIDE = 5,
	KFILTER_VM_OUT_OF_FUNCTION = 6,
	KFILTER_VM_INTO_SECOND_SLOT = 7,
	KFILTER_VM_NEVER_REACHED = 8,
	KFILTER_VM_FALLS_OFF_END = 9,
	KFILTER_VM_TOO_MANY_OPEN_JUMPS = 10,
	KFILTER_VM_TOO_LONG = 11,
	KFILTER_VM_NOT_INITIALISED = 12,
	KFILTER_VM_NEEDS_NUMBER = 13,
	KFILTER_VM_POINTER_ARITHMETIC = 14,
	KFILTER_VM_COMPARES_POINTER = 15,
	KFILTER_VM_UNKNOWN_MAP = 16,
	KFILTER_VM_NOT_MEMORY = 17,
	KFILTER_VM_MAY_BE_NULL = 18,
	KFILTER_VM_OUT_OF_BOUNDS = 19,
	KFILTER_VM_VARIABLE_STACK = 20,
	KFILTER_VM_STACK_NOT_INITIALISED = 21,
	KFILTER_VM_READ_ONLY = 22,
	KFILTER_VM_POINTER_ESCAPES = 23,
	KFILTER_VM_PART_OF_POINTER = 24,
	KFILTER_VM_TOO_MANY_SPILLS = 25,
	KFILTER_VM_ATOMIC_ON_POINTER = 26,
	KFILTER_VM_UNKNOWN_HELPER = 27,
	KFILTER_VM_MUST_BE_ZERO = 28,
	KFILTER_VM_WRONG_ARGUMENT = 29,
	KFILTER_VM_RECORD_SIZE = 30,
	KFILTER_VM_LOOP_TOO_LONG = 31,
	KFILTER_VM_TOO_DEEP = 32,
	KFILTER_VM_WRITES_FRAME_POINTER = 33,
	KFILTER_VM_SHIFT_TOO_FAR = 34,
	KFILTER_VM_DIVISION_BY_ZERO = 35,
	KFILTER_VM_KERNEL_FUNCTION = 36,
};

/* What a program may rely on: bytes. */
struct kfilter_vm_spec {
	/* At r1, read only. */
	uint32_t row_size;
	/* At r2, kept from run to run; zeros when a row is first seen. */
	uint32_t state_size;
	/* At r3, read only. */
	uint32_t params_size;
	/* What emit takes, exactly. */
	uint32_t record_size;
};

struct kfilter_vm_why {
	/* Which slot of the program. */
	uint32_t insn;
	/* enum kfilter_vm_reason */
	uint32_t reason;
};

/* A verified program; none when it is all zeros. Its contents are the core's own. */
struct kfilter_vm {
	uint64_t opaque[16];
};

/* The other side of the helpers. A null callback answers 0. */
struct kfilter_vm_host {
	/* Handed to each of them. */
	void *context;
	/* Takes a record that is valid during the call; 0 when there is no room. */
	int32_t (*emit)(void *context, const uint8_t *record, size_t length);
	/* Nanoseconds since boot. */
	uint64_t (*boot_ns)(void *context);
	/* The tid of the thread that thread tid waits for; 0 for none. */
	uint64_t (*waits_for)(void *context, uint64_t tid);
};

/* What one run works on. A region of no bytes may be null. */
struct kfilter_vm_run {
	const uint8_t *row;
	size_t row_size;
	uint8_t *state;
	size_t state_size;
	const uint8_t *params;
	size_t params_size;
	/* KFILTER_VM_STACK_BYTES, zeroed before their first use. One run at a time. */
	void *stack;
	const struct kfilter_vm_host *host;
	/* How many functions and rounds of loops may be entered: a second line of defence. */
	uint64_t fuel;
};

/* Bytes of memory that verifying a program of so many slots takes; 0 when none has. */
size_t kfilter_vm_scratch_bytes(size_t slots);

/*
 * Verifies a program and puts it into vm: 0, or a negative enum kfilter_vm_error with vm
 * empty. The program's bytes, aligned to 4, must stay as they are while vm is used; scratch
 * is free again when the call returns. why may be null. Takes time linear in the program
 * and at most 12 KiB of the caller's stack.
 */
int32_t kfilter_vm_verify(struct kfilter_vm *vm, const void *program, size_t bytes,
			  const struct kfilter_vm_spec *spec, void *scratch,
			  size_t scratch_bytes, struct kfilter_vm_why *why);

/*
 * Optional: lets the program run several times faster, in memory of kfilter_vm_ops_bytes
 * bytes that must live as long as vm. That is 0 when the core was built without threaded
 * code, or for a long program: then it runs as it is.
 */
size_t kfilter_vm_ops_bytes(size_t slots);
int32_t kfilter_vm_thread(struct kfilter_vm *vm, void *ops, size_t bytes);

/* The proven bound on the insns of one run; 0 for an empty vm. */
uint64_t kfilter_vm_max_insns(const struct kfilter_vm *vm);

/*
 * Runs the program over one row: 0 and an enum kfilter_vm_verdict in verdict, or a negative
 * enum kfilter_vm_error. A value that is no verdict is not a match. May be called on several
 * CPUs at once, each with a stack and a state of its own.
 */
int32_t kfilter_vm_run(const struct kfilter_vm *vm, const struct kfilter_vm_run *run,
		       uint64_t *verdict);

#ifdef __cplusplus
}
#endif

#endif
