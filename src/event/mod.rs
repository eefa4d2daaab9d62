//! Stripe's event: the envelope of snapshot and thin events. Pure: no I/O, no clock.
//!
//! Only the envelope is parsed. `data.object` stays raw JSON until a handler asks for it with
//! [`Event::object`], so that an object of a newer API version, or one that nobody handles, cannot
//! make an event unreadable. Unknown fields and unknown types are fine.
//!
//! | field | snapshot event (`event`) | thin event (`v2.core.event`) |
//! |---|---|---|
//! | `id`, `object`, `type` | string, required | string, required |
//! | `livemode` | boolean or absent | boolean or absent |
//! | `account` | string or absent | string or absent |
//! | `snapshot_event` | not looked at | string or absent |
//! | `created` | Unix seconds | RFC 3339 |
//! | `api_version`, `context`, `related_object` | read if they have the documented form | likewise |
//!
//! The first four rows decide what is done with an event, so a wrong type there is an error. The
//! others inform: what does not have the documented form is taken as absent. A key that stands
//! twice is an error.

mod envelope;
mod error;

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use serde::{Deserialize, de::DeserializeOwned};

use envelope::Envelope;

pub use envelope::{EventKind, ID_BYTES_MAX, RelatedObject};
pub use error::{EventError, ObjectError};

/// An event as Stripe sent it: its parsed envelope and its exact bytes.
///
/// That it came from Stripe is a property of
/// [`VerifiedStripeEvent`](crate::VerifiedStripeEvent), not of this type. `Debug` shows ids, type,
/// version, mode and time, and nothing of the payload.
///
/// ```
/// use axum_stripe_webhook::Event;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Session {
///     client_reference_id: String,
/// }
///
/// let event = Event::parse(
///     r#"{"id": "evt_1", "object": "event", "type": "checkout.session.completed",
///         "data": {"object": {"client_reference_id": "order_7"}}}"#.into(),
/// )?;
/// assert_eq!(event.event_type(), "checkout.session.completed");
/// assert_eq!(event.object::<Session>()?.client_reference_id, "order_7");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Event {
    bytes: Bytes,
    envelope: Envelope,
}

impl Event {
    /// Parses the envelope. The bytes are kept and not copied.
    ///
    /// # Errors
    ///
    /// When the bytes are not UTF-8, not JSON, or not an event: see [`EventError`].
    pub fn parse(bytes: Bytes) -> Result<Self, EventError> {
        let envelope = Envelope::parse(&bytes)?;
        Ok(Self { bytes, envelope })
    }

    /// The event's id, `evt_…`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.envelope.id
    }

    /// The id under which an event is processed once: that of the snapshot event which a thin event
    /// is the twin of, or else its own.
    #[must_use]
    pub fn deduplication_id(&self) -> &str {
        self.envelope
            .snapshot_event
            .as_deref()
            .unwrap_or(&self.envelope.id)
    }

    /// The event's type, such as `checkout.session.completed`.
    #[must_use]
    pub fn event_type(&self) -> &str {
        &self.envelope.event_type
    }

    /// Whether this is a snapshot event or a thin one.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        self.envelope.kind
    }

    /// The API version that `data.object` was rendered with.
    #[must_use]
    pub fn api_version(&self) -> Option<&str> {
        self.envelope.api_version.as_deref()
    }

    /// When the event was made. Stripe gives whole seconds for snapshot events: it neither orders
    /// events nor identifies them.
    #[must_use]
    pub fn created(&self) -> Option<SystemTime> {
        self.envelope
            .created
            .map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds))
    }

    /// True for live mode, false for test mode.
    #[must_use]
    pub fn livemode(&self) -> Option<bool> {
        self.envelope.livemode
    }

    /// The connected account that the event belongs to (Connect).
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        self.envelope.account.as_deref()
    }

    /// The context that a request about the event's object needs as `Stripe-Context`.
    #[must_use]
    pub fn context(&self) -> Option<&str> {
        self.envelope.context.as_deref()
    }

    /// What a thin event is about; its object is to be fetched from there.
    #[must_use]
    pub fn related_object(&self) -> Option<&RelatedObject> {
        self.envelope.related_object.as_ref()
    }

    /// The body, exactly as received.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Reads `data.object` into the service's own type.
    ///
    /// Let it name only the fields that the handler uses: every further one is one more that a new
    /// API version can change.
    ///
    /// # Errors
    ///
    /// [`ObjectError::Absent`] when the event carries no object, as thin events never do;
    /// [`ObjectError::Misfit`] when it does not have the shape of `T`. As an answer, both are a
    /// 422: the transaction is rolled back and Stripe delivers the event again.
    pub fn object<T: DeserializeOwned>(&self) -> Result<T, ObjectError> {
        #[derive(Deserialize)]
        struct Data<T> {
            object: Option<T>,
        }
        let data = self.envelope.data.as_ref().ok_or(ObjectError::Absent)?;
        serde_json::from_slice::<Data<T>>(data)
            .map_err(|error| ObjectError::misfit(&error))?
            .object
            .ok_or(ObjectError::Absent)
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id())
            .field("type", &self.event_type())
            .field("kind", &self.kind())
            .field("api_version", &self.api_version())
            .field("created", &self.envelope.created)
            .field("livemode", &self.livemode())
            .field("account", &self.account())
            .finish_non_exhaustive()
    }
}
