use std::str;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use hmac::digest::Digest;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use sha2::Sha256;

use super::{
    case::Repaired,
    flaw::BodyFlaw,
    rewrite::{ESCAPES, Escapes, Layout, STRIPES_LAYOUTS, rewrite},
};
use crate::BODY_BYTES_MAX;

/// Most flaws that are undone one after the other: an editor that saves a recording adds a byte
/// order mark, CR LF and a last line break.
const UNDONE_MAX: usize = 3;

/// Most bodies that are tried before the guesses: eight are all subsets of three flaws.
const BODIES_MAX: usize = 16;

/// Longest name of a form's field before the body in it, in bytes; `payload` is usual.
const FIELD_NAME_BYTES_MAX: usize = 64;

/// Base64 of any sender, whether or not it pads.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What compressed bodies begin with (RFC 1952, RFC 8878).
const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// What Windows-1252 has for the bytes from 0x80 to 0x9f. As the WHATWG reads it, the five that it
/// leaves open are the controls of Latin-1.
const WINDOWS_1252: &str = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}žŸ";

type Undo = fn(&[u8]) -> Option<Vec<u8>>;

const UNDO: [(BodyFlaw, Undo); 10] = [
    (BodyFlaw::EndAdded, without_end),
    (BodyFlaw::CrLf, with_lf),
    (BodyFlaw::ByteOrderMark, without_byte_order_mark),
    (BodyFlaw::Mojibake, from_mojibake),
    (BodyFlaw::Latin1, from_latin1),
    (BodyFlaw::Utf16, from_utf16),
    (BodyFlaw::Base64, from_base64),
    (BodyFlaw::JsonString, from_json_string),
    (BodyFlaw::PercentEncoded, from_percent_encoding),
    (BodyFlaw::ProxyEvent, from_proxy_event),
];

/// Flaws to undo, one after the other, to get a body from the one that was given. The bodies
/// themselves are not kept: each may be as large as the given one.
pub(super) type Repair = Vec<BodyFlaw>;

/// None, then the flaws that the body's bytes show: fewest first, all of them last.
pub(super) fn repairs(given: &Bytes) -> Vec<Repair> {
    let mut repairs = vec![Repair::new()];
    let mut digests = vec![Sha256::digest(given)];
    let mut next = 0;
    while let Some(undone) = repairs.get(next).filter(|undone| undone.len() < UNDONE_MAX) {
        next += 1;
        let Some(body) = repaired(given, undone) else {
            continue;
        };
        for (flaw, undo) in UNDO {
            let value = undo(&body.value).filter(|value| value.len() <= BODY_BYTES_MAX);
            let digest = value.as_deref().map(Sha256::digest);
            let new = digest.filter(|digest| !digests.contains(digest));
            if let Some(digest) = new.filter(|_| repairs.len() < BODIES_MAX) {
                digests.push(digest);
                repairs.push([&body.undone[..], &[flaw]].concat());
            }
        }
    }
    repairs
}

/// The given body with those flaws undone.
pub(super) fn repaired(given: &Bytes, undone: &[BodyFlaw]) -> Option<Repaired<Bytes, BodyFlaw>> {
    let given = Repaired::as_given(given.clone());
    undone.iter().try_fold(given, |body, flaw| {
        let (_, undo) = UNDO.into_iter().find(|(other, _)| other == flaw)?;
        Some(body.with(undo(&body.value)?.into(), *flaw))
    })
}

/// The repairs to guess on from: of all that can be seen, of all but what genuine data may look
/// like, and of nothing.
pub(super) fn last_repairs(repairs: &[Repair]) -> Vec<&Repair> {
    let is_sure = |undone: &&Repair| !undone.contains(&BodyFlaw::Mojibake);
    let sure = repairs.iter().rfind(is_sure);
    let last = [repairs.last(), sure, repairs.first()];
    let mut last: Vec<_> = last.into_iter().flatten().collect();
    last.dedup();
    last
}

