//! What a user without any privilege can learn from loaded filters, and do to them: read the
//! files that were opened for it, and nothing else.

use kernel_vm::abi::SWEEP_END_BYTES;
use kfilter_loader::Session as _;
use kfilter_loader::pin::PinOptions;
use kfilter_loader::record::{Value, decode};
use kfilter_tests::kept::{Kept, as_nobody};

const TEST: &str = "read_unprivileged";

/// A filter that everybody may read, one that nobody may, and one with addresses.
fn source() -> String {
    let me = std::process::id();
    format!(
        "filter open on process {{ where pid == {me} emit pid, comm }}\n\
         filter shut on process {{ where pid == {me} emit pid, comm }}\n\
         filter maps on mapping {{ where pid == {me} emit address, pid, size }}\n"
    )
}

/// The filters, `open` and `maps` readable by all.
fn kept(test: &str) -> Option<Kept> {
    let kept = Kept::load(test, &source(), &PinOptions { mode: 0o644, ..PinOptions::new("") })?;
    let shut = PinOptions { replace: true, ..PinOptions::new("shut") };
    kept.load_again(&shut).expect("it was loaded before");
    Some(kept)
}

#[test]
fn nobody_reads_what_was_opened_and_nothing_else() {
    let Some(kept) = kept("boundary") else { return };
    let text = |path: &std::path::Path| path.to_str().expect("a plain path").to_owned();
    let (read, lines) = (text(&kept.pins.read_path("open")), text(&kept.pins.text_path("open")));
    let me = std::process::id();
    for _ in 0..2 {
        let Some(output) = as_nobody(TEST, "cat", &[&lines]) else { return };
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(
            shown.lines().nth(1).is_some_and(|l| l.trim().starts_with(&me.to_string())),
            "{shown}"
        );
        let output = as_nobody(TEST, "cat", &[&read]).expect("it ran before");
        let layout = &kept.object.filter("open").expect("it is loaded").record;
        let record = output.stdout.get(..layout.size as usize).expect("one record");
        let pid = decode(record, 0, &layout.fields[0]);
        assert!(matches!(pid, Some(Value::Int(pid, _)) if pid == i64::from(me)), "{pid:?}");
    }
    let refused = |program: &str, args: &[&str]| {
        let output = as_nobody(TEST, program, args).expect("it ran before");
        assert!(!output.status.success(), "{program} {args:?}");
    };
    let open = text(&kept.directory("open"));
    refused("ls", &[&open]);
    refused("rm", &["-f", &read]);
    refused("mv", &[&read, &format!("{open}/other")]);
    refused("dd", &["if=/dev/null", &format!("of={read}"), "conv=notrunc"]);
    refused("chmod", &["0666", &read]);
    for file in ["meta", "sweep", "records", "bss", "rodata"] {
        refused("cat", &[&format!("{open}/{file}")]);
    }
    let shut = text(&kept.directory("shut"));
    for file in ["read", "text", "meta"] {
        refused("cat", &[&format!("{shut}/{file}")]);
    }
}

