use std::{fmt, sync::Arc, time::Duration};

use axum_core::extract::Request;
use http::request::Parts;
use tokio::time::{Instant, timeout};

use super::{BODY_TIME_MAX_DEFAULT, ENDPOINT_DEFAULT};
use crate::{
    audit::Trace,
    clock,
    extract::{ProvideVerifier, Received, StripeEventRejection, VerifiedStripeEvent},
    guard::{Guards, StopReason, WhenStopped},
    telemetry,
};

/// Receives deliveries, verifies them and asks the guards: what the layer and the inbox have in common.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) verifier: Arc<dyn ProvideVerifier + Send + Sync>,
    pub(crate) endpoint: Arc<str>,
    pub(crate) guards: Guards,
    pub(crate) body_time_max: Duration,
}

/// A genuine delivery, under the label of its endpoint.
pub(crate) struct Genuine {
    pub(crate) parts: Parts,
    pub(crate) event: VerifiedStripeEvent,
    pub(crate) endpoint: Arc<str>,
    /// When its head had arrived.
    pub(crate) received: Instant,
}

/// What the guards say of it.
pub(crate) enum Guarded {
    Passed(Genuine),
    /// To be kept, and not run.
    Stopped(Genuine, StopReason),
}

impl Receiver {
    pub(crate) fn new(verifier: impl ProvideVerifier + Send + Sync + 'static) -> Self {
        Self {
            verifier: Arc::new(verifier),
            endpoint: ENDPOINT_DEFAULT.into(),
            guards: Guards::new(),
            body_time_max: BODY_TIME_MAX_DEFAULT,
        }
    }

    pub(crate) fn label(&mut self, label: Arc<str>) {
        self.endpoint = label_or_default(label);
    }

    pub(crate) async fn receive(&self, request: Request) -> Result<Guarded, StripeEventRejection> {
        let begun = Instant::now();
        let trace = request.extensions().get::<Trace>().cloned();
        let received = VerifiedStripeEvent::receive(request, &*self.verifier);
        let received = timeout(self.body_time_max, received);
        let received = received.await.unwrap_or_else(|_elapsed| {
            let too_slow = StripeEventRejection::BodyTooSlow;
            telemetry::rejected(&too_slow);
            Err(too_slow)
        })?;
        let stopped = self.guard(&received)?;
        let Received {
            parts,
            event,
            provided,
        } = received;
        let endpoint = label_or(provided.endpoint, || Arc::clone(&self.endpoint));
        if let Some(trace) = trace {
            trace.endpoint(&endpoint);
        }
        let genuine = Genuine {
            parts,
            event,
            endpoint,
            received: begun,
        };
        Ok(match stopped {
            None => Guarded::Passed(genuine),
            Some(reason) => Guarded::Stopped(genuine, reason),
        })
    }

    /// Why the event is to be kept and not run, if it is.
    fn guard(&self, received: &Received) -> Result<Option<StopReason>, StripeEventRejection> {
        let event = &received.event;
        let guards = received.provided.guards.as_ref().unwrap_or(&self.guards);
        match guards.check(event, clock::received_at(&received.parts.extensions)) {
            Ok(()) => Ok(None),
            Err(reason) if guards.when_stopped == WhenStopped::Quarantine => Ok(Some(reason)),
            Err(reason) => Err(StripeEventRejection::of_stopped(event, reason, guards)),
        }
    }
}

pub(crate) fn label_or_default(label: Arc<str>) -> Arc<str> {
    label_or(Some(label), || ENDPOINT_DEFAULT.into())
}

/// An empty label counts as none, wherever it comes from: the ledger would refuse it.
fn label_or(label: Option<Arc<str>>, other: impl FnOnce() -> Arc<str>) -> Arc<str> {
    label
        .filter(|label| !label.is_empty())
        .unwrap_or_else(other)
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("endpoint", &self.endpoint)
            .field("guards", &self.guards)
            .field("body_time_max", &self.body_time_max)
            .finish_non_exhaustive()
    }
}
