/* SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0 */
/* Made from kernel-vm/src/module.rs and schema.rs; a test of theirs compares. */
#ifndef KFILTER_ABI_H
#define KFILTER_ABI_H

#include <linux/types.h>

#define KFILTER_MAGIC 0x544c464b
#define KFILTER_VERSION 2
#define KFILTER_SCHEMA_VERSION 1
#define KFILTER_INSNS_MAX 65536
#define KFILTER_RUN_INSNS_MAX 1048576
#define KFILTER_REGION_BYTES_MAX 16384
#define KFILTER_COLUMNS_MAX 64
#define KFILTER_ROW_HEADER_BYTES 16
#define KFILTER_KEPT_MAX 64
#define KFILTER_NAME_BYTES_MAX 64
#define KFILTER_DESCRIPTION_BYTES_MAX 262144
#define KFILTER_WAITS_MAX 131072
#define KFILTER_KEEP_REPLACE 1
#define KFILTER_KEEP_HISTORY 2
#define KFILTER_IOC_INFO 0x800c4b01
#define KFILTER_IOC_WHY 0x80084b02
#define KFILTER_IOC_STATS 0x80484b03
#define KFILTER_IOC_PARAMS 0x40004b04
#define KFILTER_IOC_KEEP 0x40504b05
#define KFILTER_IOC_ATTACH 0x40404b06
#define KFILTER_IOC_DESCRIBE 0x40104b07
#define KFILTER_IOC_LIST 0x40104b08
#define KFILTER_IOC_REMOVE 0x40404b09
#define KFILTER_IOC_WAITS 0x40104b0a
#define KFILTER_REFUSED_HEADER 1001
#define KFILTER_REFUSED_VERSION 1002
#define KFILTER_REFUSED_TABLE 1003
#define KFILTER_REFUSED_COLUMN 1004
#define KFILTER_REFUSED_ROW 1005
#define KFILTER_REFUSED_SIZE 1006
#define KFILTER_REFUSED_RUN 1007
#define KFILTER_TABLE_PROCESS 1
#define KFILTER_TABLE_THREAD 2
#define KFILTER_TABLE_FILE 3
#define KFILTER_TABLE_MAPPING 4
#define KFILTER_FILE_KIND_UNKNOWN 0
#define KFILTER_FILE_KIND_REGULAR 1
#define KFILTER_FILE_KIND_DIRECTORY 2
#define KFILTER_FILE_KIND_SYMLINK 3
#define KFILTER_FILE_KIND_CHAR_DEVICE 4
#define KFILTER_FILE_KIND_BLOCK_DEVICE 5
#define KFILTER_FILE_KIND_PIPE 6
#define KFILTER_FILE_KIND_SOCKET 7
#define KFILTER_FILE_KIND_EVENTFD 8
#define KFILTER_FILE_KIND_EPOLL 9
#define KFILTER_FILE_KIND_MEMFD 10
#define KFILTER_FILE_KIND_TIMERFD 11
#define KFILTER_FILE_KIND_SIGNALFD 12
#define KFILTER_FILE_KIND_INOTIFY 13
#define KFILTER_FILE_KIND_PIDFD 14
#define KFILTER_FILE_KIND_BPF 15
#define KFILTER_FILE_KIND_IO_URING 16
#define KFILTER_FILE_KIND_ANON 17
#define KFILTER_OBJECT_KIND_NONE 0
#define KFILTER_OBJECT_KIND_FILE 1
#define KFILTER_OBJECT_KIND_TMPFS 2
#define KFILTER_OBJECT_KIND_SYSV 3
#define KFILTER_OBJECT_KIND_MEMFD 4
#define KFILTER_OBJECT_KIND_SHARED_ANON 5
#define KFILTER_OBJECT_KIND_HUGETLB 6
#define KFILTER_OBJECT_KIND_DEVICE 7

struct kfilter_header {
	__u32 magic;
	__u32 version;
	__u32 schema;
	__u32 table;
	__u32 columns;
	__u32 row_size;
	__u32 state_size;
	__u32 params_size;
	__u32 record_size;
	__u32 insns;
};

struct kfilter_place {
	__u32 column;
	__u32 offset;
};

struct kfilter_keep {
	__u8 name[KFILTER_NAME_BYTES_MAX];
	__u64 description;
	__u32 length;
	__u32 flags;
};

struct kfilter_buffer {
	__u64 bytes;
	__u32 length;
	__u32 reserved;
};

struct kfilter_wait {
	__u64 tid;
	__u64 is_known;
	__s64 waits_on;
	__s64 waits_for;
	__s64 wait_class;
	__s64 cycle_id;
	__s64 cycle_length;
};

struct kfilter_info {
	__u32 version;
	__u32 schema;
	__u32 reserved;
};

struct kfilter_why {
	__u32 where;
	__u32 reason;
};

