use super::super::{Sweep, compile};
use crate::code::Code;
use crate::plan::Plan;
use crate::simplify::simplify;

fn built(rungs: &str) -> Sweep {
    let source = format!(
        "filter f on process {{ where rate(cpu_time) > 1% emit comm limit {{ {rungs} }} }}"
    );
    let analysis = crate::parse_and_check(&source);
    assert!(!analysis.has_errors(), "{:?}", analysis.diagnostics);
    let filter = simplify(&analysis.filters[0]);
    compile(&filter, &Plan::new(&filter), 0, 0).expect("its jumps fit")
}

/// All code of an object, by the names of its functions.
fn functions(sweep: &Sweep) -> Vec<(&str, &Code)> {
    let programs = std::iter::once(&sweep.program).chain(&sweep.resident.programs);
    let programs = programs.map(|program| (program.name.as_str(), &program.code));
    let functions = sweep.subprograms.iter().chain(&sweep.resident.subprograms);
    programs.chain(functions.map(|one| (one.name.as_str(), &one.code))).collect()
}

#[test]
fn a_filter_that_is_not_armed_has_the_code_that_it_has_without_such_rungs() {
    let (mild, deadly) = (built("after 1s nice 5"), built("after 1s term after 2s kill"));
    assert_eq!(mild.acting, None);
    let (mild, all) = (functions(&mild), functions(&deadly));
    let own = ["arm_f", "act_f", "rungs_f", "signal_f"];
    let (own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(name, _)| own.contains(name));
    assert_eq!(own.len(), 4);
    assert_eq!(others, mild);
    let acting = deadly.acting.as_ref().expect("it can act");
    assert_eq!([&*acting.start, &*acting.acts, &*acting.rails], ["arm_f", "acts_f", "rails_f"]);
}
