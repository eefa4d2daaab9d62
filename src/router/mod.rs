//! Handlers by event type: [`EventRouter`].
//!
//! ```
//! use axum::{Router, routing::post};
//! use axum_stripe_webhook::{EventRouter, EventTx, ProcessOnceLayer, StripeObject};
//! use sqlx::Sqlite;
//!
//! #[derive(serde::Deserialize)]
//! struct Session {
//!     id: String,
//! }
//!
//! async fn fulfil(tx: EventTx<Sqlite>, StripeObject(session): StripeObject<Session>) {}
//! async fn sync_subscription(tx: EventTx<Sqlite>) {}
//!
//! # fn serve(once: ProcessOnceLayer<Sqlite>) -> Result<Router, axum_stripe_webhook::router::RouterError> {
//! let events = EventRouter::new()
//!     .on("checkout.session.completed", fulfil)
//!     .on("checkout.session.async_payment_succeeded", fulfil)
//!     .on_prefix("customer.subscription.", sync_subscription)
//!     .ignore(["invoice.created"])
//!     .build()?;
//! let app = Router::new().route("/webhooks/stripe", post(events).route_layer(once));
//! # Ok(app)
//! # }
//! ```
//!
//! # Which handler runs
//!
//! 1. The one that [`on`](EventRouterBuilder::on) has for the type, or nothing if
//!    [`ignore`](EventRouterBuilder::ignore) names it.
//! 2. The one that [`on_prefix`](EventRouterBuilder::on_prefix) has for a prefix of it.
//! 3. The [`fallback`](EventRouterBuilder::fallback).
//! 4. None: 200, `unhandled`. On anything but a 2xx Stripe would deliver it for days, and in the end
//!    disable the endpoint.
//!
//! What is ignored or unhandled leaves no row behind, so a handler that is added later runs when the
//! event is sent again. Types are looked up by hash, the prefixes of one likewise.
//!
//! Thin events have types of their own: `v1.checkout.session.completed` is the twin of
//! `checkout.session.completed`, and under one endpoint both have one id. Register the one that you
//! have destinations for; the other is unhandled, does not get in its way, and is a warning: if only
//! that one comes, nothing is ever done.

mod builder;
mod coverage;
mod known;

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use axum::handler::Handler;
use axum_core::{
    extract::Request,
    response::{IntoResponse, Response},
};
use futures_util::future::BoxFuture;
use http::StatusCode;
use tower_service::Service;

pub use builder::{EventRouterBuilder, RouterError, UnknownType};
pub use coverage::{Coverage, CoverageRow, CriticalType, Flow, Handling};
#[cfg(all(test, feature = "testing"))]
pub(crate) use known::KNOWN;
pub(crate) use known::known_type;

use crate::{disposition::Ending, event::Event, extract::VerifiedUpstream, telemetry};

/// Hands each event to the handler of its type. See the [module](crate::router).
///
/// It is a handler itself, for a route under [`ProcessOnceLayer`](crate::ProcessOnceLayer); and, when
/// no state is missing, a service. Cloning it is cheap.
pub struct EventRouter<S = ()> {
    routes: Arc<Routes<S>>,
}

type BoxedHandler<S> = Arc<dyn Fn(Request, S) -> BoxFuture<'static, Response> + Send + Sync>;

enum Route<S> {
    Handler(BoxedHandler<S>),
    Ignored,
}

struct Routes<S> {
    types: HashMap<String, Route<S>>,
    /// Each ends in a dot, and none begins with another.
    prefixes: HashMap<String, BoxedHandler<S>>,
    fallback: Option<BoxedHandler<S>>,
    unknown: Vec<UnknownType>,
    /// How many events came whose twin has a handler.
    twins_unhandled: AtomicU64,
}

