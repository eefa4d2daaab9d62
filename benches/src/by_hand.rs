//! What somebody would write who does not use the crate: the yardstick of the same work.
//!
//! It verifies, deduplicates and commits, and leaves everything else out: a handler that commits by itself,
//! a client that leaves, a copy that waits, an answer that fails after the commit, time limits, logs.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use sqlx::{PgPool, Postgres, query};

use crate::{
    database::Backend,
    deliveries::SECRET,
    shop::{Server, order_of},
};

#[derive(Deserialize)]
struct Event {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
}

/// What it remembers events in.
pub(crate) async fn create_table(pool: &PgPool) {
    let table = "create table if not exists processed_by_hand (event_id text primary key,
        event_type text not null, processed_at timestamptz not null default now())";
    Postgres::run(pool, table).await;
}

/// A row in a table of its own and the order's, in one transaction.
pub(crate) async fn inline(pool: &PgPool) -> Server {
    Server::start(Router::new().route("/webhook", post(process).with_state(pool.clone()))).await
}

/// The event itself, in a transaction of its own, for somebody else to process.
pub(crate) async fn store(pool: &PgPool) -> Server {
    Server::start(Router::new().route("/webhook", post(keep).with_state(pool.clone()))).await
}

async fn process(
    State(pool): State<PgPool>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, StatusCode> {
    let event = verified(&headers, &body)?;
    process_event(&pool, &event).await.map_err(failed)
}

async fn process_event(pool: &PgPool, event: &Event) -> sqlx::Result<StatusCode> {
    let mut transaction = pool.begin().await?;
    let insert = "insert into processed_by_hand (event_id, event_type) values ($1, $2)
        on conflict do nothing";
    let inserted = query(insert).bind(&event.id).bind(&event.event_type);
    if inserted.execute(&mut *transaction).await?.rows_affected() > 0 {
        Postgres::pay(&mut transaction, order_of(&event.id)).await?;
    }
    transaction.commit().await?;
    Ok(StatusCode::OK)
}

async fn keep(
    State(pool): State<PgPool>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, StatusCode> {
    let event = verified(&headers, &body)?;
    let insert = "insert into stripe_inbox (event_id, endpoint, event_type, payload)
        values ($1, 'default', $2, $3) on conflict do nothing";
    let inserted = query(insert).bind(&event.id).bind(&event.event_type);
    let inserted = inserted.bind(&*body).execute(&pool).await;
    inserted.map(|_| StatusCode::OK).map_err(failed)
}

fn failed(_: sqlx::Error) -> StatusCode {
    StatusCode::INTERNAL_SERVER_ERROR
}

fn verified(headers: &HeaderMap, body: &[u8]) -> Result<Event, StatusCode> {
    let header = headers.get("stripe-signature").map(|value| value.to_str());
    let genuine = header
        .and_then(Result::ok)
        .and_then(|header| is_genuine(header, body));
    match genuine {
        Some(true) => serde_json::from_slice(body).map_err(|_| StatusCode::BAD_REQUEST),
        _ => Err(StatusCode::BAD_REQUEST),
    }
}

#[expect(clippy::disallowed_methods, reason = "the age is that of now")]
fn is_genuine(header: &str, body: &[u8]) -> Option<bool> {
    let element = |key: &str| header.split(',').find_map(|part| part.strip_prefix(key));
    let (time, signature) = (element("t=")?, element("v1=")?);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let is_recent = now.abs_diff(time.parse().ok()?) <= 300;
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).ok()?;
    for part in [time.as_bytes(), b".", body] {
        mac.update(part);
    }
    let mut claimed = [0; 32];
    hex::decode_to_slice(signature, &mut claimed).ok()?;
    Some(mac.verify_slice(&claimed).is_ok() && is_recent)
}
