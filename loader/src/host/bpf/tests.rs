use super::*;
use crate::elf::Object;
use crate::error::ErrorClass;
use crate::sys::fake::Fake;

const SWEEP: &[u8] = include_bytes!("../../../tests/objects/sweep.o");

/// Loads the fixture's filter; `None` where the machine has no BTF to relocate against.
fn load(fake: Fake) -> Option<(Rc<Fake>, Result<BpfSession, LoadError>)> {
    if !fake.has_btf() {
        println!("SKIPPED: this kernel has no BTF");
        return None;
    }
    let fake = Rc::new(fake);
    let object = Object::parse(SWEEP).unwrap();
    let request = Request::new(&object, "hog", &[], SystemValues::default()).unwrap();
    let session = BpfHost::new(fake.clone()).load_session(&request);
    Some((fake, session))
}

#[test]
fn a_load_makes_only_what_the_filter_uses() {
    let Some((fake, session)) = load(Fake::new()) else { return };
    let session = session.unwrap();
    let calls: Vec<String> =
        fake.seen().iter().map(|(call, object)| format!("{call} {object}")).collect();
    insta::assert_snapshot!(calls.join("\n"), @r"
    BPF_BTF_LOAD 
    BPF_MAP_CREATE hog.bss
    BPF_MAP_CREATE hog.rodata
    BPF_MAP_UPDATE_ELEM 
    BPF_MAP_FREEZE 
    BPF_MAP_CREATE state_hog
    BPF_MAP_CREATE records_hog
    BPF_PROG_LOAD sweep_hog
    mmap 
    mmap 
    mmap
    ");
    assert_eq!(fake.open(), 6);
    drop(session);
    assert_eq!(fake.open(), 0);
}

#[test]
fn a_load_that_fails_half_way_leaves_nothing_behind() {
    let faults = [
        ("BPF_BTF_LOAD", "", libc::ENOMEM),
        ("BPF_MAP_CREATE", "records_hog", libc::ENOMEM),
        ("BPF_MAP_CREATE", "state_hog", libc::ENOSPC),
        ("BPF_MAP_CREATE", "hog.rodata", libc::E2BIG),
        ("BPF_MAP_UPDATE_ELEM", "", libc::ENOSPC),
        ("BPF_MAP_FREEZE", "", libc::EBUSY),
        ("BPF_PROG_LOAD", "", libc::ENOMEM),
        ("mmap", "", libc::ENOMEM),
    ];
    for (call, object, errno) in faults {
        let Some((fake, session)) = load(Fake::new().failing(call, object, errno)) else { return };
        let error = session.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Host, "{error}");
        let LoadError::Syscall { source, .. } = &error else { panic!("{error:?}") };
        assert_eq!((source.call, source.errno.0), (call, errno));
        assert_eq!(fake.open(), 0, "{call} of {object}");
    }
}

#[test]
fn missing_privilege_is_told_apart() {
    for call in ["BPF_BTF_LOAD", "BPF_PROG_LOAD"] {
        let Some((_, session)) = load(Fake::new().failing(call, "", libc::EPERM)) else { return };
        assert_eq!(session.unwrap_err().class(), ErrorClass::Privilege, "{call}");
    }
}

#[test]
fn what_old_kernels_have_no_room_for_is_named() {
    for (map, errno, what) in [
        ("records_hog", libc::EPERM, "locked memory"),
        (".rodata", libc::EPERM, "locked memory"),
        ("state_hog", libc::EINVAL, "task storage"),
    ] {
        let fake = Fake::new().failing("BPF_MAP_CREATE", map, errno);
        let Some((_, session)) = load(fake) else { return };
        let error = session.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Host);
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.to_string().contains("--host vm"), "{error}");
    }
}

#[test]
fn what_old_verifiers_do_not_know_is_named() {
    for (log, what) in [
        ("12: (85) call bpf_loop#181\ninvalid func unknown#181\n", "helper `bpf_loop` is missing"),
        ("invalid func unknown#191\n", "from Linux 5.18 on"),
        ("invalid func unknown#250\n", "helper 250 is missing"),
        ("Only fentry/fexit/fmod_ret and lsm programs can be sleepable\n", "who waits for a lock"),
        ("Sleepable programs can only use preallocated maps\n", "who waits for a lock"),
    ] {
        let Some((_, session)) = load(Fake::new().refusing(libc::EINVAL, log)) else { return };
        let error = session.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Host, "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.to_string().contains("--host vm"), "{error}");
    }
}

