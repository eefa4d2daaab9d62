//! JSON written again token by token: white space and escapes change, nothing else.

use crate::BODY_BYTES_MAX;

/// Deepest nesting that is written again. Stripe's events stay far below; serde_json reads no deeper
/// into a type.
const DEPTH_MAX: usize = 128;

/// Where white space stands.
#[derive(Clone, Copy)]
pub(super) enum Layout {
    Minified,
    /// Two spaces, LF, and an empty container closed at once, or on a line of its own.
    Pretty {
        objects_open: bool,
        arrays_open: bool,
    },
}

/// How strings are escaped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Escapes {
    /// As they are.
    Kept,
    /// What JSON demands.
    Fewest,
    /// Also what has a meaning in HTML or ends a line in JavaScript: `\u0026`.
    Html,
    /// Also everything outside ASCII: `\u00e9`.
    NonAscii,
    /// Also the slash: `\/`.
    Slash,
}

/// How Stripe lays out events. Its own writers differ in empty containers; recorded events show the
/// first and the last.
pub(super) const STRIPES_LAYOUTS: [Layout; 4] = [
    pretty(false, false),
    pretty(true, false),
    pretty(false, true),
    pretty(true, true),
];

pub(super) const ESCAPES: [Escapes; 5] = [
    Escapes::Kept,
    Escapes::Fewest,
    Escapes::Html,
    Escapes::NonAscii,
    Escapes::Slash,
];

const fn pretty(objects_open: bool, arrays_open: bool) -> Layout {
    Layout::Pretty {
        objects_open,
        arrays_open,
    }
}

/// Writes JSON again. What is not JSON comes out as something else that is not.
///
/// `None` if it is nested too deeply, or became longer than a service takes.
pub(super) fn rewrite(json: &[u8], layout: Layout, escapes: Escapes) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(json.len());
    let mut depth = 0_usize;
    let mut rest = json;
    while let Some((token, behind)) = split_token(rest) {
        rest = behind;
        match token {
            b"{" | b"[" => {
                out.extend_from_slice(token);
                match split_token(rest) {
                    Some((close @ (b"}" | b"]"), behind)) => {
                        layout.close_empty(close, depth, &mut out);
                        rest = behind;
                    }
                    _ => {
                        depth += 1;
                        layout.break_line(depth, &mut out);
                    }
                }
            }
            b"}" | b"]" => {
                depth = depth.saturating_sub(1);
                layout.break_line(depth, &mut out);
                out.extend_from_slice(token);
            }
            b"," => {
                out.push(b',');
                layout.break_line(depth, &mut out);
            }
            b":" => out.extend_from_slice(layout.colon()),
            [b'"', ..] => write_string(token, escapes, &mut out),
            _ => out.extend_from_slice(token),
        }
        if out.len() > BODY_BYTES_MAX || depth > DEPTH_MAX {
            return None;
        }
    }
    Some(out)
}

/// Splits the next token off; a string that does not end is one token.
fn split_token(json: &[u8]) -> Option<(&[u8], &[u8])> {
    let json = json.trim_ascii_start();
    let bytes = match json.first()? {
        b'"' => string_bytes(json),
        b'{' | b'}' | b'[' | b']' | b',' | b':' => 1,
        _ => json
            .iter()
            .position(|byte| b"{}[],:\" \t\r\n".contains(byte))
            // White space that is not JSON's: any progress will do.
            .map_or(json.len(), |at| at.max(1)),
    };
    json.split_at_checked(bytes)
}

fn string_bytes(json: &[u8]) -> usize {
    let mut escaped = false;
    let end = json.iter().skip(1).position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    end.map_or(json.len(), |at| at + 2)
}

impl Layout {
    fn break_line(self, depth: usize, out: &mut Vec<u8>) {
        if let Self::Pretty { .. } = self {
            out.push(b'\n');
            out.resize(out.len() + 2 * depth, b' ');
        }
    }

    fn close_empty(self, close: &[u8], depth: usize, out: &mut Vec<u8>) {
        if let Self::Pretty {
            objects_open,
            arrays_open,
        } = self
        {
            match close {
                b"}" if objects_open => self.break_line(depth, out),
                b"]" if arrays_open => {
                    out.push(b'\n');
                    self.break_line(depth, out);
                }
                _ => {}
            }
        }
        out.extend_from_slice(close);
    }

    fn colon(self) -> &'static [u8] {
        match self {
            Self::Minified => b":",
            Self::Pretty { .. } => b": ",
        }
    }
}

fn write_string(token: &[u8], escapes: Escapes, out: &mut Vec<u8>) {
    let text = match escapes {
        Escapes::Kept => None,
        // Half a surrogate pair cannot be decoded; such a string stays as it is.
        _ => serde_json::from_slice::<String>(token).ok(),
    };
    let Some(text) = text else {
        return out.extend_from_slice(token);
    };
    out.push(b'"');
    for character in text.chars() {
        write_character(character, escapes, out);
    }
    out.push(b'"');
}

fn write_character(character: char, escapes: Escapes, out: &mut Vec<u8>) {
    let short: &[u8] = match character {
        '"' => b"\\\"",
        '\\' => b"\\\\",
        '\u{8}' => b"\\b",
        '\u{c}' => b"\\f",
        '\n' => b"\\n",
        '\r' => b"\\r",
        '\t' => b"\\t",
        '/' if escapes == Escapes::Slash => b"\\/",
        _ => b"",
    };
    out.extend_from_slice(short);
    if !short.is_empty() {
        return;
    }
    if escapes.demand(character) {
        for unit in character.encode_utf16(&mut [0; 2]) {
            out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
        }
    } else {
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

impl Escapes {
    fn demand(self, character: char) -> bool {
        match self {
            _ if character < ' ' => true,
            Self::Html => matches!(character, '<' | '>' | '&' | '\u{2028}' | '\u{2029}'),
            Self::NonAscii => !character.is_ascii(),
            Self::Kept | Self::Fewest | Self::Slash => false,
        }
    }
}
