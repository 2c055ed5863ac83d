//! The one table of columns.

use super::Cost::{Chain, Loop, User};
use super::Since::{Kernel, Never};
use super::{Column, ColumnId, Cost, EnumKind, Since, Table, Tables, Type, Unit};

const P: u8 = Table::Process.bit();
const T: u8 = Table::Thread.bit();
const F: u8 = Table::File.bit();
const M: u8 = Table::Mapping.bit();

const ID: Type = Type::Int(Unit::Id);
const COUNT: Type = Type::Int(Unit::Count);
const BYTES: Type = Type::Int(Unit::Bytes);
const DURATION: Type = Type::Int(Unit::Duration);
const INSTANT: Type = Type::Int(Unit::Instant);
const ADDRESS: Type = Type::Int(Unit::Address);

/// A column that is a plain field on every host; the builders below say what differs.
const fn col(id: u16, tables: u8, name: &'static str, ty: Type, doc: &'static str) -> Column {
    Column {
        id: ColumnId(id),
        tables: Tables(tables),
        name,
        ty,
        doc,
        qnx: None,
        immutable: false,
        counter: false,
        of_process: false,
        of_object: false,
        address: matches!(ty, Type::Int(Unit::Address)),
        cost: Cost::Field,
        bpf: Kernel(0, 0),
        procfs: Kernel(0, 0),
        module: Kernel(0, 0),
    }
}

impl Column {
    const fn qnx(mut self, field: &'static str) -> Self {
        self.qnx = Some(field);
        self
    }
    const fn immutable(mut self) -> Self {
        self.immutable = true;
        self
    }
    const fn counter(mut self) -> Self {
        self.counter = true;
        self
    }
    const fn of_process(mut self) -> Self {
        self.of_process = true;
        self
    }
    const fn of_object(mut self) -> Self {
        self.of_object = true;
        self
    }
    const fn cost(mut self, cost: Cost) -> Self {
        self.cost = cost;
        self
    }
    const fn bpf(mut self, since: Since) -> Self {
        self.bpf = since;
        self
    }
    const fn procfs(mut self, since: Since) -> Self {
        self.procfs = since;
        self
    }
    const fn module(mut self, since: Since) -> Self {
        self.module = since;
        self
    }
}