struct kfilter_stats {
	__u64 sweeps;
	__u64 visited;
	__u64 matched;
	__u64 unreadable;
	__u64 warming;
	__u64 dropped;
	__u64 started_ns;
	__u64 took_ns;
	__u64 busy;
};

/* X(name, number, bytes, set of tables) */
#define KFILTER_COLUMNS(X) \
	X(PID, 1, 8, 30) \
	X(TID, 2, 8, 4) \
	X(PPID, 3, 8, 30) \
	X(VPID, 4, 8, 30) \
	X(VTID, 5, 8, 4) \
	X(SESSION, 6, 8, 6) \
	X(PGRP, 7, 8, 6) \
	X(UID, 8, 8, 30) \
	X(GID, 9, 8, 30) \
	X(EUID, 10, 8, 6) \
	X(COMM, 11, 16, 30) \
	X(STATE, 12, 8, 6) \
	X(KERNEL_THREAD, 13, 8, 30) \
	X(EXITING, 14, 8, 6) \
	X(PRIORITY, 20, 8, 6) \
	X(NICE, 21, 8, 6) \
	X(RT_PRIORITY, 22, 8, 6) \
	X(POLICY, 23, 8, 6) \
	X(PROCESSOR, 24, 8, 6) \
	X(CPU_TIME, 25, 8, 6) \
	X(USER_TIME, 26, 8, 6) \
	X(SYSTEM_TIME, 27, 8, 6) \
	X(START_TIME, 28, 8, 6) \
	X(AGE, 29, 8, 6) \
	X(THREADS, 30, 8, 30) \
	X(CHILDREN_TIME, 31, 8, 6) \
	X(RSS, 40, 8, 6) \
	X(RSS_ANON, 41, 8, 6) \
	X(RSS_FILE, 42, 8, 6) \
	X(RSS_SHARED, 43, 8, 6) \
	X(SWAP, 44, 8, 6) \
	X(VIRTUAL_SIZE, 45, 8, 6) \
	X(PAGE_TABLES, 46, 8, 6) \
	X(LOCKED, 47, 8, 6) \
	X(STACK, 48, 8, 6) \
	X(DATA, 49, 8, 6) \
	X(PEAK_RSS, 50, 8, 6) \
	X(MINOR_FAULTS, 60, 8, 6) \
	X(MAJOR_FAULTS, 61, 8, 6) \
	X(PAGE_FAULTS, 62, 8, 6) \
	X(VOLUNTARY_SWITCHES, 63, 8, 6) \
	X(INVOLUNTARY_SWITCHES, 64, 8, 6) \
	X(CONTEXT_SWITCHES, 65, 8, 6) \
	X(READ_BYTES, 66, 8, 6) \
	X(WRITE_BYTES, 67, 8, 6) \
	X(READ_CHARS, 68, 8, 6) \
	X(WRITE_CHARS, 69, 8, 6) \
	X(OOM_SCORE_ADJ, 70, 8, 6) \
	X(CGROUP, 71, 8, 30) \
	X(FILES, 80, 8, 6) \
	X(FILE_LIMIT, 81, 8, 6) \
	X(MAPPINGS, 82, 8, 6) \
	X(SHARED_MAPPED, 83, 8, 6) \
	X(SHM_OBJECTS, 84, 8, 6) \
	X(SHM_TMPFS, 85, 8, 6) \
	X(SHM_SYSV, 86, 8, 6) \
	X(SHM_ANON, 87, 8, 6) \
	X(WAITS_ON, 90, 8, 4) \
	X(WAITS_FOR, 91, 8, 4) \
	X(WAIT_CLASS, 92, 8, 4) \
	X(CYCLE_ID, 93, 8, 4) \
	X(CYCLE_LENGTH, 94, 8, 4) \
	X(FILE_FD, 100, 8, 8) \
	X(FILE_KIND, 101, 8, 8) \
	X(FILE_DEVICE, 102, 8, 8) \
	X(FILE_INODE, 103, 8, 8) \
	X(FILE_NAME, 104, 64, 8) \
	X(FILE_FLAGS, 105, 8, 8) \
	X(FILE_POSITION, 106, 8, 8) \
	X(FILE_SIZE, 107, 8, 8) \
	X(MAPPING_ADDRESS, 120, 8, 16) \
	X(MAPPING_SIZE, 121, 8, 16) \
	X(MAPPING_PERMISSIONS, 122, 8, 16) \
	X(MAPPING_SHARED, 123, 8, 16) \
	X(MAPPING_WRITABLE, 124, 8, 16) \
	X(MAPPING_EXECUTABLE, 125, 8, 16) \
	X(MAPPING_OBJECT, 126, 16, 16) \
	X(MAPPING_OBJECT_DEVICE, 127, 8, 16) \
	X(MAPPING_OBJECT_INODE, 128, 8, 16) \
	X(MAPPING_OBJECT_KIND, 129, 8, 16) \
	X(MAPPING_OBJECT_NAME, 130, 64, 16) \
	X(MAPPING_OBJECT_RESIDENT, 131, 8, 16)

#endif
