//! The kernel structs, members and functions that compiled filters touch: a compact table.
//!
//! The object writer makes local BTF definitions from it that hold only what an object
//! uses; the loader then finds each member in the running kernel by its name (CO-RE). So
//! offsets and sizes here are nobody's promise, only names and kinds are. A struct whose
//! name ends in `___something` describes another kernel's version of the struct.
//!
//! **Invariant**: a member's kind is that of the kernel, as CO-RE refuses an integer where
//! there is a pointer, and containment is acyclic.

use crate::code::FieldPath;

/// What a member or an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An unsigned integer of so many bytes.
    Unsigned(u32),
    /// A signed integer of so many bytes.
    Signed(u32),
    /// 0 or 1 in a byte.
    Bool,
    /// A struct by value.
    Struct(&'static str),
    /// So many of the same.
    Array(&'static Kind, u32),
    /// A pointer to a kernel struct.
    Pointer(&'static str),
    /// A pointer to memory that is no struct.
    Memory,
    /// A pointer to an `int`.
    IntPointer,
    /// A pointer to `int (void *, int *, void *)`.
    Callback,
    /// A pointer to `int (struct bpf_map *, void *, void *)`.
    TaskCallback,
    /// An enumeration.
    Enum(&'static str),
}

/// A kernel struct, without what no filter reads.
#[derive(Clone, Copy, Debug)]
pub struct KernelStruct {
    /// Its name, with its flavour.
    pub name: &'static str,
    /// Its members, in any order.
    pub members: &'static [(&'static str, Kind)],
}

/// A kernel function that programs may call.
#[derive(Clone, Copy, Debug)]
pub struct Kfunc {
    /// Its name.
    pub name: &'static str,
    /// What it returns; `None` for nothing.
    pub result: Option<Kind>,
    /// Its arguments.
    pub args: &'static [(&'static str, Kind)],
}

const U8: Kind = Kind::Unsigned(1);
const U16: Kind = Kind::Unsigned(2);
const S16: Kind = Kind::Signed(2);
const U32: Kind = Kind::Unsigned(4);
const S32: Kind = Kind::Signed(4);
const U64: Kind = Kind::Unsigned(8);
const S64: Kind = Kind::Signed(8);
const TASK: Kind = Kind::Pointer("task_struct");
const ITER_TASK: Kind = Kind::Pointer("bpf_iter_task");
const ITER_VMA: Kind = Kind::Pointer("bpf_iter_task_vma");
const ITER_NUM: Kind = Kind::Pointer("bpf_iter_num");
const WORK: Kind = Kind::Pointer("bpf_wq");

