use bytes::Bytes;

use super::{case::Repaired, flaw::HeaderFlaw};
use crate::signature::HEADER_BYTES_MAX;

/// Most headers that are looked for in a joined one. Two are seen, where a proxy adds its own copy.
const JOINED_MAX: usize = 4;

/// Ways to write `=`, `,`, `"` and the space where a header does not belong: in a URL, in HTML, in
/// JSON. Nothing else of a header is ever escaped.
const ESCAPES: [(&str, &str); 19] = [
    ("%3D", "="),
    ("%3d", "="),
    ("%2C", ","),
    ("%2c", ","),
    ("%22", "\""),
    ("%20", " "),
    ("&#61;", "="),
    ("&#x3D;", "="),
    ("&#x3d;", "="),
    ("&equals;", "="),
    ("&#44;", ","),
    ("&#x2C;", ","),
    ("&#x2c;", ","),
    ("&comma;", ","),
    ("&quot;", "\""),
    ("&#34;", "\""),
    ("\\u003d", "="),
    ("\\u002c", ","),
    ("\\\"", "\""),
];

type Undo = fn(&str) -> String;

const UNDO: [(HeaderFlaw, Undo); 5] = [
    (HeaderFlaw::Escaped, unescaped),
    (HeaderFlaw::NameIncluded, without_name),
    (HeaderFlaw::Quoted, unquoted),
    (HeaderFlaw::Semicolons, with_commas),
    (HeaderFlaw::UpperCase, str::to_ascii_lowercase),
];

/// The header as it came, then with one flaw after the other undone, then each of the headers that
/// were joined in it.
pub(super) fn repaired(header: &[u8]) -> Vec<Repaired<Bytes, HeaderFlaw>> {
    let mut last = Repaired::as_given(Bytes::copy_from_slice(header));
    let mut headers = vec![last.clone()];
    let Ok(text) = std::str::from_utf8(header) else {
        return headers;
    };
    if text.len() > HEADER_BYTES_MAX {
        return headers;
    }
    let mut text = text.trim().to_owned();
    for (flaw, undo) in UNDO {
        let undone = undo(&text);
        if undone != text {
            last = last.with(Bytes::from(undone.clone()), flaw);
            headers.push(last.clone());
            text = undone;
        }
    }
    let joined = joined(&text);
    if joined.len() > 1 {
        let joined = joined.into_iter().map(Bytes::from);
        headers.extend(joined.map(|header| last.with(header, HeaderFlaw::Joined)));
    }
    headers
}

fn unescaped(header: &str) -> String {
    ESCAPES
        .iter()
        .fold(header.to_owned(), |header, (escaped, plain)| {
            header.replace(escaped, plain)
        })
}

fn without_name(header: &str) -> String {
    match header.split_once(':') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("stripe-signature") => {
            value.trim().to_owned()
        }
        _ => header.to_owned(),
    }
}

fn unquoted(header: &str) -> String {
    header.trim_matches(['"', '\'', '`']).to_owned()
}

fn with_commas(header: &str) -> String {
    header.replace(';', ",")
}

/// Cuts the header before each `t`.
fn joined(header: &str) -> Vec<String> {
    let mut headers: Vec<String> = Vec::new();
    for element in header.split(',') {
        match headers.last_mut() {
            Some(header) if !element.trim().starts_with("t=") => {
                header.push(',');
                header.push_str(element);
            }
            _ => headers.push(element.to_owned()),
        }
    }
    headers.truncate(JOINED_MAX);
    headers
}
