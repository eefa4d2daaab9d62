//! Extractors for handlers, and what they answer when they refuse.

mod body;
mod event;
#[cfg(feature = "_database")]
mod object;
mod provide;
mod rejection;

pub use body::BODY_BYTES_MAX;
pub use event::VerifiedStripeEvent;
pub use provide::{ProvideVerifier, Provided};
pub use rejection::StripeEventRejection;

#[cfg(feature = "_database")]
pub(crate) use event::{Received, VerifiedUpstream};
#[cfg(feature = "_database")]
pub use object::{StripeObject, StripeObjectRejection};
