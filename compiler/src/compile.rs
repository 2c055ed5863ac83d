//! From source text to an object: the stages in a row.
//!
//! **Invariant**: an object is written only when nothing was wrong in the whole file.

mod leave;
mod meta;
mod vm_section;

use kernel_vm::abi::{RECORD_BYTES_MAX, RECORD_FIELDS_MAX, ROW_COLUMNS_MAX};
use kernel_vm::object::{Block, FORMAT, ObjectMeta};
use kernel_vm::schema::SCHEMA_VERSION;

use crate::diagnostic::Diagnostic;
use crate::hir::Filter;
use crate::lir::Routine;
use crate::lower::Stage;
use crate::object::{Module, ObjectError};
use crate::plan::Plan;
use crate::regalloc::STACK_BYTES_MAX;
use crate::target::{bpf, routine, vm};

/// Most bytes of state for each row.
const STATE_BYTES_MAX: u32 = 4096;

/// What compiling a source text yields.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The object: an ELF BPF relocatable.
    pub object: Vec<u8>,
    /// Its metadata.
    pub meta: ObjectMeta,
    /// Warnings.
    pub diagnostics: Vec<Diagnostic>,
    module: Module,
}

impl Compiled {
    /// The object's programs as text, beside the source lines that they come from.
    #[must_use]
    pub fn listing(&self) -> String {
        crate::listing::listing(&self.module)
    }
}

/// Compiles `source`, which diagnostics and line information call `file_name`.
///
/// # Errors
/// Every error and warning of the text, in its order.
pub fn compile(file_name: &str, source: &str) -> Result<Compiled, Vec<Diagnostic>> {
    let analysis = crate::parse_and_check(source);
    if analysis.has_errors() {
        return Err(analysis.diagnostics);
    }
    let mut diagnostics = analysis.diagnostics;
    let mut build = Build::new(file_name, source);
    for filter in &analysis.filters {
        for filter in std::iter::once(filter).chain(leave::companion(filter).as_ref()) {
            if let Err(diagnostic) = build.filter(&crate::simplify::simplify(filter)) {
                diagnostics.push(*diagnostic);
            }
        }
    }
    if diagnostics.iter().any(|d| d.severity == crate::diagnostic::Severity::Error) {
        return Err(diagnostics);
    }
    let module = build.module.finish_routines(build.routines);
    let object = crate::object::write(&module).map_err(|error| {
        diagnostics.push(not_writable(&analysis.filters, &error));
        diagnostics.clone()
    })?;
    let meta = module.meta.clone();
    Ok(Compiled { object, meta, diagnostics, module })
}

/// The bytes of the `vm` program of a simplified filter.
///
/// # Errors
/// When a jump does not fit.
#[cfg(test)]
pub(crate) fn vm_code(filter: &Filter, plan: &Plan) -> Result<Vec<u8>, crate::asm::JumpTooFar> {
    vm_section::link(&vm::compile(filter, plan, Stage::Rows)?)
}

struct Build {
    module: Module,
    routines: Vec<Routine>,
    bss: u32,
}

impl Build {
    fn new(file_name: &str, source: &str) -> Self {
        let meta = ObjectMeta {
            format: FORMAT,
            schema: SCHEMA_VERSION,
            compiler: env!("CARGO_PKG_VERSION").to_owned(),
            source: file_name.to_owned(),
            filters: Vec::new(),
        };
        let module = Module {
            meta,
            source: source.to_owned(),
            programs: Vec::new(),
            subprograms: Vec::new(),
            global: Vec::new(),
            maps: Vec::new(),
            rodata: Vec::new(),
            constants: Vec::new(),
            scratch: vec![bpf::ahead::variable()],
            vm: Vec::new(),
        };
        Self { module, routines: Vec::new(), bss: bpf::ahead::BYTES }
    }

    fn filter(&mut self, filter: &Filter) -> Result<(), Box<Diagnostic>> {
        let plan = Plan::new(filter);
        check_sizes(filter, &plan)?;
        let too_far = |_| too_large(filter, "a jump in its code is too long");
        let rodata = Block { offset: self.module.rodata.len() as u32, size: plan.rodata_size };
        let sweep = bpf::compile(filter, &plan, rodata.offset, self.bss).map_err(too_far)?;
        let program = vm::compile(filter, &plan, Stage::Rows).map_err(too_far)?;
        if sweep.frame_bytes > bpf::FRAME_BYTES_MAX || program.frame_bytes > STACK_BYTES_MAX {
            return Err(too_large(filter, "what it computes does not fit the stack"));
        }
        let linked = vm_section::link(&program).map_err(too_far)?;
        let mut meta = meta::filter(filter, &plan, rodata, self.bss, self.vm_block(&linked));
        meta.bpf.resident = Some(meta::resident(&filter.name, sweep.resident_stats, sweep.acting));
        meta.bpf.classic = sweep.classic.iter().map(bpf::Pass::meta).collect();
        let by_row = sweep.classic_reader.as_ref().map(|program| program.name.clone());
        meta.bpf.reader = Some(meta::reader(&filter.name, &sweep.switch, by_row));
        if let Some(group) = &plan.group {
            let finish = vm::compile(filter, &plan, Stage::Groups).map_err(too_far)?;
            let linked = vm_section::link(&finish).map_err(too_far)?;
            meta.group = Some(meta::group(group, self.vm_block(&linked)));
        }
        self.module.meta.filters.push(meta);
        self.module.rodata.extend(meta::defaults(filter, &plan));
        self.module.rodata.extend(vec![0; sweep.switch.ty.size() as usize]);
        self.module.constants.push(sweep.switch);
        self.module.programs.push(sweep.program);
        self.module.programs.push(sweep.reader);
        self.module.programs.extend(sweep.classic_reader);
        self.module.programs.extend(sweep.classic.into_iter().map(|pass| pass.program));
        self.module.programs.extend(sweep.resident.programs);
        self.module.maps.extend(sweep.maps);
        self.module.subprograms.extend(sweep.subprograms);
        self.module.subprograms.extend(sweep.resident.subprograms);
        self.module.global.extend(sweep.global);
        self.module.scratch.extend(sweep.scratch);
        self.routines.extend(sweep.routines);
        self.bss += sweep.bss_bytes.next_multiple_of(8);
        Ok(())
    }

