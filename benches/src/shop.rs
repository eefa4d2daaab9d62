//! The service that is measured.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    extract::Request,
    handler::{Handler, HandlerWithoutStateExt},
    http::StatusCode,
    response::IntoResponse,
    routing::{MethodRouter, post},
};
use axum_stripe_webhook::{AuditLayer, EventTx, Inbox, ProcessOnceLayer};
use sqlx::Pool;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};
use tower::Service;

use crate::{database::Backend, deliveries::verifier};

/// A server on loopback, gone when this is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Server {
    /// With a handler of one insert, run inline.
    pub(crate) async fn inline<DB: Backend>(pool: &Pool<DB>, audit: Option<AuditLayer>) -> Self {
        let once = ProcessOnceLayer::new(pool.clone(), verifier());
        let webhook = post(book::<DB>).route_layer(once);
        Self::start(match audit {
            Some(audit) => webhook.route_layer(audit),
            None => webhook,
        })
        .await
    }

    pub(crate) async fn stored_first<DB: Backend>(inbox: &Inbox<DB>) -> Self {
        Self::start(post(inbox.clone())).await
    }

    async fn start(webhook: MethodRouter) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
        let app = Router::new().route("/webhook", webhook);
        let serving = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("a server");
        });
        Self { address, serving }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub(crate) fn inbox<DB: Backend>(pool: &Pool<DB>) -> Inbox<DB> {
    Inbox::new(pool.clone(), verifier())
}

async fn book<DB: Backend>(mut tx: EventTx<DB>) -> StatusCode {
    let id = tx.event().id().to_owned();
    match DB::book(&mut tx, &id).await {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The same handler for a worker; it adds a permit for each event that it has run.
pub(crate) fn counted<DB: Backend>(ran: &Arc<Semaphore>) -> impl Worked + use<DB> {
    let ran = Arc::clone(ran);
    service(async move |tx: EventTx<DB>| {
        let status = book(tx).await;
        ran.add_permits(1);
        status
    })
}

/// What a worker runs.
pub(crate) trait Worked:
    Service<Request, Response: IntoResponse, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S> Worked for S where
    S: Service<Request, Response: IntoResponse, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// A handler as the service that a worker runs.
pub(crate) fn service<H: Handler<T, ()> + Sync, T: 'static>(handler: H) -> impl Worked + use<H, T> {
    handler.into_service()
}
