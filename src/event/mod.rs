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
//! | `context` | read if it is a string | string or absent |
//! | `created` | Unix seconds | RFC 3339 |
//! | `api_version`, `request`, `reason`, `related_object` | read if they have the documented form | likewise |
//! | `data`, `changes` | read when they are asked for | likewise |
//!
//! The first five rows decide what is done with an event, so a wrong type there is an error. The
//! others inform: what does not have the documented form is taken as absent, but a guard that wants
//! to know `created` or `api_version` stops the event. A key that stands twice is an error, and `null`
//! counts as absent.
//!
//! # Thin events
//!
//! A thin event carries no object: [`Event::object`] is [`ObjectError::Absent`]. It names the object
//! in [`Event::related_object`], to be fetched with [`Event::context`] as `Stripe-Context`; under
//! [`ProcessOnceLayer`](crate::ProcessOnceLayer) that is what
//! [`prepare`](crate::ProcessOnceLayer::prepare) is for, and `examples/thin.rs` shows it whole. One
//! handler takes both kinds:
//!
//! ```
//! use axum_stripe_webhook::Event;
//!
//! let event = Event::parse(
//!     r#"{"id": "evt_2", "object": "v2.core.event", "type": "v1.checkout.session.completed",
//!         "created": "2026-10-28T12:00:00.000Z", "livemode": true, "snapshot_event": "evt_1",
//!         "context": "acct_1", "related_object": {"id": "cs_1", "type": "checkout.session",
//!         "url": "/v1/checkout/sessions/cs_1"}}"#.into(),
//! )?;
//! let related = event.related_object().ok_or("no related object")?;
//! assert_eq!(related.url.as_deref(), Some("/v1/checkout/sessions/cs_1"));
//! assert_eq!(event.context(), Some("acct_1"));
//! assert_eq!(event.deduplication_id(), "evt_1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cause;
mod effect_key;
mod envelope;
mod error;
mod related_object;

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use serde::{Deserialize, de::DeserializeOwned};

use envelope::Envelope;

pub use cause::{EventRequest, Reason};
#[cfg(feature = "_database")]
pub(crate) use effect_key::check_effect_key;
pub use effect_key::{EFFECT_KEY_BYTES_MAX, EffectKeyError};
#[cfg(feature = "_database")]
pub(crate) use envelope::is_key;
pub use envelope::{EventKind, ID_BYTES_MAX, Mode};
pub use error::{EventError, ObjectError};
pub use related_object::RelatedObject;

/// The id of every test event that is sent from the Dashboard.
const DASHBOARD_TEST_ID: &str = "evt_00000000000000";

