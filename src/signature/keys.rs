use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

use super::{
    header::{MAC_BYTES, SignatureHeader},
    secret::{Scope, SigningSecret},
};

/// The secrets of a verifier, ready to use: the active ones first, then the retiring ones, newest first.
///
/// A set is never changed but replaced, so that whoever verifies has the whole of one set.
#[derive(Clone, Default)]
pub(super) struct Keys(Vec<Key>);

/// A secret, ready to use: the two SHA-256 states that HMAC derives from the key.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) scope: Arc<Scope>,
    pub(super) retires_at: Option<SystemTime>,
    /// Shared by all copies of the key, in whichever set.
    usage: Arc<Usage>,
    /// Behind a pointer: a vector that grows leaves what it held behind, unwiped.
    mac: Arc<Hmac<Sha256>>,
    /// The MAC of nothing: the value itself is not kept, and two keys are the same if they sign alike.
    of_nothing: [u8; MAC_BYTES],
}

#[derive(Default)]
struct Usage {
    uses: AtomicU64,
    last_used_unix: AtomicU64,
}

impl Keys {
    /// Makes keys of secrets; of several with the same value, the last counts.
    pub(super) fn of(secrets: impl IntoIterator<Item = SigningSecret>) -> Self {
        secrets.into_iter().fold(Self::default(), Self::with)
    }

    pub(super) fn with(mut self, secret: SigningSecret) -> Self {
        if let Some(mut key) = Key::of(&secret) {
            key.usage = self.usage_of(&key);
            self.0.retain(|other| !other.is_of_the_same_value(&key));
            let retiring = self.0.partition_point(|key| key.retires_at.is_none());
            self.0.insert(retiring, key);
        }
        self
    }

    /// The set that follows this one: `new` is active, every other key retires after `overlap`,
    /// unless it retires sooner already.
    pub(super) fn rotated(&self, new: &Self, overlap: Duration, now: SystemTime) -> Self {
        let active = new.0.iter().map(|key| Key {
            usage: self.usage_of(key),
            ..key.clone()
        });
        let retires_at = now.checked_add(overlap);
        let others = self.0.iter().filter(|key| {
            let mut new = new.0.iter();
            !new.any(|new| new.is_of_the_same_value(key))
        });
        let retiring = others.map(|key| Key {
            retires_at: [key.retires_at, retires_at].into_iter().flatten().min(),
            ..key.clone()
        });
        // Not kept until somebody looks: a clock that steps back would revive it.
        let retiring = retiring.filter(|key| !key.has_retired(now));
        Self(active.chain(retiring).collect())
    }

    /// The count of a key, which may be in the set already.
    fn usage_of(&self, key: &Key) -> Arc<Usage> {
        let known = self.0.iter().find(|other| other.is_of_the_same_value(key));
        Arc::clone(&known.unwrap_or(key).usage)
    }

    /// The first key that has signed one of the header's signatures.
    pub(super) fn signer(
        &self,
        header: &SignatureHeader<'_>,
        body: &[u8],
        now: SystemTime,
    ) -> Option<&Key> {
        let mut valid = self.0.iter().filter(|key| !key.has_retired(now));
        valid.find(|key| key.has_signed(header, body))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.iter()
    }
}

impl Key {
    /// HMAC takes keys of any length, so there always is one; if there were none, leaving it out
    /// would refuse deliveries and never accept one.
    fn of(secret: &SigningSecret) -> Option<Self> {
        let mac: Hmac<Sha256> = Hmac::new_from_slice(secret.key()).ok()?;
        let of_nothing = mac.clone().finalize().into_bytes().into();
        Some(Self {
            scope: Arc::new(secret.scope.clone()),
            retires_at: None,
            usage: Arc::default(),
            mac: Arc::new(mac),
            of_nothing,
        })
    }

    fn has_signed(&self, header: &SignatureHeader<'_>, body: &[u8]) -> bool {
        let mut mac = Hmac::clone(&self.mac);
        for part in [header.timestamp_digits, b".", body] {
            mac.update(part);
        }
        let expected: [u8; MAC_BYTES] = mac.finalize().into_bytes().into();
        // All of them are compared, so that the time does not tell which one matched.
        let any = header
            .macs()
            .fold(Choice::from(0), |any, mac| any | expected.ct_eq(mac));
        any.into()
    }

    fn is_of_the_same_value(&self, other: &Self) -> bool {
        self.of_nothing.ct_eq(&other.of_nothing).into()
    }

    fn has_retired(&self, now: SystemTime) -> bool {
        self.retires_at.is_some_and(|at| now >= at)
    }

    /// Counts a delivery that this key has signed.
    pub(super) fn count_use(&self, now_unix: u64) {
        self.usage.uses.fetch_add(1, Ordering::Relaxed);
        let last = &self.usage.last_used_unix;
        last.fetch_max(now_unix, Ordering::Relaxed);
    }

    pub(super) fn uses(&self) -> u64 {
        self.usage.uses.load(Ordering::Relaxed)
    }

    pub(super) fn last_used_at(&self) -> Option<SystemTime> {
        let seconds = self.usage.last_used_unix.load(Ordering::Relaxed);
        (seconds > 0).then(|| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))?
    }
}
