//! The `bpf` target: one `syscall` program a filter that sweeps its whole table.
//!
//! [`columns`] says what a column is in the kernel, `sweep` what stands around the row
//! body; the body comes from `lower`.

mod acting;
pub mod ahead;
mod classic;
pub mod columns;
mod groups;
mod helper;
pub mod kernel_types;
mod lines;
mod lists;
mod reader;
pub mod resident;
mod row;
mod sweep;
mod waiting;

use kernel_vm::abi::{RESIDENT_STATS_BYTES, SWEEP_STATS_BYTES};
use kernel_vm::object::{ActingMeta, PassMeta};

use self::columns::{Columns, Place};
use crate::asm::JumpTooFar;
use crate::hir::Filter;
use crate::lir::Routine;
use crate::lower::{Host, Stage, lower};
use crate::object::{DataType, Map, MapKind, Program, ProgramSection, Scratch, Subprogram};
use crate::plan::Plan;

/// Bytes of the ring buffer for records: room for a record of every thread of a large
/// machine.
const RING_BYTES: u32 = 1 << 20;
/// `BPF_F_NO_PREALLOC`
const NO_PREALLOC: u32 = 1;
/// Most bytes of stack for a sweep; the kernel's 512 less what the deepest routine below
/// it takes.
pub const FRAME_BYTES_MAX: u32 = 416;

/// What one filter adds to an object.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The program.
    pub program: Program,
    /// The same sweep for consumers that read a file.
    pub reader: Program,
    /// The same sweep where the kernel has no iterators to call, in the order of reading.
    pub classic: Vec<Pass>,
    /// That for consumers that read a file; `None` when there are several.
    pub classic_reader: Option<Program>,
    /// What lets it sweep by itself.
    pub resident: resident::Resident,
    /// What lets it act on whom it finds, if its `limit` has such rungs.
    pub acting: Option<ActingMeta>,
    /// Its maps.
    pub maps: Vec<Map>,
    /// The functions that its columns need.
    pub subprograms: Vec<Subprogram>,
    /// Names of those of them that are global, and how many numbers these take.
    pub global: Vec<(String, u8)>,
    /// Its variable in `.rodata` behind the parameters.
    pub switch: Scratch,
    /// Its variables in `.bss` beside the statistics.
    pub scratch: Vec<Scratch>,
    /// The routines that it calls.
    pub routines: Vec<Routine>,
    /// Bytes of `.bss` that it takes from where it was placed.
    pub bss_bytes: u32,
    /// Where in `.bss` a resident filter counts.
    pub resident_stats: u32,
    /// Bytes of stack that it needs.
    pub frame_bytes: u32,
}

/// One reading of a classic sweep.
#[derive(Clone, Debug)]
pub struct Pass {
    /// The program.
    pub program: Program,
    /// Where in `.bss` the number is that is 0 when it may be left out.
    pub needed: Option<u32>,
}

impl Pass {
    /// What a loader has to know of it.
    #[must_use]
    pub fn meta(&self) -> PassMeta {
        PassMeta { program: self.program.name.clone(), needed: self.needed }
    }
}

/// Symbol of the program that sweeps for a filter.
#[must_use]
pub fn sweep_symbol(filter: &str) -> String {
    format!("sweep_{filter}")
}

/// Symbol of the program that sweeps when a file is read.
#[must_use]
pub fn reader_symbol(filter: &str) -> String {
    format!("read_{filter}")
}

/// Symbol of the program that the kernel calls row by row.
#[must_use]
pub fn classic_symbol(filter: &str) -> String {
    format!("tasks_{filter}")
}

/// Symbol of that whose records are what is read.
#[must_use]
pub fn classic_reader_symbol(filter: &str) -> String {
    format!("rows_{filter}")
}

/// Name of the ring buffer that its records go to.
#[must_use]
pub fn records_map(filter: &str) -> String {
    format!("records_{filter}")
}

/// Name of the task storage that holds its state.
#[must_use]
pub fn state_map(filter: &str) -> String {
    format!("state_{filter}")
}

