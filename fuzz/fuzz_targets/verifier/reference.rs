//! The rules once more, from their text and not from the crate's code: whole lists instead of one
//! pass, wide integers, and hex compared as text.

use std::{cmp::Reverse, collections::BTreeMap};

use axum_stripe_webhook::{VerifyError, signature::HeaderFault};
use sha2::{Digest, Sha256};

/// Every secret by its value, since the verifier was made.
#[derive(Default)]
pub struct Standings(BTreeMap<String, Standing>);

struct Standing {
    /// In which round it was last listed, and where in the list.
    round: usize,
    place: usize,
    /// In nanoseconds since 1970; the greatest number if it does not end.
    ends_at: i128,
}

const NEVER: i128 = i128::MAX;

/// The last nanosecond that a clock can show.
const LAST: i128 = (i64::MAX as i128 + 1) * 1_000_000_000 - 1;

/// The round of a secret that is added when all rotations are done.
pub const LATE: usize = usize::MAX;

pub fn name(round: usize, place: usize) -> String {
    // The tab keeps it from being a secret: a name that is the secret is hidden.
    format!("{round}\t{place}")
}

/// Rule 8, as far as it is written down.
pub fn must_be_refused(secret: &str) -> bool {
    let api_key = ["sk_", "rk_", "pk_"]
        .iter()
        .any(|key| secret.starts_with(key));
    secret.trim().is_empty() || secret.contains(char::is_control) || api_key
}

impl Standings {
    /// What is listed stays without end, what is not ends with the overlap if not sooner, and what
    /// has ended is forgotten. A list of nothing changes nothing.
    pub fn rotate(&mut self, round: usize, listed: Vec<String>, at: i128, overlap: u128) {
        if listed.is_empty() {
            return;
        }
        let ends_at = at.saturating_add_unsigned(overlap);
        let ends_at = if ends_at > LAST { NEVER } else { ends_at };
        for standing in self.0.values_mut() {
            standing.ends_at = standing.ends_at.min(ends_at);
        }
        self.0.retain(|_, standing| standing.ends_at > at);
        self.add(round, listed);
    }

    pub fn add(&mut self, round: usize, listed: Vec<String>) {
        for (place, value) in listed.into_iter().enumerate() {
            let standing = Standing {
                round,
                place,
                ends_at: NEVER,
            };
            self.0.insert(value, standing);
        }
    }
}

/// What `verify` must say: the time of signing and the secret's name, or the error.
pub fn judge(
    standings: &Standings,
    header: &[u8],
    body: &[u8],
    now: i128,
    tolerance: Option<u64>,
) -> Result<(u64, String), VerifyError> {
    if header.len() > 4096 {
        return Err(VerifyError::MalformedHeader(HeaderFault::TooLong));
    }
    if trimmed(header).is_empty() {
        return Err(VerifyError::MissingHeader);
    }
    let elements: Vec<&[u8]> = header.split(|byte| *byte == b',').map(trimmed).collect();
    let times = values_of(&elements, b"t=");
    let signatures = values_of(&elements, b"v1=");
    if let Some(fault) = first_fault(&elements, &times, &signatures) {
        return Err(VerifyError::MalformedHeader(fault));
    }
    let Some((_, digits)) = times.first() else {
        return Err(VerifyError::MalformedHeader(HeaderFault::TimestampMissing));
    };
    if signatures.is_empty() {
        let other_elements = elements.len() - 1;
        return Err(VerifyError::NoSignature { other_elements });
    }

    let signed_at = number(digits).expect("a fault otherwise");
    // A clock that stands before 1970 counts as standing at its start.
    let age_seconds = now.div_euclid(1_000_000_000).max(0) - i128::from(signed_at);
    let message = [*digits, b".", body].concat();
    let fitting = standings.0.iter().filter(|(secret, standing)| {
        let expected = hmac_sha256(secret.as_bytes(), &message);
        standing.ends_at > now
            && signatures
                .iter()
                .any(|(_, hex)| *hex == expected.as_bytes())
    });
    // Those without end first; of them, and of the others, the newest; the late one behind its like.
    let newest = fitting.min_by_key(|(_, standing)| {
        let (has_end, is_late) = (standing.ends_at != NEVER, standing.round == LATE);
        (has_end, is_late, Reverse(standing.round), standing.place)
    });
    let Some((_, newest)) = newest else {
        let is_hex = |byte: &u8| b"0123456789abcdef".contains(byte);
        let well_formed = |hex: &&[u8]| hex.len() == 64 && hex.iter().all(is_hex);
        return Err(VerifyError::SignatureMismatch {
            signatures: signatures.len(),
            well_formed: signatures
                .iter()
                .filter(|(_, hex)| well_formed(hex))
                .count(),
            age_seconds,
        });
    };
    if tolerance.is_some_and(|tolerance| age_seconds.abs() > tolerance.into()) {
        return Err(VerifyError::TimestampOutOfTolerance { age_seconds });
    }
    Ok((signed_at, name(newest.round, newest.place)))
}

/// The fault that stands foremost.
fn first_fault(
    elements: &[&[u8]],
    times: &[(usize, &[u8])],
    signatures: &[(usize, &[u8])],
) -> Option<HeaderFault> {
    let bare = |element: &&[u8]| *element == b"t" || *element == b"v1";
    let bare = elements.iter().position(bare);
    let repeated = times.get(1).map(|(at, _)| *at);
    let invalid = times.first().filter(|(_, digits)| number(digits).is_none());
    let too_many = signatures.get(16).map(|(at, _)| *at);
    let faults = [
        (bare, HeaderFault::BareKey),
        (repeated, HeaderFault::TimestampRepeated),
        (invalid.map(|(at, _)| *at), HeaderFault::TimestampInvalid),
        (too_many, HeaderFault::TooManySignatures),
    ];
    let there = faults
        .into_iter()
        .filter_map(|(at, fault)| Some((at?, fault)));
    there.min_by_key(|(at, _)| *at).map(|(_, fault)| fault)
}

fn values_of<'a>(elements: &[&'a [u8]], key: &[u8]) -> Vec<(usize, &'a [u8])> {
    let elements = elements.iter().enumerate();
    let values = elements.filter_map(|(at, element)| Some((at, element.strip_prefix(key)?)));
    values.collect()
}

fn number(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    let number: u128 = text.parse().ok()?;
    // One number has one spelling: no sign, no leading zero.
    let number = (number.to_string() == text).then_some(number)?;
    number.try_into().ok()
}

fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\n' | b'\x0c' | b'\r', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t' | b'\n' | b'\x0c' | b'\r'] = bytes {
        bytes = rest;
    }
    bytes
}

/// By the definition of RFC 2104, in lower-case hex.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> String {
    let mut block = [0; 64];
    match key.len() > block.len() {
        true => block[..32].copy_from_slice(&Sha256::digest(key)),
        false => block[..key.len()].copy_from_slice(key),
    }
    let inner = Sha256::digest([&block.map(|byte| byte ^ 0x36), message].concat());
    let outer = Sha256::digest([&block.map(|byte| byte ^ 0x5c)[..], &inner].concat());
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}
