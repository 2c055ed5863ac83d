//! A C header for the records of an object's filters.
//!
//! **Invariant**: a struct's members stand where the metadata puts the fields; static
//! assertions in the header say so again to the C compiler.

use kernel_vm::abi::SWEEP_END_BYTES;
use kernel_vm::object::{FieldMeta, FilterMeta, ObjectMeta};
use kernel_vm::schema::{EnumKind, Type};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Words that no C or C++ member may be called.
const RESERVED: &str = " alignas alignof and asm auto bool break case catch char class const \
    continue default delete do double else enum explicit extern false float for friend goto if \
    inline int long mutable namespace new not operator or private protected public register \
    restrict return short signed sizeof static struct switch template this throw true try typedef \
    typename union unsigned using virtual void volatile while xor missing ";

/// The header for `object`.
pub(crate) fn render(object: &ObjectMeta) -> String {
    let stem = object.source.rsplit('/').next().unwrap_or_default();
    let guard = format!("KFILTER_{}_H", upper(stem.trim_end_matches(".kf")));
    let mut out = format!(
        "/* Records of the filters in {}. Made by kfilter {}; do not edit. */\n\
         #ifndef {guard}\n#define {guard}\n\n#include <assert.h>\n#include <stddef.h>\n\
         #include <stdint.h>\n",
        comment(stem),
        comment(&object.compiler)
    );
    push_end(&mut out);
    for kind in enums(object) {
        push_enum(&mut out, kind);
    }
    for filter in &object.filters {
        push_filter(&mut out, filter);
    }
    let _ = write!(out, "\n#endif /* {guard} */\n");
    out
}

/// What ends the records in a loaded filter's `read` file.
fn push_end(out: &mut String) {
    let _ = write!(
        out,
        "\n#ifndef KFILTER_END_BYTES\n\
         /* A loaded filter's file `read` gives whole records, then KFILTER_END_BYTES that begin with\n \
         * this; what does not end so is no answer: another sweep was running, read again. */\n\
         #define KFILTER_END_BYTES {SWEEP_END_BYTES}\nstruct kfilter_end {{\n"
    );
    for (name, meaning) in [
        ("sweeps", "sweeps since it was loaded"),
        ("visited", "rows looked at"),
        ("matched", "rows that matched"),
        ("unreadable", "rows that could not be judged"),
        ("warming", "rows whose history is too short"),
        ("dropped", "records that found no room"),
        ("started_ns", "when the sweep began, since boot"),
        ("took_ns", "how long it took"),
    ] {
        let _ = writeln!(out, "    uint64_t {name}; /* {meaning} */");
    }
    let _ = write!(out, "}};\n#endif\n");
}

fn enums(object: &ObjectMeta) -> Vec<EnumKind> {
    let fields = object.filters.iter().flat_map(|filter| &filter.record.fields);
    let used: Vec<Type> = fields.map(|field| field.ty.0).collect();
    EnumKind::ALL.into_iter().filter(|kind| used.contains(&Type::Enum(*kind))).collect()
}

fn push_enum(out: &mut String, kind: EnumKind) {
    let name = kind.name();
    let guard = format!("KFILTER_ENUM_{}", upper(name));
    let _ = write!(out, "\n#ifndef {guard}\n#define {guard}\nenum kfilter_{name} {{\n");
    for (index, value) in kind.values().iter().enumerate() {
        let _ = writeln!(out, "    KFILTER_{}_{} = {index},", upper(name), upper(value));
    }
    let _ = write!(out, "}};\n#endif\n");
}

