//! What filters' limits are made of, for those who carry them out and in words.

use kernel_vm::object::{FilterMeta, LimitAction};
use kfilter_loader::limit::{Action, Rung};

/// The ladder of `filter`.
pub(crate) fn rungs(filter: &FilterMeta) -> Vec<Rung> {
    let meta = filter.limit.iter().flat_map(|limit| &limit.rungs);
    meta.map(|rung| Rung {
        after_ns: rung.after_ns,
        action: match rung.action {
            LimitAction::Notify => Action::Notify,
            LimitAction::Nice(value) => Action::Nice(value),
            LimitAction::CpuRatio(millionths) => Action::CpuRatio(millionths),
            LimitAction::MemoryBytes(bytes) => Action::MemoryBytes(bytes),
            LimitAction::Files(count) => Action::Files(count),
            LimitAction::Freeze => Action::Freeze,
            LimitAction::Term => Action::Term,
            LimitAction::Kill => Action::Kill,
        },
    })
    .collect()
}

/// What a filter that acts from the kernel does, and what it leaves to others.
pub(crate) fn of_kernel(filter: &FilterMeta) -> String {
    let of = |is_kernels: bool| -> Vec<String> {
        let rungs = rungs(filter).into_iter();
        let chosen = rungs.filter(|rung| rung.action.is_destructive() == is_kernels);
        chosen
            .map(|rung| {
                let after = crate::output::human::duration(rung.after_ns);
                format!("{} after {after}", rung.action)
            })
            .collect()
    };
    let (own, others) = (of(true).join(", "), of(false).join(", "));
    if others.is_empty() {
        return format!("the kernel does {own}");
    }
    format!("the kernel does {own}; left to `kfilter watch --enforce`: {others}")
}