/// bpf(2) itself, called by somebody without privilege: opening each of the pinned objects,
/// for writing and for reading only, and making a map.
#[test]
fn nobody_gets_an_object_through_the_system_call() {
    const SCRIPT: &str = r#"
import ctypes, errno, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def bpf(command, attr):
    block = ctypes.create_string_buffer(attr, 152)
    fd = libc.syscall(321, command, block, 152)
    return 0 if fd >= 0 else ctypes.get_errno()
for path in sys.argv[1:]:
    text = ctypes.create_string_buffer(path.encode())
    for flags in (0, 1 << 3, 1 << 4):
        got = bpf(7, struct.pack("QIII", ctypes.addressof(text), 0, flags, 0))
        print(path.rsplit("/", 2)[-2:], flags, errno.errorcode.get(got, got))
print("map", errno.errorcode.get(bpf(0, struct.pack("IIII", 2, 4, 8, 1))))
"#;
    let Some(kept) = kept("boundary_bpf") else { return };
    let mut args = vec!["-c".to_owned(), SCRIPT.to_owned()];
    for filter in ["open", "shut"] {
        for file in ["read", "text", "meta", "sweep", "records", "bss", "rodata"] {
            args.push(format!("{}/{file}", kept.directory(filter).display()));
        }
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let Some(output) = as_nobody(TEST, "python3", &args) else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        said.lines().count(),
        14 * 3 + 1,
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for line in said.lines() {
        // Links cannot be opened for reading only at all: EINVAL.
        let is_refused = ["EPERM", "EACCES", "EINVAL"].iter().any(|name| line.ends_with(name));
        let may_map = line.starts_with("map")
            && std::fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled")
                .is_ok_and(|text| text.trim() == "0");
        assert!(is_refused || may_map, "{line}");
    }
}

#[test]
fn addresses_are_for_those_who_may_trace_the_kernel() {
    let Some(kept) = kept("boundary_addresses") else { return };
    let layout = &kept.object.filter("maps").expect("it is loaded").record;
    let sweep = kept.file_session("maps").sweep().expect("it sweeps");
    let addresses = sweep.records.iter().filter_map(|one| decode(one, 0, &layout.fields[0]));
    let shown: Vec<Value> = addresses.collect();
    assert_eq!(shown.len(), sweep.records.len(), "root sees them");
    assert!(shown.iter().all(|value| value.number().is_some_and(|address| address != 0)));

    let path = kept.pins.read_path("maps");
    let Some(output) = as_nobody(TEST, "cat", &[path.to_str().expect("a plain path")]) else {
        return;
    };
    let size = layout.size as usize;
    let end = output.stdout.len().checked_sub(SWEEP_END_BYTES).expect("an end");
    let records = output.stdout[..end].chunks_exact(size);
    assert!(records.len() > 0, "it reads the rest");
    for record in records {
        assert_eq!(decode(record, 0, &layout.fields[0]), None, "no address");
        assert_eq!(record[8..16], [0; 8], "nor its bytes");
        let pid = decode(record, 1, &layout.fields[1]).and_then(|value| value.number());
        assert_eq!(pid, Some(std::process::id().into()));
    }
    let path = kept.pins.text_path("maps");
    let output = as_nobody(TEST, "cat", &[path.to_str().expect("a plain path")]).expect("it ran");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.lines().skip(1).all(|line| line.trim_start().starts_with("- ")), "{text}");
}

/// A record consists of what is emitted: what is unknown is zero, not what was on the stack.
#[test]
fn unknown_fields_are_zero() {
    let me = std::process::id();
    let source = format!(
        "filter gaps on process {{ where pid == {me} \
         emit pid, rate(cpu_time) as cpu, mean(rss, 1h) as usual, comm, zscore(rss, 1h) as z }}\n"
    );
    let Some(kept) = Kept::load("boundary_gaps", &source, &PinOptions::new("")) else { return };
    let layout = &kept.object.filter("gaps").expect("it is loaded").record;
    for _ in 0..3 {
        let sweep = kept.file_session("gaps").sweep().expect("it sweeps");
        let record = sweep.records.iter().next().expect("one record");
        let mut covered = 8;
        for (index, field) in layout.fields.iter().enumerate() {
            let (start, end) = (field.offset as usize, field.offset as usize + field.ty.0.size());
            assert_eq!(start, covered, "no byte lies between fields");
            covered = end;
            if decode(record, index, field).is_none() {
                assert!(record[start..end].iter().all(|&byte| byte == 0), "{}", field.name);
            }
        }
        assert_eq!(covered, record.len());
        let missing = u64::from_le_bytes(record[..8].try_into().expect("eight bytes"));
        assert_eq!(missing >> layout.fields.len(), 0, "no bit beyond the fields");
    }
}
