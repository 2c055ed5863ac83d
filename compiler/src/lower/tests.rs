//! Code against meaning: random filters over random rows, on a checked machine.

mod histories;
mod machine;
mod measures;
mod random;
mod reference;
mod routines;
mod texts;

use kernel_vm::abi::Verdict;
use kernel_vm::isa::RawInsn;
use kernel_vm::run::{Env, Host, Stack};
use kernel_vm::verify::{ScratchBuffer, Spec, verify};

use self::machine::{Machine, PARAMS, ROW, STATE};
use self::reference::{Cell, Inputs, Past, Reference};
use crate::hir::{Filter, Value};
use crate::plan::{Plan, param_size};

/// Keeps what is emitted.
struct Records(Vec<Vec<u8>>);

impl Host for Records {
    fn emit(&mut self, record: &[u8]) -> bool {
        self.0.push(record.to_vec());
        true
    }

    fn boot_ns(&mut self) -> u64 {
        0
    }

    fn waits_for(&mut self, _tid: u64) -> u64 {
        0
    }
}

/// A compiled filter with the past of one row.
pub(super) struct Subject<'a> {
    filter: &'a Filter,
    plan: Plan,
    code: Vec<u8>,
    state: Vec<u8>,
    past: Past,
}

impl<'a> Subject<'a> {
    pub(super) fn new(filter: &'a Filter) -> Self {
        let simple = crate::simplify::simplify(filter);
        let plan = Plan::new(&simple);
        let code = crate::compile::vm_code(&simple, &plan).expect("short jumps");
        let state = vec![0; plan.state_size as usize];
        Self { filter, plan, code, state, past: Past::default() }
    }

    fn row(&self, inputs: &Inputs) -> Vec<u8> {
        let mut row = vec![0; self.plan.row_size as usize];
        row[..8].copy_from_slice(&inputs.now.to_le_bytes());
        let mut missing = 0_u64;
        for (bit, place) in self.plan.columns.iter().enumerate() {
            let at = place.offset as usize;
            match &inputs.cells[&place.column.id.0] {
                // What stands there must not matter.
                Cell::Missing => {
                    missing |= 1 << bit;
                    row[at..at + place.column.ty.size()].fill(0x5a);
                }
                Cell::Int(value) => row[at..at + 8].copy_from_slice(&value.to_le_bytes()),
                Cell::Text(text) => row[at..at + text.len()].copy_from_slice(text),
            }
        }
        row[8..16].copy_from_slice(&missing.to_le_bytes());
        row
    }

    fn params(&self, inputs: &Inputs) -> Vec<u8> {
        let mut block = vec![0; self.plan.rodata_size as usize];
        block[..8].copy_from_slice(&inputs.memory.to_le_bytes());
        block[8..16].copy_from_slice(&inputs.cpus.to_le_bytes());
        let places = self.filter.params.iter().zip(&self.plan.params);
        for ((param, &at), value) in places.zip(&inputs.params) {
            let (at, size) = (at as usize, param_size(param.ty) as usize);
            match value {
                Value::Int(value) => block[at..at + 8].copy_from_slice(&value.to_le_bytes()),
                Value::Text(text) => {
                    block[at..at + text.len()].copy_from_slice(text);
                    block[at + size / 2..at + size / 2 + text.len()].fill(0xff);
                }
            }
        }
        block
    }

    /// Runs one row through code and meaning; a difference is an `Err` that says which.
    pub(super) fn sweep(&mut self, inputs: &Inputs) -> Result<Verdict, String> {
        let mut machine = Machine::new(self.row(inputs), self.state.clone(), self.params(inputs));
        let r0 =
            machine.run(&self.code, &[ROW, STATE, PARAMS]).map_err(|fault| format!("{fault:?}"))?;
        self.on_kernel_vm(inputs, r0, &machine)?;
        self.state = machine.block(STATE).to_vec();
        let verdict = Verdict::from_r0(r0).ok_or_else(|| format!("verdict {r0}"))?;

        let reference = Reference::new(self.filter, inputs, &mut self.past);
        let matches = reference.matches(&mut self.past);
        if matches != (verdict == Verdict::Match) {
            return Err(format!("meaning says {matches}, code {verdict:?}"));
        }
        if machine.emitted.len() != usize::from(matches) {
            return Err(format!("{} records", machine.emitted.len()));
        }
        for record in &machine.emitted {
            self.compare_record(record, &reference)?;
        }
        Ok(verdict)
    }

    /// The same run on kernel-vm, after its verifier: it must not differ in anything.
    fn on_kernel_vm(&self, inputs: &Inputs, r0: u64, machine: &Machine) -> Result<(), String> {
        let slots: Vec<RawInsn> = self
            .code
            .chunks_exact(8)
            .map(|slot| RawInsn::from_bytes(slot.try_into().expect("eight bytes")))
            .collect();
        let spec = Spec {
            row_size: self.plan.row_size,
            state_size: self.plan.state_size,
            params_size: self.plan.rodata_size,
            record_size: self.plan.record_size,
            maps: &[],
        };
        let mut buffer = ScratchBuffer::new(slots.len());
        let program = verify(&slots, spec, &mut buffer.scratch())
            .map_err(|rejection| format!("refused: {rejection:?}"))?;
        let (row, params) = (self.row(inputs), self.params(inputs));
        let mut state = self.state.clone();
        let mut host = Records(Vec::new());
        let mut env = Env {
            row: &row,
            state: &mut state,
            params: &params,
            maps: &mut [],
            host: &mut host,
            fuel: u64::MAX,
        };
        let found = program
            .run(&mut env, &mut Stack::new())
            .map_err(|error| format!("not run: {error:?}"))?;
        if (found, &host.0) != (r0, &machine.emitted) || state != machine.block(STATE) {
            return Err(format!("kernel-vm says {found}, the checked machine {r0}"));
        }
        Ok(())
    }

    fn compare_record(&self, record: &[u8], reference: &Reference<'_>) -> Result<(), String> {
        let word =
            |at: usize| i64::from_le_bytes(record[at..at + 8].try_into().expect("eight bytes"));
        for (index, (field, emit)) in self.plan.fields.iter().zip(&self.filter.emit).enumerate() {
            let missing = word(0) >> index & 1 == 1;
            let found = word(field.offset as usize);
            match reference.int(emit.expr) {
                Ok(value) if !missing && i128::from(found) == value => {}
                Err(_) if missing && found == 0 => {}
                meaning => {
                    return Err(format!(
                        "field {index}: meaning {meaning:?}, code {found} (missing: {missing})"
                    ));
                }
            }
        }
        Ok(())
    }
}