const fn layout(name: &'static str, members: &'static [(&'static str, Kind)]) -> KernelStruct {
    KernelStruct { name, members }
}

/// The members of what only the kernel looks into.
const OPAQUE: &[(&str, Kind)] = &[("__opaque", Kind::Array(&U64, 2))];

/// Every kernel struct that filters touch.
pub const KERNEL_STRUCTS: &[KernelStruct] = &[
    layout(
        "task_struct",
        &[
            ("thread_info", Kind::Struct("thread_info")),
            ("__state", U32),
            ("flags", U32),
            ("on_cpu", S32),
            ("prio", S32),
            ("static_prio", S32),
            ("rt_priority", U32),
            ("se", Kind::Struct("sched_entity")),
            ("policy", U32),
            ("mm", Kind::Pointer("mm_struct")),
            ("exit_state", S32),
            ("pid", S32),
            ("tgid", S32),
            ("real_parent", TASK),
            ("group_leader", TASK),
            ("thread_pid", Kind::Pointer("pid")),
            ("thread_node", Kind::Struct("list_head")),
            ("tasks", Kind::Struct("list_head")),
            ("utime", U64),
            ("stime", U64),
            ("nvcsw", U64),
            ("nivcsw", U64),
            ("start_time", U64),
            ("start_boottime", U64),
            ("min_flt", U64),
            ("maj_flt", U64),
            ("real_cred", Kind::Pointer("cred")),
            ("cred", Kind::Pointer("cred")),
            ("comm", Kind::Array(&U8, 16)),
            ("files", Kind::Pointer("files_struct")),
            ("nsproxy", Kind::Pointer("nsproxy")),
            ("signal", Kind::Pointer("signal_struct")),
            ("ioac", Kind::Struct("task_io_accounting")),
            ("cgroups", Kind::Pointer("css_set")),
            ("bpf_storage", Kind::Pointer("bpf_local_storage")),
        ],
    ),
    // Before 5.14 the state was `state` and a long.
    layout("task_struct___old", &[("state", S64)]),
    // Without thread_info in the task, or before 5.16, the CPU was here.
    layout("task_struct___cpu", &[("cpu", U32)]),
    layout("thread_info", &[("cpu", U32), ("status", U32)]),
    layout("sched_entity", &[("sum_exec_runtime", U64)]),
    layout(
        "signal_struct",
        &[
            ("nr_threads", S32),
            ("thread_head", Kind::Struct("list_head")),
            ("stats_lock", Kind::Struct("seqlock_t")),
            ("pids", Kind::Array(&Kind::Pointer("pid"), 4)),
            ("utime", U64),
            ("stime", U64),
            ("cutime", U64),
            ("cstime", U64),
            ("nvcsw", U64),
            ("nivcsw", U64),
            ("min_flt", U64),
            ("maj_flt", U64),
            ("ioac", Kind::Struct("task_io_accounting")),
            ("sum_sched_runtime", U64),
            ("rlim", Kind::Array(&Kind::Struct("rlimit"), 16)),
            ("oom_score_adj", S16),
        ],
    ),
    layout("seqlock_t", &[("seqcount", Kind::Struct("seqcount_spinlock"))]),
    layout("seqcount_spinlock", &[("seqcount", Kind::Struct("seqcount"))]),
    layout("seqcount", &[("sequence", U32)]),
    layout("rlimit", &[("rlim_cur", U64), ("rlim_max", U64)]),
    layout(
        "task_io_accounting",
        &[("rchar", U64), ("wchar", U64), ("read_bytes", U64), ("write_bytes", U64)],
    ),
    layout("pid", &[("level", U32), ("numbers", Kind::Array(&Kind::Struct("upid"), 4))]),
    layout("upid", &[("nr", S32), ("ns", Kind::Pointer("pid_namespace"))]),
    layout("pid_namespace", &[("level", U32)]),
    layout("nsproxy", &[("pid_ns_for_children", Kind::Pointer("pid_namespace"))]),
    layout(
        "cred",
        &[
            ("uid", Kind::Struct("kuid_t")),
            ("gid", Kind::Struct("kgid_t")),
            ("euid", Kind::Struct("kuid_t")),
            ("cap_effective", Kind::Struct("kernel_cap_t")),
            ("user_ns", Kind::Pointer("user_namespace")),
        ],
    ),
    layout("kernel_cap_t", &[("val", U64)]),
    layout("user_namespace", &[("level", S32)]),
    layout("kuid_t", &[("val", U32)]),
    layout("kgid_t", &[("val", U32)]),
    layout(
        "mm_struct",
        &[
            ("pgtables_bytes", Kind::Struct("atomic_long")),
            ("map_count", S32),
            ("hiwater_rss", U64),
            ("total_vm", U64),
            ("locked_vm", U64),
            ("data_vm", U64),
            ("stack_vm", U64),
            ("rss_stat", Kind::Array(&Kind::Struct("percpu_counter"), 4)),
        ],
    ),
    layout("percpu_counter", &[("count", S64), ("counters", Kind::Memory)]),
    // Before 6.2.
    layout("mm_struct___old", &[("rss_stat", Kind::Struct("mm_rss_stat"))]),
    layout("mm_rss_stat", &[("count", Kind::Array(&Kind::Struct("atomic_long"), 4))]),
    layout("atomic_long", &[("counter", S64)]),
    layout("css_set", &[("dfl_cgrp", Kind::Pointer("cgroup"))]),
    layout("cgroup", &[("kn", Kind::Pointer("kernfs_node"))]),
    layout("kernfs_node", &[("id", U64)]),
    layout("files_struct", &[("fdt", Kind::Pointer("fdtable"))]),
    layout(
        "fdtable",
        &[
            ("max_fds", U32),
            ("fd", Kind::Memory),
            ("close_on_exec", Kind::Memory),
            ("open_fds", Kind::Memory),
        ],
    ),
    layout(
        "file",
        &[
            ("f_inode", Kind::Pointer("inode")),
            ("f_flags", U32),
            ("f_path", Kind::Struct("path")),
            ("f_pos", S64),
        ],
    ),
    layout("path", &[("dentry", Kind::Pointer("dentry"))]),
    layout("dentry", &[("d_name", Kind::Struct("qstr"))]),
    layout("qstr", &[("len", U32), ("name", Kind::Memory)]),
    layout(
        "inode",
        &[
            ("i_mode", U16),
            ("i_sb", Kind::Pointer("super_block")),
            ("i_mapping", Kind::Pointer("address_space")),
            ("i_ino", U64),
            ("i_rdev", U32),
            ("i_size", S64),
        ],
    ),
    layout("super_block", &[("s_dev", U32), ("s_flags", U64), ("s_magic", U64)]),
    layout("address_space", &[("nrpages", U64), ("i_mmap", Kind::Struct("rb_root_cached"))]),
    layout("rb_root_cached", &[("rb_root", Kind::Struct("rb_root"))]),
    layout("rb_root", &[("rb_node", Kind::Pointer("rb_node"))]),
    layout(
        "rb_node",
        &[("rb_left", Kind::Pointer("rb_node")), ("rb_right", Kind::Pointer("rb_node"))],
    ),
    layout(
        "vm_area_struct",
        &[
            ("vm_start", U64),
            ("vm_end", U64),
            ("vm_flags", U64),
            ("vm_file", Kind::Pointer("file")),
        ],
    ),
    // What a task's storage is found through.
    layout(
        "bpf_local_storage",
        &[("cache", Kind::Array(&Kind::Pointer("bpf_local_storage_data"), 16))],
    ),
    layout("bpf_local_storage_data", &[("smap", Kind::Pointer("bpf_local_storage_map"))]),
    layout("bpf_local_storage_map", &[("cache_idx", U16)]),
    layout("bpf_array", &[("pptrs", Kind::Array(&Kind::Memory, 1))]),
    // User registers, as x86 saves them.
    layout(
        "pt_regs",
        &[
            ("r15", U64),
            ("r14", U64),
            ("r13", U64),
            ("r12", U64),
            ("bp", U64),
            ("bx", U64),
            ("r10", U64),
            ("cx", U64),
            ("dx", U64),
            ("si", U64),
            ("di", U64),
            ("orig_ax", U64),
            ("sp", U64),
        ],
    ),
    layout("bpf_iter__task", &[("meta", Kind::Pointer("bpf_iter_meta")), ("task", TASK)]),
    layout("bpf_iter__task_file", &[("meta", Kind::Pointer("bpf_iter_meta")), ("task", TASK)]),
    layout("bpf_iter__task_vma", &[("meta", Kind::Pointer("bpf_iter_meta")), ("task", TASK)]),
    layout(
        "bpf_iter_meta",
        &[("seq", Kind::Pointer("seq_file")), ("session_id", U64), ("seq_num", U64)],
    ),
    layout(
        "list_head",
        &[("next", Kind::Pointer("list_head")), ("prev", Kind::Pointer("list_head"))],
    ),
    layout("seq_file", &[]),
    layout("bpf_iter_task", &[]),
    layout("bpf_iter_task_vma", &[]),
    layout("bpf_iter_num", &[]),
    layout("bpf_timer", OPAQUE),
    layout("bpf_wq", OPAQUE),
    layout("bpf_task_work", &[("__opaque", U64)]),
    layout("bpf_map", &[]),
];

/// Every kernel function that programs may call.
pub const KFUNCS: &[Kfunc] = &[
    Kfunc {
        name: "bpf_iter_task_new",
        result: Some(S32),
        args: &[("it", ITER_TASK), ("task", TASK), ("flags", U32)],
    },
    Kfunc { name: "bpf_iter_task_next", result: Some(TASK), args: &[("it", ITER_TASK)] },
    Kfunc { name: "bpf_iter_task_destroy", result: None, args: &[("it", ITER_TASK)] },
    Kfunc {
        name: "bpf_iter_task_vma_new",
        result: Some(S32),
        args: &[("it", ITER_VMA), ("task", TASK), ("addr", U64)],
    },
    Kfunc {
        name: "bpf_iter_task_vma_next",
        result: Some(Kind::Pointer("vm_area_struct")),
        args: &[("it", ITER_VMA)],
    },
    Kfunc { name: "bpf_iter_task_vma_destroy", result: None, args: &[("it", ITER_VMA)] },
    Kfunc {
        name: "bpf_iter_num_new",
        result: Some(S32),
        args: &[("it", ITER_NUM), ("start", S32), ("end", S32)],
    },
    Kfunc { name: "bpf_iter_num_next", result: Some(Kind::IntPointer), args: &[("it", ITER_NUM)] },
    Kfunc { name: "bpf_iter_num_destroy", result: None, args: &[("it", ITER_NUM)] },
    Kfunc { name: "bpf_rcu_read_lock", result: None, args: &[] },
    Kfunc { name: "bpf_rcu_read_unlock", result: None, args: &[] },
    Kfunc { name: "bpf_task_acquire", result: Some(TASK), args: &[("p", TASK)] },
    Kfunc { name: "bpf_task_release", result: None, args: &[("p", TASK)] },
    Kfunc { name: "bpf_task_from_pid", result: Some(TASK), args: &[("pid", S32)] },
    Kfunc {
        name: "bpf_rdonly_cast",
        result: Some(Kind::Memory),
        args: &[("obj__ign", Kind::Memory), ("btf_id__k", U32)],
    },
    Kfunc {
        name: "bpf_wq_init",
        result: Some(S32),
        args: &[("wq", WORK), ("p__map", Kind::Memory), ("flags", U32)],
    },
    Kfunc { name: "bpf_wq_start", result: Some(S32), args: &[("wq", WORK), ("flags", U32)] },
    Kfunc {
        name: "bpf_wq_set_callback_impl",
        result: Some(S32),
        args: &[
            ("wq", WORK),
            ("callback_fn", Kind::Callback),
            ("flags", U32),
            ("aux", Kind::Memory),
        ],
    },
    Kfunc {
        name: "bpf_send_signal_task",
        result: Some(S32),
        args: &[("task", TASK), ("sig", S32), ("type", Kind::Enum("pid_type")), ("value", U64)],
    },
    Kfunc {
        name: "bpf_task_work_schedule_signal_impl",
        result: Some(S32),
        args: &[
            ("task", TASK),
            ("tw", Kind::Pointer("bpf_task_work")),
            ("map__map", Kind::Memory),
            ("callback", Kind::TaskCallback),
            ("aux__prog", Kind::Memory),
        ],
    },
];

/// Whether an object that calls the function loads where the kernel lacks it: the call is then
/// where the kernel's verifier never comes.
#[must_use]
pub fn is_optional(kfunc: &str) -> bool {
    matches!(kfunc, "bpf_send_signal_task" | "bpf_task_work_schedule_signal_impl")
}

/// The names of all that the objects of filters refer to in the kernel: structs, functions.
pub fn kernel_names() -> impl Iterator<Item = &'static str> {
    let structs = KERNEL_STRUCTS.iter().map(|layout| layout.name);
    structs.chain(KFUNCS.iter().map(|kfunc| kfunc.name))
}

/// The struct called `name`.
#[must_use]
pub fn kernel_struct(name: &str) -> Option<&'static KernelStruct> {
    KERNEL_STRUCTS.iter().find(|layout| layout.name == name)
}

