use std::{future::Future, pin::Pin, sync::Arc};

use axum_core::response::{ErrorResponse, IntoResponse, Response};
use http::Extensions;

use crate::extract::VerifiedStripeEvent;

/// The service's step before the transaction, of whatever types: what it prepares stands in
/// extensions, and its error is an answer.
pub(super) type Prepare = dyn Fn(VerifiedStripeEvent) -> Preparing + Send + Sync;

type Preparing = Pin<Box<dyn Future<Output = Result<Extensions, Response>> + Send>>;

pub(super) fn erase<F, Fut, T, E>(step: F) -> Arc<Prepare>
where
    F: Fn(VerifiedStripeEvent) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    T: Clone + Send + Sync + 'static,
    E: Into<ErrorResponse>,
{
    Arc::new(move |event| {
        let prepared = step(event);
        Box::pin(async move {
            let prepared = prepared.await.map_err(|error| answer(error.into()))?;
            let mut extensions = Extensions::new();
            extensions.insert(prepared);
            Ok(extensions)
        })
    })
}

fn answer(error: ErrorResponse) -> Response {
    Err::<(), _>(error).into_response()
}
