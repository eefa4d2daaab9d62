use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::Request;
use serde_json::{Value, json};

use super::{
    SignedDelivery, path,
    samples::{self, Filling},
};
use crate::{EventKind, clock};

/// The API version that sample events are written in.
pub const SAMPLE_API_VERSION: &str = "2026-10-28.endive";

/// A realistic event of any type, of which every field can be set.
///
/// Types that begin with `v1.` or `v2.` are thin events. The objects of Checkout Sessions, payment and
/// setup intents, invoices, subscriptions, charges, refunds, disputes, payouts, customers and connected
/// accounts have Stripe's fields, in the state that the type says they are in; other types get an object
/// with an id and nothing more.
///
/// Ids are made of a name, which is another one for each event unless [`named`](Self::named): so two
/// samples are two events about two objects. It is made now, unless [`created`](Self::created) is set.
///
/// ```
/// use axum_stripe_webhook::{Event, testing::SampleEvent};
///
/// let sample = SampleEvent::of("checkout.session.completed")
///     .named("1")
///     .object("client_reference_id", "order_7")
///     .object("metadata.shop", "berlin")
///     .set("account", "acct_1");
///
/// let event = Event::parse(sample.to_json().into())?;
/// assert_eq!(event.id(), "evt_1");
/// assert_eq!(event.account(), Some("acct_1"));
/// # Ok::<(), axum_stripe_webhook::EventError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SampleEvent {
    /// Given by the test instead of being made.
    given: Option<Value>,
    event_type: String,
    name: String,
    /// `None`: as it is given.
    created: Option<SystemTime>,
    is_created_set: bool,
    /// Path and value, in their order; `None` takes out.
    edits: Vec<(String, Option<Value>)>,
}

impl SampleEvent {
    /// An event of this type.
    pub fn of(event_type: impl Into<String>) -> Self {
        Self {
            given: None,
            event_type: event_type.into(),
            name: unique_name(),
            created: Some(clock::now()),
            is_created_set: false,
            edits: Vec::new(),
        }
    }

    /// An event of the test's own, one that was recorded say. Its ids and its time are as they are given.
    pub fn from_value(event: Value) -> Self {
        let event_type = event.get("type").and_then(Value::as_str);
        Self {
            event_type: event_type.unwrap_or_default().to_owned(),
            given: Some(event),
            name: unique_name(),
            created: None,
            is_created_set: false,
            edits: Vec::new(),
        }
    }

    /// Makes its ids of this name: `evt_{name}`, `cs_test_{name}` and so on.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the event's own id alone; the object keeps its.
    pub fn id(self, id: impl Into<String>) -> Self {
        self.set("id", id.into())
    }

    /// Sets when it was made.
    pub fn created(mut self, created: SystemTime) -> Self {
        self.created = Some(created);
        self.is_created_set = true;
        self
    }

    /// Likewise, unless it was set.
    pub(super) fn created_unless_set(mut self, created: SystemTime) -> Self {
        if self.given.is_none() && !self.is_created_set {
            self.created = Some(created);
        }
        self
    }

    /// Sets a field of the event. The path's parts stand between dots, a place in a list is its number
    /// from 0, and what is not there yet is made.
    ///
    /// A field whose name has a dot can be set through [`to_value`](Self::to_value).
    pub fn set(mut self, path: impl Into<String>, value: impl Into<Value>) -> Self {
        self.edits.push((path.into(), Some(value.into())));
        self
    }

    /// Sets a field of `data.object`, as [`set`](Self::set) does.
    pub fn object(self, path: &str, value: impl Into<Value>) -> Self {
        self.set(format!("data.object.{path}"), value)
    }

    /// Takes a field out of the event.
    pub fn without(mut self, path: impl Into<String>) -> Self {
        self.edits.push((path.into(), None));
        self
    }

