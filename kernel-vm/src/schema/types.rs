//! Types of columns and expressions. Every integer is a signed 64-bit number.

/// The unit of an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// A number of things.
    Count,
    /// A number of bytes.
    Bytes,
    /// Nanoseconds.
    Duration,
    /// A fixed-point number: millionths of one.
    Ratio,
    /// Nanoseconds since boot (CLOCK_BOOTTIME).
    Instant,
    /// A name in the form of a number: pids, uids, inodes. It can be compared, not added.
    Id,
    /// A virtual address, shown in hexadecimal.
    Address,
    /// A device number as the kernel keeps it (`major << 20 | minor`).
    Device,
    /// A set of bits, shown in octal as open(2) flags are.
    Bits,
}

/// Types with named values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EnumKind {
    /// A task's state, as the letter in ps.
    State,
    /// A scheduling policy, sched(7).
    Policy,
    /// What an open file is.
    FileKind,
    /// What kind of object a mapping shows.
    ObjectKind,
    /// How a thread waits for a lock.
    WaitClass,
    /// How bad a match is.
    Severity,
}

impl EnumKind {
    /// Every enumeration.
    pub const ALL: [Self; 6] = [
        Self::State,
        Self::Policy,
        Self::FileKind,
        Self::ObjectKind,
        Self::WaitClass,
        Self::Severity,
    ];

    /// Its name in documentation and metadata.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Policy => "policy",
            Self::FileKind => "file_kind",
            Self::ObjectKind => "object_kind",
            Self::WaitClass => "wait_class",
            Self::Severity => "severity",
        }
    }

    /// The names of its values; a value is its name's index.
    #[must_use]
    pub const fn values(self) -> &'static [&'static str] {
        match self {
            // The order of the kernel's task_state_array (fs/proc/array.c, 6.18) for the
            // bits of TASK_REPORT, then idle, which the kernel keeps after them.
            Self::State => &[
                "running",
                "sleeping",
                "disk_sleep",
                "stopped",
                "traced",
                "dead",
                "zombie",
                "parked",
                "idle",
            ],
            // The numbers of include/uapi/linux/sched.h; 4 was never used.
            Self::Policy => &["other", "fifo", "rr", "batch", "iso", "idle", "deadline", "ext"],
            Self::FileKind => &[
                "unknown",
                "regular",
                "directory",
                "symlink",
                "char_device",
                "block_device",
                "pipe",
                "socket",
                "eventfd",
                "epoll",
                "memfd",
                "timerfd",
                "signalfd",
                "inotify",
                "pidfd",
                "bpf",
                "io_uring",
                "anon",
            ],
            Self::ObjectKind => {
                &["none", "file", "tmpfs", "sysv", "memfd", "shared_anon", "hugetlb", "device"]
            }
            Self::WaitClass => &["none", "waiting", "cycle", "self", "abandoned"],
            Self::Severity => &["ok", "warning", "critical"],
        }
    }
}

/// The type of a column or expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// A signed 64-bit number with a unit.
    Int(Unit),
    /// Millionths of `unit` a second, signed 64 bits.
    PerSecond(Unit),
    /// 0 or 1.
    Bool,
    /// Bytes padded with zeros to `capacity`, a multiple of 8. Not always UTF-8.
    Text {
        /// Most bytes that it holds.
        capacity: u16,
    },
    /// The index of one of the named values.
    Enum(EnumKind),
    /// `ref<thread>`: the tid of a thread, 0 for none.
    Thread,
    /// A mapped or opened object: device then inode, 8 bytes each.
    Object,
}

impl Type {
    /// Bytes that a value takes in a row, in state and in a record.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Text { capacity } => capacity as usize,
            Self::Object => 16,
            Self::Int(_) | Self::PerSecond(_) | Self::Bool | Self::Enum(_) | Self::Thread => 8,
        }
    }
}

impl Unit {
    /// Every unit.
    pub const ALL: [Self; 9] = [
        Self::Count,
        Self::Bytes,
        Self::Duration,
        Self::Ratio,
        Self::Instant,
        Self::Id,
        Self::Address,
        Self::Device,
        Self::Bits,
    ];

    /// Its name in messages, documentation and metadata.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Bytes => "bytes",
            Self::Duration => "duration",
            Self::Ratio => "ratio",
            Self::Instant => "instant",
            Self::Id => "id",
            Self::Address => "address",
            Self::Device => "device",
            Self::Bits => "bits",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.name() == name)
    }
}

impl core::fmt::Display for Type {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Int(unit) => f.write_str(unit.name()),
            Self::PerSecond(unit) => write!(f, "per_second:{}", unit.name()),
            Self::Bool => f.write_str("bool"),
            Self::Text { capacity } => write!(f, "text:{capacity}"),
            Self::Enum(kind) => write!(f, "enum:{}", kind.name()),
            Self::Thread => f.write_str("thread"),
            Self::Object => f.write_str("object"),
        }
    }
}

/// A text that names no type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownType;

impl core::str::FromStr for Type {
    type Err = UnknownType;

    fn from_str(text: &str) -> Result<Self, UnknownType> {
        let parsed = match text.split_once(':') {
            None => match text {
                "bool" => Some(Self::Bool),
                "thread" => Some(Self::Thread),
                "object" => Some(Self::Object),
                unit => Unit::from_name(unit).map(Self::Int),
            },
            Some(("per_second", unit)) => Unit::from_name(unit).map(Self::PerSecond),
            Some(("text", capacity)) => capacity
                .parse()
                .ok()
                .filter(|&capacity: &u16| {
                    capacity > 0 && capacity.is_multiple_of(8) && capacity <= 256
                })
                .map(|capacity| Self::Text { capacity }),
            Some(("enum", name)) => {
                EnumKind::ALL.into_iter().find(|kind| kind.name() == name).map(Self::Enum)
            }
            Some(_) => None,
        };
        parsed.ok_or(UnknownType)
    }
}
