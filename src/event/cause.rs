use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

use super::envelope::{is_key, lenient, lenient_object};

/// Why a thin event was made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Reason {
    /// What kind of reason: `request`.
    #[serde(rename = "type")]
    pub reason_type: String,
    /// The API request, if it was one.
    pub request: Option<EventRequest>,
}

/// The API request that an event was caused by. `Debug` does not show its idempotency key, which is
/// the caller's own text.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventRequest {
    /// The request's id, `req_…`; none if Stripe acted by itself.
    pub id: Option<String>,
    /// The idempotency key that the request was made with: so a service knows its own requests
    /// again.
    pub idempotency_key: Option<String>,
}

impl Reason {
    pub(super) fn read(raw: &RawValue) -> Option<Self> {
        lenient_object(raw).filter(|reason: &Self| is_key(&reason.reason_type))
    }
}

impl EventRequest {
    pub(super) fn read(raw: &RawValue) -> Option<Self> {
        lenient(raw).filter(|request: &Self| request.id.as_deref().is_none_or(is_key))
    }
}

/// By hand: an untagged enum would copy the JSON before it looks at it.
impl<'de> Deserialize<'de> for EventRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RequestVisitor)
    }
}

struct RequestVisitor;

impl<'de> Visitor<'de> for RequestVisitor {
    type Value = EventRequest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request, or its id")
    }

    /// API versions before 2017-05-25.
    fn visit_str<E>(self, id: &str) -> Result<EventRequest, E> {
        Ok(EventRequest {
            id: Some(id.to_owned()),
            idempotency_key: None,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EventRequest, A::Error> {
        #[derive(Deserialize)]
        struct Fields {
            id: Option<String>,
            idempotency_key: Option<String>,
        }
        let fields = Fields::deserialize(MapAccessDeserializer::new(map))?;
        Ok(EventRequest {
            id: fields.id,
            idempotency_key: fields.idempotency_key,
        })
    }
}

impl fmt::Debug for EventRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventRequest")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
