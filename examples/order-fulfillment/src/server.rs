//! The server: its routes, its limits, its end.

use std::{any::Any, future::Future, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderValue, StatusCode},
    middleware::{Next, from_fn_with_state, map_request},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use axum_stripe_webhook::{AuditLayer, EventRouter, InboxWorker, audit::AuditTable};
use sqlx::Pool;
use tokio::{net::TcpListener, signal, sync::Semaphore, time::timeout};
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer,
    limit::RequestBodyLimitLayer,
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer},
    timeout::TimeoutLayer,
    trace::TraceLayer,
};
use tracing::{Span, info, info_span, warn};

use crate::{
    endpoint::Endpoint,
    listen::{self, Limits, take_connections},
    metrics,
    orders::Shop,
    shop, staff, worker,
};

/// Stripe's events are a few kilobytes; invoices with many lines have been seen near a megabyte.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Requests in progress, all routes together; one more is answered with 503 at once.
///
/// A body is read whole before its signature can be verified, so this times [`BODY_BYTES_MAX`] is
/// what strangers can have the server hold: 256 MiB, and twice that while the pieces of bodies are
/// put together. The bodies of verified deliveries whose client has gone come on top; the layer
/// has a limit for those, by default as many.
pub const REQUESTS_MAX: usize = 256;

/// Longer than a delivery may take for its body (10 s), a connection (3 s), a copy elsewhere (2 s)
/// and the handler (8 s), so that those limits come first: their answers know what became of the
/// transaction.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);

/// Where a proxy puts the id of a request, and the longest one that is believed.
const REQUEST_ID: &str = "x-request-id";
const REQUEST_ID_BYTES_MAX: usize = 64;

/// Shorter than the 30 s after which container runtimes kill.
pub(crate) const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(25);

/// The routes. Everything but the webhook is for the shop itself: it carries no authentication.
///
/// What is released is run by the same router as what is delivered. Outside of the webhook's limits, the
/// audit trail has also what those refuse.
pub fn app<DB: Shop>(
    pool: Pool<DB>,
    endpoint: Endpoint<DB>,
    events: EventRouter,
    audit: AuditLayer,
) -> Router {
    let limits = ServiceBuilder::new()
        .layer(map_request(drop_strange_id))
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(TraceLayer::new_for_http().make_span_with(request_span))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(
            Arc::new(Semaphore::new(REQUESTS_MAX)),
            admit,
        ))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            REQUEST_TIME_MAX,
        ))
        .layer(RequestBodyLimitLayer::new(BODY_BYTES_MAX))
        // Or axum's own limit of 2 MiB would count too, whatever the line above says.
        .layer(DefaultBodyLimit::disable());
    let webhook = Router::new().route("/webhooks/stripe", endpoint.route(events.clone()));
    let others = Router::<Pool<DB>>::new()
        .merge(staff::routes(pool.clone(), endpoint, events))
        .route("/orders", post(shop::place::<DB>))
        .route("/orders/{id}", get(shop::show::<DB>))
        .route("/healthz", get(shop::health::<DB>))
        .route("/metrics", get(metrics::show));
    webhook
        .layer(limits.clone())
        .layer(audit)
        .merge(others.layer(limits))
        .with_state(pool)
}

/// Serves until `stop` is done, then finishes what is in progress.
pub async fn serve<DB: Shop>(
    listener: TcpListener,
    pool: Pool<DB>,
    endpoint: Endpoint<DB>,
    events: EventRouter,
    stop: impl Future<Output = ()>,
) {
    let sweeper = worker::sweep(pool.clone());
    let meters = metrics::keep(pool.clone());
    let trail = AuditTable::start(pool.clone());
    let audit = AuditLayer::to(trail.clone()).peer(listen::peer);
    let worker = endpoint.worker(events.clone()).map(InboxWorker::start);
    let app = app(pool.clone(), endpoint.clone(), events, audit);
    let mut connections = take_connections(listener, app, Limits::default(), stop).await;
    info!("shutting down");
    drop((sweeper, meters));
    let mut in_progress = true;
    // First the clients, then the deliveries whose client has gone, then their connections. The
    // worker takes nothing more meanwhile: what is still stored is there for the next one.
    let deliveries = async {
        connections.finish().await;
        endpoint.drain().await;
    };
    let work = async {
        if let Some(worker) = &worker {
            worker.stop().await;
        }
    };
    let end = async {
        tokio::join!(deliveries, work);
        in_progress = false;
        trail.drain().await;
        pool.close().await;
    };
    if timeout(SHUTDOWN_TIME_MAX, end).await.is_err() && in_progress {
        warn!("what was in progress was cut off: Stripe delivers it again, or a worker takes it");
    }
}

/// Ends at SIGINT (Ctrl-C) or SIGTERM.
pub async fn stop_signal() {
    StopSignals::listen().next().await;
}

/// SIGINT (Ctrl-C) and SIGTERM, none of which is missed from here on: also while nobody waits for it.
#[derive(Debug)]
pub struct StopSignals {
    /// One that cannot be listened to is not one that comes.
    #[cfg(unix)]
    signals: [Option<signal::unix::Signal>; 2],
}

impl StopSignals {
    /// Listens to them.
    #[must_use]
    pub fn listen() -> Self {
        #[cfg(unix)]
        use signal::unix::SignalKind;
        Self {
            #[cfg(unix)]
            signals: [SignalKind::interrupt(), SignalKind::terminate()]
                .map(|kind| signal::unix::signal(kind).ok()),
        }
    }

    /// Waits for the next.
    #[cfg(unix)]
    pub async fn next(&mut self) {
        let [interrupted, terminated] = self.signals.each_mut().map(|signal| async {
            match signal {
                Some(signal) => signal.recv().await.is_some(),
                None => false,
            }
        });
        tokio::select! {
            true = interrupted => {}
            true = terminated => {}
            else => std::future::pending().await,
        }
    }

    /// Waits for the next.
    #[cfg(not(unix))]
    pub async fn next(&mut self) {
        if signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Takes the request, or sheds it: a queue would only make every answer late.
async fn admit(State(places): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    match places.try_acquire() {
        Ok(_place) => next.run(request).await,
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "try again\n").into_response(),
    }
}

/// The route's pattern and neither the address nor a header: both may hold what no log should.
fn request_span(request: &Request) -> Span {
    let route = request.extensions().get::<MatchedPath>();
    info_span!(
        "request",
        method = %request.method(),
        route = route.map(MatchedPath::as_str),
        request_id = request_id(request),
    )
}

fn request_id(request: &Request) -> Option<&str> {
    let id: &RequestId = request.extensions().get()?;
    id.header_value().to_str().ok()
}

/// An id of a proxy's stays, so that its log and ours can be read together. Anything else that stands in
/// its place was written by whoever has sent the request, and must not get into a log.
async fn drop_strange_id(mut request: Request) -> Request {
    let headers = request.headers_mut();
    let is_id = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_strange = |id: &HeaderValue| {
        id.len() > REQUEST_ID_BYTES_MAX || id.is_empty() || !id.as_bytes().iter().all(is_id)
    };
    if headers.get_all(REQUEST_ID).iter().any(is_strange) {
        headers.remove(REQUEST_ID);
    }
    request
}

/// The panic's text goes to standard error by Rust's own hook, and no further.
fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, "failed\n").into_response()
}