/// What the body may have been before it was changed in ways that leave no trace.
pub(super) fn guesses(
    body: Repaired<Bytes, BodyFlaw>,
) -> impl Iterator<Item = Repaired<Bytes, BodyFlaw>> {
    let with_end = [&body.value, &b"\n"[..]].concat();
    let with_end = body.with(with_end.into(), BodyFlaw::EndRemoved);
    let is_object = is_object(&body.value);
    let styles = ESCAPES.into_iter().flat_map(|escapes| {
        let layouts = STRIPES_LAYOUTS.into_iter().chain([Layout::Minified]);
        layouts.map(move |layout| (layout, escapes))
    });
    let rewritten = styles
        .filter(move |_| is_object)
        .filter_map(move |(layout, escapes)| {
            let flaw = match escapes {
                Escapes::Kept => BodyFlaw::Reformatted,
                _ => BodyFlaw::Reescaped,
            };
            let rewritten = rewrite(&body.value, layout, escapes)?;
            Some(body.with(rewritten.into(), flaw))
        });
    [with_end].into_iter().chain(rewritten)
}

/// What can be seen and not be undone.
pub(super) fn irreparable(body: &[u8]) -> Option<BodyFlaw> {
    let is_compressed = body.starts_with(GZIP) || body.starts_with(ZSTD);
    if body.trim_ascii().is_empty() {
        return Some(BodyFlaw::Empty);
    }
    if is_compressed {
        return Some(BodyFlaw::Compressed);
    }
    if Outline::of(body).is_some_and(|outline| outline.is_cloud_envelope()) {
        return Some(BodyFlaw::CloudEnvelope);
    }
    if contains(body, "\u{fffd}".as_bytes()) || contains(body, b"\\ufffd") {
        return Some(BodyFlaw::Replaced);
    }
    if !begins_object(body) {
        return Some(BodyFlaw::NotObject);
    }
    match serde_json::from_slice::<IgnoredAny>(body) {
        Err(error) if error.is_eof() => Some(BodyFlaw::Truncated),
        Err(_) => Some(BodyFlaw::NotObject),
        Ok(_) => (!is_stripes(body)).then_some(BodyFlaw::Reserialised),
    }
}

/// Whether it is laid out as Stripe does it. Sorted keys show in that `id` is not the first.
fn is_stripes(body: &[u8]) -> bool {
    body.starts_with(b"{\n  \"id\": ")
        && STRIPES_LAYOUTS
            .into_iter()
            .any(|layout| rewrite(body, layout, Escapes::Kept).is_some_and(|json| json == body))
}

