//! The webhook's endpoint: events are processed while their sender waits, or stored first.

use std::time::Duration;

use axum::routing::{MethodRouter, post, post_service};
use axum_stripe_webhook::{EventRouter, Guards, Inbox, InboxWorker, ProcessOnceLayer, Verifier};
use sqlx::Pool;

use crate::{config::Processing, orders::Shop};

/// Checkout waits ten seconds for the answer before it sends the customer on. Nobody waits for a
/// worker, except whoever has told it to stop.
pub(crate) const HANDLER_TIME_MAX: Duration = Duration::from_secs(8);

/// Waiting for a connection, on top of the handler's time.
pub(crate) const ACQUIRE_TIME_MAX: Duration = Duration::from_secs(3);

/// What `POST /webhooks/stripe` does with an event that is genuine. Clones share everything.
#[derive(Debug)]
pub enum Endpoint<DB: Shop> {
    /// Processes it, and answers with what came of it.
    Inline(ProcessOnceLayer<DB>),
    /// Stores it and answers 200; so many at once are worked off in this process.
    Inbox(Inbox<DB>, usize),
}

impl<DB: Shop> Endpoint<DB> {
    /// Makes the endpoint. It stands apart from [`app`](crate::server::app), because the server drains
    /// it when it ends.
    #[must_use]
    pub fn new(processing: Processing, pool: Pool<DB>, verifier: Verifier, guards: Guards) -> Self {
        match processing {
            Processing::Inline => Self::Inline(
                ProcessOnceLayer::new(pool, verifier)
                    .guards(guards)
                    .handler_time_max(HANDLER_TIME_MAX)
                    .acquire_time_max(ACQUIRE_TIME_MAX),
            ),
            Processing::Inbox { concurrency } => Self::Inbox(
                Inbox::new(pool, verifier)
                    .guards(guards)
                    .handler_time_max(HANDLER_TIME_MAX)
                    .acquire_time_max(ACQUIRE_TIME_MAX),
                concurrency,
            ),
        }
    }

    /// The same handlers run in either mode: here, or in the worker.
    pub(crate) fn route<S>(&self, events: EventRouter) -> MethodRouter<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        match self {
            Self::Inline(once) => post_service(events).route_layer(once.clone()),
            Self::Inbox(inbox, _) => post(inbox.clone()),
        }
    }

    /// The worker that runs in the server's own process, if there is one.
    pub(crate) fn worker(&self, events: EventRouter) -> Option<InboxWorker<DB, EventRouter>> {
        match self {
            Self::Inline(_) | Self::Inbox(_, 0) => None,
            Self::Inbox(inbox, concurrency) => Some(inbox.worker(events).concurrency(*concurrency)),
        }
    }

    /// Waits for the deliveries in progress, those included whose client has gone.
    pub(crate) async fn drain(&self) {
        match self {
            Self::Inline(once) => once.drain().await,
            Self::Inbox(inbox, _) => inbox.drain().await,
        }
    }
}

impl<DB: Shop> Clone for Endpoint<DB> {
    fn clone(&self) -> Self {
        match self {
            Self::Inline(once) => Self::Inline(once.clone()),
            Self::Inbox(inbox, concurrency) => Self::Inbox(inbox.clone(), *concurrency),
        }
    }
}