/// Code, maps and data of `filter`, whose parameters stand `rodata` bytes into `.rodata`, with
/// its switch behind them, and whose block in `.bss` begins at `bss`.
///
/// # Errors
/// When a jump does not fit.
pub fn compile(filter: &Filter, plan: &Plan, rodata: u32, bss: u32) -> Result<Sweep, JumpTooFar> {
    let used: Vec<_> = plan.columns.iter().map(|place| place.column).collect();
    let place = Place { stats: bss, scratch: bss + SWEEP_STATS_BYTES as u32 };
    let columns = Columns::new(&filter.name, filter.table, &used, place);
    let columns =
        if waiting::implies_waiting(filter) { columns.restricted_to_waiting() } else { columns };
    let groups =
        plan.group.as_ref().map(|group| groups::Groups::new(&filter.name, group, sweep::RESERVED));
    let buffer = plan.group.as_ref().map_or(0, groups::Groups::buffer_bytes);
    let body = lower(filter, plan, Host::Bpf, Stage::Rows, sweep::RESERVED - buffer);
    let (records, state) = (records_map(&filter.name), state_map(&filter.name));
    let kept =
        (plan.state_size > 0).then(|| ahead::State { map: state.clone(), bytes: plan.state_size });
    let columns = columns.looking_at(&body.function, kept);
    let resident_stats = place.scratch + columns.scratch_bytes();
    let lines = lines::Lines::new(&filter.name, plan, resident_stats + RESIDENT_STATS_BYTES as u32);
    let own = resident_stats + RESIDENT_STATS_BYTES as u32 + lines.area_bytes();
    let switch = rodata + plan.rodata_size;
    let names = sweep::Names {
        records: &records,
        state: &state,
        stats: bss,
        scratch: own,
        resident: resident_stats,
        params: rodata,
        groups: groups.as_ref(),
        lines: &lines,
        switch,
        output: sweep::OUTPUT,
        acting: None,
        way: sweep::Way::Call,
    };
    // Every program has the same row.
    let row = row::Row::new(filter.table, plan, &body);
    let mut frame_bytes = row.frame_bytes();
    let code = sweep::program(&row, &columns, &names)?;
    let reading = sweep::Names { way: sweep::Way::Read, ..names.clone() };
    let read = sweep::program(&row, &columns, &reading)?;
    let reader = Program {
        name: reader_symbol(&filter.name),
        section: ProgramSection::IterTaskSleepable,
        code: read,
    };
    let ticking = sweep::Names { way: sweep::Way::Tick, ..names.clone() };
    let work = sweep::program(&row, &columns, &ticking)?;
    let mut resident = resident::build(&filter.name, work, &ticking)?;
    let acting = acting::Acting::of(filter);
    if let Some(acting) = &acting {
        let names = sweep::Names { acting: Some(acting), ..ticking.clone() };
        let work = sweep::program(&row, &columns, &names)?;
        resident.programs.push(acting.program(&names)?);
        resident.subprograms.extend(acting.subprograms(work, &names, plan.record_size)?);
    }
    let mut subprograms = columns.subprograms()?;
    let by_row = sweep::Names { way: sweep::Way::Classic, ..names.clone() };
    let row_by_row = columns.classic();
    subprograms.extend(row_by_row.subprograms()?);
    let mut classic = classic::passes(&filter.name, &row_by_row, &by_row)?;
    let rows = Program {
        name: classic_symbol(&filter.name),
        section: classic::section(filter.table),
        code: sweep::program(&row, &row_by_row, &by_row)?,
    };
    classic.push(Pass { program: rows, needed: None });
    let mut classic_reader = None;
    if classic.len() == 1 {
        let reading = sweep::Names { way: sweep::Way::ClassicRead, ..names.clone() };
        classic_reader = Some(Program {
            name: classic_reader_symbol(&filter.name),
            section: classic::section(filter.table),
            code: sweep::program(&row, &row_by_row, &reading)?,
        });
    }
    let mut global: Vec<(String, u8)> = columns.global().collect();
    for (function, args) in lines.functions(bss)? {
        global.push((function.name.clone(), args));
        subprograms.push(function);
    }
    let mut routines = body.function.routines();
    let mut values = body.scratch;
    if let Some(groups) = &groups {
        // Its words may be those of the rows: all rows are in when it runs.
        let body = lower(filter, plan, Host::Bpf, Stage::Groups, groups::RESERVED.into());
        let (function, bytes) = groups.finisher(plan, &body, &names)?;
        subprograms.push(function);
        let reading = sweep::Names { output: groups::RESERVED, ..reading };
        subprograms.push(groups.finisher(plan, &body, &reading)?.0);
        subprograms.extend(groups.forgetters()?);
        resident.subprograms.push(groups.finisher(plan, &body, &ticking)?.0);
        routines.extend(body.function.routines());
        values = values.max(body.scratch);
        frame_bytes += bytes;
    }
    let mut maps = vec![Map {
        name: records,
        kind: MapKind::RingBuf,
        flags: 0,
        max_entries: RING_BYTES,
        key: None,
        value: None,
    }];
    if plan.state_size > 0 {
        maps.push(Map {
            name: state,
            kind: MapKind::TaskStorage,
            flags: NO_PREALLOC,
            max_entries: 0,
            key: Some(DataType::I32),
            value: Some(DataType::words(plan.state_size / 8)),
        });
    }
    maps.extend(groups.iter().flat_map(groups::Groups::maps));
    maps.extend(columns.maps());
    maps.push(resident::map(&filter.name));
    maps.extend(acting.iter().flat_map(acting::Acting::maps));
    let mut scratch = columns.scratch();
    scratch.push(resident::variable(&filter.name, resident_stats));
    scratch.push(lines.variable());
    if values > 0 {
        let name = format!("{}_values", filter.name);
        scratch.push(Scratch { name, offset: own, ty: DataType::words(values / 8) });
    }
    Ok(Sweep {
        program: Program {
            name: sweep_symbol(&filter.name),
            section: ProgramSection::Syscall,
            code,
        },
        reader,
        classic,
        classic_reader,
        resident,
        acting: acting.map(|acting| acting.meta()),
        maps,
        subprograms,
        global,
        switch: reader::switch(&filter.name, switch),
        scratch,
        routines,
        bss_bytes: own + values - bss,
        resident_stats,
        frame_bytes,
    })
}
