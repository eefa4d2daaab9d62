use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::StatusCode;
use sha2::{Digest, Sha256};

use crate::{extract::VerifiedStripeEvent, signature::SignatureHeader};

/// Takes the records of deliveries.
pub trait AuditSink: Send + Sync + 'static {
    /// Takes the record of a delivery that has ended. It is called on the request's way: it must not wait.
    ///
    /// A panic in it is caught and logged, and changes nothing for the delivery.
    fn record(&self, delivery: &DeliveryRecord);
}

/// What is known of a delivery that has ended. Nothing of its payload can be had from it.
///
/// What was not verified has no event id, type or secret: what a forgery says of itself is recorded nowhere.
#[non_exhaustive]
pub struct DeliveryRecord {
    /// When its head had arrived.
    pub received_at: SystemTime,
    /// From then until it was answered.
    pub duration: Duration,
    /// A code; see the [module](super).
    pub outcome: &'static str,
    /// The answer's; `None` if nobody was there to be answered.
    pub status: Option<StatusCode>,
    /// Who has sent it, if the layer was told how to know.
    pub peer: Option<IpAddr>,
    pub(super) facts: Facts,
}

/// What verification finds out.
#[derive(Clone, Default)]
pub(super) struct Facts {
    endpoint: Option<Arc<str>>,
    event: Option<VerifiedStripeEvent>,
    header_age_seconds: Option<i64>,
    body: Option<Bytes>,
    pub(super) rejected: Option<&'static str>,
}

/// Goes with a request, for verification to leave in it what it finds out.
#[derive(Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Facts>>);

impl Trace {
    pub(crate) fn body(&self, body: &Bytes) {
        self.note(|facts| facts.body = Some(body.clone()));
    }

    /// The age that the header claims, if it claims one.
    pub(crate) fn header(&self, header: &[u8], now: SystemTime) {
        let age = SignatureHeader::parse(header).ok().and_then(|header| {
            let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
            i64::try_from(i128::from(now) - i128::from(header.timestamp())).ok()
        });
        self.note(|facts| facts.header_age_seconds = age);
    }

    pub(crate) fn event(&self, event: &VerifiedStripeEvent) {
        self.note(|facts| facts.event = Some(event.clone()));
    }

    pub(crate) fn rejected(&self, code: &'static str) {
        self.note(|facts| facts.rejected = Some(code));
    }

    pub(crate) fn endpoint(&self, endpoint: &Arc<str>) {
        self.note(|facts| facts.endpoint = Some(Arc::clone(endpoint)));
    }

    pub(super) fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        self.note(|found| facts.clone_from(found));
        facts
    }

    /// Facts are whole between any two notes, so a poisoned lock means nothing.
    fn note(&self, note: impl FnOnce(&mut Facts)) {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Facts {
    pub(super) fn is_genuine(&self) -> bool {
        self.event.is_some()
    }
}

impl DeliveryRecord {
    /// Whether its signature was accepted and it is an event.
    #[must_use]
    pub fn is_genuine(&self) -> bool {
        self.facts.is_genuine()
    }

    /// The endpoint's label, if it was known.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.facts.endpoint.as_deref()
    }

    /// The event's id.
    #[must_use]
    pub fn event_id(&self) -> Option<&str> {
        self.facts.event.as_ref().map(|event| event.id())
    }

    /// The event's type.
    #[must_use]
    pub fn event_type(&self) -> Option<&str> {
        self.facts.event.as_ref().map(|event| event.event_type())
    }

    /// The name of the secret that matched, if it has one.
    #[must_use]
    pub fn secret_name(&self) -> Option<&str> {
        self.facts.event.as_ref()?.secret_name()
    }

    /// How old the `Stripe-Signature` header says it is, in seconds; negative for the future.
    #[must_use]
    pub fn header_age_seconds(&self) -> Option<i64> {
        self.facts.header_age_seconds
    }

    /// The body's length; `None` if it did not arrive whole.
    #[must_use]
    pub fn body_bytes(&self) -> Option<usize> {
        self.facts.body.as_ref().map(Bytes::len)
    }

    /// The body's SHA-256. It is computed each time: ask for it when the record is to be kept.
    #[must_use]
    pub fn body_sha256(&self) -> Option<[u8; 32]> {
        self.facts
            .body
            .as_ref()
            .map(|body| Sha256::digest(body).into())
    }
}

impl fmt::Debug for DeliveryRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeliveryRecord")
            .field("received_at", &self.received_at)
            .field("outcome", &self.outcome)
            .field("status", &self.status)
            .field("endpoint", &self.endpoint())
            .field("event_id", &self.event_id())
            .field("event_type", &self.event_type())
            .field("body_bytes", &self.body_bytes())
            .finish_non_exhaustive()
    }
}
