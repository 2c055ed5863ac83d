//! One attempt for each feature.
//!
//! **Invariant**: an attempt depends on the ones before it only for what they made.

use super::probe::{self, Attempt, ELEMENT, ELEMENT_BYTES, Failure, INT, WORK_QUEUE_OFFSET};
use super::{Check, Feature, Outcome, machine};
use crate::btf::kernel::{KernelBtf, Wanted};
use crate::elf::map_type;
use crate::insn::{
    ADD_IMM, CALL, EXIT, Insn, JEQ_IMM, LDDW, LOAD_U64, MOV_IMM, MOV_REG, PSEUDO_KFUNC_CALL,
    PSEUDO_MAP_FD, STORE_IMM_U32, STORE_IMM_U64,
};
use crate::sys::ring::page_bytes;
use crate::sys::{Call, FileBytes, MAP_NO_PREALLOC, Sys};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

const HELPER_MAP_LOOKUP: i32 = 1;
const HELPER_TIMER_INIT: i32 = 169;
const HELPER_COPY_FROM_USER_TASK: i32 = 191;
const CLOCK_MONOTONIC: i32 = 1;
/// The kernel functions that are tried.
const FUNCTIONS: [&str; 9] = [
    "bpf_iter_task",
    "bpf_rcu_read_lock",
    "bpf_rcu_read_unlock",
    "bpf_iter_task_new",
    "bpf_iter_task_next",
    "bpf_iter_task_destroy",
    "bpf_iter_task_vma_new",
    "bpf_iter_task_vma_destroy",
    "bpf_wq_init",
];
/// Bytes on the stack for an open-coded iterator.
const ITERATOR_BYTES: i32 = 24;
/// The iterator's flag for all threads.
const ALL_THREADS: i32 = 1;

type Tried = Result<String, Failure>;

/// What the attempts share.
struct Bench<'a> {
    sys: &'a dyn Sys,
    kernel: Result<KernelBtf<FileBytes>, Failure>,
    types: Result<OwnedFd, Failure>,
}

pub(super) fn run_all(sys: &dyn Sys) -> Vec<Check> {
    let bench = Bench { sys, kernel: kernel_types(sys), types: object_types(sys) };
    Feature::ALL
        .into_iter()
        .map(|feature| {
            let outcome = match bench.attempt(feature) {
                Ok(detail) => Outcome::Works(detail),
                Err(failure) => *failure,
            };
            Check { feature, outcome }
        })
        .collect()
}

fn kernel_types(sys: &dyn Sys) -> Result<KernelBtf<FileBytes>, Failure> {
    let feature = Feature::KernelBtf;
    let mut wanted = Wanted::default();
    FUNCTIONS.iter().for_each(|name| wanted.add(name));
    let bytes = sys.kernel_btf().map_err(|error| probe::failed(feature, &error))?;
    KernelBtf::scan(bytes, wanted).map_err(|error| probe::lacking(feature, error.to_string()))
}

fn object_types(sys: &dyn Sys) -> Result<OwnedFd, Failure> {
    let data = probe::types();
    sys.bpf_fd(Call::BtfLoad { data: &data, log: &mut [] })
        .map_err(|error| probe::failed(Feature::LoadBtf, &error))
}

const fn exit_zero() -> [Insn; 2] {
    [Insn::new(MOV_IMM, 0, 0, 0, 0), Insn::new(EXIT, 0, 0, 0, 0)]
}

const fn call(helper: i32) -> Insn {
    Insn::new(CALL, 0, 0, 0, helper)
}

/// The address `offset` bytes from the top of the stack into register `dst`.
const fn stack(dst: u8, offset: i32) -> [Insn; 2] {
    [Insn::new(MOV_REG, dst, 10, 0, 0), Insn::new(ADD_IMM, dst, 0, 0, offset)]
}

