//! `kfilter load`: keeps filters in the kernel, where no process of ours must stay alive.

mod from_dir;

use crate::choice::Choice;
use crate::exit::{Exit, Failure};
use crate::limits;
use crate::output::human;
use crate::output::terminal::ColorChoice;
use crate::session::failure;
use clap::ValueEnum;
use kfilter_loader::HostKind;
use kfilter_loader::keep::Keepers;
use kfilter_loader::limit::Rails;
use kfilter_loader::params::{self, Given};
use kfilter_loader::pin::{PinOptions, Pinned, Pins};
use std::path::PathBuf;
use std::time::Duration;

/// Keep filters loaded in the kernel
///
/// A loaded filter is pinned under /sys/fs/bpf/kfilter/NAME, or kept by the kernel module, where
/// that is the host. `kfilter read NAME`, `probe NAME` and `export NAME` sweep it; its history
/// goes on from one to the next. So does reading its files, for which no other privilege is needed
/// than the file's mode gives: `text` gives lines for people, `read` records for programs
/// (`kfilter compile --emit header` describes them). The module has no such files.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Filters to keep: source text or compiled objects; `-` is standard input
    #[arg(value_name = "FILE", required_unless_present = "from_dir")]
    files: Vec<PathBuf>,

    /// Every *.kf and *.o file of this directory; one that fails does not keep the others
    ///
    /// Options for `NAME.kf` may stand in `NAME.conf` beside it: one a line, without the
    /// dashes, as in `param max=90%` or `mode 0640`. They go before those of the command.
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "files")]
    from_dir: Option<PathBuf>,

    /// Only the filter with this name; may be given several times
    #[arg(long = "filter", value_name = "NAME")]
    filters: Vec<String>,

    /// Give a parameter another value
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE", value_parser = params::split)]
    params: Vec<Given>,

    /// Keep the filter under this name instead of its own
    #[arg(long, value_name = "NAME", conflicts_with = "from_dir")]
    name: Option<String>,

    /// What keeps the filters
    #[arg(long, value_name = "HOST", default_value = "auto")]
    host: KeeperChoice,

    /// Take the place of a loaded filter; its history goes on where the code is the same
    #[arg(long)]
    replace: bool,

    /// Let the kernel sweep by itself, this far apart; `kfilter watch NAME` shows what matches
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse)]
    every: Option<Duration>,

    /// Let the kernel itself send the TERM and KILL of the filter's `limit`, whoever else is there
    ///
    /// With --every only, from Linux 6.18 on. The other rungs are those of `kfilter watch
    /// --enforce`, which leaves these two alone while the filter of that name is loaded so.
    #[arg(long)]
    enforce: bool,

    /// With --enforce: never signal processes of this name; a trailing * matches any rest
    #[arg(long, value_name = "NAME")]
    protect: Vec<String>,

    /// Who may read its `text` and `read` files, as in chmod(1); 0600 unless given
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    mode: Option<u32>,

    /// The group that the mode grants to: a name or a number
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
}

/// What keeps filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KeeperChoice {
    /// The kernel where it takes them, else its module
    Auto,
    /// The Linux kernel
    Bpf,
    /// The VM in the kernel, where kfilter.ko is loaded
    Module,
}

impl KeeperChoice {
    const fn kind(self) -> Option<HostKind> {
        match self {
            Self::Auto => None,
            Self::Bpf => Some(HostKind::Bpf),
            Self::Module => Some(HostKind::Module),
        }
    }
}

fn parse_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).map_err(|_| "write it as 0640".to_owned())?;
    if mode & !0o666 != 0 {
        return Err("a mode grants reading and writing only, as 0640 does".to_owned());
    }
    Ok(mode)
}

/// Who may read a loaded filter unless something else is asked for.
const PRIVATE: u32 = 0o600;

/// Loads, keeps and says what was done.
pub(crate) fn run(args: &Args, color: ColorChoice) -> Result<Exit, Failure> {
    if let Some(directory) = &args.from_dir {
        return from_dir::load_all(args, directory, color);
    }
    load(args, color)?;
    Ok(Exit::Success)
}

