//! What an open or mapped file is: device, inode, kind, name.
//!
//! The kernel's own tmpfs mount, which nobody can name files in, holds SysV segments,
//! memfds and shared anonymous memory; they are told apart by the names that the kernel
//! gives them. Descriptors without a file proper (eventfd and its like) are told by name
//! too, on the file system of such descriptors.

use kernel_vm::schema::{EnumKind, Table};

use super::field;
use super::group::{self, Group};
use super::rows;
use super::{Columns, WALK};
use crate::asm::{AluOp, Asm, Cond, FP, JumpTooFar, Label, R0, R1, R2, R3, R6, R7, R8, R9, Size};
use crate::object::Subprogram;
use crate::target::bpf::helper::{PROBE_READ_KERNEL, PROBE_READ_KERNEL_STR, stack_address};

// Words that the function fills, from the start of the object's words.
pub(super) const DEVICE: u32 = 0;
pub(super) const INODE: u32 = 1;
pub(super) const KIND: u32 = 2;
pub(super) const SIZE: u32 = 3;
pub(super) const RESIDENT: u32 = 4;
pub(super) const POSITION: u32 = 5;
pub(super) const OPEN_FLAGS: u32 = 6;
/// Where the name is in the kernel's memory.
const NAME: u32 = 7;
/// How many words those are.
pub(super) const WORDS: u32 = 8;

/// Bytes of a name, the closing zero included.
const NAME_BYTES: i16 = 64;

// `i_mode` and its kinds of files.
const MODE_KIND: i32 = 0xf000;
const MODE_PIPE: i32 = 0x1000;
const MODE_CHAR_DEVICE: i32 = 0x2000;
const MODE_DIRECTORY: i32 = 0x4000;
const MODE_BLOCK_DEVICE: i32 = 0x6000;
const MODE_REGULAR: i32 = 0x8000;
const MODE_SYMLINK: i32 = 0xa000;
const MODE_SOCKET: i32 = 0xc000;

// `s_magic` of file systems.
const TMPFS: i64 = 0x0102_1994;
const HUGETLBFS: i64 = 0x9584_58f6;
const ANON_INODES: i64 = 0x0904_1934;
const PIDFS: i64 = 0x5049_4446;
/// `SB_KERNMOUNT`: the kernel mounted it for itself.
const KERNEL_MOUNT: i32 = 1 << 22;

// The function's stack.
const NAME_START: i16 = -8;
const MODE: i16 = -16;
const MAGIC: i16 = -24;
const MOUNT: i16 = -32;

/// Names of descriptors on the file system of descriptors, by their first bytes.
const ANON_NAMES: &[(&[u8], &str)] = &[
    (b"[eventfd", "eventfd"),
    (b"[eventpo", "epoll"),
    (b"[timerfd", "timerfd"),
    (b"[signalf", "signalfd"),
    (b"inotify\0", "inotify"),
    (b"[pidfd]\0", "pidfd"),
    (b"[io_urin", "io_uring"),
    (b"bpf-", "bpf"),
    (b"bpf_", "bpf"),
    (b"btf\0", "bpf"),
];

/// Names on the kernel's own tmpfs and hugetlbfs.
const MEMORY_NAMES: &[(&[u8], &str)] =
    &[(b"SYSV", "sysv"), (b"memfd:", "memfd"), (b"dev/zero", "shared_anon")];

/// Offset of one of the object's words from the start of the row's block.
pub(super) const fn word(index: u32) -> i16 {
    group::result(rows::OBJECT + index)
}

