//! Stored first: [`Inbox`] and [`InboxWorker`].
//!
//! Checkout's redirect waits for our answer, Stripe gives up on endpoints that are slow, and bursts
//! come at the end of the month. An inbox stores what is delivered and answers within milliseconds;
//! workers run the handlers, in as many processes as there are, on the database that the service has
//! already. The handlers are those that run inline.
//!
//! ```
//! use axum::{Router, routing::post};
//! use axum_stripe_webhook::{EventRouter, EventTx, Inbox, Verifier};
//! use sqlx::{Sqlite, SqlitePool};
//!
//! async fn fulfil(tx: EventTx<Sqlite>) {}
//! async fn decide(tx: EventTx<Sqlite>) {}
//!
//! # async fn serve(pool: SqlitePool, verifier: Verifier) -> Result<(), Box<dyn std::error::Error>> {
//! let decisions = EventRouter::new().on("issuing_authorization.request", decide).build()?;
//! let events = EventRouter::new().on("checkout.session.completed", fulfil).build()?;
//!
//! let inbox = Inbox::new(pool, verifier).synchronous(["issuing_authorization.request"], decisions);
//! let worker = inbox.worker(events).start(); // or `InboxWorker::new`, in a process of its own
//! let app: Router = Router::new().route("/webhooks/stripe", post(inbox.clone()));
//! # async fn until_shutdown(_: Router) {}
//! until_shutdown(app).await;
//! inbox.drain().await;
//! worker.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # How a delivery is stored
//!
//! 1. It is read, verified and guarded as [inline](crate::once). What a guard stops is quarantined.
//! 2. What is [synchronous](Inbox::synchronous) is run at once.
//! 3. Too many in progress: 503, at once.
//! 4. The event is stored, unless the ledger or the inbox has it already: a duplicate, 200. Deliveries
//!    that arrive while others are stored share the next statement, so there is no timer, and an idle
//!    endpoint pays no delay. A copy of an event whose handler runs does not wait for it.
//!    The thin or snapshot twin of one that waits is 409, because whether anybody handles that one is not
//!    known yet; and so is the twin of one that is quarantined, until an operator has released or
//!    discarded it.
//! 5. Committed, also where `synchronous_commit` is off: 200. Otherwise 503.
//!
//! # How a worker runs it
//!
//! 1. It takes entries that are due, as many as it has slots free, passing over what others are about:
//!    each for the time of a lease, counted as an attempt.
//! 2. For each it opens a transaction, whose first statement takes the entry out of the inbox and
//!    writes the event's row in `processed_stripe_events`. Was the entry leased again since: it stops.
//!    Was the event processed already: the entry goes, and nothing else happens.
//! 3. The handler runs in this transaction, within its time limit, as inline.
//! 4. On a 2xx it is committed: the entry is gone, and the handler's writes are there, or neither. On
//!    anything else it is rolled back, the entry is there as before, and the [`RetryPolicy`] says when
//!    it is due again; after the last attempt it is `dead`, and waits for [an
//!    operator](InboxOperations). A [`Disposition`](crate::Disposition) says more. What no handler is
//!    registered for goes; if an operator has retried or released it, or a delivery readmitted it, it is
//!    dead.
//!
//! A worker that dies leaves entries that fall due by themselves when their leases end. Nobody knows
//! which of them has killed it: each runs once with nothing else of its worker. A worker that was
//! paused for longer than its lease can do nothing any more: the server ends its transaction, and what
//! it writes later about the entry is fenced off by a number that only grows, and that begins with the
//! time: an entry which was gone and came back is ahead of itself. Attempts stand written before the
//! handler runs, so an event that kills its process is dead after as many.
//!
//! What a handler has inline and not here: the request's headers, path, peer and the extensions of outer
//! layers, and the secret's name and the signing time of the event.
//!
//! # The life of an entry
//!
//! ```text
//!              stored                 failed, not yet
//!   delivery ─────────▶ pending ◀──────────────────────┐
//!                       │ ▲ ▲ └────────────────────────┘
//!      processed,       │ │ │ retry
//!      ignored, ◀───────┤ │ └───────── dead ◀── the last attempt failed, or for good
//!      discarded        │ │              │ ──────▶ discarded
//!                       │ │ release, or a delivery that passes
//!                       ▼ │
//!                  quarantined ──────▶ discarded
//! ```
//!
//! What was [scrubbed](Retention) counts as gone when its event is delivered again.
//!
//! # Limits, and what they want of the pool
//!
//! The inbox takes one connection at a time for what it stores, the worker one for each event that it
//! runs and one for what it takes: give a pool at least two connections more than the worker's
//! [`concurrency`](InboxWorker::concurrency). On SQLite, which has one writer, a worker runs
//! one event at a time, and what is stored waits for its handler, up to
//! [`acquire_time_max`](Inbox::acquire_time_max): past it the answer is 503.
//!
//! # Behind PgBouncer
//!
//! In transaction mode from 1.21 on, with `max_prepared_statements` set, nothing is needed. Before that,
//! [`persistent_statements(false)`](Inbox::persistent_statements) on the inbox, the worker, the
//! operations and the retention, `.persistent(false)` on the handlers' own statements, and a direct
//! connection for [`migrate`](crate::migrate).
//!
//! # Logs
//!
//! As [inline](crate::once#logs). An attempt has the span `stripe_attempt` with the event's id, type, mode
//! and account, the endpoint's label and the attempt's number. How it ended: `debug` when the event is
//! done, `warn` with `error` and `due_in` when it failed, `error` when the event is dead.
//!
//! # Round trips
//!
//! On Postgres one for a group that is stored; three for a lease, of one entry or of several; four for an
//! attempt, beside the handler's own, or three as long as more is due than there are slots; and three more to
//! write down one that has failed. Without persistent statements, all statements outside a transaction have
//! one.
//!
//! # Retention
//!
//! Nothing is deleted unless somebody does: [`Retention`].

mod accept;
mod attempt;
mod group;
mod operations;
mod retention;
mod retry_policy;
mod worker;

pub use accept::Inbox;
pub use operations::{
    EntryFilter, EntryPage, EntryState, InboxCounts, InboxOperations, OperationError, PAGE_DEFAULT,
    PAGE_MAX, PageStart, StoredEntry,
};
pub use retention::{
    DELIVERY_AGE_MAX_DEFAULT, LEDGER_AGE_MAX_DEFAULT, LEDGER_AGE_MAX_MIN, PAYLOAD_AGE_MAX_DEFAULT,
    Retention, Swept,
};
pub use retry_policy::{
    ATTEMPTS_MAX_DEFAULT, NOT_YETS_MAX_DEFAULT, RETRY_TIME_FIRST_DEFAULT, RETRY_TIME_MAX_DEFAULT,
    RetryPolicy,
};
pub use worker::{CONCURRENCY_DEFAULT, InboxWorker, POLL_INTERVAL_DEFAULT, RunningWorker};
