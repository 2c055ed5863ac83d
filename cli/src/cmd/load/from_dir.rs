//! A directory of filters, as at boot: each file is loaded with the options beside it.
//!
//! **Invariant**: every file is tried, whatever becomes of the others; the exit status is
//! that of the worst.

use super::Args;
use crate::exit::{Exit, Failure};
use crate::output::terminal::ColorChoice;
use clap::Parser;
use std::path::{Path, PathBuf};

/// Loads every filter of `directory`.
pub(super) fn load_all(
    given: &Args,
    directory: &Path,
    color: ColorChoice,
) -> Result<Exit, Failure> {
    let paths = filters_in(directory)?;
    let mut worst = Exit::Success;
    let mut loaded = 0;
    for path in &paths {
        match options(given, path).and_then(|args| super::load(&args, color)) {
            Ok(()) => loaded += 1,
            Err(failure) => {
                crate::report(&failure, color);
                worst = if failure.exit as u8 > worst as u8 { failure.exit } else { worst };
            }
        }
    }
    eprintln!("{}: {loaded} of {} files loaded", directory.display(), paths.len());
    Ok(worst)
}

/// The filters of a directory, in the order of their names.
fn filters_in(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let cannot = |error: std::io::Error| {
        let directory = directory.display();
        Failure::new(Exit::BadInput, format_args!("cannot read {directory}: {error}"))
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        if path.extension().is_some_and(|extension| extension == "kf" || extension == "o") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The options for the file at `path`: its own before those of the command.
fn options(given: &Args, path: &Path) -> Result<Args, Failure> {
    let mut args = Args { files: vec![path.to_owned()], from_dir: None, ..given.clone() };
    let settings = path.with_extension("conf");
    let text = match std::fs::read_to_string(&settings) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(args),
        Err(error) => {
            let message = format_args!("cannot read {}: {error}", settings.display());
            return Err(Failure::new(Exit::BadInput, message));
        }
    };
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let own = parse(line, path).map_err(|message| {
            let message = format_args!("{}:{number}: {message}", settings.display());
            Failure::new(Exit::BadInput, message)
                .help("write one option of `kfilter load` a line, without the dashes: `mode 0640`")
        })?;
        apply(&mut args, own);
    }
    Ok(args)
}

/// The command's options as a line of a settings file is read.
#[derive(Debug, clap::Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn parse(line: &str, path: &Path) -> Result<Args, String> {
    let (option, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    if option.starts_with('-') || ["from-dir", "name"].contains(&option) {
        return Err(format!("`{option}` is no option for a file of a directory"));
    }
    let mut words = vec![format!("--{option}")];
    if !value.trim().is_empty() {
        words[0].push_str(&format!("={}", value.trim()));
    }
    words.push("--".to_owned());
    words.push(path.display().to_string());
    let line = Line::try_parse_from(words).map_err(|error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        first.trim_start_matches("error: ").replace("--", "")
    })?;
    Ok(line.args)
}

/// Lets the options of a line go before those that are there.
fn apply(args: &mut Args, own: Args) {
    let Args {
        files: _,
        from_dir: _,
        name: _,
        host,
        filters,
        params,
        replace,
        every,
        enforce,
        protect,
        mode,
        group,
    } = own;
    if host != super::KeeperChoice::Auto {
        args.host = host;
    }
    args.filters.extend(filters);
    args.params.retain(|given| params.iter().all(|own| own.0 != given.0));
    args.params.extend(params);
    args.replace |= replace;
    args.every = every.or(args.every);
    args.enforce |= enforce;
    args.protect.extend(protect);
    args.mode = mode.or(args.mode);
    args.group = group.or(args.group.take());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given() -> Args {
        Line::try_parse_from(["--param", "max=1%", "--mode", "0640", "--", "a.kf"])
            .expect("options")
            .args
    }

    #[test]
    fn a_line_is_an_option_and_goes_before_that_of_the_command() {
        let mut args = given();
        for line in [
            "param max=90%",
            "param  min=3",
            "group 17",
            "replace",
            "every 100ms",
            "enforce",
            "protect sshd",
        ] {
            apply(&mut args, parse(line, Path::new("a.kf")).expect(line));
        }
        let params: Vec<(&str, &str)> =
            args.params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(params, [("max", "90%"), ("min", "3")]);
        assert_eq!((args.mode, args.group.as_deref()), (Some(0o640), Some("17")));
        assert_eq!(args.every, Some(std::time::Duration::from_millis(100)));
        assert!(args.replace && args.enforce);
        assert_eq!(args.protect, ["sshd"]);
    }

    #[test]
    fn what_is_no_option_is_said_so() {
        for line in ["maxx 3", "mode rwx", "param", "--mode 0640", "name x", "from-dir /", "mode"] {
            let message = parse(line, Path::new("a.kf")).expect_err(line);
            assert!(!message.is_empty(), "{line}");
        }
    }
}
