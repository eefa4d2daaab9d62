//! Subscriptions: a table that ends right, in whatever order their events come.
//!
//! Stripe delivers in any order, and says in whole seconds when an event was made. A table that takes
//! each event as it comes is wrong twice:
//!
//! - An `updated` is late because its first delivery failed, say. It overwrites what came after it;
//!   after the `deleted` it resurrects a subscription that nobody pays for any more.
//! - Two events are made in one second, as when a first payment succeeds. Nothing in them tells which
//!   is the later, and the wrong one stays for a month.
//!
//! So the first is told by [`EventTx::object_order`], and for the second Stripe is asked.
//!
//! ```sh
//! STRIPE_WEBHOOK_SECRET=whsec_… STRIPE_API_KEY=rk_… STRIPE_API_BASE=http://127.0.0.1:12111 \
//!     cargo run --example subscriptions --features sqlite
//! ```

use std::{
    env,
    error::Error,
    fmt::Debug,
    time::{Duration, SystemTime},
};

use axum::body::{Body, to_bytes};
use axum::{Router, extract::State, http::StatusCode, routing::post};
use axum_stripe_webhook::{
    BODY_BYTES_MAX, Disposition, Event, EventRouter, EventTx, EventTxError, ObjectOrder,
    ProcessOnceLayer, SigningSecret, StripeObject, Verifier, migrate, router::RouterError,
};
use reqwest::{Client, ClientBuilder, redirect::Policy};
use serde::Deserialize;
use sqlx::{Sqlite, SqlitePool, query, raw_sql};

pub(crate) const TABLE: &str = "create table if not exists subscriptions
    (id text primary key, customer text not null, status text not null)";

/// The subscription's row is locked while Stripe is asked, and SQLite has but one lock.
pub(crate) const ASKING_TIME_MAX: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Subscription {
    id: String,
    customer: String,
    status: String,
}

impl Subscription {
    /// No change follows on these, so an event that says otherwise is late.
    fn has_ended(&self) -> bool {
        ["canceled", "incomplete_expired"].contains(&self.status.as_str())
    }

    async fn write(&self, tx: &mut EventTx<Sqlite>) -> Result<(), EventTxError> {
        if self.has_ended() {
            tx.object_deleted(&self.id).await?;
        }
        let upsert = "insert into subscriptions (id, customer, status) values ($1, $2, $3)
            on conflict (id) do update set customer = excluded.customer, status = excluded.status";
        let upsert = query(upsert).bind(&self.id).bind(&self.customer);
        upsert.bind(&self.status).execute(&mut **tx).await?;
        Ok(())
    }
}

/// Stripe's API: the client, its address and the key for it, and the clock.
#[derive(Clone)]
pub(crate) struct Stripe(Client, String, String, fn() -> SystemTime);

impl Stripe {
    pub(crate) fn new(
        client: ClientBuilder,
        base: String,
        key: String,
        now: fn() -> SystemTime,
    ) -> reqwest::Result<Self> {
        // A redirect could take the key elsewhere.
        let client = client.redirect(Policy::none()).timeout(ASKING_TIME_MAX);
        Ok(Self(client.build()?, base, key, now))
    }

    /// The subscription as it is now, or what is to become of the event without it.
    async fn ask(&self, event: &Event, id: &str) -> Result<Subscription, Disposition> {
        let Self(client, base, key, _) = self;
        let request = client.get(format!("{base}/v1/subscriptions/{id}"));
        // Pinned: the account's own version is changed by people who do not know of this.
        let request = request.header("stripe-version", "2026-10-28.endive");
        let mut request = request.bearer_auth(key);
        if let Some(account) = event.account() {
            request = request.header("stripe-account", account);
        }
        let answer = request.send().await.map_err(unavailable)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(NOT_FOUND),
            status => return Err(unavailable(status)),
        }
        let body = Body::new(reqwest::Body::from(answer)); // bounded like an event that carries it
        let json = to_bytes(body, BODY_BYTES_MAX).await.map_err(unavailable)?;
        // The whole error would quote the subscription.
        serde_json::from_slice(&json).map_err(|error| unavailable(error.classify()))
    }
}

/// Stripe has those that have ended, too. The key is of another account, or a sandbox was emptied: let
/// somebody look, and end nothing here.
const NOT_FOUND: Disposition = Disposition::Quarantine {
    reason: "subscription_not_found",
};

/// Nothing is written, and Stripe delivers again.
fn unavailable(reason: impl Debug) -> Disposition {
    tracing::warn!(?reason, "Stripe's API did not give the subscription");
    Disposition::RetryAfter(Duration::from_secs(60))
}

/// Whatever has happened to a subscription, its event carries the whole of it.
async fn sync(
    State(stripe): State<Stripe>,
    StripeObject(carried): StripeObject<Subscription>,
    mut tx: EventTx<Sqlite>,
) -> Result<Disposition, EventTxError> {
    let subscription = match tx.object_order(&carried.id).await? {
        ObjectOrder::Newer => carried,
        // What has happened since is written already.
        ObjectOrder::Older => return Ok(Disposition::Done),
        ObjectOrder::SameSecond => {
            let Stripe(.., now) = &stripe;
            let asked_at = now();
            let event = tx.event().clone();
            let asked = match stripe.ask(&event, &carried.id).await {
                Ok(asked) => asked,
                Err(disposition) => return Ok(disposition),
            };
            tx.object_fetched(&carried.id, asked_at).await?;
            asked
        }
    };
    subscription.write(&mut tx).await?;
    Ok(Disposition::Done)
}

/// It has the last word, whenever it comes: from now on every event of the subscription is older.
async fn ended(
    StripeObject(carried): StripeObject<Subscription>,
    mut tx: EventTx<Sqlite>,
) -> Result<(), EventTxError> {
    let status = "canceled".to_owned();
    Subscription { status, ..carried }.write(&mut tx).await
}

pub(crate) fn app(once: ProcessOnceLayer<Sqlite>, stripe: Stripe) -> Result<Router, RouterError> {
    let events = EventRouter::new()
        .on_prefix("customer.subscription.", sync)
        .on("customer.subscription.deleted", ended)
        .build()?;
    let app = Router::new().route("/webhooks/stripe", post(events).route_layer(once));
    Ok(app.with_state(stripe))
}

#[tokio::main]
#[expect(
    clippy::disallowed_methods,
    reason = "the service has no clock of its own"
)]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    // `https` needs one of reqwest's TLS features, such as `rustls`; here it has none.
    let base = env::var("STRIPE_API_BASE").unwrap_or("https://api.stripe.com".into());
    let key = env::var("STRIPE_API_KEY")?;
    let stripe = Stripe::new(Client::builder(), base, key, SystemTime::now)?;
    let verifier = Verifier::new(SigningSecret::from_env("STRIPE_WEBHOOK_SECRET")?);
    let pool = SqlitePool::connect("sqlite://subscriptions.sqlite?mode=rwc").await?;
    migrate(&pool).await?;
    raw_sql(TABLE).execute(&pool).await?;
    let app = app(ProcessOnceLayer::new(pool, verifier), stripe)?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app).await?)
}