fn push_filter(out: &mut String, filter: &FilterMeta) {
    let name = identifier(&filter.name);
    let prefix = upper(&filter.name);
    out.push('\n');
    if !filter.doc.is_empty() {
        let _ = writeln!(out, "/* {} */", comment(&filter.doc).replace('\n', "\n * "));
    }
    let _ = write!(
        out,
        "struct {name}_record {{\n    uint64_t missing; /* bit {prefix}_x set: x is not known */\n"
    );
    let mut taken = BTreeSet::new();
    let mut at = 8;
    let mut members: Vec<(usize, &FieldMeta, String)> = Vec::new();
    for (index, field) in filter.record.fields.iter().enumerate() {
        let mut member =
            if field.hidden { format!("hidden_{index}") } else { identifier(&field.name) };
        while !taken.insert(member.clone()) {
            member.push('_');
        }
        members.push((index, field, member));
    }
    let mut in_order: Vec<_> = members.iter().collect();
    in_order.sort_by_key(|(_, field, _)| field.offset);
    for (index, field, member) in in_order {
        if field.offset > at {
            let _ = writeln!(out, "    uint8_t padding_{index}[{}];", field.offset - at);
        }
        let _ =
            writeln!(out, "    {}; /* {} */", declaration(field.ty.0, member), meaning(field.ty.0));
        at = field.offset.saturating_add(u32::try_from(field.ty.0.size()).unwrap_or(0));
    }
    if filter.record.size > at {
        let _ = writeln!(out, "    uint8_t padding_end[{}];", filter.record.size - at);
    }
    let _ = write!(out, "}};\n\n/* Bits of `missing`. */\nenum {name}_field {{\n");
    for (index, _, member) in members.iter().filter(|(_, field, _)| !field.hidden) {
        let _ = writeln!(out, "    {prefix}_{} = {index},", upper(member));
    }
    let _ = writeln!(out, "}};\n");
    let size = filter.record.size;
    let _ = writeln!(out, "static_assert(sizeof(struct {name}_record) == {size}, \"{name}\");");
    for (_, field, member) in &members {
        let _ = writeln!(
            out,
            "static_assert(offsetof(struct {name}_record, {member}) == {}, \"{member}\");",
            field.offset
        );
    }
}

fn declaration(ty: Type, member: &str) -> String {
    match ty {
        Type::Text { capacity } => format!("char {member}[{capacity}]"),
        Type::Object => format!("uint64_t {member}[2]"),
        Type::Int(_) | Type::PerSecond(_) | Type::Bool | Type::Enum(_) | Type::Thread => {
            format!("int64_t {member}")
        }
    }
}

fn meaning(ty: Type) -> String {
    use kernel_vm::schema::Unit;
    match ty {
        Type::Int(Unit::Ratio) => "ratio, in millionths".to_owned(),
        Type::Int(Unit::Duration) => "duration, in nanoseconds".to_owned(),
        Type::Int(Unit::Instant) => "instant, in nanoseconds since boot".to_owned(),
        Type::Int(unit) => unit.name().to_owned(),
        Type::PerSecond(unit) => format!("{} a second, in millionths", unit.name()),
        Type::Bool => "0 or 1".to_owned(),
        Type::Text { .. } => "padded with zeros; no zero at the end when it is full".to_owned(),
        Type::Enum(kind) => format!("enum kfilter_{}", kind.name()),
        Type::Thread => "thread id, 0 for none".to_owned(),
        Type::Object => "device, inode".to_owned(),
    }
}

fn identifier(name: &str) -> String {
    let mut out: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    if RESERVED.contains(&format!(" {out} ")) {
        out.push('_');
    }
    out
}

fn upper(name: &str) -> String {
    identifier(name).to_ascii_uppercase()
}

/// Text that cannot end the comment that it stands in.
fn comment(text: &str) -> String {
    text.replace("*/", "* /")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::records::tests::filter;

    fn object() -> ObjectMeta {
        let (mut filter, _) = filter();
        filter.doc = "Everything */ at once.\nReally.".into();
        filter.record.fields[0].hidden = true;
        filter.record.fields[2].name = "object.int".into();
        filter.record.fields[3].name = "int".into();
        ObjectMeta {
            format: 1,
            schema: 1,
            compiler: "0.1.0".into(),
            source: "filters/every-thing.kf".into(),
            filters: vec![filter],
        }
    }

    #[test]
    fn a_header_names_every_shown_field() {
        insta::assert_snapshot!(render(&object()));
    }

    #[test]
    fn a_c_compiler_takes_it() {
        use std::io::Write as _;
        let compiler = std::process::Command::new("cc")
            .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-xc", "-"])
            .stdin(std::process::Stdio::piped())
            .spawn();
        let Ok(mut compiler) = compiler else {
            let _ = writeln!(std::io::stderr(), "SKIPPED a_c_compiler_takes_it: there is no cc");
            return;
        };
        compiler.stdin.take().unwrap().write_all(render(&object()).as_bytes()).unwrap();
        assert!(compiler.wait().unwrap().success());
    }
}
