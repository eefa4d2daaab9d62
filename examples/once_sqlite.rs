//! The layer on SQLite: each event is processed once, in the handler's own transaction.
//!
//! ```sh
//! STRIPE_WEBHOOK_SECRET=whsec_… cargo run --example once_sqlite --features sqlite
//! ```

use std::{error::Error, process::ExitCode};

use axum::{
    Router,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use axum_stripe_webhook::{
    EventTx, ObjectError, ProcessOnceLayer, SigningSecret, Verifier, migrate,
};
use serde::Deserialize;
use sqlx::{Sqlite, SqlitePool};

/// Only what is used here, and optional where Stripe sends null.
#[derive(Deserialize)]
struct CheckoutSession {
    id: String,
    client_reference_id: Option<String>,
    payment_status: String,
}

/// Every answer that is not 2xx rolls back, and Stripe delivers again.
enum WebhookError {
    Object(ObjectError),
    Database,
}

async fn webhook(mut tx: EventTx<Sqlite>) -> Result<(), WebhookError> {
    let event = tx.event().clone();
    let session: CheckoutSession = match event.event_type() {
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" => {
            event.object()?
        }
        // Not a fault: on anything but 2xx Stripe would deliver it for days.
        _ => return Ok(()),
    };
    // A bank transfer is still on its way: the second type tells when it has arrived.
    if session.payment_status != "paid" {
        return Ok(());
    }
    // In the transaction that holds the event's row: both are committed, or neither is.
    sqlx::query("insert into paid (session_id, order_id) values ($1, $2)")
        .bind(session.id)
        .bind(session.client_reference_id)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

pub(crate) fn app(once: ProcessOnceLayer<Sqlite>) -> Router {
    Router::new().route("/webhooks/stripe", post(webhook).route_layer(once))
}

pub(crate) async fn prepare(pool: &SqlitePool) -> Result<(), Box<dyn Error>> {
    migrate(pool).await?;
    sqlx::raw_sql("create table if not exists paid (session_id text primary key, order_id text)")
        .execute(pool)
        .await?;
    Ok(())
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let verifier = Verifier::new(SigningSecret::from_env("STRIPE_WEBHOOK_SECRET")?);
    let pool = SqlitePool::connect("sqlite://paid.sqlite?mode=rwc").await?;
    prepare(&pool).await?;
    let once = ProcessOnceLayer::new(pool, verifier);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    let shutdown = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    axum::serve(listener, app(once.clone()))
        .with_graceful_shutdown(shutdown)
        .await?;
    // Deliveries whose client has gone are still running.
    once.drain().await;
    Ok(())
}

#[tokio::main]
#[expect(
    clippy::print_stderr,
    reason = "an example has no subscriber for tracing"
)]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

impl From<ObjectError> for WebhookError {
    fn from(error: ObjectError) -> Self {
        Self::Object(error)
    }
}

impl From<sqlx::Error> for WebhookError {
    fn from(_: sqlx::Error) -> Self {
        Self::Database
    }
}

impl IntoResponse for WebhookError {
    fn into_response(self) -> Response {
        match self {
            Self::Object(error) => error.into_response(),
            Self::Database => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}