/// The kernel function called `name`.
#[must_use]
pub fn kfunc(name: &str) -> Option<&'static Kfunc> {
    KFUNCS.iter().find(|kfunc| kfunc.name == name)
}

/// What `path` leads to; a number in it is the index of an array's element.
#[must_use]
pub fn member(path: &FieldPath) -> Option<Kind> {
    let mut kind = Kind::Struct(path.root);
    for &name in &path.path {
        kind = match kind {
            Kind::Struct(layout) => {
                kernel_struct(layout)?.members.iter().find(|member| member.0 == name)?.1
            }
            Kind::Array(element, count) => {
                name.parse::<u32>().ok().filter(|&index| index < count)?;
                *element
            }
            Kind::Unsigned(_)
            | Kind::Signed(_)
            | Kind::Bool
            | Kind::Pointer(_)
            | Kind::Memory
            | Kind::IntPointer
            | Kind::Callback
            | Kind::TaskCallback
            | Kind::Enum(_) => return None,
        };
    }
    Some(kind)
}

impl Kind {
    /// Bytes of a value that is not a struct or an array.
    #[must_use]
    pub const fn scalar_bytes(self) -> Option<u32> {
        match self {
            Self::Unsigned(bytes) | Self::Signed(bytes) => Some(bytes),
            Self::Bool => Some(1),
            Self::Enum(_) => Some(4),
            Self::Pointer(_)
            | Self::Memory
            | Self::IntPointer
            | Self::Callback
            | Self::TaskCallback => Some(8),
            Self::Struct(_) | Self::Array(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{KERNEL_STRUCTS, KFUNCS, Kind, kernel_struct, member};
    use crate::code::FieldPath;

    #[test]
    fn every_struct_that_is_named_is_there() {
        fn check(kind: Kind) {
            if let Kind::Struct(name) | Kind::Pointer(name) = kind {
                assert!(kernel_struct(name).is_some(), "{name}");
            } else if let Kind::Array(element, _) = kind {
                check(*element);
            }
        }
        for layout in KERNEL_STRUCTS {
            layout.members.iter().for_each(|member| check(member.1));
        }
        for kfunc in KFUNCS {
            kfunc.args.iter().for_each(|arg| check(arg.1));
        }
    }

    #[test]
    fn paths_lead_through_structs_and_arrays_but_not_through_pointers() {
        let path = |root, path: &[&'static str]| FieldPath { root, path: path.to_vec() };
        assert_eq!(
            member(&path("task_struct", &["se", "sum_exec_runtime"])),
            Some(Kind::Unsigned(8))
        );
        assert_eq!(
            member(&path("signal_struct", &["rlim", "7", "rlim_cur"])),
            Some(Kind::Unsigned(8))
        );
        assert_eq!(member(&path("signal_struct", &["rlim", "16", "rlim_cur"])), None);
        assert_eq!(member(&path("task_struct", &["mm", "total_vm"])), None);
        assert_eq!(member(&path("task_struct", &["no_such"])), None);
    }
}
