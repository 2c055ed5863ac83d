//! Trying one feature: the smallest map or program that uses it.
//!
//! **Invariant**: every descriptor is closed when the attempt is over.

use super::{Feature, Outcome};
use crate::btf::push_words;
use crate::insn::{self, Insn};
use crate::kernel_log::Rejection;
use crate::sys::{
    ATTACH_TRACE_ITER, Call, MapCreate, PROG_SLEEPABLE, ProgLoad, Sys, SyscallError, prog_type,
};
use std::os::fd::{BorrowedFd, OwnedFd};

const LOG_BYTES: usize = 64 << 10;
const PRIVILEGE: &str = "run as root, or with CAP_BPF and CAP_PERFMON";

/// A failed attempt.
pub(super) type Failure = Box<Outcome>;

/// The failure of a system call.
pub(super) fn failed(feature: Feature, error: &SyscallError) -> Failure {
    let way_out = if error.errno.is_privilege() && error.log.is_empty() {
        PRIVILEGE
    } else {
        feature.way_out()
    };
    let why =
        if error.log.is_empty() { error.to_string() } else { format!("{error}: {}", error.log) };
    Box::new(Outcome::Missing { errno: Some(error.errno), why, way_out: way_out.to_owned() })
}

/// A failure before the kernel was asked.
pub(super) fn lacking(feature: Feature, why: impl Into<String>) -> Failure {
    Box::new(Outcome::Missing {
        errno: None,
        why: why.into(),
        way_out: feature.way_out().to_owned(),
    })
}

/// A program to try.
pub(super) struct Attempt<'a> {
    pub(super) feature: Feature,
    /// The kernel's id of the function that it is attached to; 0 for a `syscall` program.
    pub(super) attach: u32,
    pub(super) sleepable: bool,
    pub(super) insns: &'a [Insn],
}

impl Attempt<'_> {
    pub(super) fn load(&self, sys: &dyn Sys) -> Result<OwnedFd, Failure> {
        let insns = insn::to_bytes(self.insns);
        let iter = self.attach != 0;
        let mut log = vec![0; LOG_BYTES];
        let result = sys.bpf_fd(Call::ProgLoad(ProgLoad {
            name: "kfilter_doctor",
            ty: if iter { prog_type::TRACING } else { prog_type::SYSCALL },
            attach_type: if iter { ATTACH_TRACE_ITER } else { 0 },
            attach_btf_id: self.attach,
            flags: if self.sleepable || !iter { PROG_SLEEPABLE } else { 0 },
            insns: &insns,
            license: "Dual MIT/GPL",
            btf: None,
            log: &mut log,
        }));
        result.map_err(|mut error| {
            let end = log.iter().position(|&byte| byte == 0).unwrap_or(0);
            let text = String::from_utf8_lossy(&log[..end]);
            if !text.trim().is_empty() {
                error.log = Rejection::from_log("", error.errno, &text, |_| None).message;
            }
            failed(self.feature, &error)
        })
    }
}

/// Creates a map for a try.
pub(super) fn map(
    sys: &dyn Sys,
    feature: Feature,
    ty: u32,
    sizes: [u32; 3],
    flags: u32,
    btf: Option<(BorrowedFd<'_>, u32, u32)>,
) -> Result<OwnedFd, Failure> {
    let [key_size, value_size, max_entries] = sizes;
    let create =
        MapCreate { name: "kfilter_doctor", ty, key_size, value_size, max_entries, flags, btf };
    sys.bpf_fd(Call::MapCreate(create)).map_err(|error| failed(feature, &error))
}

/// Ids in [`types`].
pub(super) const INT: u32 = 1;
pub(super) const ELEMENT: u32 = 4;
/// Bytes of an element: a timer, then a work queue.
pub(super) const ELEMENT_BYTES: u32 = 32;
/// Offset of the work queue in an element.
pub(super) const WORK_QUEUE_OFFSET: i32 = 16;

/// BTF with an `int` and a struct of a timer and a work queue, which the kernel knows by
/// their names.
pub(super) fn types() -> Vec<u8> {
    const KIND_INT: u32 = 1 << 24;
    const KIND_STRUCT: u32 = 4 << 24;
    const SIGNED_32: u32 = 1 << 24 | 32;
    let strings = b"\0int\0bpf_timer\0bpf_wq\0element\0t\0w\0";
    let name = |word: &str| {
        let find = [b"\0", word.as_bytes(), b"\0"].concat();
        let at = strings.windows(find.len()).position(|window| window == find);
        at.map_or(0, |at| u32::try_from(at + 1).unwrap_or(0))
    };
    let mut types = Vec::new();
    push_words(&mut types, &[name("int"), KIND_INT, 4, SIGNED_32]);
    push_words(&mut types, &[name("bpf_timer"), KIND_STRUCT, 16]);
    push_words(&mut types, &[name("bpf_wq"), KIND_STRUCT, 16]);
    push_words(&mut types, &[name("element"), KIND_STRUCT | 2, ELEMENT_BYTES]);
    push_words(&mut types, &[name("t"), 2, 0, name("w"), 3, 128]);
    let (type_len, string_len) = (types.len() as u32, strings.len() as u32);
    let mut bytes = vec![0x9f, 0xeb, 1, 0];
    push_words(&mut bytes, &[24, 0, type_len, type_len, string_len]);
    bytes.extend(types);
    bytes.extend(strings);
    bytes
}