enum Found<'a, S> {
    Handler(&'a BoxedHandler<S>),
    Fallback(&'a BoxedHandler<S>),
    Ignored,
    Nothing,
}

impl<S> EventRouter<S> {
    /// Begins with no handler at all.
    #[expect(
        clippy::new_ret_no_self,
        reason = "a router that is built has been checked, and one that is not cannot be served"
    )]
    pub fn new() -> EventRouterBuilder<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        EventRouterBuilder::new()
    }

    /// The names that were registered and that this version of the crate does not know: typing errors,
    /// or types that Stripe has added since. [`build`](EventRouterBuilder::build) has warned of each.
    #[must_use]
    pub fn unknown_types(&self) -> &[UnknownType] {
        &self.routes.unknown
    }

    /// What is done with the types of events that these flows cannot do without, to be printed at the
    /// start and asserted on in a test. A type whose thin twin has a handler counts as handled; what
    /// the fallback takes is not missing, and told apart.
    ///
    /// ```
    /// # use axum_stripe_webhook::{EventRouter, router::Flow};
    /// # async fn fulfil() {}
    /// let events = EventRouter::<()>::new().on("checkout.session.completed", fulfil).build()?;
    /// let coverage = events.coverage(&[Flow::Checkout]);
    /// let missing: Vec<_> = coverage.missing().map(|row| row.event_type).collect();
    /// assert!(missing.contains(&"checkout.session.async_payment_succeeded"));
    /// # Ok::<(), axum_stripe_webhook::router::RouterError>(())
    /// ```
    #[must_use]
    pub fn coverage(&self, flows: &[Flow]) -> Coverage {
        let handling = |event_type: &str| match self.routes.find(event_type) {
            Found::Handler(_) => Handling::Handled,
            Found::Fallback(_) => Handling::ByFallback,
            Found::Ignored => Handling::Ignored,
            Found::Nothing => Handling::Missing,
        };
        Coverage::of(flows, |event_type| match handling(event_type) {
            Handling::Missing | Handling::ByFallback if !event_type.starts_with("v2.") => {
                match handling(&format!("v1.{event_type}")) {
                    Handling::Handled => Handling::Handled,
                    _ => handling(event_type),
                }
            }
            handled => handled,
        })
    }

    /// Runs the handler of the request's event.
    async fn dispatch(self, request: Request, state: S) -> Response {
        let Some(VerifiedUpstream(event)) = request.extensions().get() else {
            telemetry::misplaced(&builder::MissingLayer);
            return (StatusCode::INTERNAL_SERVER_ERROR, "failed\n").into_response();
        };
        match self.routes.find(event.event_type()) {
            Found::Handler(handler) | Found::Fallback(handler) => handler(request, state).await,
            Found::Ignored => Ending::Ignored.response(StatusCode::OK, "ignored\n"),
            Found::Nothing => {
                self.routes.miss(event);
                telemetry::unhandled(event);
                Ending::Unhandled.response(StatusCode::OK, "unhandled\n")
            }
        }
    }
}

impl<S> Routes<S> {
    /// A destination of thin events where snapshot events are handled, or the other way round, would
    /// have everything acknowledged and nothing done.
    fn miss(&self, event: &Event) {
        let event_type = event.event_type();
        let twin = match event_type.strip_prefix("v1.") {
            Some(snapshot) => self.find(snapshot),
            None => self.find(&format!("v1.{event_type}")),
        };
        if matches!(twin, Found::Handler(_)) {
            let before = self.twins_unhandled.fetch_add(1, Ordering::Relaxed);
            telemetry::twin_unhandled(event, before.saturating_add(1));
        }
    }

    fn find(&self, event_type: &str) -> Found<'_, S> {
        if let Some(route) = self.types.get(event_type) {
            return match route {
                Route::Handler(handler) => Found::Handler(handler),
                Route::Ignored => Found::Ignored,
            };
        }
        let dots = event_type.match_indices('.').rev();
        let prefixes = dots.filter_map(|(dot, _)| event_type.get(..=dot));
        let mut handlers = prefixes.filter_map(|prefix| self.prefixes.get(prefix));
        match (handlers.next(), &self.fallback) {
            (Some(handler), _) => Found::Handler(handler),
            (None, Some(handler)) => Found::Fallback(handler),
            (None, None) => Found::Nothing,
        }
    }
}

impl<S: Clone + Send + Sync + 'static> Handler<(), S> for EventRouter<S> {
    type Future = BoxFuture<'static, Response>;

    fn call(self, request: Request, state: S) -> Self::Future {
        Box::pin(self.dispatch(request, state))
    }
}

impl Service<Request> for EventRouter<()> {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let router = self.clone();
        Box::pin(async move { Ok(router.dispatch(request, ()).await) })
    }
}

impl<S> Clone for EventRouter<S> {
    fn clone(&self) -> Self {
        Self {
            routes: Arc::clone(&self.routes),
        }
    }
}

impl<S> fmt::Debug for EventRouter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventRouter")
            .field("types", &self.routes.types.len())
            .field("prefixes", &self.routes.prefixes.len())
            .finish_non_exhaustive()
    }
}
