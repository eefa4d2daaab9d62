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

const UNDO: [(SecretFlaw, Undo); 4] = [
    (SecretFlaw::Whitespace, |value| value.trim().to_owned()),
    (SecretFlaw::Quoted, |value| {
        value.trim_matches(['"', '\'', '`']).to_owned()
    }),
    (SecretFlaw::Invisible, |value| {
        value.chars().filter(char::is_ascii_graphic).collect()
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

/// Whether it lacks what Stripe's secrets begin with.
pub(super) fn lacks_prefix(value: &str) -> bool {
    !value.starts_with(PREFIX)
}

/// Whether the body is signed with the key that a secret is the base64 of.
pub(super) fn fits_decoded(value: &str, body: &[u8], header: &[u8]) -> bool {
    let value = value.trim();
    let base64 = value.strip_prefix(PREFIX).unwrap_or(value);
    let key = Zeroizing::new(BASE64.decode(base64).unwrap_or_default());
    // Anybody can sign with an empty key.
    !key.is_empty() && is_signed(&key, body, header).unwrap_or(false)
}

fn is_signed(key: &[u8], body: &[u8], header: &[u8]) -> Option<bool> {
    let header = SignatureHeader::parse(header).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(format!("{}.", header.timestamp()).as_bytes());
    mac.update(body);
    let expected: [u8; MAC_BYTES] = mac.finalize().into_bytes().into();
    Some(header.macs().any(|mac| expected.ct_eq(mac).into()))
}
