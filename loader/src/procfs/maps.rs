//! Mappings: proc_pid_maps(5).

use super::parse;
use std::collections::{BTreeSet, HashMap};

/// Indices of the names of `EnumKind::ObjectKind`.
mod kind {
    pub(super) const NONE: i64 = 0;
    pub(super) const FILE: i64 = 1;
    pub(super) const TMPFS: i64 = 2;
    pub(super) const SYSV: i64 = 3;
    pub(super) const MEMFD: i64 = 4;
    pub(super) const SHARED_ANON: i64 = 5;
    pub(super) const HUGETLB: i64 = 6;
    pub(super) const DEVICE: i64 = 7;
}

/// One mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Where it starts.
    pub address: i64,
    /// Its length in bytes.
    pub size: i64,
    /// `rwxp` or the like.
    pub permissions: [u8; 4],
    /// Device of the object, as the kernel keeps it.
    pub device: i64,
    /// Inode of the object.
    pub inode: i64,
    /// Index of the object's kind.
    pub kind: i64,
    /// Last part of the object's name.
    pub name: Vec<u8>,
    /// Bytes that the process has mapped in, where smaps was read.
    pub resident: Option<i64>,
}

impl Mapping {
    /// Whether it is MAP_SHARED.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.permissions[3] == b's'
    }
}

/// The mappings of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maps {
    /// In the order of addresses.
    pub list: Vec<Mapping>,
}

impl Maps {
    /// Reads the file; lines that are not as documented are left out.
    #[must_use]
    pub fn parse(text: &[u8], filesystems: &HashMap<i64, String>) -> Self {
        let lines = text.split(|&byte| byte == b'\n');
        Self { list: lines.filter_map(|line| mapping(line, filesystems)).collect() }
    }

    /// Adds what proc_pid_smaps(5) says of the resident part of each mapping.
    pub fn add_resident(&mut self, smaps: &[u8]) {
        let mut current = None;
        for line in smaps.split(|&byte| byte == b'\n') {
            if let Some(bytes) = parse::status_bytes(line, "Rss") {
                let place = current.and_then(|address| {
                    let found = self.list.binary_search_by_key(&address, |each| each.address);
                    self.list.get_mut(found.ok()?)
                });
                if let Some(mapping) = place {
                    mapping.resident = Some(bytes);
                }
            } else if let Some(start) = line.split(|&byte| byte == b'-').next()
                && let Ok(start) = std::str::from_utf8(start)
                && let Ok(start) = u64::from_str_radix(start, 16)
            {
                current = Some(start.cast_signed());
            }
        }
    }

    /// Bytes of the shared mappings whose kind `wanted` accepts.
    #[must_use]
    pub fn shared_bytes(&self, wanted: impl Fn(i64) -> bool) -> i64 {
        let shared = self.list.iter().filter(|each| each.is_shared() && wanted(each.kind));
        shared.fold(0, |sum, each| sum.saturating_add(each.size))
    }

    /// Distinct shared-memory objects.
    #[must_use]
    pub fn shared_objects(&self) -> i64 {
        let objects: BTreeSet<(i64, i64)> = self
            .list
            .iter()
            .filter(|each| each.is_shared() && is_shared_memory(each.kind))
            .map(|each| (each.device, each.inode))
            .collect();
        i64::try_from(objects.len()).unwrap_or(i64::MAX)
    }
}

/// Whether an object's kind is memory that processes share.
#[must_use]
pub fn is_shared_memory(object: i64) -> bool {
    matches!(object, kind::TMPFS | kind::SYSV | kind::MEMFD | kind::SHARED_ANON)
}

/// Whether it is of tmpfs, with a name or as a memfd.
#[must_use]
pub fn is_tmpfs(object: i64) -> bool {
    matches!(object, kind::TMPFS | kind::MEMFD)
}

/// Whether it is a SysV segment.
#[must_use]
pub fn is_sysv(object: i64) -> bool {
    object == kind::SYSV
}

/// Whether it is shared anonymous memory.
#[must_use]
pub fn is_shared_anon(object: i64) -> bool {
    object == kind::SHARED_ANON
}

fn mapping(line: &[u8], filesystems: &HashMap<i64, String>) -> Option<Mapping> {
    let mut rest = line;
    let mut field = || {
        let end = rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after.trim_ascii_start();
        word
    };
    let (range, permissions) = (field(), field());
    let _offset = field();
    let (device, inode) = (field(), field());
    let path = rest;
    if path == b"[vsyscall]" {
        // A page of the kernel's that /proc adds to every list; no mapping of the process.
        return None;
    }
    let range = std::str::from_utf8(range).ok()?;
    let (start, end) = range.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let end = u64::from_str_radix(end, 16).ok()?;
    let (device, inode) = (parse::device_pair(device, 16)?, parse::number(inode)?);
    let kind = kind_of(path, device, inode, permissions.get(3) == Some(&b's'), filesystems);
    Some(Mapping {
        address: start.cast_signed(),
        size: end.checked_sub(start)?.cast_signed(),
        permissions: permissions.try_into().ok()?,
        device,
        inode,
        kind,
        // The inode of a SysV segment is its id: the first one of a machine has 0.
        name: if kind == kind::NONE { Vec::new() } else { last_part(path).to_vec() },
        resident: None,
    })
}

