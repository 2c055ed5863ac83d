//! The OpenMetrics text format, version 1.0.
//!
//! Families are kept in the order in which they were first named; a family's samples stand
//! together, as the format asks.

use std::fmt::Write as _;

/// The media type of the text.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a family's samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows; its samples end in `_total`.
    Counter,
    /// Says what runs; its sample ends in `_info`.
    Info,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Info => "info",
        }
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::Gauge => "",
            Self::Counter => "_total",
            Self::Info => "_info",
        }
    }
}

/// A text that is being written.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    families: Vec<Family>,
}

#[derive(Debug)]
struct Family {
    name: String,
    kind: Kind,
    unit: &'static str,
    help: String,
    samples: String,
}

/// A family's description.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Describe<'a> {
    /// Its name, which ends in the unit when there is one.
    pub(crate) name: &'a str,
    /// What its samples are.
    pub(crate) kind: Kind,
    /// The unit, or nothing.
    pub(crate) unit: &'static str,
    /// One sentence.
    pub(crate) help: &'a str,
}

impl Exposition {
    /// Adds one sample; `value` is a number as text.
    pub(crate) fn sample(&mut self, family: Describe<'_>, labels: &[(&str, &str)], value: &str) {
        let index =
            self.families.iter().position(|known| known.name == family.name).unwrap_or_else(|| {
                self.families.push(Family {
                    name: family.name.to_owned(),
                    kind: family.kind,
                    unit: family.unit,
                    help: family.help.to_owned(),
                    samples: String::new(),
                });
                self.families.len() - 1
            });
        let known = &mut self.families[index];
        // A name has one kind; a second one would make the whole text invalid.
        if known.kind != family.kind {
            return;
        }
        let out = &mut known.samples;
        out.push_str(&known.name);
        out.push_str(known.kind.suffix());
        for (index, (name, label)) in labels.iter().enumerate() {
            let _ =
                write!(out, "{}{name}=\"{}\"", if index == 0 { '{' } else { ',' }, escape(label));
        }
        if !labels.is_empty() {
            out.push('}');
        }
        let _ = writeln!(out, " {value}");
    }

    /// The whole text. Prometheus' older text format, which node_exporter's textfile
    /// collector reads, knows no units, infos or end mark, and names counters in full.
    pub(crate) fn render(&self, is_openmetrics: bool) -> String {
        let mut out = String::new();
        for family in &self.families {
            let Family { name, kind, unit, help, samples } = family;
            if is_openmetrics {
                let _ = writeln!(out, "# TYPE {name} {}", kind.name());
                if !unit.is_empty() {
                    let _ = writeln!(out, "# UNIT {name} {unit}");
                }
                let _ = writeln!(out, "# HELP {name} {}", escape(help));
            } else {
                let kind_name = if *kind == Kind::Info { "gauge" } else { kind.name() };
                let suffix = kind.suffix();
                let _ =
                    writeln!(out, "# HELP {name}{suffix} {}", escape(help).replace("\\\"", "\""));
                let _ = writeln!(out, "# TYPE {name}{suffix} {kind_name}");
            }
            out.push_str(samples);
        }
        if is_openmetrics {
            out.push_str("# EOF\n");
        }
        out
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SWEEPS: Describe<'static> =
        Describe { name: "kfilter_sweeps", kind: Kind::Counter, unit: "", help: "Sweeps." };
    const TIME: Describe<'static> = Describe {
        name: "kfilter_sweep_duration_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "How long.",
    };

    fn sample() -> Exposition {
        let mut text = Exposition::default();
        text.sample(SWEEPS, &[("filter", "a")], "1");
        text.sample(TIME, &[("filter", "a")], "0.5");
        text.sample(SWEEPS, &[("filter", "b\"\\\n")], "2");
        text
    }

    #[test]
    fn families_stay_together() {
        insta::assert_snapshot!(sample().render(true), @r#"
        # TYPE kfilter_sweeps counter
        # HELP kfilter_sweeps Sweeps.
        kfilter_sweeps_total{filter="a"} 1
        kfilter_sweeps_total{filter="b\"\\\n"} 2
        # TYPE kfilter_sweep_duration_seconds gauge
        # UNIT kfilter_sweep_duration_seconds seconds
        # HELP kfilter_sweep_duration_seconds How long.
        kfilter_sweep_duration_seconds{filter="a"} 0.5
        # EOF
        "#);
    }

    #[test]
    fn the_older_format_names_counters_in_full() {
        let text = sample().render(false);
        assert!(text.contains("# TYPE kfilter_sweeps_total counter\n"), "{text}");
        assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{text}");
    }

    #[test]
    fn a_name_keeps_its_kind() {
        let mut text = sample();
        text.sample(Describe { kind: Kind::Gauge, ..SWEEPS }, &[], "3");
        assert_eq!(text.render(true), sample().render(true));
    }
}