/// `u64 object(file)`: fills the row's words for a file by its address, 0 for none.
pub(super) fn subprogram(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (none, failed, done) = (asm.label(), asm.label(), asm.label());
    asm.load_data(R7, ".bss", columns.layout().group(Group::Row));
    asm.jump_if_imm(Cond::Eq, R1, 0, none);
    columns.untrusted(&mut asm, "file");
    asm.mov(R8, R0);
    field::load(&mut asm, R9, R8, ("file", &["f_inode"]));
    asm.jump_if_imm(Cond::Eq, R9, 0, failed);
    keep(&mut asm, R8, OPEN_FLAGS, ("file", &["f_flags"]));
    keep(&mut asm, R8, POSITION, ("file", &["f_pos"]));
    keep(&mut asm, R9, INODE, ("inode", &["i_ino"]));
    keep(&mut asm, R9, SIZE, ("inode", &["i_size"]));
    field::load(&mut asm, R1, R9, ("inode", &["i_mapping"]));
    field::load(&mut asm, R1, R1, ("address_space", &["nrpages"]));
    field::pages_to_bytes(&mut asm, R1);
    asm.store(Size::Dw, R7, word(RESIDENT), R1);
    field::load(&mut asm, R1, R9, ("inode", &["i_mode"]));
    asm.alu_imm(AluOp::And, R1, MODE_KIND);
    asm.store(Size::Dw, FP, MODE, R1);
    field::load(&mut asm, R6, R9, ("inode", &["i_sb"]));
    asm.jump_if_imm(Cond::Eq, R6, 0, failed);
    keep(&mut asm, R6, DEVICE, ("super_block", &["s_dev"]));
    field::load(&mut asm, R1, R6, ("super_block", &["s_magic"]));
    asm.store(Size::Dw, FP, MAGIC, R1);
    field::load(&mut asm, R1, R6, ("super_block", &["s_flags"]));
    asm.alu_imm(AluOp::And, R1, KERNEL_MOUNT);
    asm.store(Size::Dw, FP, MOUNT, R1);
    field::load(&mut asm, R1, R8, ("file", &["f_path", "dentry"]));
    asm.jump_if_imm(Cond::Eq, R1, 0, failed);
    field::load(&mut asm, R3, R1, ("dentry", &["d_name", "name"]));
    asm.store(Size::Dw, R7, word(NAME), R3);
    stack_address(&mut asm, R1, NAME_START);
    asm.load_imm(R2, 8);
    asm.call_helper(PROBE_READ_KERNEL);
    asm.jump_if_imm(Cond::Ne, R0, 0, failed);
    match columns.table {
        Table::File => file_kind(&mut asm, done),
        Table::Process | Table::Thread | Table::Mapping => object_kind(&mut asm, done),
    }
    asm.bind(none);
    for index in 0..WORDS {
        asm.store_imm(Size::Dw, R7, word(index), 0);
    }
    asm.load_imm(R0, 0);
    asm.bind(done);
    asm.store(Size::Dw, R7, word(KIND), R0);
    asm.load_imm(R0, 0);
    asm.exit();
    asm.bind(failed);
    asm.load_imm(R0, 1);
    asm.exit();
    Ok(Subprogram { name: columns.function("object"), code: asm.finish()? })
}

/// Keeps a member in one of the object's words.
fn keep(asm: &mut Asm, base: crate::asm::Reg, index: u32, hop: field::Hop) {
    field::load(asm, R1, base, hop);
    asm.store(Size::Dw, R7, word(index), R1);
}

/// `r0 =` the kind of an open file, then goes to `done`.
fn file_kind(asm: &mut Asm, done: Label) {
    let of = |name: &str| value(EnumKind::FileKind, name);
    asm.load(Size::Dw, R2, FP, MAGIC);
    asm.load_imm(R0, of("pidfd"));
    asm.load_imm(R3, PIDFS);
    asm.jump_if(Cond::Eq, R2, R3, done);
    let proper = asm.label();
    asm.load_imm(R3, ANON_INODES);
    asm.jump_if(Cond::Ne, R2, R3, proper);
    for (start, name) in ANON_NAMES {
        asm.load_imm(R0, of(name));
        jump_if_named(asm, start, done);
    }
    asm.load_imm(R0, of("anon"));
    asm.jump(done);
    asm.bind(proper);
    asm.load(Size::Dw, R1, FP, MODE);
    for (mode, name) in [
        (MODE_PIPE, "pipe"),
        (MODE_SOCKET, "socket"),
        (MODE_DIRECTORY, "directory"),
        (MODE_CHAR_DEVICE, "char_device"),
        (MODE_BLOCK_DEVICE, "block_device"),
        (MODE_SYMLINK, "symlink"),
    ] {
        asm.load_imm(R0, of(name));
        asm.jump_if_imm(Cond::Eq, R1, mode, done);
    }
    let regular = asm.label();
    asm.load_imm(R0, of("unknown"));
    asm.jump_if_imm(Cond::Ne, R1, MODE_REGULAR, done);
    asm.load(Size::Dw, R1, FP, MOUNT);
    asm.jump_if_imm(Cond::Eq, R1, 0, regular);
    asm.load_imm(R0, of("memfd"));
    jump_if_named(asm, b"memfd:", done);
    asm.bind(regular);
    asm.load_imm(R0, of("regular"));
    asm.jump(done);
}

