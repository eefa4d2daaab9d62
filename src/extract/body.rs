use std::{error::Error, iter};

use axum_core::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::rejection::StripeEventRejection;

/// Most bytes of a body that are ever buffered, whatever the service's own limit says.
///
/// axum's `DefaultBodyLimit` (2 MiB unless set) comes first; this bound holds where that was
/// switched off. Stripe publishes no maximum; bodies of 1 MB have been seen.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Buffers a body that already carries the service's own limit.
pub(super) async fn read(body: Body) -> Result<Bytes, StripeEventRejection> {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if hit_a_limit(&*error) => Err(StripeEventRejection::BodyTooLarge),
        Err(_) => Err(StripeEventRejection::BodyUnreadable),
    }
}

/// Each layer that limits a body wraps the error of the one below, so the whole chain is looked at.
fn hit_a_limit(error: &(dyn Error + 'static)) -> bool {
    iter::successors(Some(error), |&error| error.source())
        .any(|error| error.is::<LengthLimitError>())
}
