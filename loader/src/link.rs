//! A program made of its functions, fitted to the running kernel's types.
//!
//! Pure: the object and the kernel's BTF in, insns out that lack only file descriptors.
//!
//! **Invariant**: the entry comes first; every call goes to a function in the same program;
//! lines and function records are complete or left out.

use crate::btf::ext::{CodePlace, LineInfo};
use crate::btf::kernel::{KernelBtf, Wanted};
use crate::btf::push_words;
use crate::core_reloc::{self, POISON, RelocError, RelocErrorKind};
use crate::elf::{Function, Object, Target};
use crate::insn::{
    CALL, Insn, PSEUDO_CALL, PSEUDO_FUNC, PSEUDO_KFUNC_CALL, PSEUDO_MAP_FD, PSEUDO_MAP_VALUE,
};
use crate::kernel_log::SourceLine;
use std::collections::HashMap;
use std::ops::Deref;

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramKind {
    /// Run once when asked to.
    Syscall,
    /// Run for each task when a file is read.
    IterTask {
        /// It may sleep.
        sleepable: bool,
    },
    /// The same for each descriptor of each task.
    IterTaskFile,
    /// The same for each mapping of each process.
    IterTaskVma,
}

impl ProgramKind {
    /// The kind that a section's name stands for; a `?` says that it is loaded on demand only.
    #[must_use]
    pub fn of_section(section: &str) -> Option<Self> {
        match section.strip_prefix('?').unwrap_or(section) {
            "syscall" => Some(Self::Syscall),
            "iter/task" => Some(Self::IterTask { sleepable: false }),
            "iter.s/task" => Some(Self::IterTask { sleepable: true }),
            "iter/task_file" => Some(Self::IterTaskFile),
            "iter/task_vma" => Some(Self::IterTaskVma),
            _ => None,
        }
    }

    /// The kernel function that it is attached to.
    #[must_use]
    pub const fn attach_target(self) -> Option<&'static str> {
        match self {
            Self::Syscall => None,
            Self::IterTask { .. } => Some("bpf_iter_task"),
            Self::IterTaskFile => Some("bpf_iter_task_file"),
            Self::IterTaskVma => Some("bpf_iter_task_vma"),
        }
    }
}

/// A slot that takes a map's file descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapSlot {
    /// The first slot of the `lddw`.
    pub slot: usize,
    /// Which map.
    pub map: MapRef,
}

/// A map of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapRef {
    /// By its index in [`Object::maps`].
    Defined(usize),
    /// A data section, by its index in [`Object::data`].
    Data(usize),
}

/// A program, ready but for its maps.
#[derive(Clone, Debug)]
pub struct Linked {
    /// The entry's name.
    pub name: String,
    /// Where it runs.
    pub kind: ProgramKind,
    /// The kernel's id of the function that it is attached to; 0 for none.
    pub attach_btf_id: u32,
    /// The insns.
    pub insns: Vec<Insn>,
    /// Where maps are used.
    pub maps: Vec<MapSlot>,
    /// Records of functions for PROG_LOAD; empty for none.
    pub func_info: Vec<u8>,
    /// Records of lines for PROG_LOAD; empty for none.
    pub line_info: Vec<u8>,
    lines: Vec<(usize, LineInfo)>,
    /// Poisoned slots and what they lack.
    pub poisoned: Vec<(usize, String)>,
}

/// The functions that `entry` consists of, itself first.
#[must_use]
pub fn reach(object: &Object, entry: usize) -> Vec<usize> {
    let mut reached = vec![entry];
    let mut next = 0;
    while let Some(function) = reached.get(next).and_then(|&index| object.functions.get(index)) {
        for reference in &function.references {
            if let Target::Function(callee) = reference.target
                && !reached.contains(&callee)
            {
                reached.push(callee);
            }
        }
        next += 1;
    }
    reached
}

