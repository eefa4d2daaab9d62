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
    routing::post,
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
    /// With a handler of one statement, run inline.
    pub(crate) async fn inline<DB: Backend>(pool: &Pool<DB>, audit: Option<AuditLayer>) -> Self {
        let once = ProcessOnceLayer::new(pool.clone(), verifier());
        let webhook = post(pay::<DB>).route_layer(once);
        let webhook = match audit {
            Some(audit) => webhook.route_layer(audit),
            None => webhook,
        };
        Self::start(Router::new().route("/webhook", webhook)).await
    }

    pub(crate) async fn stored_first<DB: Backend>(inbox: &Inbox<DB>) -> Self {
        Self::start(Router::new().route("/webhook", post(inbox.clone()))).await
    }

    pub(crate) async fn start(app: Router) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
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

/// Orders that there are; each event pays one of them.
pub(crate) const ORDERS: i64 = 1024;

/// The order that an event pays: those that come at about the same time pay different ones.
pub(crate) fn order_of(event_id: &str) -> i64 {
    let number = event_id
        .strip_prefix("evt_")
        .and_then(|number| number.parse().ok());
    number.unwrap_or(0_i64) % ORDERS
}

async fn pay<DB: Backend>(mut tx: EventTx<DB>) -> StatusCode {
    let order = order_of(tx.event().id());
    match DB::pay(&mut tx, order).await {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The same handler for a worker; it adds a permit for each event that it has run.
pub(crate) fn counted<DB: Backend>(ran: &Arc<Semaphore>) -> impl Worked + use<DB> {
    let ran = Arc::clone(ran);
    service(async move |tx: EventTx<DB>| {
        let status = pay(tx).await;
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