/// Every column of every table.
pub const COLUMNS: &[Column] = &[
    // Who it is.
    col(
        1,
        P | T | F | M,
        "pid",
        ID,
        "process id (the thread group's id), in the first pid namespace",
    )
    .qnx("debug_process_t.pid")
    .immutable()
    .of_process(),
    col(2, T, "tid", ID, "thread id, in the first pid namespace")
        .qnx("debug_thread_t.tid")
        .immutable(),
    col(3, P | T | F | M, "ppid", ID, "process id of the parent; 0 for none")
        .qnx("debug_process_t.parent")
        .of_process()
        .cost(Chain),
    col(4, P | T | F | M, "vpid", ID, "process id in the process's own pid namespace")
        .immutable()
        .of_process()
        .cost(Chain),
    col(5, T, "vtid", ID, "thread id in the thread's own pid namespace").immutable().cost(Chain),
    col(6, P | T, "session", ID, "session id, in the first pid namespace")
        .qnx("debug_process_t.sid")
        .of_process()
        .cost(Chain),
    col(7, P | T, "pgrp", ID, "process group id, in the first pid namespace")
        .qnx("debug_process_t.pgrp")
        .of_process()
        .cost(Chain),
    col(8, P | T | F | M, "uid", ID, "real user id, in the first user namespace")
        .qnx("debug_process_t.uid")
        .of_process()
        .cost(Chain),
    col(9, P | T | F | M, "gid", ID, "real group id, in the first user namespace")
        .qnx("debug_process_t.gid")
        .of_process()
        .cost(Chain),
    col(10, P | T, "euid", ID, "effective user id, in the first user namespace")
        .qnx("debug_process_t.euid")
        .of_process()
        .cost(Chain),
    col(
        11,
        P | T | F | M,
        "comm",
        Type::Text { capacity: 16 },
        "name of the command or thread, at most 15 bytes",
    ),
    col(
        12,
        P | T,
        "state",
        Type::Enum(EnumKind::State),
        "what the task is doing: running, sleeping, disk_sleep, zombie and so on",
    )
    .qnx("debug_thread_t.state"),
    col(13, P | T | F | M, "kernel_thread", Type::Bool, "runs in the kernel only")
        .immutable()
        .of_process(),
    col(14, P | T, "exiting", Type::Bool, "is on its way out"),
    // How it is scheduled.
    col(
        20,
        P | T,
        "priority",
        COUNT,
        "kernel priority, as in /proc/PID/stat: 20 + nice, or below 0 for real-time",
    )
    .qnx("debug_thread_t.priority"),
    col(21, P | T, "nice", COUNT, "nice value, -20 to 19"),
    col(22, P | T, "rt_priority", COUNT, "real-time priority, 1 to 99; 0 for none")
        .qnx("debug_thread_t.real_priority"),
    col(23, P | T, "policy", Type::Enum(EnumKind::Policy), "scheduling policy")
        .qnx("debug_thread_t.policy"),
    col(24, P | T, "processor", ID, "CPU that it last ran on").qnx("debug_thread_t.last_cpu"),
    col(
        25,
        P | T,
        "cpu_time",
        DURATION,
        "CPU time used; of a process: all its threads, dead ones too",
    )
    .qnx("debug_thread_t.sutime")
    .counter()
    .cost(Loop),
    col(26, P | T, "user_time", DURATION, "CPU time used in user mode")
        .qnx("debug_process_t.utime")
        .counter()
        .cost(Loop),
    col(27, P | T, "system_time", DURATION, "CPU time used in the kernel")
        .qnx("debug_process_t.stime")
        .counter()
        .cost(Loop),
    col(28, P | T, "start_time", INSTANT, "when it started, since boot")
        .qnx("debug_process_t.start_time")
        .immutable(),
    col(29, P | T, "age", DURATION, "time since it started"),
    col(30, P | T | F | M, "threads", COUNT, "live threads of the process")
        .qnx("debug_process_t.num_threads")
        .of_process(),
    col(31, P | T, "children_time", DURATION, "CPU time of children that were waited for")
        .qnx("debug_process_t.cutime")
        .counter()
        .of_process(),
    // Memory.
    col(40, P | T, "rss", BYTES, "resident memory: anonymous, file and shared pages")
        .of_process()
        .cost(Chain),
    col(41, P | T, "rss_anon", BYTES, "resident anonymous memory").of_process().cost(Chain),
    col(42, P | T, "rss_file", BYTES, "resident file pages").of_process().cost(Chain),
    col(
        43,
        P | T,
        "rss_shared",
        BYTES,
        "resident shared memory: tmpfs, memfd, SysV, shared anonymous",
    )
    .of_process()
    .cost(Chain),
    col(44, P | T, "swap", BYTES, "anonymous memory that is swapped out").of_process().cost(Chain),
    col(45, P | T, "virtual_size", BYTES, "size of the address space").of_process().cost(Chain),
    col(46, P | T, "page_tables", BYTES, "memory that its page tables take")
        .of_process()
        .cost(Chain),
    col(47, P | T, "locked", BYTES, "memory locked by mlock(2)").of_process().cost(Chain),
    col(48, P | T, "stack", BYTES, "size of the stack mapping").of_process().cost(Chain),
    col(49, P | T, "data", BYTES, "size of private writable mappings").of_process().cost(Chain),
    col(50, P | T, "peak_rss", BYTES, "largest resident memory so far").of_process().cost(Chain),
    // What it has done.
    col(
        60,
        P | T,
        "minor_faults",
        COUNT,
        "page faults served without I/O; of a process: all its threads, dead ones too",
    )
    .counter()
    .cost(Loop),
    col(
        61,
        P | T,
        "major_faults",
        COUNT,
        "page faults that needed I/O; of a process: all its threads, dead ones too",
    )
    .counter()
    .cost(Loop),
    col(62, P | T, "page_faults", COUNT, "minor and major page faults").counter().cost(Loop),
    col(
        63,
        P | T,
        "voluntary_switches",
        COUNT,
        "times it gave the CPU up; of a process: all its threads, dead ones too",
    )
    .counter()
    .cost(Loop),
    col(
        64,
        P | T,
        "involuntary_switches",
        COUNT,
        "times it was preempted; of a process: all its threads, dead ones too",
    )
    .counter()
    .cost(Loop),
    col(65, P | T, "context_switches", COUNT, "voluntary and involuntary switches")
        .counter()
        .cost(Loop),
    col(
        66,
        P | T,
        "read_bytes",
        BYTES,
        "bytes fetched from storage; of a process: all its threads, dead ones too",
    )
    .counter()
    .cost(Loop),
    col(
        67,
        P | T,
        "write_bytes",
        BYTES,
        "bytes sent to storage; of a process: all its threads, dead ones too",
    )
    .counter()
    .cost(Loop),
    col(68, P | T, "read_chars", BYTES, "bytes asked for by read(2) and its like")
        .counter()
        .cost(Loop),
    col(69, P | T, "write_chars", BYTES, "bytes given to write(2) and its like")
        .counter()
        .cost(Loop),
    col(70, P | T, "oom_score_adj", COUNT, "adjustment of the OOM killer's score, -1000 to 1000")
        .of_process(),
    col(
        71,
        P | T | F | M,
        "cgroup",
        ID,
        "id of its cgroup in the unified hierarchy (the directory's inode)",
    )
    .of_process()
    .cost(Chain),
    // What it holds.
    col(80, P | T, "files", COUNT, "open file descriptors")
        .qnx("debug_process_t.num_fdcons")
        .of_process()
        .cost(Loop),
    col(81, P | T, "file_limit", COUNT, "soft limit of open file descriptors").of_process(),
    col(82, P | T, "mappings", COUNT, "memory mappings").of_process().cost(Chain),
    col(
        83,
        P | T,
        "shared_mapped",
        BYTES,
        "size of its shared writable-or-not mappings (MAP_SHARED) of every kind",
    )
    .of_process()
    .cost(Loop),
    col(
        84,
        P | T,
        "shm_objects",
        COUNT,
        "distinct shared-memory objects (tmpfs, memfd, SysV, shared anonymous) that it maps",
    )
    .of_process()
    .cost(Loop),
    col(85, P | T, "shm_tmpfs", BYTES, "size of its shared mappings of tmpfs and memfd objects")
        .of_process()
        .cost(Loop),
    col(86, P | T, "shm_sysv", BYTES, "size of its mappings of SysV segments")
        .of_process()
        .cost(Loop),
    col(87, P | T, "shm_anon", BYTES, "size of its shared anonymous mappings")
        .of_process()
        .cost(Loop),
    // Whom a thread waits for.
    col(90, T, "waits_on", ADDRESS, "address of the lock that it is blocked on; 0 for none")
        .cost(User),
    col(91, T, "waits_for", Type::Thread, "thread that owns that lock; 0 for none").cost(User),
    col(
        92,
        T,
        "wait_class",
        Type::Enum(EnumKind::WaitClass),
        "how it waits: cycle, self, abandoned, or just waiting",
    )
    .cost(User),
    col(93, T, "cycle.id", ID, "smallest tid of the cycle that it is part of; 0 for none")
        .cost(User),
    col(94, T, "cycle.length", COUNT, "threads in that cycle").cost(User),
    // An open file.
    col(100, F, "fd", ID, "file descriptor").immutable(),
    col(
        101,
        F,
        "kind",
        Type::Enum(EnumKind::FileKind),
        "what it is: regular, pipe, socket, eventfd and so on",
    )
    .cost(Chain),
    col(102, F, "device", Type::Int(Unit::Device), "device that holds the file").cost(Chain),
    col(103, F, "inode", ID, "inode number").cost(Chain),
    col(
        104,
        F,
        "name",
        Type::Text { capacity: 64 },
        "last part of the file's path, at most 63 bytes",
    )
    .cost(Chain),
    col(105, F, "flags", Type::Int(Unit::Bits), "open(2) flags").cost(Chain),
    col(106, F, "position", BYTES, "file offset").cost(Chain),
    col(107, F, "size", BYTES, "size of the file").cost(Chain),
    // A mapping.
    col(120, M, "address", ADDRESS, "where it starts").immutable(),
    col(121, M, "size", BYTES, "its length"),
    col(122, M, "permissions", Type::Text { capacity: 8 }, "as in /proc/PID/maps: rwx and s or p"),
    col(123, M, "shared", Type::Bool, "mapped MAP_SHARED"),
    col(124, M, "writable", Type::Bool, "may be written"),
    col(125, M, "executable", Type::Bool, "may be executed"),
    col(126, M, "object", Type::Object, "the mapped object: device and inode; 0:0 for none")
        .of_object()
        .cost(Chain),
    col(127, M, "object.device", Type::Int(Unit::Device), "device of the mapped object")
        .of_object()
        .cost(Chain),
    col(128, M, "object.inode", ID, "inode of the mapped object; a SysV segment's is its shmid")
        .of_object()
        .cost(Chain),
    col(
        129,
        M,
        "object.kind",
        Type::Enum(EnumKind::ObjectKind),
        "what is mapped: file, tmpfs, sysv, memfd and so on",
    )
    .of_object()
    .cost(Chain),
    col(
        130,
        M,
        "object.name",
        Type::Text { capacity: 64 },
        "last part of the object's name, at most 63 bytes",
    )
    .of_object()
    .cost(Chain),
    col(
        131,
        M,
        "object.resident",
        BYTES,
        "pages of the object that are in memory, whoever uses them",
    )
    .of_object()
    .cost(Chain)
    .procfs(Never),
    col(132, M, "resident", BYTES, "pages of the mapping that this process has mapped in")
        .bpf(Never)
        .module(Never),
];