/// Adds the names that linking the functions `reached` asks the kernel for.
///
/// # Errors
/// When a relocation's type does not exist.
pub fn want(object: &Object, reached: &[usize], wanted: &mut Wanted) -> Result<(), RelocError> {
    for function in reached.iter().filter_map(|&index| object.functions.get(index)) {
        let relocs: Vec<_> = records(object, function, &object.ext.relocs, |r| r.place).collect();
        core_reloc::want(&object.btf, &relocs, wanted)
            .map_err(|error| fault(function, 0, "a kernel type".into(), error.into()))?;
        for reference in &function.references {
            if let Target::Kfunc { name, .. } = &reference.target {
                wanted.add(name);
            }
        }
        if let Some(kind) = ProgramKind::of_section(&function.section) {
            kind.attach_target().into_iter().for_each(|name| wanted.add(name));
        }
    }
    Ok(())
}

/// Puts the program together that starts with function `entry`.
///
/// # Errors
/// [`RelocError`] names the type, field or function that the kernel lacks.
pub fn link<B: Deref<Target = [u8]>>(
    object: &Object,
    kernel: &KernelBtf<B>,
    entry: usize,
    kind: ProgramKind,
) -> Result<Linked, RelocError> {
    let reached = reach(object, entry);
    let functions: Vec<&Function> =
        reached.iter().filter_map(|&index| object.functions.get(index)).collect();
    let mut starts = HashMap::new();
    let mut at = 0;
    for (&index, function) in reached.iter().zip(&functions) {
        starts.insert(index, at);
        at += function.insns.len();
    }
    let mut program = Linked {
        name: functions.first().map(|function| function.name.clone()).unwrap_or_default(),
        kind,
        attach_btf_id: 0,
        insns: Vec::with_capacity(at),
        maps: Vec::new(),
        func_info: Vec::new(),
        line_info: Vec::new(),
        lines: Vec::new(),
        poisoned: Vec::new(),
    };
    if let (Some(name), Some(function)) = (kind.attach_target(), functions.first()) {
        let id = kernel.function(name);
        let id = id.ok_or_else(|| no_kfunc(function, 0, name))?;
        program.attach_btf_id = id.0;
    }
    for function in &functions {
        program.append(object, kernel, function, &starts)?;
    }
    program.describe(object, &functions);
    Ok(program)
}

impl Linked {
    /// The source of a slot.
    #[must_use]
    pub fn line_of(&self, object: &Object, slot: usize) -> Option<SourceLine> {
        let after = self.lines.partition_point(|(first, _)| *first <= slot);
        let (_, info) = self.lines.get(after.checked_sub(1)?)?;
        let strings = object.btf.strings();
        Some(SourceLine {
            file: strings.get(info.file).ok()?.to_owned(),
            line: info.line(),
            column: info.column(),
            text: strings.get(info.text).ok()?.to_owned(),
        })
    }

