use std::time::UNIX_EPOCH;

use bytes::Bytes;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{
    cause::{EventRequest, Reason},
    error::EventError,
    related_object::RelatedObject,
};

/// Longest id, type or account that is accepted, in bytes. Stripe states 255 characters for ids.
pub const ID_BYTES_MAX: usize = 255;

/// Last second of the year 9999, the end of what SQL's timestamps and RFC 3339 both can say.
const CREATED_MAX: u64 = 253_402_300_799;

/// The two kinds of event that Stripe sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// Carries the object as it was when the event was made (`object: "event"`).
    Snapshot,
    /// Names the object, which is to be fetched (`object: "v2.core.event"`).
    Thin,
}

/// Live or test mode: real money, or Stripe's sandboxes and test cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// `livemode: true`.
    Live,
    /// `livemode: false`.
    Test,
}

impl Mode {
    /// Whether an event is of this mode. One that does not say is of neither.
    pub(crate) fn is_of(self, livemode: Option<bool>) -> bool {
        livemode == Some(self == Self::Live)
    }
}

/// A field that does not make an event unreadable, but may keep a guard from judging it.
#[derive(Clone, Debug)]
pub(super) enum Lenient<T> {
    Absent,
    Unreadable,
    Read(T),
}

impl<T> Lenient<T> {
    fn of(raw: Option<&RawValue>, read: impl FnOnce(&RawValue) -> Option<T>) -> Self {
        match raw {
            None => Self::Absent,
            Some(raw) => read(raw).map_or(Self::Unreadable, Self::Read),
        }
    }

    pub(super) fn read(&self) -> Option<&T> {
        match self {
            Self::Read(value) => Some(value),
            Self::Absent | Self::Unreadable => None,
        }
    }

    pub(super) fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable)
    }
}

#[derive(Clone)]
pub(super) struct Envelope {
    pub(super) id: String,
    pub(super) event_type: String,
    pub(super) kind: EventKind,
    pub(super) api_version: Lenient<String>,
    /// Unix seconds, at most [`CREATED_MAX`].
    pub(super) created: Lenient<u64>,
    pub(super) livemode: Option<bool>,
    pub(super) account: Option<String>,
    pub(super) context: Option<String>,
    pub(super) snapshot_event: Option<String>,
    pub(super) related_object: Option<RelatedObject>,
    pub(super) reason: Option<Reason>,
    /// Of a snapshot event; that of a thin one stands in its reason.
    pub(super) request: Option<EventRequest>,
    /// A view into the event's bytes, as is the next.
    pub(super) data: Option<Bytes>,
    pub(super) changes: Option<Bytes>,
}

/// The fields that are looked at, each as the JSON that stands there; `null` counts as absent.
#[derive(Deserialize)]
struct RawEnvelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    object: Option<&'a RawValue>,
    #[serde(rename = "type")]
    event_type: Option<&'a RawValue>,
    api_version: Option<&'a RawValue>,
    created: Option<&'a RawValue>,
    livemode: Option<&'a RawValue>,
    account: Option<&'a RawValue>,
    context: Option<&'a RawValue>,
    snapshot_event: Option<&'a RawValue>,
    related_object: Option<&'a RawValue>,
    reason: Option<&'a RawValue>,
    request: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    changes: Option<&'a RawValue>,
    /// EventBridge.
    detail: Option<&'a RawValue>,
    /// Event Grid, which speaks CloudEvents.
    specversion: Option<&'a RawValue>,
}

impl Envelope {
    pub(super) fn parse(bytes: &Bytes) -> Result<Self, EventError> {
        let text = std::str::from_utf8(bytes).map_err(|_| EventError::NotUtf8)?;
        // Serde would take the elements of an array for the fields in their order.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(not_an_object(text));
        }
        let raw: RawEnvelope<'_> =
            serde_json::from_str(text).map_err(|error| EventError::of_json(&error))?;
        let kind = kind(&raw)?;
        let thin = kind == EventKind::Thin;
        let view = |raw: &RawValue| bytes.slice_ref(raw.get().as_bytes());
        Ok(Self {
            id: required(raw.id, "id")?,
            event_type: required(raw.event_type, "type")?,
            kind,
            api_version: Lenient::of(raw.api_version, key),
            created: Lenient::of(raw.created, created),
            livemode: strict(raw.livemode, "livemode")?,
            account: identifier(raw.account, "account")?,
            // It stands for the account of a thin event, and only informs in a snapshot event.
            context: match thin {
                true => identifier(raw.context, "context")?,
                false => raw.context.and_then(key),
            },
            snapshot_event: match thin {
                true => identifier(raw.snapshot_event, "snapshot_event")?,
                false => None,
            },
            related_object: raw.related_object.and_then(RelatedObject::read),
            reason: raw.reason.filter(|_| thin).and_then(Reason::read),
            request: raw.request.and_then(EventRequest::read),
            data: raw.data.map(view),
            changes: raw.changes.map(view),
        })
    }
}

fn not_an_object(text: &str) -> EventError {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) => EventError::NotAnObject,
        Err(error) => EventError::of_json(&error),
    }
}

fn kind(raw: &RawEnvelope<'_>) -> Result<EventKind, EventError> {
    if raw.object.is_none() && (raw.detail.is_some() || raw.specversion.is_some()) {
        return Err(EventError::CloudEnvelope);
    }
    match required(raw.object, "object")?.as_str() {
        "event" => Ok(EventKind::Snapshot),
        "v2.core.event" => Ok(EventKind::Thin),
        _ => Err(EventError::NotAnEvent),
    }
}

fn required(raw: Option<&RawValue>, field: &'static str) -> Result<String, EventError> {
    identifier(raw, field)?.ok_or(EventError::Field { field })
}

/// A string that can be a key; an empty one counts as absent.
fn identifier(raw: Option<&RawValue>, field: &'static str) -> Result<Option<String>, EventError> {
    let value: Option<String> = strict(raw, field)?;
    match value.filter(|value| !value.is_empty()) {
        Some(value) if !is_key(&value) => Err(EventError::Field { field }),
        value => Ok(value),
    }
}

/// Bounded, and free of control characters: Postgres' `text` cannot hold a NUL, and a line break
/// would forge log lines.
pub(crate) fn is_key(value: &str) -> bool {
    value.len() <= ID_BYTES_MAX && !value.chars().any(char::is_control)
}

fn strict<T: DeserializeOwned>(
    raw: Option<&RawValue>,
    field: &'static str,
) -> Result<Option<T>, EventError> {
    raw.map(|raw| serde_json::from_str(raw.get()))
        .transpose()
        .map_err(|_| EventError::Field { field })
}

/// What does not have this form is taken as absent.
pub(super) fn lenient<T: DeserializeOwned>(raw: &RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

/// Likewise, for a struct: serde would take the elements of an array for its fields.
pub(super) fn lenient_object<T: DeserializeOwned>(raw: &RawValue) -> Option<T> {
    raw.get().starts_with('{').then(|| lenient(raw))?
}

fn key(raw: &RawValue) -> Option<String> {
    lenient(raw).filter(|value: &String| is_key(value))
}

/// Unix seconds of a snapshot event, or the RFC 3339 text of a thin one.
fn created(raw: &RawValue) -> Option<u64> {
    let seconds = lenient(raw).or_else(|| {
        let text: String = lenient(raw)?;
        let at = humantime::parse_rfc3339(&text).ok()?;
        let since = at.duration_since(UNIX_EPOCH).ok()?;
        Some(since.as_secs())
    });
    seconds.filter(|seconds| *seconds <= CREATED_MAX)
}