#[test]
fn a_verifier_that_asks_for_a_capability_is_told_apart() {
    let log = "7: (1d) if r0 == r6 goto pc+1\nR0 pointer comparison prohibited\n";
    let refusing = |capabilities: &str| {
        let status = format!("Name:\tx\nCapEff:\t{capabilities}\n");
        Fake::new().refusing(libc::EACCES, log).file("/proc/self/status", &status)
    };
    let Some((_, session)) = load(refusing("0000008000000000")) else { return };
    let error = session.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Privilege);
    insta::assert_snapshot!(error, @"the kernel refused program `sweep_hog` (EACCES) at ./sweep.bpf.c:78: `if (__sync_val_compare_and_swap(&hog_stats.busy, 0, 1))`: R0 pointer comparison prohibited (CAP_PERFMON is not held)");
    for enough in ["000000c000000000", "0000000000200000"] {
        let Some((_, session)) = load(refusing(enough)) else { return };
        assert_eq!(session.unwrap_err().class(), ErrorClass::Host);
    }
}

#[test]
fn a_kernel_without_types_is_named() {
    let object = Object::parse(SWEEP).unwrap();
    let request = Request::new(&object, "hog", &[], SystemValues::default()).unwrap();
    let error = BpfHost::new(Rc::new(Fake::without_btf())).load_session(&request).unwrap_err();
    insta::assert_snapshot!(error, @"the kernel's BTF is missing: open: ENOENT; use a kernel with CONFIG_DEBUG_INFO_BTF=y, or `--host vm`");
}

#[test]
fn a_log_that_does_not_fit_is_asked_for_again() {
    // Larger than the first buffer; the reason is at the end.
    let mut log = "; a line of narration\n".repeat(10_000);
    log.push_str("7: (79) r0 = *(u64 *)(r0 +8)\nR0 invalid mem access\nprocessed 9 insns\n");
    let fake = Fake::new().refusing(libc::EACCES, String::leak(log));
    let Some((fake, session)) = load(fake) else { return };
    let error = session.unwrap_err();
    let LoadError::Rejected(rejection) = &error else { panic!("{error:?}") };
    assert_eq!(rejection.slot, Some(7));
    assert_eq!(rejection.message, "R0 invalid mem access");
    assert!(rejection.log.ends_with("processed 9 insns\n"));
    let loads = fake.seen().iter().filter(|(call, _)| *call == "BPF_PROG_LOAD").count();
    assert_eq!(loads, 3);
    assert_eq!(fake.open(), 0);
}

#[test]
fn a_sweep_waits_for_one_that_is_under_way_and_reports_errors() {
    let Some((_, session)) = load(Fake::new().runs(&[0, 1, 1])) else { return };
    assert!(session.unwrap().sweep().is_ok());
    let Some((_, session)) = load(Fake::new().runs(&[-libc::ENOMEM as u32])) else { return };
    insta::assert_snapshot!(
        session.unwrap().sweep().unwrap_err(),
        @"sweeping with filter `hog`: the sweep: ENOMEM"
    );
    let Some((_, session)) = load(Fake::new().runs(&[1; 100])) else { return };
    insta::assert_snapshot!(
        session.unwrap().sweep().unwrap_err(),
        @"filter `hog` is being swept by someone else"
    );
}

#[test]
fn ring_buffers_have_room_for_every_row() {
    let fake = Fake::without_btf().file("/proc/loadavg", "0.1 0.2 0.3 2/10000 77\n");
    assert_eq!(thread_count(&fake), Some(10_000));
    assert_eq!(records_bytes(48, 10_000), 1 << 20);
    assert_eq!(records_bytes(320, 10), 64 << 10);
    assert_eq!(records_bytes(320, usize::MAX), 64 << 20);
}

#[test]
fn system_values_are_read_or_unknown() {
    let fake = Fake::without_btf()
        .file("/proc/meminfo", "MemTotal:       24598324 kB\nMemFree: 1 kB\n")
        .file("/sys/devices/system/cpu/online", "0-3,8\n");
    let values = system_values(&fake);
    assert_eq!((values.memory, values.cpus), (24_598_324 * 1024, 5));
    assert_eq!(system_values(&Fake::without_btf()), SystemValues::default());
    for text in ["", "3-1", "x", "0-18446744073709551615"] {
        assert_eq!(online_cpus(text), None, "{text}");
    }
}