    fn append<B: Deref<Target = [u8]>>(
        &mut self,
        object: &Object,
        kernel: &KernelBtf<B>,
        function: &Function,
        starts: &HashMap<usize, usize>,
    ) -> Result<(), RelocError> {
        let base = self.insns.len();
        self.insns.extend_from_slice(&function.insns);
        let insns = &mut self.insns[base..];
        for reloc in records(object, function, &object.ext.relocs, |r| r.place) {
            let slot = reloc.place.slot - function.first;
            let fault =
                |kind| fault(function, slot, core_reloc::describe(&object.btf, &reloc), kind);
            let resolution = core_reloc::resolve(&object.btf, kernel, &reloc).map_err(fault)?;
            if core_reloc::patch(insns, slot, resolution).map_err(fault)? {
                let what = core_reloc::describe(&object.btf, &reloc);
                self.poisoned.push((base + slot, what));
            }
        }
        for reference in &function.references {
            let slot = reference.slot;
            // Checked when the object was parsed: the slot exists, an `lddw` has two.
            let insn = insns[slot];
            match &reference.target {
                Target::Map(map) => {
                    insns[slot] = insn.with_src(PSEUDO_MAP_FD);
                    insns[slot + 1].imm = 0;
                    self.maps.push(MapSlot { slot: base + slot, map: MapRef::Defined(*map) });
                }
                Target::Data { section, offset } => {
                    insns[slot] = insn.with_src(PSEUDO_MAP_VALUE);
                    insns[slot + 1].imm = offset.cast_signed();
                    self.maps.push(MapSlot { slot: base + slot, map: MapRef::Data(*section) });
                }
                Target::Function(callee) => {
                    let start = starts.get(callee).copied().unwrap_or(0);
                    let distance = start as i64 - (base + slot) as i64 - 1;
                    let imm = i32::try_from(distance).unwrap_or(i32::MAX);
                    let src = if insn.code == CALL { PSEUDO_CALL } else { PSEUDO_FUNC };
                    insns[slot] = Insn { imm, ..insn.with_src(src) };
                    if insn.is_lddw() {
                        insns[slot + 1].imm = 0;
                    }
                }
                Target::Kfunc { name, weak } => match kernel.function(name) {
                    Some(id) => {
                        let imm = id.0.cast_signed();
                        insns[slot] = Insn { imm, off: 0, ..insn.with_src(PSEUDO_KFUNC_CALL) };
                    }
                    None if *weak => {
                        insns[slot] = Insn { code: CALL, regs: 0, off: 0, imm: POISON };
                        self.poisoned.push((base + slot, format!("function {name}")));
                    }
                    None => return Err(no_kfunc(function, slot, name)),
                },
            }
        }
        Ok(())
    }

    /// Function and line records, moved to where the functions are now.
    fn describe(&mut self, object: &Object, functions: &[&Function]) {
        let mut base = 0;
        let mut complete = true;
        for function in functions {
            let start = records(object, function, &object.ext.functions, |f| f.place)
                .find(|info| info.place.slot == function.first);
            let first = self.lines.len();
            self.lines.extend(
                records(object, function, &object.ext.lines, |l| l.place)
                    .map(|info| (base + info.place.slot - function.first, info)),
            );
            self.lines[first..].sort_by_key(|(slot, _)| *slot);
            // The kernel wants one record an insn, and one at each function's start.
            self.lines.dedup_by_key(|(slot, _)| *slot);
            let has_line = self.lines.get(first).is_some_and(|(slot, _)| *slot == base);
            match start {
                Some(info) if has_line => {
                    push_words(&mut self.func_info, &[base as u32, info.ty.0]);
                }
                Some(_) | None => complete = false,
            }
            base += function.insns.len();
        }
        if !complete {
            self.func_info.clear();
            return;
        }
        for (slot, info) in &self.lines {
            let words = [*slot as u32, info.file, info.text, info.line_column];
            push_words(&mut self.line_info, &words);
        }
    }
}

/// The records of `.BTF.ext` that belong to `function`, by slot.
fn records<'a, T: Copy>(
    object: &'a Object,
    function: &'a Function,
    all: &'a [T],
    place: impl Fn(&T) -> CodePlace + Copy + 'a,
) -> impl Iterator<Item = T> + 'a {
    let strings = object.btf.strings();
    let end = function.first + function.insns.len();
    all.chunk_by(move |a, b| place(a).section == place(b).section)
        .filter(move |chunk| {
            chunk.first().is_some_and(|record| {
                strings.get(place(record).section) == Ok(function.section.as_str())
            })
        })
        .flat_map(move |chunk| {
            let first = chunk.partition_point(|record| place(record).slot < function.first);
            let last = chunk.partition_point(|record| place(record).slot < end);
            chunk[first..last].iter().copied()
        })
}

fn fault(function: &Function, slot: usize, what: String, kind: RelocErrorKind) -> RelocError {
    RelocError { what, function: function.name.clone(), slot, kind }
}

fn no_kfunc(function: &Function, slot: usize, name: &str) -> RelocError {
    fault(function, slot, format!("kernel function `{name}`"), RelocErrorKind::NoKfunc)
}