impl Bench<'_> {
    fn attempt(&self, feature: Feature) -> Tried {
        match feature {
            Feature::KernelBtf => self
                .kernel
                .as_ref()
                .map_err(Clone::clone)
                .map(|kernel| format!("{} types", kernel.types().count())),
            Feature::LoadBtf => self.types.as_ref().map_err(Clone::clone).map(|_| String::new()),
            Feature::SyscallProgram => self.syscall_program(),
            Feature::RingBuffer => {
                let bytes = u32::try_from(page_bytes()).unwrap_or(4096);
                probe::map(self.sys, feature, map_type::RINGBUF, [0, 0, bytes], 0, None)
                    .map(|_| String::new())
            }
            Feature::TaskStorage => {
                let types = self.types.as_ref().map_err(Clone::clone)?;
                let btf = Some((types.as_fd(), INT, INT));
                let sizes = [4, 4, 0];
                probe::map(self.sys, feature, map_type::TASK_STORAGE, sizes, MAP_NO_PREALLOC, btf)
                    .map(|_| String::new())
            }
            Feature::TaskIterator => self.task_iterator(false),
            Feature::MappingIterator => self.task_iterator(true),
            Feature::IterTask => self.iter_task(feature).map(|_| String::new()),
            Feature::IterTaskSleepable => self.iter_task_sleepable(),
            Feature::SingleTaskLink => self.single_task_link(),
            Feature::Timer | Feature::WorkQueue => self.deferred(feature),
            Feature::Pinning => self.pinning(),
        }
    }

    /// The id of a kernel function.
    fn id(&self, feature: Feature, name: &str) -> Result<u32, Failure> {
        let kernel = self.kernel.as_ref().map_err(Clone::clone)?;
        kernel
            .function(name)
            .map(|id| id.0)
            .ok_or_else(|| probe::lacking(feature, format!("the kernel has no function `{name}`")))
    }

    /// A call of a kernel function.
    fn kfunc(&self, feature: Feature, name: &str) -> Result<Insn, Failure> {
        let id = self.id(feature, name)?;
        Ok(Insn::new(CALL, 0, PSEUDO_KFUNC_CALL, 0, id.cast_signed()))
    }

    fn load(&self, feature: Feature, insns: &[Insn]) -> Result<OwnedFd, Failure> {
        Attempt { feature, attach: 0, sleepable: true, insns }.load(self.sys)
    }

    fn syscall_program(&self) -> Tried {
        let feature = Feature::SyscallProgram;
        let program = self.load(feature, &exit_zero())?;
        self.sys
            .bpf_number(Call::ProgRun(program.as_fd()))
            .map(|_| String::new())
            .map_err(|error| probe::failed(feature, &error))
    }

    /// An iterator over tasks, and in it, if asked for, one over the mappings of a task.
    fn task_iterator(&self, mappings: bool) -> Tried {
        let feature = if mappings { Feature::MappingIterator } else { Feature::TaskIterator };
        let kfunc = |name| self.kfunc(feature, name);
        let outer = -ITERATOR_BYTES;
        let mut insns = vec![kfunc("bpf_rcu_read_lock")?];
        insns.extend(stack(1, outer));
        insns.push(Insn::new(MOV_IMM, 2, 0, 0, 0));
        insns.push(Insn::new(MOV_IMM, 3, 0, 0, ALL_THREADS));
        insns.push(kfunc("bpf_iter_task_new")?);
        insns.extend(stack(1, outer));
        insns.push(kfunc("bpf_iter_task_next")?);
        if mappings {
            let inner = outer - 8;
            let mut body = stack(1, inner).to_vec();
            body.push(Insn::new(MOV_REG, 2, 0, 0, 0));
            body.push(Insn::new(MOV_IMM, 3, 0, 0, 0));
            body.push(kfunc("bpf_iter_task_vma_new")?);
            body.extend(stack(1, inner));
            body.push(kfunc("bpf_iter_task_vma_destroy")?);
            let over = i16::try_from(body.len()).unwrap_or(0);
            insns.push(Insn::new(JEQ_IMM, 0, 0, over, 0));
            insns.extend(body);
        }
        insns.extend(stack(1, outer));
        insns.push(kfunc("bpf_iter_task_destroy")?);
        insns.push(kfunc("bpf_rcu_read_unlock")?);
        insns.extend(exit_zero());
        self.load(feature, &insns).map(|_| String::new())
    }

    fn iter_task(&self, feature: Feature) -> Result<OwnedFd, Failure> {
        let attach = self.id(feature, "bpf_iter_task")?;
        Attempt { feature, attach, sleepable: false, insns: &exit_zero() }.load(self.sys)
    }

    fn iter_task_sleepable(&self) -> Tried {
        let feature = Feature::IterTaskSleepable;
        let attach = self.id(feature, "bpf_iter_task")?;
        let [first, second] = stack(1, -8);
        let [zero, exit] = exit_zero();
        let insns = [
            // ctx->task, which is NULL in the last call.
            Insn::new(LOAD_U64, 4, 1, 8, 0),
            Insn::new(JEQ_IMM, 4, 0, 7, 0),
            Insn::new(STORE_IMM_U64, 10, 0, -8, 0),
            first,
            second,
            Insn::new(MOV_IMM, 2, 0, 0, 8),
            Insn::new(MOV_IMM, 3, 0, 0, 0),
            Insn::new(MOV_IMM, 5, 0, 0, 0),
            call(HELPER_COPY_FROM_USER_TASK),
            zero,
            exit,
        ];
        Attempt { feature, attach, sleepable: true, insns: &insns }
            .load(self.sys)
            .map(|_| String::new())
    }

    fn single_task_link(&self) -> Tried {
        let feature = Feature::SingleTaskLink;
        let program = self.iter_task(feature)?;
        let failed = |error| probe::failed(feature, &error);
        let link = Call::LinkCreateIter { program: program.as_fd(), tid: std::process::id() };
        let link = self.sys.bpf_fd(link).map_err(failed)?;
        self.sys.bpf_fd(Call::IterCreate(link.as_fd())).map(|_| String::new()).map_err(failed)
    }

    /// A timer or a work queue in the value of an array.
    fn deferred(&self, feature: Feature) -> Tried {
        let types = self.types.as_ref().map_err(Clone::clone)?;
        let btf = Some((types.as_fd(), INT, ELEMENT));
        let sizes = [4, ELEMENT_BYTES, 1];
        let map = probe::map(self.sys, feature, map_type::ARRAY, sizes, 0, btf)?;
        let fd = map.as_raw_fd();
        let map_into = |dst| [Insn::new(LDDW, dst, PSEUDO_MAP_FD, 0, fd), Insn::default()];
        let mut insns = vec![Insn::new(STORE_IMM_U32, 10, 0, -4, 0)];
        insns.extend(map_into(1));
        insns.extend(stack(2, -4));
        insns.push(call(HELPER_MAP_LOOKUP));
        let init = if feature == Feature::Timer {
            (0, CLOCK_MONOTONIC, call(HELPER_TIMER_INIT))
        } else {
            (WORK_QUEUE_OFFSET, 0, self.kfunc(feature, "bpf_wq_init")?)
        };
        let (offset, flags, init) = init;
        insns.push(Insn::new(JEQ_IMM, 0, 0, 6, 0));
        insns.push(Insn::new(MOV_REG, 1, 0, 0, 0));
        insns.push(Insn::new(ADD_IMM, 1, 0, 0, offset));
        insns.extend(map_into(2));
        insns.push(Insn::new(MOV_IMM, 3, 0, 0, flags));
        insns.push(init);
        insns.extend(exit_zero());
        self.load(feature, &insns).map(|_| String::new())
    }

    fn pinning(&self) -> Tried {
        let feature = Feature::Pinning;
        let mount = machine::bpffs(self.sys)
            .ok_or_else(|| probe::lacking(feature, "no bpffs is mounted"))?;
        let map = probe::map(self.sys, feature, map_type::ARRAY, [4, 4, 1], 0, None)?;
        let path = PathBuf::from(&mount).join(format!("kfilter_doctor_{}", std::process::id()));
        let pin = Call::Pin { object: map.as_fd(), path: &path };
        self.sys.bpf(pin).map_err(|error| probe::failed(feature, &error))?;
        // Only just made, by us: nothing else can be lost.
        std::fs::remove_file(&path).map_err(|error| {
            probe::lacking(feature, format!("removing {}: {error}", path.display()))
        })?;
        Ok(mount)
    }
}