    /// Puts a program into the `vm` section.
    fn vm_block(&mut self, code: &[u8]) -> Block {
        let block = Block { offset: self.module.vm.len() as u32, size: code.len() as u32 };
        self.module.vm.extend(code);
        block
    }
}

impl Module {
    /// Adds the routines that some program calls, each once.
    fn finish_routines(mut self, mut routines: Vec<Routine>) -> Self {
        routines.sort_unstable();
        routines.dedup();
        for wanted in routines {
            self.subprograms.push(routine::subprogram(wanted));
            let global = wanted.numbers().map(|args| (wanted.name().to_owned(), args));
            self.global.extend(global);
        }
        self
    }
}

fn check_sizes(filter: &Filter, plan: &Plan) -> Result<(), Box<Diagnostic>> {
    if plan.record_size as usize > RECORD_BYTES_MAX || plan.fields.len() > RECORD_FIELDS_MAX {
        let what = format!(
            "its records would have {} bytes in {} fields; {RECORD_BYTES_MAX} bytes and \
             {RECORD_FIELDS_MAX} fields are the most",
            plan.record_size,
            plan.fields.len(),
        );
        return Err(too_large(filter, &what));
    }
    if let Some(group) = &plan.group
        && (group.size as usize > RECORD_BYTES_MAX || group.cells.len() > RECORD_FIELDS_MAX)
    {
        let what = format!("its groups would have more than {RECORD_BYTES_MAX} bytes");
        return Err(too_large(filter, &what));
    }
    if plan.state_size > STATE_BYTES_MAX {
        let what = format!(
            "it would keep {} bytes a row; {STATE_BYTES_MAX} are the most",
            plan.state_size
        );
        return Err(too_large(filter, &what));
    }
    if plan.columns.len() > ROW_COLUMNS_MAX {
        let what = format!("it reads more than {ROW_COLUMNS_MAX} columns");
        return Err(too_large(filter, &what));
    }
    Ok(())
}

fn too_large(filter: &Filter, what: &str) -> Box<Diagnostic> {
    let message = format!("the filter `{}` is too large", filter.name);
    let diagnostic = Diagnostic::error("K0090", message, filter.name_span, what);
    Box::new(diagnostic.help("split it into several filters"))
}

fn not_writable(filters: &[Filter], error: &ObjectError) -> Diagnostic {
    let span = filters.first().map(|filter| filter.name_span).unwrap_or_default();
    Diagnostic::error("K0091", format!("no object can be written: {error}"), span, "")
}

#[cfg(test)]
mod tests {
    use super::compile;

    fn refused(source: &str) -> String {
        let found = compile("f.kf", source).expect_err("too large");
        found.iter().map(|d| format!("{} {};", d.code, d.primary.text)).collect()
    }

    #[test]
    fn a_filter_with_too_much_history_is_refused() {
        let parts: Vec<String> = (1..300).map(|i| format!("delta(rss + {i}B) > 1B")).collect();
        // Chains are limited in length, too.
        let groups: Vec<String> =
            parts.chunks(30).map(|part| format!("({})", part.join(" or "))).collect();
        let source = format!("filter f on process {{ where {} emit pid }}", groups.join(" or "));
        let found = refused(&source);
        assert!(found.contains("it would keep 4784 bytes a row"), "{found}");
    }

    #[test]
    fn a_filter_that_needs_too_much_stack_is_refused() {
        // Each value is computed for the first condition and needed again by the second.
        let terms: Vec<String> = (2..182).map(|i| format!("(rss mod {i}B)")).collect();
        let sum = |parts: &mut dyn Iterator<Item = &String>| {
            let terms: Vec<String> = parts.cloned().collect();
            let groups: Vec<String> =
                terms.chunks(30).map(|part| format!("({})", part.join(" + "))).collect();
            groups.join(" + ")
        };
        let (once, again) = (sum(&mut terms.iter()), sum(&mut terms.iter().rev()));
        let source =
            format!("filter f on process {{ where {once} > 1B and {again} > 2B emit pid }}");
        let found = refused(&source);
        assert!(found.contains("does not fit the stack"), "{found}");
    }
}
