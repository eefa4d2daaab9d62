//! The server: its routes, its limits, its end.

use std::{any::Any, future::Future, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::StatusCode,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use axum_stripe_webhook::{EventRouter, InboxWorker};
use sqlx::Pool;
use tokio::{net::TcpListener, signal, sync::Semaphore, time::timeout};
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer, limit::RequestBodyLimitLayer, timeout::TimeoutLayer,
    trace::TraceLayer,
};
use tracing::{Span, info, info_span, warn};

use crate::{
    endpoint::Endpoint,
    listen::{Limits, take_connections},
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

/// Shorter than the 30 s after which container runtimes kill.
pub(crate) const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(25);

/// The routes. Everything but the webhook is for the shop itself: it carries no authentication.
///
/// What is released is run by the same router as what is delivered.
pub fn app<DB: Shop>(pool: Pool<DB>, endpoint: Endpoint<DB>, events: EventRouter) -> Router {
    let limits = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http().make_span_with(request_span))
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
    Router::<Pool<DB>>::new()
        .route("/webhooks/stripe", endpoint.route(events.clone()))
        .merge(staff::routes(pool.clone(), endpoint, events))
        .route("/orders", post(shop::place::<DB>))
        .route("/orders/{id}", get(shop::show::<DB>))
        .route("/healthz", get(shop::health::<DB>))
        .layer(limits)
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
    let worker = endpoint.worker(events.clone()).map(InboxWorker::start);
    let app = app(pool.clone(), endpoint.clone(), events);
    let mut connections = take_connections(listener, app, Limits::default(), stop).await;
    info!("shutting down");
    drop(sweeper);
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
        pool.close().await;
    };
    if timeout(SHUTDOWN_TIME_MAX, end).await.is_err() && in_progress {
        warn!("what was in progress was cut off: Stripe delivers it again, or a worker takes it");
    }
}

/// Ends at SIGINT (Ctrl-C) or SIGTERM.
pub async fn stop_signal() {
    let interrupted = async { signal::ctrl_c().await.is_ok() };
    #[cfg(unix)]
    let terminated = async {
        match signal::unix::signal(signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await.is_some(),
            Err(_) => false,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::ready(false);
    // A signal that cannot be listened to is not one that has come.
    tokio::select! {
        true = interrupted => {}
        true = terminated => {}
        else => std::future::pending().await,
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
    )
}

/// The panic's text goes to standard error by Rust's own hook, and no further.
fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, "failed\n").into_response()
}
