//! Every span, field and event of the crate's tracing, in one place.
//!
//! What a sender can cause at will is `debug`; what an operator must act on is `warn` or `error`.
//! Only ids, types, codes and SQLSTATEs are recorded: no payload, header, secret or database text.

use tracing::{debug, warn};

use crate::{event::ObjectError, extract::StripeEventRejection};

/// A delivery was refused before any handler ran.
pub(crate) fn refused(rejection: &StripeEventRejection) {
    debug!(outcome = rejection.code(), "stripe delivery refused");
}

/// A handler asked for another object than the event carries.
pub(crate) fn object_misfit(error: &ObjectError) {
    warn!(%error, "stripe object does not fit the handler's type");
}
