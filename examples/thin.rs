//! Thin events: the object, which they only name, is fetched before the transaction is opened.
//!
//! ```sh
//! STRIPE_WEBHOOK_SECRET=whsec_… STRIPE_THIN_SECRET=whsec_… STRIPE_API_KEY=rk_… \
//!     STRIPE_API_BASE=http://127.0.0.1:12111 cargo run --example thin --features sqlite
//! ```

use std::{env, error::Error, fmt::Debug};

use axum::body::{Body, to_bytes};
use axum::{Extension, Router, http::StatusCode, response::Result, routing::post};
use axum_stripe_webhook::{
    BODY_BYTES_MAX, Event, EventKind, EventTx, ProcessOnceLayer, SigningSecret,
    VerifiedStripeEvent, Verifier, migrate,
};
use reqwest::{Client, ClientBuilder, redirect::Policy};
use serde::Deserialize;
use sqlx::{Sqlite, SqlitePool, query, raw_sql};

pub(crate) const TABLES: &str = "create table if not exists paid (session_id text primary key);
    create table if not exists missing (event_id text not null)";

#[derive(Clone, Deserialize)]
struct Session {
    id: String,
    payment_status: String,
}

/// Stripe's API: the client, its address and the key for it.
#[derive(Clone)]
pub(crate) struct Stripe(Client, String, String);

impl Stripe {
    pub(crate) fn new(client: ClientBuilder, base: String, key: String) -> reqwest::Result<Self> {
        // A redirect could take the key elsewhere.
        Ok(Self(client.redirect(Policy::none()).build()?, base, key))
    }

    /// The session that a thin event names, as it is now. The layer limits the time that this takes.
    async fn session(self, event: VerifiedStripeEvent) -> Result<Option<Session>, StatusCode> {
        let Self(client, base, key) = self;
        let related = event.related_object().filter(|_| is_paying(&event));
        let path = related.and_then(|related| related.url.as_deref());
        let Some(path) = path else { return Ok(None) };
        let mut request = client.get(base + path).bearer_auth(key);
        if let Some(context) = event.context() {
            request = request.header("stripe-context", context);
        }
        // Pinned: the account's own version is changed by people who do not know of this.
        let request = request.header("stripe-version", "2026-10-28.endive");
        let answer = request.send().await.map_err(unavailable)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(unavailable(status)),
        }
        let body = Body::new(reqwest::Body::from(answer)); // bounded like an event that carries it
        let json = to_bytes(body, BODY_BYTES_MAX).await.map_err(unavailable)?;
        let session = serde_json::from_slice(&json).map(Some);
        // The whole error would quote the session.
        session.map_err(|error| unavailable(error.classify()))
    }
}

/// The answer on which Stripe delivers again, and its API is asked again.
fn unavailable(reason: impl Debug) -> StatusCode {
    tracing::warn!(?reason, "Stripe's API did not give the session");
    StatusCode::SERVICE_UNAVAILABLE
}

/// Thin events have the same types, behind `v1.`.
fn is_paying(event: &Event) -> bool {
    let plain = event.event_type().trim_start_matches("v1.");
    plain == "checkout.session.completed" || plain == "checkout.session.async_payment_succeeded"
}

async fn webhook(fetched: Extension<Option<Session>>, mut tx: EventTx<Sqlite>) -> Result<()> {
    let event = tx.event().clone();
    let session = match event.kind() {
        // Not a fault: on anything but 2xx Stripe would deliver it for days.
        _ if !is_paying(&event) => return Ok(()),
        EventKind::Thin => fetched.0,
        _ => Some(event.object::<Session>()?),
    };
    // A session is fetched as it is now: the events of both types may find it paid.
    let paid = "insert into paid (session_id) values ($1) on conflict do nothing";
    let missing = "insert into missing (event_id) values ($1)";
    let insert = match session {
        Some(session) if session.payment_status == "paid" => query(paid).bind(session.id),
        // A bank transfer is still on its way: the second type tells when it has arrived.
        Some(_) => return Ok(()),
        // Gone, and no retry brings it back. A wrong key gets 404 as well, so let somebody look.
        None => query(missing).bind(event.id().to_owned()),
    };
    let written = insert.execute(&mut *tx).await;
    written.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(())
}

pub(crate) fn app(once: ProcessOnceLayer<Sqlite>, stripe: Stripe) -> Router {
    let once = once.prepare(move |event| stripe.clone().session(event));
    Router::new().route("/webhooks/stripe", post(webhook).route_layer(once))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    // A destination sends one kind alone. The two share a label: of twins one is processed.
    let thin = SigningSecret::from_env("STRIPE_THIN_SECRET")?.for_kind(EventKind::Thin);
    let snapshot = SigningSecret::from_env("STRIPE_WEBHOOK_SECRET")?.for_kind(EventKind::Snapshot);
    // `https` needs one of reqwest's TLS features, such as `rustls`; here it has none.
    let base = env::var("STRIPE_API_BASE").unwrap_or("https://api.stripe.com".into());
    let stripe = Stripe::new(Client::builder(), base, env::var("STRIPE_API_KEY")?)?;
    let pool = SqlitePool::connect("sqlite://paid.sqlite?mode=rwc").await?;
    migrate(&pool).await?;
    raw_sql(TABLES).execute(&pool).await?;
    let once = ProcessOnceLayer::new(pool, Verifier::new(snapshot).with_secret(thin));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app(once, stripe)).await?)
}
