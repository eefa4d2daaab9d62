use std::time::SystemTime;

use base64::Engine;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{body::BASE64, case::Repaired, flaw::SecretFlaw};
use crate::signature::{MAC_BYTES, SignatureHeader, SigningSecret, Verifier, VerifyError};

const PREFIX: &str = "whsec_";

/// Those of `.env` files, and those that word processors and chats make of them.
const QUOTES: [char; 15] = [
    '"', '\'', '`', '“', '”', '„', '‟', '‘', '’', '‚', '‛', '«', '»', '‹', '›',
];

/// Shortest part of a secret that no name shows, in bytes: a shorter one is a word of a test's
/// secret, which its name may well have too.
const PART_BYTES_MIN: usize = 8;

/// Letters and digits that no name has in a row. Stripe's secrets have 32 or 64, the ids of its
/// accounts 16.
const ALPHANUMERIC_RUN_MIN: usize = 20;

/// A secret to try: one that was given, or that with flaws undone.
pub(super) struct Key {
    /// Which of the given secrets it comes from.
    pub(super) index: usize,
    pub(super) undone: Vec<SecretFlaw>,
    verifier: Verifier,
    ageless: Verifier,
}

impl Key {
    /// The given secrets as they are and then with one flaw after the other undone, as far as they
    /// are usable.
    pub(super) fn all(secrets: &[(&str, &str)]) -> Vec<Self> {
        let repaired = secrets.iter().enumerate().flat_map(|(index, (_, value))| {
            repaired(value).into_iter().map(move |value| (index, value))
        });
        repaired
            .filter_map(|(index, repaired)| {
                let secret = SigningSecret::new(repaired.value.as_str()).ok()?;
                let verifier = Verifier::new(secret);
                Some(Self {
                    index,
                    undone: repaired.undone,
                    ageless: verifier.clone().without_age_check(),
                    verifier,
                })
            })
            .collect()
    }

    /// What a service with this secret says.
    pub(super) fn verify(
        &self,
        body: &Bytes,
        header: &[u8],
        now: SystemTime,
    ) -> Result<(), VerifyError> {
        self.verifier.verify(body.clone(), header, now).map(drop)
    }

    /// Whether the signature fits, at whatever time it was made.
    pub(super) fn fits(&self, body: &Bytes, header: &[u8]) -> bool {
        let now = SystemTime::UNIX_EPOCH;
        self.ageless.verify(body.clone(), header, now).is_ok()
    }
}

type Undo = fn(&str) -> String;

const UNDO: [(SecretFlaw, Undo); 5] = [
    (SecretFlaw::Base64, |value| {
        from_base64(value).unwrap_or_else(|| value.to_owned())
    }),
    (SecretFlaw::Whitespace, |value| value.trim().to_owned()),
    (SecretFlaw::Invisible, |value| {
        let can_be_seen = |it: &char| it.is_ascii_graphic() || QUOTES.contains(it);
        value.chars().filter(can_be_seen).collect()
    }),
    (SecretFlaw::Quoted, |value| {
        value.trim_matches(QUOTES).to_owned()
    }),
    (SecretFlaw::PrefixMissing, |value| {
        match value.starts_with(PREFIX) {
            true => value.to_owned(),
            false => format!("{PREFIX}{value}"),
        }
    }),
];

fn repaired(value: &str) -> Vec<Repaired<Zeroizing<String>, SecretFlaw>> {
    let mut last = Repaired::as_given(Zeroizing::new(value.to_owned()));
    let mut secrets = vec![last.clone()];
    for (flaw, undo) in UNDO {
        let undone = Zeroizing::new(undo(&last.value));
        if undone != last.value {
            last = last.with(undone, flaw);
            secrets.push(last.clone());
        }
    }
    secrets
}

/// Whether a name shows a secret, or enough of it to complete it.
pub(super) fn shows(name: &str, value: &str) -> bool {
    name.contains(PREFIX)
        || repaired(value).iter().any(|secret| {
            let value = secret.value.trim();
            let part = value.split_once(PREFIX).map_or("", |(_, part)| part);
            let shows_part = part.len() >= PART_BYTES_MIN && name.contains(part);
            shows_part || (!value.is_empty() && name.contains(value))
        })
}

/// Whether the name may be the secret and the value its name.
pub(super) fn is_swapped(name: &str, value: &str) -> bool {
    let value = value.trim();
    let of_variable = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let is_variable = !value.is_empty() && value.bytes().all(of_variable);
    let is_random = name
        .split(|character: char| !character.is_ascii_alphanumeric())
        .any(|run| run.len() >= ALPHANUMERIC_RUN_MIN);
    is_variable || (is_random && !value.contains(PREFIX))
}

/// Whether the body is signed with the key that a secret is the base64 of.
pub(super) fn fits_decoded(value: &str, body: &[u8], header: &[u8]) -> bool {
    let key = decoded(value).filter(|key| {
        // Anybody can sign with an empty key, and who signs with a secret of Stripe's decodes none.
        !key.is_empty() && !holds_secret(key)
    });
    key.is_some_and(|key| is_signed(&key, body, header).unwrap_or(false))
}

fn from_base64(value: &str) -> Option<String> {
    let secret = decoded(value).filter(|secret| holds_secret(secret))?;
    str::from_utf8(&secret).ok().map(str::to_owned)
}

fn decoded(value: &str) -> Option<Zeroizing<Vec<u8>>> {
    let base64: String = value.chars().filter(char::is_ascii_graphic).collect();
    let base64 = Zeroizing::new(base64);
    let base64 = base64.trim_matches(QUOTES);
    let base64 = base64.strip_prefix(PREFIX).unwrap_or(base64);
    BASE64.decode(base64).ok().map(Zeroizing::new)
}

fn holds_secret(decoded: &[u8]) -> bool {
    let mut windows = decoded.windows(PREFIX.len());
    windows.any(|window| window == PREFIX.as_bytes())
}

fn is_signed(key: &[u8], body: &[u8], header: &[u8]) -> Option<bool> {
    let header = SignatureHeader::parse(header).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(format!("{}.", header.timestamp()).as_bytes());
    mac.update(body);
    let expected: [u8; MAC_BYTES] = mac.finalize().into_bytes().into();
    Some(header.macs().any(|mac| expected.ct_eq(mac).into()))
}
