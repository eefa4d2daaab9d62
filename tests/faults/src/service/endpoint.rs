//! What is behind the route: inline, or an inbox.

use std::{sync::Arc, time::Duration};

use axum::routing::{MethodRouter, post};
use axum_stripe_webhook::{Inbox, ProcessOnceLayer, SigningSecret, Verifier};
use sqlx::Pool;

use super::{Settings, Shop, book, books::Books};
use crate::events::SECRET;

/// How long a body may take: some clients stop within theirs.
const BODY_TIME_MAX: Duration = Duration::from_secs(1);

/// Fewer than the deliveries that are left behind where most clients leave, so that some are refused.
const DELIVERIES_MAX: usize = 64;

pub(super) enum Endpoint<DB: Books> {
    Inline(ProcessOnceLayer<DB>),
    Inbox(Inbox<DB>),
}

impl<DB: Books> Endpoint<DB> {
    pub(super) fn new(pool: Pool<DB>, settings: &Settings) -> Self {
        let verifier = Verifier::new(SigningSecret::new(SECRET).expect("a secret"));
        if settings.stores_first {
            let inbox = Inbox::new(pool, verifier)
                .acquire_time_max(settings.acquire_time_max)
                .body_time_max(BODY_TIME_MAX)
                .deliveries_max(DELIVERIES_MAX);
            return Self::Inbox(inbox);
        }
        let layer = ProcessOnceLayer::new(pool, verifier)
            .acquire_time_max(settings.acquire_time_max)
            .claim_wait_max(settings.claim_wait_max)
            .handler_time_max(settings.handler_time_max)
            .body_time_max(BODY_TIME_MAX)
            .deliveries_max(DELIVERIES_MAX);
        Self::Inline(layer)
    }

    pub(super) fn route(&self) -> MethodRouter<Arc<Shop<DB>>> {
        match self {
            Self::Inline(layer) => post(book::<DB>).route_layer(layer.clone()),
            Self::Inbox(inbox) => post(inbox.clone()),
        }
    }

    pub(super) async fn drain(&self) {
        match self {
            Self::Inline(layer) => layer.drain().await,
            Self::Inbox(inbox) => inbox.drain().await,
        }
    }
}
