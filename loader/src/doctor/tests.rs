use super::*;
use crate::sys::Kernel;
use crate::sys::fake::Fake;

/// The report as lines.
fn lines(report: &Report) -> String {
    let mut text = format!("kernel {}\n", report.kernel);
    for capability in &report.capabilities {
        text += &format!("{} {:?}\n", capability.name, capability.held);
    }
    for Check { feature, outcome } in &report.checks {
        text += &match outcome {
            Outcome::Works(_) => format!("{}: works\n", feature.name()),
            Outcome::Missing { why, way_out, .. } => {
                format!("{}: {why} -> {way_out}\n", feature.name())
            }
        };
    }
    for table in &report.tables {
        text += &format!("{}: lacks {:?}\n", table.table.name(), table.bpf_lacks);
    }
    text
}

#[test]
fn without_privilege_each_feature_says_so() {
    let fake = Fake::without_btf()
        .file("/proc/sys/kernel/osrelease", "6.1.0\n")
        .file("/proc/self/status", "Name:\tx\nCapEff:\t0000000000000020\n")
        .failing("BPF_BTF_LOAD", "", libc::EPERM)
        .failing("BPF_MAP_CREATE", "", libc::EPERM)
        .failing("BPF_PROG_LOAD", "", libc::EPERM);
    insta::assert_snapshot!(lines(&examine(&fake)));
    assert_eq!(fake.open(), 0);
}

#[test]
fn the_running_kernel_is_examined_and_nothing_is_left() {
    let report = examine(&Kernel);
    assert_eq!(report.checks.len(), Feature::ALL.len());
    // Where the basis works, what is built upon it gives an errno or a reason.
    for check in &report.checks {
        if let Outcome::Missing { why, way_out, .. } = &check.outcome {
            println!("{}: {why} -> {way_out}", check.feature.name());
            assert!(!why.is_empty() && !way_out.is_empty());
        }
    }
    let left = std::fs::read_dir("/sys/fs/bpf").into_iter().flatten().flatten();
    let mine = format!("kfilter_doctor_{}", std::process::id());
    assert!(left.into_iter().all(|entry| entry.file_name() != *mine));
}