fn load(args: &Args, color: ColorChoice) -> Result<(), Failure> {
    let group = args.group.as_deref().map(group_id).transpose()?;
    let files = args.files.clone();
    let choice = Choice { files, filters: args.filters.clone(), params: args.params.clone() };
    let objects = choice.objects(color, &mut |note| eprintln!("{note}"))?;
    let chosen = choice.requests(&objects)?;
    if args.name.is_some() && chosen.len() > 1 {
        let message = format!("--name is for one filter, there are {}", chosen.len());
        return Err(Failure::new(Exit::BadInput, message).help("choose one with --filter"));
    }
    let acting = acting(args)?;
    let keepers = Keepers::running();
    for one in &chosen {
        let own = &one.request.filter.name;
        let options = PinOptions {
            replace: args.replace,
            mode: args.mode.unwrap_or(PRIVATE),
            group,
            params: one.params.clone(),
            every: args.every,
            acting: acting.clone(),
            ..PinOptions::new(args.name.as_ref().unwrap_or(own))
        };
        let kept = keepers.keep(args.host.kind(), &one.request, &options);
        let kept = kept.map_err(|error| failure(&error))?;
        let has_history = one.request.filter.state_size > 0;
        eprintln!("{}", said(&options, kept, has_history));
        if acting.is_some() {
            eprintln!("{}: {}", options.name, limits::of_kernel(one.request.filter));
        }
    }
    Ok(())
}

/// The rails of filters that act from the kernel.
fn acting(args: &Args) -> Result<Option<Rails>, Failure> {
    let wrong = |message: &str, help: &str| Err(Failure::new(Exit::BadInput, message).help(help));
    if !args.enforce {
        if args.protect.is_empty() {
            return Ok(None);
        }
        return wrong("--protect is for filters that act", "add --enforce");
    }
    if args.every.is_none() {
        return wrong("a filter acts only where it sweeps by itself", "add `--every 1s`");
    }
    Ok(Some(Rails::for_this_process(args.protect.clone())))
}

fn said(options: &PinOptions, (host, pinned): (HostKind, Pinned), has_history: bool) -> String {
    let by = if host == HostKind::Bpf { "" } else { "; the kernel module keeps it" };
    let what = match (pinned.replaced, pinned.history_kept) {
        (false, _) => "loaded",
        (true, true) => "replaced, its history goes on",
        (true, false) if !has_history => "replaced",
        (true, false) => "replaced, its history begins anew",
    };
    let path = Pins::running().text_path(&options.name);
    let readable =
        if pinned.readable { format!("; read it at {}", path.display()) } else { String::new() };
    let is_widened = options.mode & 0o077 != 0 || options.group.is_some();
    let note = if is_widened && !pinned.readable {
        "; it has no files for others here: mode and group grant nothing"
    } else {
        ""
    };
    let ticking = options.every.map_or_else(String::new, |every| {
        let every = human::duration(i64::try_from(every.as_nanos()).unwrap_or(i64::MAX));
        format!("; sweeps every {every}, `kfilter watch {}` shows what it finds", options.name)
    });
    format!("{}: {what}{by}{ticking}{readable}{note}", options.name)
}

fn group_id(name: &str) -> Result<u32, Failure> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    groups
        .lines()
        .filter_map(|line| {
            let mut words = line.split(':');
            (words.next()? == name).then(|| words.nth(1)?.parse().ok())?
        })
        .next()
        .ok_or_else(|| Failure::new(Exit::BadInput, format_args!("there is no group `{name}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_and_grant_no_execution() {
        assert_eq!(parse_mode("0640"), Ok(0o640));
        assert_eq!(parse_mode("444"), Ok(0o444));
        for text in ["", "rw", "0750", "9", "4640", "-1"] {
            assert!(parse_mode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn groups_have_names_and_numbers() {
        assert_eq!(group_id("root").ok(), Some(0));
        assert_eq!(group_id("4711").ok(), Some(4711));
        assert!(group_id("no such group").is_err());
    }
}