/// Answered with a decision, within two seconds; its duplicate wants the decision again.
const ISSUING_REQUESTS: [&str; 2] = [
    "issuing_authorization.request",
    "v1.issuing_authorization.request",
];

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
        self.snapshot_event().unwrap_or(&self.envelope.id)
    }

    /// The id of the snapshot event that says the same as this thin event. Stripe sends that one to
    /// other destinations.
    #[must_use]
    pub fn snapshot_event(&self) -> Option<&str> {
        self.envelope.snapshot_event.as_deref()
    }

    /// Whether an event of the same id would be the same event.
    pub(crate) fn is_deduplicated(&self) -> bool {
        self.deduplication_id() != DASHBOARD_TEST_ID
            && !ISSUING_REQUESTS.contains(&self.event_type())
    }

    /// Whether its sender waits for what the handler has to say.
    #[cfg(feature = "_database")]
    pub(crate) fn wants_an_answer(&self) -> bool {
        ISSUING_REQUESTS.contains(&self.event_type())
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
        self.envelope.api_version.read().map(String::as_str)
    }

    /// When the event was made. Stripe gives whole seconds for snapshot events: it neither orders
    /// events nor identifies them.
    #[must_use]
    pub fn created(&self) -> Option<SystemTime> {
        let seconds = self.envelope.created.read()?;
        Some(UNIX_EPOCH + Duration::from_secs(*seconds))
    }

    /// Whether there is a `created` that does not have the documented form.
    pub(crate) fn has_unreadable_created(&self) -> bool {
        self.envelope.created.is_unreadable()
    }

    /// Whether there is an `api_version` that does not have the documented form.
    pub(crate) fn has_unreadable_api_version(&self) -> bool {
        self.envelope.api_version.is_unreadable()
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

    /// The connected account, which a thin event names as its context.
    pub(crate) fn account_or_context(&self) -> Option<&str> {
        self.account().or_else(|| self.context())
    }

    /// The context that a request about the event's object needs as `Stripe-Context`. For the thin
    /// event of a connected account it names the account.
    #[must_use]
    pub fn context(&self) -> Option<&str> {
        self.envelope.context.as_deref()
    }

    /// What a thin event is about; its object is to be fetched from there.
    #[must_use]
    pub fn related_object(&self) -> Option<&RelatedObject> {
        self.envelope.related_object.as_ref()
    }

    /// Why a thin event was made.
    #[must_use]
    pub fn reason(&self) -> Option<&Reason> {
        self.envelope.reason.as_ref()
    }

    /// The API request that caused the event, of either kind.
    #[must_use]
    pub fn request(&self) -> Option<&EventRequest> {
        let of_reason = || self.reason()?.request.as_ref();
        self.envelope.request.as_ref().or_else(of_reason)
    }

    /// The id of the object that the event is about; none if it has none that can be a key.
    #[cfg(feature = "_database")]
    pub(crate) fn object_id(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct WithId {
            id: String,
        }
        let id = match self.related_object() {
            Some(related) => related.id.clone(),
            None => self.object::<WithId>().ok()?.id,
        };
        envelope::is_key(&id).then_some(id)
    }

    /// The body, exactly as received.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Reads `data.object` of a snapshot event into the service's own type.
    ///
    /// Let it name only the fields that the handler uses: every further one is one more that a new
    /// API version can change.
    ///
    /// # Errors
    ///
    /// [`ObjectError::Absent`] when the event carries no object, as thin events never do;
    /// [`ObjectError::Misfit`] when it does not have the shape of `T`. As an answer both are a 422,
    /// and under the layer the event is quarantined: see [`StripeObject`](crate::StripeObject).
    pub fn object<T: DeserializeOwned>(&self) -> Result<T, ObjectError> {
        #[derive(Deserialize)]
        struct Data<T> {
            object: Option<T>,
        }
        let data: Option<Data<T>> = self.data_of_snapshot()?;
        data.and_then(|data| data.object).ok_or(ObjectError::Absent)
    }

    /// Reads `data.previous_attributes` of a snapshot event: what the fields that have changed were
    /// before. `None` when there are none; Stripe gives them with `*.updated` alone.
    ///
    /// # Errors
    ///
    /// [`ObjectError::Misfit`] when they do not have the shape of `T`.
    pub fn previous_attributes<T: DeserializeOwned>(&self) -> Result<Option<T>, ObjectError> {
        #[derive(Deserialize)]
        struct Data<T> {
            previous_attributes: Option<T>,
        }
        let data: Option<Data<T>> = self.data_of_snapshot()?;
        Ok(data.and_then(|data| data.previous_attributes))
    }

    /// Serde would take the elements of an array for the fields of `T`.
    fn data_of_snapshot<T: DeserializeOwned>(&self) -> Result<Option<T>, ObjectError> {
        let is_object = |data: &&Bytes| data.starts_with(b"{");
        let data = self.envelope.data.as_ref().filter(is_object);
        part("data", data.filter(|_| self.kind() == EventKind::Snapshot))
    }

    /// Reads `changes` of a thin event: what has changed about the object, in the form that the
    /// event's type documents. `None` when there are none.
    ///
    /// # Errors
    ///
    /// [`ObjectError::Misfit`] when they do not have the shape of `T`.
    pub fn changes<T: DeserializeOwned>(&self) -> Result<Option<T>, ObjectError> {
        let changes = self.envelope.changes.as_ref();
        part(
            "changes",
            changes.filter(|_| self.kind() == EventKind::Thin),
        )
    }

    /// Reads the whole of `data`, which some types of thin events have: the impact of a
    /// `v2.core.health.*`, say. `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`ObjectError::Misfit`] when it does not have the shape of `T`.
    pub fn data<T: DeserializeOwned>(&self) -> Result<Option<T>, ObjectError> {
        part("data", self.envelope.data.as_ref())
    }
}

/// Reads a part of the event that was parsed with it, so that nothing can stand behind its end.
fn part<T: DeserializeOwned>(root: &str, json: Option<&Bytes>) -> Result<Option<T>, ObjectError> {
    json.map(|json| {
        let mut json = serde_json::Deserializer::from_slice(json);
        serde_path_to_error::deserialize(&mut json)
            .map_err(|error| ObjectError::misfit(root, &error))
    })
    .transpose()
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id())
            .field("type", &self.event_type())
            .field("kind", &self.kind())
            .field("api_version", &self.api_version())
            .field("created", &self.envelope.created.read())
            .field("livemode", &self.livemode())
            .field("account", &self.account())
            .finish_non_exhaustive()
    }
}
