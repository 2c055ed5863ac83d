//! What the terminal is and may be sent.

use clap::ValueEnum;
use std::io::IsTerminal as _;

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Even into a pipe
    Always,
    /// Never
    Never,
}

/// Whether text may carry escape sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    color: bool,
}

impl Style {
    /// No escape sequences.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { color: false };

    /// The style for standard output.
    pub(crate) fn for_stdout(choice: ColorChoice) -> Self {
        Self { color: decide(choice, std::io::stdout().is_terminal(), no_color()) }
    }

    /// The style for standard error.
    pub(crate) fn for_stderr(choice: ColorChoice) -> Self {
        Self { color: decide(choice, std::io::stderr().is_terminal(), no_color()) }
    }

    /// Whether colour may be used.
    pub(crate) const fn has_color(self) -> bool {
        self.color
    }

    /// `text`, bold where that is allowed.
    pub(crate) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// `text` in red where that is allowed.
    pub(crate) fn red(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    /// `text` in green where that is allowed.
    pub(crate) fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The width of the terminal behind standard output; `None` when it is none.
pub(crate) fn stdout_width() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(std::io::stdout())?;
    // A terminal that does not know its size says 0.
    (width.0 > 0).then_some(usize::from(width.0))
}

fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

const fn decide(choice: ColorChoice, is_terminal: bool, no_color: bool) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => is_terminal && !no_color,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_choice_wins_over_the_environment() {
        assert!(decide(ColorChoice::Always, false, true));
        assert!(!decide(ColorChoice::Never, true, false));
        assert!(decide(ColorChoice::Auto, true, false));
        assert!(!decide(ColorChoice::Auto, true, true));
        assert!(!decide(ColorChoice::Auto, false, false));
    }
}
