use std::{error::Error, iter};

use axum_core::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::rejection::StripeEventRejection;

/// Most bytes of a body that are ever buffered, whatever the service's own limit says.
///
/// axum's `DefaultBodyLimit` (2 MiB unless set) comes first; this bound holds where that was
/// switched off. Stripe publishes no maximum; bodies of 1 MB have been seen.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Buffers a body that already carries the service's own limit.
///
/// Into one buffer, not frame by frame: a sender may send a byte at a time, and each frame that is
/// kept costs many times as much.
pub(super) async fn read(body: Body) -> Result<Bytes, StripeEventRejection> {
    let mut body = Limited::new(body, BODY_BYTES_MAX);
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| rejection(&*error))?;
        if let Ok(data) = frame.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.freeze())
}

fn rejection(error: &(dyn Error + 'static)) -> StripeEventRejection {
    // Each layer that limits a body wraps the error of the one below.
    let mut chain = iter::successors(Some(error), |&error| error.source());
    match chain.any(|error| error.is::<LengthLimitError>()) {
        true => StripeEventRejection::BodyTooLarge,
        false => StripeEventRejection::BodyUnreadable,
    }
}
