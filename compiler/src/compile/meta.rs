//! The metadata of a filter and the defaults of its parameters.

use kernel_vm::abi::{RESIDENT_STATS_BYTES, SWEEP_STATS_BYTES};
use kernel_vm::object::{
    ActingMeta, Block, BpfMeta, CellMeta, FieldMeta, FilterMeta, GROUPS_MAX, GroupMeta, HoldMeta,
    LimitMeta, ParamMeta, ReaderMeta, RecordMeta, ResidentMeta, RowColumn, TopMeta, TypeMeta,
    VmMeta,
};

use crate::hir::{ExprKind, Filter, Value};
use crate::object::Scratch;
use crate::plan::{GroupPlan, Plan, param_size};
use crate::target::bpf;

/// The metadata of `filter`.
pub(super) fn filter(
    filter: &Filter,
    plan: &Plan,
    rodata: Block,
    bss: u32,
    vm: Block,
) -> FilterMeta {
    let params = filter.params.iter().zip(&plan.params).map(|(param, &offset)| ParamMeta {
        name: param.name.clone(),
        doc: param.doc.clone(),
        ty: TypeMeta(param.ty),
        offset,
        size: param_size(param.ty),
        default: param.default_text.clone(),
    });
    let fields = plan.fields.iter().map(|field| FieldMeta {
        name: field.name.clone(),
        ty: TypeMeta(field.ty),
        offset: field.offset,
        hidden: field.hidden,
    });
    let columns = plan.columns.iter().map(|place| RowColumn {
        id: place.column.id.0,
        name: place.column.name.to_owned(),
        offset: place.offset,
    });
    let top = filter.top.zip(plan.top_field).map(|(top, field)| TopMeta { n: top.n, field });
    FilterMeta {
        name: filter.name.clone(),
        doc: filter.doc.clone(),
        table: filter.table.name().to_owned(),
        rodata,
        stats: Block { offset: bss, size: SWEEP_STATS_BYTES as u32 },
        params: params.collect(),
        record: RecordMeta { size: plan.record_size, fields: fields.collect() },
        severity: filter.severity,
        limit: limit(filter),
        top,
        state_size: plan.state_size,
        group: None,
        needs_two_sweeps: !plan.tracks.is_empty() || !plan.waves.is_empty(),
        hold: hold(filter),
        bpf: BpfMeta {
            sweep: bpf::sweep_symbol(&filter.name),
            records: bpf::records_map(&filter.name),
            state: (plan.state_size > 0).then(|| bpf::state_map(&filter.name)),
            resident: None,
            classic: Vec::new(),
            reader: None,
        },
        vm: VmMeta { program: vm, row_size: plan.row_size, columns: columns.collect() },
    }
}

/// The metadata of what lets the filter called `filter` sweep by itself, which counts at
/// `bss`, and what lets it act.
pub(super) fn resident(filter: &str, bss: u32, acting: Option<ActingMeta>) -> ResidentMeta {
    ResidentMeta {
        start: bpf::resident::start_symbol(filter),
        stop: bpf::resident::stop_symbol(filter),
        timer: bpf::resident::timer_map(filter),
        stats: Block { offset: bss, size: RESIDENT_STATS_BYTES as u32 },
        acting,
    }
}

/// The metadata of the program that sweeps for the filter called `filter` when a file is read.
/// `classic` is the one where the kernel has no iterators to call.
pub(super) fn reader(filter: &str, switch: &Scratch, classic: Option<String>) -> ReaderMeta {
    let block = Block { offset: switch.offset, size: switch.ty.size() };
    ReaderMeta { program: bpf::reader_symbol(filter), as_lines: block, classic }
}

fn limit(filter: &Filter) -> Option<LimitMeta> {
    let limit = filter.limit.as_ref()?;
    Some(LimitMeta { rungs: limit.rungs.clone(), leave: super::leave::name(filter) })
}

/// The metadata of a filter's groups.
pub(super) fn group(plan: &GroupPlan, finish: Block) -> GroupMeta {
    let cells = plan.cells.iter().map(|cell| CellMeta {
        offset: cell.offset,
        size: cell.ty.size() as u32,
        merge: cell.merge,
    });
    GroupMeta {
        size: plan.size,
        key_size: plan.key_size,
        cells: cells.collect(),
        max: GROUPS_MAX,
        finish,
    }
}

fn hold(filter: &Filter) -> Option<HoldMeta> {
    let ExprKind::Held(_, hold) = filter.expr(filter.condition?).kind else { return None };
    if let ExprKind::Const(ns) = filter.expr(hold).kind {
        return Some(HoldMeta::Fixed(ns));
    }
    let ExprKind::Param(index) = filter.expr(hold).kind else { return None };
    Some(HoldMeta::Param(filter.params[index].name.clone()))
}

/// The filter's block of `.rodata`: system values unknown, parameters at their defaults.
pub(super) fn defaults(filter: &Filter, plan: &Plan) -> Vec<u8> {
    let mut block = vec![0; plan.rodata_size as usize];
    for (param, &offset) in filter.params.iter().zip(&plan.params) {
        let place = &mut block[offset as usize..(offset + param_size(param.ty)) as usize];
        match &param.default {
            Value::Int(value) => place.copy_from_slice(&value.to_le_bytes()),
            Value::Text(text) => {
                let capacity = place.len() / 2;
                let length = text.len().min(capacity);
                place[..length].copy_from_slice(&text[..length]);
                place[capacity..capacity + length].fill(0xff);
            }
        }
    }
    block
}
