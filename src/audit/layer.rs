use std::{
    fmt,
    future::Future,
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Instant, SystemTime},
};

use http::{Request, Response, StatusCode, request::Parts};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    log::AuditLog,
    record::{AuditSink, DeliveryRecord, Trace},
};
use crate::{clock, telemetry};

type Peer = dyn Fn(&Parts) -> Option<IpAddr> + Send + Sync;

/// Has each delivery recorded; see the [module docs](super).
///
/// It changes no answer, and waits for nothing. Cloning it is cheap; clones share the sink.
#[derive(Clone)]
pub struct AuditLayer {
    sink: Arc<dyn AuditSink>,
    peer: Option<Arc<Peer>>,
}

impl AuditLayer {
    /// Records into the log, by [`AuditLog`].
    #[must_use]
    pub fn new() -> Self {
        Self::to(AuditLog::new())
    }

    /// Records into this sink.
    #[must_use]
    pub fn to(sink: impl AuditSink) -> Self {
        Self {
            sink: Arc::new(sink),
            peer: None,
        }
    }

    /// Says how to know who has sent a request; unless set, nobody is recorded.
    ///
    /// Behind a proxy the peer of the connection is the proxy. What stands in `X-Forwarded-For` was written
    /// by the sender, but for what your own proxies have appended: count from the right, and believe no
    /// more of it than you have proxies.
    #[must_use]
    pub fn peer(mut self, peer: impl Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        self.peer = Some(Arc::new(peer));
        self
    }
}

impl Default for AuditLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for AuditLayer {
    type Service = Audit<S>;

    fn layer(&self, inner: S) -> Audit<S> {
        let layer = self.clone();
        Audit { inner, layer }
    }
}

impl fmt::Debug for AuditLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLayer").finish_non_exhaustive()
    }
}

/// The service that [`AuditLayer`] makes.
#[derive(Clone, Debug)]
pub struct Audit<S> {
    inner: S,
    layer: AuditLayer,
}

impl<S, B, R> Service<Request<B>> for Audit<S>
where
    S: Service<Request<B>, Response = Response<R>, Future: Send + 'static>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let ending = Ending::begin(&self.layer, &mut parts);
        let answer = self.inner.call(Request::from_parts(parts, body));
        Box::pin(async move {
            let mut ending = ending;
            let answer = answer.await;
            if let Ok(response) = &answer {
                ending.status = Some(response.status());
                ending.outcome = telemetry::outcome_of(response.extensions());
            }
            answer
        })
    }
}

/// Records a delivery when it is dropped: answered, or nobody waits for it any more.
struct Ending {
    sink: Arc<dyn AuditSink>,
    trace: Trace,
    peer: Option<IpAddr>,
    received_at: SystemTime,
    begun: Instant,
    status: Option<StatusCode>,
    outcome: Option<&'static str>,
}

impl Ending {
    fn begin(layer: &AuditLayer, parts: &mut Parts) -> Self {
        // One that an outer layer has made is shared with it.
        let trace: &mut Trace = parts.extensions.get_or_insert_default();
        let trace = trace.clone();
        Self {
            sink: Arc::clone(&layer.sink),
            trace,
            peer: layer.peer.as_ref().and_then(|peer| peer(parts)),
            received_at: clock::received_at(&parts.extensions),
            begun: Instant::now(),
            status: None,
            outcome: None,
        }
    }

    fn outcome(&self, is_genuine: bool, rejected: Option<&'static str>) -> &'static str {
        let Some(status) = self.status else {
            return telemetry::UNANSWERED;
        };
        // A handler may have made an answer of its own out of a rejection.
        match (self.outcome.or(rejected), is_genuine) {
            (Some(outcome), _) => outcome,
            (None, false) => "not_received",
            (None, true) if status.is_success() => "succeeded",
            (None, true) => "failed",
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let facts = self.trace.facts();
        let delivery = DeliveryRecord {
            received_at: self.received_at,
            duration: self.begun.elapsed(),
            outcome: self.outcome(facts.is_genuine(), facts.rejected),
            status: self.status,
            peer: self.peer,
            facts,
        };
        let recorded = AssertUnwindSafe(|| self.sink.record(&delivery));
        if catch_unwind(recorded).is_err() {
            telemetry::audit_sink_panicked();
        }
    }
}