    /// The thin event that says the same as this snapshot event: another id, the same occurrence, and so
    /// the same time, mode and account.
    ///
    /// A thin event is its own twin.
    pub fn thin_twin(&self) -> Self {
        if self.kind() == EventKind::Thin {
            return self.clone();
        }
        let event = self.to_value();
        let created = event.get("created").and_then(Value::as_u64).unwrap_or(0);
        let twin = Self {
            given: None,
            event_type: format!("v1.{}", self.event_type),
            name: format!("{}_thin", self.name),
            created: UNIX_EPOCH.checked_add(Duration::from_secs(created)),
            is_created_set: true,
            edits: Vec::new(),
        };
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
        let mut twin = twin.set("snapshot_event", text("/id"));
        for (field, of_twin) in [("livemode", "livemode"), ("account", "context")] {
            if let Some(value) = event.get(field) {
                twin = twin.set(of_twin, value.clone());
            }
        }
        match text("/data/object/id") {
            Some(id) => {
                let related = twin.related_object(Some(id));
                twin.set("related_object", related)
            }
            None => twin.without("related_object"),
        }
    }

    /// Whether it is a snapshot event or a thin one.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        let object = self.given.as_ref().and_then(|event| event.get("object"));
        let is_thin = match object {
            Some(object) => object == "v2.core.event",
            None => ["v1.", "v2."]
                .iter()
                .any(|version| self.event_type.starts_with(version)),
        };
        match is_thin {
            true => EventKind::Thin,
            false => EventKind::Snapshot,
        }
    }

    /// The event as JSON, laid out as Stripe lays it out: over many lines.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{:#}", self.to_value())
    }

    /// The event as a value.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut event = match &self.given {
            Some(given) => self.given(given),
            None => self.made(self.created.unwrap_or(UNIX_EPOCH)),
        };
        for (path, value) in &self.edits {
            match value {
                Some(value) => path::set(&mut event, path, value.clone()),
                None => path::remove(&mut event, path),
            }
        }
        event
    }

    /// A delivery of it, signed with this secret: see [`SignedDelivery`] for more than one line can say.
    pub fn signed(&self, secret: impl Into<String>) -> SignedDelivery {
        SignedDelivery::of(self.to_json()).secret(secret)
    }

    /// A genuine delivery of it to this path, signed now, for an axum router's `oneshot`.
    ///
    /// # Panics
    ///
    /// As [`SignedDelivery::request`] does.
    #[must_use]
    #[track_caller]
    pub fn delivery(&self, uri: &str, secret: impl Into<String>) -> Request<axum_core::body::Body> {
        self.signed(secret).request(uri)
    }

    fn given(&self, given: &Value) -> Value {
        let mut event = given.clone();
        if let Some(created) = self.created {
            let created = match self.kind() {
                EventKind::Thin => rfc_3339(created).into(),
                EventKind::Snapshot => unix_seconds(created).into(),
            };
            path::set(&mut event, "created", created);
        }
        event
    }

    fn made(&self, created: SystemTime) -> Value {
        match self.kind() {
            EventKind::Thin => self.thin(created),
            EventKind::Snapshot => self.snapshot(created),
        }
    }

    fn snapshot(&self, created: SystemTime) -> Value {
        let filling = self.filling(created);
        let sample = samples::sample(&self.event_type);
        // What is here was written here: it is JSON.
        let object = sample.object(&filling).unwrap_or_default();
        let before = sample
            .previous_attributes
            .map(|before| filling.fill(before));
        let before = before.and_then(|before| serde_json::from_str::<Value>(&before).ok());
        let data = match before {
            None => json!({"object": object}),
            Some(before) => json!({"object": object, "previous_attributes": before}),
        };
        json!({
            "id": format!("evt_{}", self.name),
            "object": "event",
            "api_version": SAMPLE_API_VERSION,
            "created": filling.created,
            "data": data,
            "livemode": false,
            "pending_webhooks": 1,
            "request": {"id": null, "idempotency_key": null},
            "type": self.event_type,
        })
    }

    fn filling(&self, created: SystemTime) -> Filling<'_> {
        Filling {
            name: &self.name,
            event_type: &self.event_type,
            created: unix_seconds(created),
        }
    }

    fn thin(&self, created: SystemTime) -> Value {
        let mut event = json!({
            "id": format!("evt_{}", self.name),
            "object": "v2.core.event",
            "created": rfc_3339(created),
            "livemode": false,
            "reason": null,
            "type": self.event_type,
        });
        if let Some(related) = self.related_object(None) {
            path::set(&mut event, "related_object", related);
        }
        event
    }

    /// What a thin event is about: this object, or the sample's.
    fn related_object(&self, id: Option<&str>) -> Option<Value> {
        let filling = self.filling(UNIX_EPOCH);
        let related = samples::related(&self.event_type)?;
        let id = id.map_or_else(|| filling.fill(related.id), str::to_owned);
        let url = filling.fill(&related.url.replace("{{id}}", &id));
        Some(json!({"id": id, "type": related.object_type, "url": url}))
    }
}

fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The years that it can say are those from 1970 to 9999.
fn rfc_3339(at: SystemTime) -> String {
    let last = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    humantime::format_rfc3339_millis(at.clamp(UNIX_EPOCH, last)).to_string()
}

/// From the standard library's own source.
pub(super) fn random_seed() -> u64 {
    RandomState::new().hash_one(0)
}

/// Differs within the process by a number, and between processes by a random one: a service that keeps its database would take an id of its last run for a duplicate.
fn unique_name() -> String {
    static OF_PROCESS: LazyLock<u64> = LazyLock::new(random_seed);
    static EVENTS: AtomicU64 = AtomicU64::new(1);
    let number = EVENTS.fetch_add(1, Ordering::Relaxed);
    format!("{:016x}{number:06}", *OF_PROCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;

    fn parsed(sample: &SampleEvent) -> Event {
        Event::parse(sample.to_json().into()).unwrap()
    }

    #[test]
    fn two_samples_are_two_events_about_two_objects() {
        let sample = || SampleEvent::of("checkout.session.completed").to_value();
        let (one, other) = (sample(), sample());
        for pointer in ["/id", "/data/object/id", "/data/object/payment_intent"] {
            assert!(one.pointer(pointer).unwrap().is_string(), "{pointer}");
            assert_ne!(one.pointer(pointer), other.pointer(pointer), "{pointer}");
        }
    }

    #[test]
    fn whatever_has_the_same_name_is_the_same() {
        let created = UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        let sample = || SampleEvent::of("invoice.paid").named("1").created(created);
        assert_eq!(sample().to_json(), sample().to_json());
    }

    #[test]
    fn every_field_can_be_set_made_and_taken_out() {
        let sample = SampleEvent::of("customer.subscription.updated")
            .set("livemode", true)
            .object("items.data.0.price.id", "price_1")
            .object("items.data.1.price.id", "price_2")
            .object("made.of.nothing", json!([1]))
            .object("made.of.nothing.1", 2)
            .object("status.is.no.map", "now it is")
            .without("data.object.customer")
            .without("data.object.items.data.7")
            .without("not.there")
            .to_value();
        let at = |pointer: &str| sample.pointer(pointer).cloned();
        assert_eq!(at("/livemode"), Some(json!(true)));
        assert_eq!(
            at("/data/object/items/data/0/price/id"),
            Some(json!("price_1"))
        );
        assert_eq!(
            at("/data/object/items/data/1/price/id"),
            Some(json!("price_2"))
        );
        assert_eq!(at("/data/object/made/of/nothing"), Some(json!([1, 2])));
        assert_eq!(
            at("/data/object/status/is/no/map"),
            Some(json!("now it is"))
        );
        assert_eq!(at("/data/object/customer"), None);
    }

    #[test]
    fn no_path_and_no_name_is_too_odd() {
        for odd in [
            "",
            ".",
            "..",
            "a..b",
            "data.object.",
            "id.0",
            "\"",
            "\\",
            "~",
            "/",
            "\u{0}",
        ] {
            let sample = SampleEvent::of(odd).named(odd).set(odd, 1).without(odd);
            let _value = sample.to_value();
            assert!(
                SampleEvent::of("invoice.paid")
                    .named(odd)
                    .to_value()
                    .pointer("/data/object/id")
                    .is_some()
            );
        }
    }

    #[test]
    fn a_value_of_any_type_has_the_fields_of_an_event() {
        for event_type in [
            "invoice.paid",
            "of.no.type",
            "v1.invoice.paid",
            "v2.core.event_destination.ping",
        ] {
            let event = parsed(&SampleEvent::of(event_type));
            assert_eq!(event.event_type(), event_type);
            assert!(event.created().is_some() && event.livemode() == Some(false));
        }
    }

    #[test]
    fn an_event_that_is_given_stays_as_it_is_but_for_what_is_set() {
        let recorded = json!({"id": "evt_9", "object": "event", "type": "x", "created": 9, "data": {"object": {"id": "o"}}});
        let given = SampleEvent::from_value(recorded.clone());
        let unchanged = given.clone().named("other").created_unless_set(UNIX_EPOCH);
        assert_eq!(unchanged.to_value(), recorded);
        assert_eq!(parsed(&given.thin_twin()).deduplication_id(), "evt_9");
        let changed = given.id("evt_10").created(UNIX_EPOCH).to_value();
        assert_eq!(
            (&changed["id"], &changed["created"]),
            (&json!("evt_10"), &json!(0))
        );
        assert_eq!(SampleEvent::from_value(json!([1])).to_value(), json!([1]));
    }

    #[test]
    fn a_twin_is_another_event_about_the_same_object() {
        let created = UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        let sample = SampleEvent::of("checkout.session.completed").created(created);
        let (event, twin) = (parsed(&sample), parsed(&sample.thin_twin()));
        assert_eq!(twin.kind(), EventKind::Thin);
        assert_ne!(twin.id(), event.id());
        assert_eq!(twin.deduplication_id(), event.id());
        assert_eq!(twin.created(), event.created());
        let object: Value = event.object().unwrap();
        let related = twin.related_object().unwrap();
        assert_eq!(object.get("id").unwrap(), related.id.as_str());
        assert!(related.url.as_ref().unwrap().ends_with(&related.id));
        assert_eq!(parsed(&sample.thin_twin().thin_twin()).id(), twin.id());
    }

    #[test]
    fn a_twin_is_of_the_same_time_mode_and_account() {
        let sample = SampleEvent::of("invoice.paid")
            .set("created", 1_700_000_000)
            .set("livemode", true)
            .set("account", "acct_1");
        let (event, twin) = (parsed(&sample), parsed(&sample.thin_twin()));
        assert_eq!(twin.created(), event.created());
        assert_eq!(twin.livemode(), Some(true));
        assert_eq!(twin.account_or_context(), Some("acct_1"));
    }

    #[test]
    fn an_event_is_the_same_bytes_each_time() {
        for event_type in ["invoice.paid", "v1.invoice.paid"] {
            let sample = SampleEvent::of(event_type);
            let first = sample.to_json();
            std::iter::repeat_with(|| sample.to_json())
                .take(100)
                .for_each(|again| assert_eq!(again, first));
        }
    }

    #[test]
    fn a_time_that_no_calendar_has_is_no_reason_to_fail() {
        for created in [
            UNIX_EPOCH - Duration::from_secs(9),
            UNIX_EPOCH + Duration::from_secs(1 << 40),
        ] {
            for event_type in ["invoice.paid", "v1.invoice.paid"] {
                parsed(&SampleEvent::of(event_type).created(created));
            }
        }
    }
}