fn is_object(body: &[u8]) -> bool {
    begins_object(body) && serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

fn begins_object(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{")
}

fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

/// The fields by which envelopes are known.
#[derive(Deserialize)]
struct Outline<'a> {
    object: Option<IgnoredAny>,
    detail: Option<IgnoredAny>,
    specversion: Option<IgnoredAny>,
    headers: Option<IgnoredAny>,
    #[serde(rename = "requestContext")]
    request_context: Option<IgnoredAny>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    #[serde(borrow, rename = "isBase64Encoded")]
    is_base64: Option<&'a RawValue>,
}

impl<'a> Outline<'a> {
    fn of(body: &'a [u8]) -> Option<Self> {
        // Serde would take the elements of an array for the fields in their order.
        begins_object(body).then(|| serde_json::from_slice(body).ok())?
    }

    fn is_cloud_envelope(&self) -> bool {
        self.object.is_none() && (self.detail.is_some() || self.specversion.is_some())
    }
}

fn from_proxy_event(body: &[u8]) -> Option<Vec<u8>> {
    let outline = Outline::of(body)?;
    if outline.is_base64.is_none() && outline.headers.is_none() && outline.request_context.is_none()
    {
        return None;
    }
    let inner: String = serde_json::from_str(outline.body?.get()).ok()?;
    match outline.is_base64.map(RawValue::get) {
        Some("true") => BASE64.decode(inner).ok(),
        _ => Some(inner.into_bytes()),
    }
}

fn without_end(body: &[u8]) -> Option<Vec<u8>> {
    let body = body.trim_ascii_end();
    // A body that breaks off may do so anywhere.
    body.ends_with(b"}").then(|| body.to_vec())
}

fn with_lf(body: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = body.iter().copied().peekable();
    let mut out = Vec::with_capacity(body.len());
    while let Some(byte) = bytes.next() {
        if byte != b'\r' || bytes.peek() != Some(&b'\n') {
            out.push(byte);
        }
    }
    Some(out)
}

fn without_byte_order_mark(body: &[u8]) -> Option<Vec<u8>> {
    body.strip_prefix(BYTE_ORDER_MARK).map(<[u8]>::to_vec)
}

fn from_mojibake(body: &[u8]) -> Option<Vec<u8>> {
    let text = str::from_utf8(body).ok()?;
    let bytes = text.chars().map(|character| {
        u8::try_from(character).ok().or_else(|| {
            let at = WINDOWS_1252.chars().position(|other| other == character)?;
            u8::try_from(0x80 + at).ok()
        })
    });
    let bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
    str::from_utf8(&bytes).is_ok().then_some(bytes)
}

fn from_latin1(body: &[u8]) -> Option<Vec<u8>> {
    // A NUL is half of a character of UTF-16.
    if str::from_utf8(body).is_ok() || !body.starts_with(b"{") || body.contains(&0) {
        return None;
    }
    let windows_1252: Vec<char> = WINDOWS_1252.chars().collect();
    let characters = body.iter().map(|byte| {
        let at = usize::from(byte.wrapping_sub(0x80));
        windows_1252.get(at).copied().unwrap_or(char::from(*byte))
    });
    Some(characters.collect::<String>().into_bytes())
}

type Read = fn([u8; 2]) -> u16;

fn from_utf16(body: &[u8]) -> Option<Vec<u8>> {
    let (units, read): (&[u8], Read) = match body {
        [0xff, 0xfe, units @ ..] => (units, u16::from_le_bytes),
        [0xfe, 0xff, units @ ..] => (units, u16::from_be_bytes),
        [b'{', 0, ..] => (body, u16::from_le_bytes),
        [0, b'{', ..] => (body, u16::from_be_bytes),
        _ => return None,
    };
    let (units, odd) = units.as_chunks();
    let text: Result<String, _> = char::decode_utf16(units.iter().copied().map(read)).collect();
    text.ok().filter(|_| odd.is_empty()).map(String::into_bytes)
}

fn from_base64(body: &[u8]) -> Option<Vec<u8>> {
    let mut base64 = body.to_vec();
    base64.retain(|byte| !byte.is_ascii_whitespace());
    let decoded = BASE64.decode(base64).ok()?;
    // Any word could be base64.
    decoded.starts_with(b"{").then_some(decoded)
}

fn from_json_string(body: &[u8]) -> Option<Vec<u8>> {
    let text: String = serde_json::from_slice(body).ok()?;
    Some(text.into_bytes())
}

fn from_percent_encoding(body: &[u8]) -> Option<Vec<u8>> {
    let at = body
        .windows(3)
        .take(FIELD_NAME_BYTES_MAX)
        .position(|window| window.eq_ignore_ascii_case(b"%7b"))?;
    let (name, json) = body.split_at_checked(at)?;
    if !name.is_empty() && !name.ends_with(b"=") {
        return None;
    }
    let json = json.split(|byte| *byte == b'&').next()?;
    // Whoever takes the body for the name of a field puts a `=` behind it.
    let json = json.strip_suffix(b"=").unwrap_or(json);
    let plus = match contains(json, b"%20") {
        true => b'+',
        false => b' ',
    };
    Some(percent_decoded(json, plus))
}

fn percent_decoded(mut rest: &[u8], plus: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(rest.len());
    while let [byte, behind @ ..] = rest {
        let decoded = match rest {
            [b'%', high, low, ..] => hex_byte(*high, *low),
            _ => None,
        };
        rest = match decoded {
            Some(_) => behind.get(2..).unwrap_or_default(),
            None => behind,
        };
        out.push(match byte {
            b'+' => plus,
            _ => decoded.unwrap_or(*byte),
        });
    }
    out
}

fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}
