//! Texts of /proc to values: proc(5) and its pages.
//!
//! **Invariant**: total on any bytes; what is not as documented is `None`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// proc_pid_stat(5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// The name between the parentheses.
    pub comm: Vec<u8>,
    /// The letter of the state.
    pub state: u8,
    /// The numbers after it; field 4 is the first.
    numbers: Vec<i64>,
}

impl Stat {
    /// Reads the one line of the file.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let open = text.iter().position(|&byte| byte == b'(')?;
        let close = text.iter().rposition(|&byte| byte == b')')?;
        let comm = text.get(open + 1..close)?.to_vec();
        let mut words = words(text.get(close + 1..)?);
        let state = *words.next()?.first()?;
        // Some fields are addresses above the signed range; none of them is a column.
        let numbers: Vec<i64> = words.map(|word| number(word).unwrap_or(i64::MAX)).collect();
        (numbers.len() >= 37).then_some(Self { comm, state, numbers })
    }

    /// The number with this position in the manual page, 4 or more.
    #[must_use]
    pub fn field(&self, position: usize) -> Option<i64> {
        self.numbers.get(position.checked_sub(4)?).copied()
    }
}

/// proc_pid_status(5): the value after `name:`.
#[must_use]
pub fn status_value<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    text.split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b":"))
        .map(<[u8]>::trim_ascii)
}

/// A size of proc_pid_status(5), `123 kB`, in bytes.
#[must_use]
pub fn status_bytes(text: &[u8], name: &str) -> Option<i64> {
    let value = status_value(text, name)?;
    number(value.strip_suffix(b"kB")?.trim_ascii())?.checked_mul(1024)
}

/// The number at `index` of a line of proc_pid_status(5).
#[must_use]
pub fn status_number(text: &[u8], name: &str, index: usize) -> Option<i64> {
    number(words(status_value(text, name)?).nth(index)?)
}

/// The last number of a line: ids in the innermost namespace.
#[must_use]
pub fn status_last(text: &[u8], name: &str) -> Option<i64> {
    number(words(status_value(text, name)?).last()?)
}

/// proc_pid_limits(5): the soft limit of open files.
#[must_use]
pub fn open_files_limit(text: &[u8]) -> Option<i64> {
    let line = text
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(b"Max open files".as_slice()))?;
    match words(line).next()? {
        b"unlimited" => Some(i64::MAX),
        word => number(word),
    }
}

/// proc_pid_cgroup(5): the path in the unified hierarchy.
#[must_use]
pub fn unified_cgroup(text: &[u8]) -> Option<&[u8]> {
    text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"0::".as_slice()))
}

/// A mounted file system of proc_pid_mountinfo(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its device, as the kernel keeps it.
    pub device: i64,
    /// Where it is mounted.
    pub point: PathBuf,
    /// Its type.
    pub filesystem: String,
}

/// The mounts of proc_pid_mountinfo(5).
#[must_use]
pub fn mounts(text: &[u8]) -> Vec<Mount> {
    text.split(|&byte| byte == b'\n').filter_map(mount).collect()
}

fn mount(line: &[u8]) -> Option<Mount> {
    let dash = line.windows(3).position(|window| window == b" - ")?;
    let mut fields = line.get(..dash)?.split(|&byte| byte == b' ').skip(2);
    let device = fields.next()?;
    let point = fields.nth(1)?;
    let filesystem = line.get(dash + 3..)?.split(|&byte| byte == b' ').next()?;
    Some(Mount {
        device: device_pair(device, 10)?,
        point: PathBuf::from(OsStr::from_bytes(point)),
        filesystem: String::from_utf8_lossy(filesystem).into_owned(),
    })
}

/// `major:minor` in a number base, as the kernel keeps it.
#[must_use]
pub fn device_pair(text: &[u8], base: u32) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (major, minor) = text.split_once(':')?;
    let major = u32::from_str_radix(major, base).ok()?;
    let minor = u32::from_str_radix(minor, base).ok()?;
    Some(i64::from(major) << 20 | i64::from(minor))
}

/// Words between white space.
pub(super) fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// A whole decimal number.
pub(super) fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STAT: &[u8] = b"42 (a) (b)) S 1 42 7 0 -1 4194560 100 2 3 4 50 60 70 80 20 0 5 0 99 \
        1000000 250 18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
    const STATUS: &[u8] = b"Name:\tx\nUid:\t1000\t1001\t1002\t1003\nNSpid:\t42\t7\n\
        VmRSS:\t     120 kB\nvoluntary_ctxt_switches:\t150\n";

    #[test]
    fn fields_are_where_the_manual_says() {
        let stat = Stat::parse(STAT).expect("well formed");
        assert_eq!((stat.comm.as_slice(), stat.state), (b"a) (b)".as_slice(), b'S'));
        assert_eq!(stat.field(4), Some(1));
        assert_eq!(stat.field(14), Some(50));
        assert_eq!(stat.field(22), Some(99));
        assert_eq!(stat.field(39), Some(1));
        assert_eq!(stat.field(3), None);
        assert_eq!(status_number(STATUS, "Uid", 1), Some(1001));
        assert_eq!(status_last(STATUS, "NSpid"), Some(7));
        assert_eq!(status_bytes(STATUS, "VmRSS"), Some(120 << 10));
        assert_eq!(status_bytes(STATUS, "VmSwap"), None);
        assert_eq!(open_files_limit(b"Max open files  1024  4096  files\n"), Some(1024));
        assert_eq!(open_files_limit(b"Max open files  unlimited  x\n"), Some(i64::MAX));
        assert_eq!(unified_cgroup(b"3:cpu:/a\n0::/b c\n"), Some(b"/b c".as_slice()));
        let mounts = mounts(b"30 25 8:1 / /x rw shared:1 - ext4 /dev/sda1 rw\nnonsense\n");
        assert_eq!(mounts.len(), 1);
        assert_eq!((mounts[0].device, mounts[0].filesystem.as_str()), (8 << 20 | 1, "ext4"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(text in prop::collection::vec(any::<u8>(), 0..200)) {
            answer(&text);
        }

        #[test]
        fn damaged_files_are_answered(at in 0usize..250, byte: u8, cut in 0usize..250) {
            for good in [STAT, STATUS] {
                let mut text = good.to_vec();
                if let Some(place) = text.get_mut(at) { *place = byte; }
                text.truncate(cut);
                answer(&text);
            }
        }
    }

    fn answer(text: &[u8]) {
        let _ = Stat::parse(text).map(|stat| stat.field(usize::MAX));
        let _ = (status_bytes(text, "VmRSS"), status_last(text, ""), open_files_limit(text));
        let _ = (unified_cgroup(text), mounts(text), device_pair(text, 16));
    }
}
