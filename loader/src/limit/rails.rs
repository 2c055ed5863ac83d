//! Whom limits never touch.
//!
//! **Invariant**: nothing but a notification passes a refusal, whatever the filter says.

use std::fmt;

/// What must be known of a process before anything is done to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its parent.
    pub ppid: i32,
    /// Its name, as the kernel has it now.
    pub comm: String,
    /// Runs in the kernel only.
    pub kernel_thread: bool,
    /// How many processes its cgroup holds; `None` for the root cgroup or an unknown one.
    pub cgroup_processes: Option<usize>,
}

/// Whom to leave alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rails {
    /// Names that are protected; a trailing `*` matches any rest.
    pub protect: Vec<String>,
    /// Process ids that are protected: the engine's own and its ancestors'.
    pub own_pids: Vec<i32>,
    /// Most processes that a cgroup may hold to be acted on as a whole.
    pub blast_radius: usize,
}

impl Default for Rails {
    fn default() -> Self {
        Self { protect: Vec::new(), own_pids: Vec::new(), blast_radius: 16 }
    }
}

/// Why a process is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It is pid 1.
    Init,
    /// It is a kernel thread.
    KernelThread,
    /// It is this program or an ancestor of it.
    Own,
    /// Its name is on the list.
    Protected(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Init => f.write_str("pid 1 is never limited"),
            Self::KernelThread => f.write_str("kernel threads are never limited"),
            Self::Own => f.write_str("kfilter never limits itself or its ancestors"),
            Self::Protected(pattern) => write!(f, "protected by `{pattern}`"),
        }
    }
}

impl Rails {
    /// Why `pid` must be left alone, if it must.
    #[must_use]
    pub fn refuse(&self, pid: i32, facts: &Facts) -> Option<Refusal> {
        if pid <= 1 {
            return Some(Refusal::Init);
        }
        if facts.kernel_thread {
            return Some(Refusal::KernelThread);
        }
        if self.own_pids.contains(&pid) {
            return Some(Refusal::Own);
        }
        self.protect
            .iter()
            .find(|pattern| match pattern.strip_suffix('*') {
                Some(start) => facts.comm.starts_with(start),
                None => facts.comm == **pattern,
            })
            .map(|pattern| Refusal::Protected(pattern.clone()))
    }

    /// Whether the process's cgroup is small enough to be acted on as a whole.
    #[must_use]
    pub fn may_act_on_cgroup(&self, facts: &Facts) -> bool {
        facts.cgroup_processes.is_some_and(|count| count <= self.blast_radius)
    }
}