/// What is mapped. Segments, memfds and shared anonymous memory live in a tmpfs of the
/// kernel's own that no mount shows; their names tell them apart (mm/shmem.c, ipc/shm.c).
fn kind_of(
    path: &[u8],
    device: i64,
    inode: i64,
    shared: bool,
    filesystems: &HashMap<i64, String>,
) -> i64 {
    if inode == 0 && device == 0 {
        return kind::NONE;
    }
    if path.starts_with(b"/SYSV") {
        return kind::SYSV;
    }
    if path.starts_with(b"/memfd:") {
        return kind::MEMFD;
    }
    if path == SHARED_ANON_PATH || path.starts_with(b"[anon_shmem:") {
        return if shared { kind::SHARED_ANON } else { kind::FILE };
    }
    if path.starts_with(b"/anon_hugepage") {
        return kind::HUGETLB;
    }
    match filesystems.get(&device).map(String::as_str) {
        Some("hugetlbfs") => kind::HUGETLB,
        Some("tmpfs") => kind::TMPFS,
        Some("devtmpfs") => kind::DEVICE,
        _ => kind::FILE,
    }
}

/// How shared memory without a name is shown: a file called `dev/zero`.
const SHARED_ANON_PATH: &[u8] = b"/dev/zero (deleted)";

/// The last part of a path, as the kernel names the object itself.
pub(super) fn last_part(path: &[u8]) -> &[u8] {
    if path == SHARED_ANON_PATH {
        return b"dev/zero";
    }
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    if path.starts_with(b"/memfd:") {
        // Its name is whatever memfd_create(2) was given, slashes too.
        return &path[1..];
    }
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &[u8] = b"\
55d0c0000000-55d0c0021000 r-xp 00001000 08:01 131 /usr/bin/a b
7f0000000000-7f0000100000 rw-s 00000000 00:01 5 /SYSV00001234 (deleted)
7f0000200000-7f0000300000 rw-s 00000000 00:01 6 /memfd:ring (deleted)
7f0000400000-7f0000500000 rw-s 00000000 00:01 7 /dev/zero (deleted)
7f0000600000-7f0000700000 rw-s 00000000 00:19 8 /dev/shm/pool
7f0000800000-7f0000900000 rw-p 00000000 00:00 0 [heap]
7fff00000000-7fff00021000 rw-p 00000000 00:00 0
";

    #[test]
    fn names_are_those_that_the_kernel_keeps() {
        assert_eq!(last_part(b"/usr/bin/a b (deleted)"), b"a b");
        assert_eq!(last_part(b"/memfd:ring/of dogs (deleted)"), b"memfd:ring/of dogs");
        assert_eq!(last_part(b"/dev/zero (deleted)"), b"dev/zero");
        assert_eq!(last_part(b"/dev/zero"), b"zero");
        let gate = b"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0     [vsyscall]\n";
        assert_eq!(Maps::parse(gate, &HashMap::new()).list, []);
    }

    #[test]
    fn kinds_of_memory_are_told_apart() {
        let filesystems = HashMap::from([(0x19, "tmpfs".to_owned())]);
        let maps = Maps::parse(TEXT, &filesystems);
        let kinds: Vec<i64> = maps.list.iter().map(|each| each.kind).collect();
        assert_eq!(
            kinds,
            [kind::FILE, kind::SYSV, kind::MEMFD, kind::SHARED_ANON, kind::TMPFS, 0, 0]
        );
        assert_eq!(maps.list[0].name, b"a b");
        assert_eq!(maps.list[1].name, b"SYSV00001234");
        assert_eq!(maps.list[0].size, 0x21000);
        assert_eq!(maps.shared_bytes(|_| true), 4 << 20);
        assert_eq!(maps.shared_bytes(is_tmpfs), 2 << 20);
        assert_eq!(maps.shared_objects(), 4);
    }

    #[test]
    fn the_first_segment_of_a_machine_has_a_name_though_its_id_is_0() {
        let text = b"7f0000000000-7f0000100000 rw-s 00000000 00:01 0 /SYSV00000000 (deleted)\n";
        let maps = Maps::parse(text, &HashMap::new());
        assert_eq!(maps.list[0].name, b"SYSV00000000");
        assert_eq!(maps.list[0].kind, kind::SYSV);
    }

    #[test]
    fn the_resident_part_is_of_its_mapping() {
        let mut maps = Maps::parse(TEXT, &HashMap::new());
        maps.add_resident(
            b"7f0000200000-7f0000300000 rw-s 00000000 00:01 6 /memfd:ring\nRss:  8 kB\nPss: 4 kB\n",
        );
        let resident: Vec<Option<i64>> = maps.list.iter().map(|each| each.resident).collect();
        assert_eq!(resident[2], Some(8192));
        assert_eq!(resident[1], None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(text in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Maps::parse(&text, &HashMap::new()).shared_objects();
        }

        #[test]
        fn damaged_lines_are_left_out(at in 0usize..500, byte: u8) {
            let mut text = TEXT.to_vec();
            if let Some(place) = text.get_mut(at) { *place = byte; }
            let maps = Maps::parse(&text, &HashMap::new());
            prop_assert!(maps.list.len() <= 8);
        }
    }
}
