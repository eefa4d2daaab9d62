//! What the shop's staff sees of the inbox, and does with its events.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use axum_stripe_webhook::{
    EventRouter, InboxOperations, Operator,
    inbox::{EntryFilter, EntryState, InboxCounts, StoredEntry},
    once::ENDPOINT_DEFAULT,
    router::Coverage,
};
use serde::{Deserialize, Serialize};
use sqlx::Pool;

use crate::{endpoint::Endpoint, error::AppError, orders::Shop, webhook::FLOWS};

/// What a worker will see for itself.
const PENDING: (StatusCode, &str) = (StatusCode::ACCEPTED, "pending\n");

struct Staff<DB: Shop> {
    endpoint: Endpoint<DB>,
    events: EventRouter,
    operations: InboxOperations<DB>,
}

/// Who acts on an event, and why.
#[derive(Deserialize)]
struct By {
    actor: String,
    reason: String,
}

type JsonBy = Result<Json<By>, JsonRejection>;

#[derive(Serialize)]
struct Listing {
    pending: u64,
    due: u64,
    oldest_due_seconds: Option<u64>,
    dead: u64,
    quarantined: u64,
    events: Vec<EventView>,
}

#[derive(Serialize)]
struct EventView {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    state: &'static str,
    attempts: u32,
    last_error: Option<String>,
}

/// The routes of either mode. Only what was stored first can be dead, and be retried.
pub(crate) fn routes<DB: Shop, S: Clone + Send + Sync + 'static>(
    pool: Pool<DB>,
    endpoint: Endpoint<DB>,
    events: EventRouter,
) -> Router<S> {
    let routes = Router::new()
        .route("/events", get(list::<DB>))
        .route("/events/coverage", get(coverage::<DB>))
        .route("/events/{id}/release", post(release::<DB>))
        .route("/events/{id}/discard", post(discard::<DB>));
    let routes = match &endpoint {
        Endpoint::Inline(_) => routes,
        Endpoint::Inbox(..) => routes.route("/events/{id}/retry", post(retry::<DB>)),
    };
    routes.with_state(Arc::new(Staff {
        endpoint,
        events,
        operations: InboxOperations::new(pool),
    }))
}

/// How many there are of each state, and those that wait for somebody: a hundred of each at most.
async fn list<DB: Shop>(State(staff): State<Arc<Staff<DB>>>) -> Result<Json<Listing>, AppError> {
    let counts = staff.operations.counts().await?;
    let mut entries = Vec::new();
    for state in [EntryState::Dead, EntryState::Quarantined] {
        let filter = EntryFilter::new().state(state);
        entries.extend(staff.operations.list(&filter, None).await?.entries);
    }
    Ok(Json(Listing::of(counts, entries)))
}

/// Which types of event the shop's flows need, and what is done with each, for `stripe-webhook coverage`.
async fn coverage<DB: Shop>(State(staff): State<Arc<Staff<DB>>>) -> Json<Coverage> {
    Json(staff.events.coverage(&FLOWS))
}

/// Runs an event that was kept, as if it had just arrived.
async fn release<DB: Shop>(
    State(staff): State<Arc<Staff<DB>>>,
    Path(event_id): Path<String>,
    by: JsonBy,
) -> Result<Response, AppError> {
    let by = operator(by)?;
    if let Endpoint::Inline(once) = &staff.endpoint {
        return Ok(once.release(staff.events.clone(), &event_id, by).await);
    }
    let released = staff.operations.release(&event_id, ENDPOINT_DEFAULT, &by);
    released.await?;
    Ok(PENDING.into_response())
}

/// Tries an event again that is dead, or would be tried later.
async fn retry<DB: Shop>(
    State(staff): State<Arc<Staff<DB>>>,
    Path(event_id): Path<String>,
    by: JsonBy,
) -> Result<Response, AppError> {
    let by = operator(by)?;
    let retried = staff.operations.retry(&event_id, ENDPOINT_DEFAULT, &by);
    retried.await?;
    Ok(PENDING.into_response())
}

/// Gives up an event: it never runs.
async fn discard<DB: Shop>(
    State(staff): State<Arc<Staff<DB>>>,
    Path(event_id): Path<String>,
    by: JsonBy,
) -> Result<Response, AppError> {
    let by = operator(by)?;
    if let Endpoint::Inline(once) = &staff.endpoint {
        return Ok(once.discard(&event_id, by).await);
    }
    let discarded = staff.operations.discard(&event_id, ENDPOINT_DEFAULT, &by);
    discarded.await?;
    Ok("discarded\n".into_response())
}

fn operator(by: JsonBy) -> Result<Operator, AppError> {
    let Json(By { actor, reason }) = by.map_err(|_| AppError::Operator)?;
    Operator::new(actor, reason).map_err(|_| AppError::Operator)
}

impl Listing {
    fn of(counts: InboxCounts, entries: Vec<StoredEntry>) -> Self {
        Self {
            pending: counts.pending,
            due: counts.due,
            oldest_due_seconds: counts.oldest_due.map(|age| age.as_secs()),
            dead: counts.dead,
            quarantined: counts.quarantined,
            events: entries.into_iter().map(EventView::from).collect(),
        }
    }
}

impl From<StoredEntry> for EventView {
    fn from(entry: StoredEntry) -> Self {
        Self {
            id: entry.event_id,
            event_type: entry.event_type,
            state: entry.state.code(),
            attempts: entry.attempts,
            last_error: entry.last_error,
        }
    }
}
