//! Bytes that a process chose, made safe to show.
//!
//! **Invariant**: what comes out is valid UTF-8 and holds no control character.

/// `bytes` as text: control characters and bytes that are not UTF-8 become `\xNN`, a
/// backslash becomes two.
pub(crate) fn visible(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    each_char(bytes, |piece| match piece {
        Piece::Char('\\') => out.push_str("\\\\"),
        Piece::Char(c) if is_unsafe_to_show(c) => {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                push_hex(&mut out, byte);
            }
        }
        Piece::Char(c) => out.push(c),
        Piece::Byte(byte) => push_hex(&mut out, byte),
    });
    out
}

/// A line of text of ours that quotes others: control characters become `\xNN`.
pub(crate) fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\t' && is_unsafe_to_show(c) {
            c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| push_hex(&mut out, byte));
        } else {
            out.push(c);
        }
    }
    out
}

/// `bytes` as text with every character that it holds; only bytes that are not UTF-8
/// become `\xNN`. For formats that have an escape of their own for the rest.
pub(crate) fn utf8(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    each_char(bytes, |piece| match piece {
        Piece::Char(c) => out.push(c),
        Piece::Byte(byte) => push_hex(&mut out, byte),
    });
    out
}

enum Piece {
    Char(char),
    Byte(u8),
}

fn each_char(bytes: &[u8], mut take: impl FnMut(Piece)) {
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| take(Piece::Char(c)));
        chunk.invalid().iter().for_each(|&byte| take(Piece::Byte(byte)));
    }
}

/// Control characters, and the marks that reorder or hide text on a terminal.
fn is_unsafe_to_show(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn push_hex(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push_str("\\x");
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_and_broken_utf8_are_made_visible() {
        assert_eq!(visible(b"plain"), "plain");
        assert_eq!(visible(b"\x1b[31mred\n"), "\\x1b[31mred\\x0a");
        assert_eq!(visible(b"a\\b"), "a\\\\b");
        assert_eq!(visible("žluť".as_bytes()), "žluť");
        assert_eq!(visible(b"\xc5\xff"), "\\xc5\\xff");
        assert_eq!(visible("a\u{202e}b\u{85}".as_bytes()), "a\\xe2\\x80\\xaeb\\xc2\\x85");
    }

    #[test]
    fn a_line_that_quotes_others_keeps_its_backslashes() {
        assert_eq!(line("a\\b\tc\x1b[2J\u{202e}"), "a\\b\tc\\x1b[2J\\xe2\\x80\\xae");
    }

    #[test]
    fn utf8_keeps_what_is_valid() {
        assert_eq!(utf8(b"a\x1b\\\xff"), "a\x1b\\\\xff");
    }
}
