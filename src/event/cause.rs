use std::fmt;

use serde::Deserialize;
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
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "RawRequest")]
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
        let is_array = raw.get().starts_with('[');
        let request = lenient(raw).filter(|_| !is_array);
        request.filter(|request: &Self| request.id.as_deref().is_none_or(is_key))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawRequest {
    Fields {
        id: Option<String>,
        idempotency_key: Option<String>,
    },
    /// API versions before 2017-05-25.
    Id(String),
}

impl From<RawRequest> for EventRequest {
    fn from(raw: RawRequest) -> Self {
        match raw {
            RawRequest::Fields {
                id,
                idempotency_key,
            } => Self {
                id,
                idempotency_key,
            },
            RawRequest::Id(id) => Self {
                id: Some(id),
                idempotency_key: None,
            },
        }
    }
}

impl fmt::Debug for EventRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventRequest")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
