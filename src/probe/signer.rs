use std::{borrow::Cow, time::SystemTime};

use bytes::Bytes;

use super::{delivery::Attempt, events::Events};
use crate::{
    clock,
    testing::{SampleEvent, mac},
};

/// What is sent for a check.
pub(super) type Attempts = fn(&Signer<'_>) -> Vec<Attempt>;

/// Makes bodies and signatures, genuine ones if there is a secret.
pub(super) struct Signer<'a> {
    pub(super) events: &'a Events,
    secret: &'a str,
    now: SystemTime,
}

impl<'a> Signer<'a> {
    /// Signs as of now.
    pub(super) fn new(events: &'a Events, secret: &'a str) -> Self {
        let now = clock::now();
        Self {
            events,
            secret,
            now,
        }
    }

    /// The time of day in Unix seconds.
    pub(super) fn now(&self) -> u64 {
        self.now
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }

    pub(super) fn before(&self, seconds: u64) -> u64 {
        self.now().saturating_sub(seconds)
    }

    /// The endpoint's own MAC.
    pub(super) fn mac(&self, timestamp: impl ToString, body: &[u8]) -> String {
        mac(&timestamp.to_string(), body, self.secret.as_bytes())
    }

    /// A genuine header of that time.
    pub(super) fn header(&self, at: u64, body: &[u8]) -> String {
        format!("t={at},v1={}", self.mac(at, body))
    }

    /// A delivery of a body as Stripe would sign it now.
    pub(super) fn signed(&self, what: impl Into<Cow<'static, str>>, body: Bytes) -> Attempt {
        let header = self.header(self.now(), &body);
        Attempt::new(what, body).signature(header)
    }

    /// A delivery of a new event, genuine but for its header.
    pub(super) fn headed(
        &self,
        what: impl Into<Cow<'static, str>>,
        header: impl FnOnce(&[u8]) -> String,
    ) -> Attempt {
        let body = self.events.fresh_body();
        let header = header(&body);
        Attempt::new(what, body).signature(header)
    }

    /// A genuine delivery of a new event, signed at that time.
    pub(super) fn signed_at(&self, what: impl Into<Cow<'static, str>>, at: u64) -> Attempt {
        self.headed(what, |body| self.header(at, body))
    }

    /// A delivery of a body under a key that nobody has.
    pub(super) fn wrongly_signed(
        &self,
        what: impl Into<Cow<'static, str>>,
        body: Bytes,
    ) -> Attempt {
        let header = self.wrong_header(&body);
        Attempt::new(what, body).signature(header)
    }

    /// Likewise of an event.
    pub(super) fn genuine(
        &self,
        what: impl Into<Cow<'static, str>>,
        event: &SampleEvent,
    ) -> Attempt {
        self.signed(what, self.events.body(event))
    }

    /// A header of now under another key.
    pub(super) fn header_by(&self, key: &str, body: &[u8]) -> String {
        let now = self.now();
        format!("t={now},v1={}", mac(&now.to_string(), body, key.as_bytes()))
    }

    /// A header of now under a key that nobody has.
    pub(super) fn wrong_header(&self, body: &[u8]) -> String {
        self.header_by(&wrong_secret(), body)
    }
}

/// Another one each time.
fn wrong_secret() -> String {
    format!("whsec_{:032x}", fastrand::u128(..))
}