/// `r0 =` the kind of a mapped object, then goes to `done`.
fn object_kind(asm: &mut Asm, done: Label) {
    let of = |name: &str| value(EnumKind::ObjectKind, name);
    let (memory, huge, named) = (asm.label(), asm.label(), asm.label());
    asm.load(Size::Dw, R1, FP, MODE);
    asm.load_imm(R0, of("device"));
    asm.jump_if_imm(Cond::Eq, R1, MODE_CHAR_DEVICE, done);
    asm.jump_if_imm(Cond::Eq, R1, MODE_BLOCK_DEVICE, done);
    asm.load(Size::Dw, R2, FP, MAGIC);
    asm.load_imm(R3, TMPFS);
    asm.jump_if(Cond::Eq, R2, R3, memory);
    asm.load_imm(R3, HUGETLBFS);
    asm.jump_if(Cond::Eq, R2, R3, huge);
    asm.load_imm(R0, of("file"));
    asm.jump(done);
    asm.bind(memory);
    asm.load_imm(R9, of("tmpfs"));
    asm.jump(named);
    asm.bind(huge);
    asm.load_imm(R9, of("hugetlb"));
    asm.bind(named);
    let others = asm.label();
    asm.load(Size::Dw, R1, FP, MOUNT);
    asm.jump_if_imm(Cond::Eq, R1, 0, others);
    for (start, name) in MEMORY_NAMES {
        asm.load_imm(R0, of(name));
        jump_if_named(asm, start, done);
    }
    asm.bind(others);
    asm.mov(R0, R9);
    asm.jump(done);
}

/// Goes to `to` if the name begins with `start`, of at most 8 bytes. Loses `r1` and `r2`.
fn jump_if_named(asm: &mut Asm, start: &[u8], to: Label) {
    let mut bytes = [0; 8];
    bytes[..start.len()].copy_from_slice(start);
    asm.load(Size::Dw, R1, FP, NAME_START);
    let unused = 64 - 8 * start.len() as i32;
    if unused > 0 {
        asm.alu_imm(AluOp::Lsh, R1, unused);
        asm.alu_imm(AluOp::Rsh, R1, unused);
    }
    asm.load_imm(R2, i64::from_le_bytes(bytes));
    asm.jump_if(Cond::Eq, R1, R2, to);
}

/// The number of an enumeration's value.
pub(super) fn value(kind: EnumKind, name: &str) -> i64 {
    let index = kind.values().iter().position(|&value| value == name);
    index.expect("kinds are named as in the schema") as i64
}

/// A function that fills a buffer on the row's stack, so that `r1`, which holds its
/// address, outlives the calls that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filler {
    /// The name of the row's file.
    Name,
    /// Its device and inode.
    Identity,
}

impl Filler {
    pub(super) const ALL: [Self; 2] = [Self::Name, Self::Identity];

    const fn function(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Identity => "identity",
        }
    }

    /// Code that fills the buffer at `r1`, or goes to `unreadable`.
    pub(super) fn load(self, columns: &Columns, asm: &mut Asm, unreadable: Label) {
        if columns.is_classic() {
            asm.load(Size::Dw, R2, FP, WALK);
        }
        asm.call_subprog(&columns.function(self.function()));
        asm.jump_if_imm(Cond::Ne, R0, 0, unreadable);
    }

    /// `u64 name(buffer)`: 0 when the buffer is filled. A classic one takes the file as well,
    /// and keeps it where the row keeps it.
    pub(super) fn subprogram(self, columns: &Columns) -> Result<Subprogram, JumpTooFar> {
        let mut asm = Asm::new();
        let failed = asm.label();
        asm.mov(R8, R1);
        if columns.is_classic() {
            asm.store(Size::Dw, FP, WALK, R2);
        }
        group::ensure(Group::Row, columns, &mut asm, failed);
        asm.load_data(R7, ".bss", columns.layout().group(Group::Row));
        match self {
            Self::Name => fill_name(&mut asm, columns.table, failed),
            Self::Identity => {
                for (offset, index) in [(0, DEVICE), (8, INODE)] {
                    asm.load(Size::Dw, R1, R7, word(index));
                    asm.store(Size::Dw, R8, offset, R1);
                }
            }
        }
        asm.load_imm(R0, 0);
        asm.exit();
        asm.bind(failed);
        asm.load_imm(R0, 1);
        asm.exit();
        Ok(Subprogram { name: columns.function(self.function()), code: asm.finish()? })
    }
}

/// Fills the buffer at `r8` from the row's block at `r7`.
fn fill_name(asm: &mut Asm, table: Table, failed: Label) {
    let end = asm.label();
    for offset in (0..NAME_BYTES).step_by(8) {
        asm.store_imm(Size::Dw, R8, offset, 0);
    }
    if table == Table::File {
        // Inside the kernel these have names that say nothing, or the root's.
        asm.load(Size::Dw, R1, R7, word(KIND));
        for kind in ["pipe", "socket", "pidfd"] {
            asm.jump_if_imm(Cond::Eq, R1, value(EnumKind::FileKind, kind) as i32, end);
        }
    }
    asm.load(Size::Dw, R3, R7, word(NAME));
    asm.jump_if_imm(Cond::Eq, R3, 0, end);
    asm.mov(R1, R8);
    asm.load_imm(R2, NAME_BYTES.into());
    asm.call_helper(PROBE_READ_KERNEL_STR);
    asm.jump_if_imm(Cond::Slt, R0, 0, failed);
    asm.bind(end);
}
