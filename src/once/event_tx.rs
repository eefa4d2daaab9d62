use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Weak},
};

use axum_core::{
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::{
    extract::{VerifiedStripeEvent, VerifiedUpstream},
    ledger::{Ledger, LedgerTransaction, On},
    telemetry,
};

/// The transaction in which an event is processed, as an extractor for handlers under
/// [`ProcessOnceLayer`](crate::ProcessOnceLayer).
///
/// It dereferences to the connection: `query.execute(&mut *tx)`. The event's row in
/// `processed_stripe_events` is written already, and commits with everything that the handler
/// writes here; what it writes on another connection does not.
///
/// # Transactions
///
/// The layer ends the transaction, after the handler has returned: COMMIT on a 2xx answer, ROLLBACK
/// on any other. **Dropping an `EventTx` rolls nothing back**, unlike sqlx's `Transaction`: it gives
/// the transaction back to the layer. A handler that wants a rollback answers non-2xx. Savepoints
/// can be nested in it (`tx.begin()`, through [`sqlx::Connection`]).
///
/// - Moving it elsewhere, a spawned task say, and holding it beyond the handler's end: the answer is
///   500 and nothing is committed. Until it is dropped it holds a connection of the pool, the
///   event's claim, and on SQLite the only write lock; one that is never dropped is lost to the
///   pool. Postgres itself frees the claim of one that idles for the handler's time limit and up to
///   five seconds more.
/// - A COMMIT or ROLLBACK of the handler's own: the answer is 500. The COMMIT is refused (on Postgres
///   not for the events that are not deduplicated). After a ROLLBACK, Postgres executes each further
///   statement in a transaction of its own.
/// - Postgres: swallowing the error of a statement and answering 2xx is a 500, because the
///   transaction is aborted and would commit nothing. On SQLite a failed statement leaves the rest
///   of the transaction in place, and a 2xx commits it.
///
/// - Settings of the session (`set` without `local`) stay on the pooled connection and are met by other
///   events: `search_path` may even show them another ledger. Use `set local`; and leave `reset all`
///   alone, with which a COMMIT of the handler's is not refused any more.
/// - A middleware under the layer that runs the handler twice, to retry it, commits what both have
///   written.
///
/// # Cancel safety
///
/// A client that disconnects does not cancel the handler. The layer's time limit for handlers does,
/// at an await; the transaction is rolled back. Drop an `EventTx` within the runtime: sqlx needs it.
///
/// A statement that is given up is executed on. The answer waits for it, up to ten seconds; its
/// connection, its place and the event's claim stay taken until the server is done, which is at the
/// latest when the statement is as old as the handler may be, and five seconds.
///
/// - Postgres: do not cancel a `tx.begin()` yourself, by a time-out or `select!` around it. sqlx then
///   rolls back the whole transaction, and what follows is written outside it.
/// - SQLite: a statement that is interrupted, by a progress handler of yours say, may have taken effect
///   all the same. Answer non-2xx instead of repeating it.
///
/// # Examples
///
/// ```
/// use axum::http::StatusCode;
/// use axum_stripe_webhook::EventTx;
/// use sqlx::Sqlite;
///
/// async fn webhook(mut tx: EventTx<Sqlite>) -> Result<(), StatusCode> {
///     let event = tx.event().clone();
///     sqlx::query("insert into audit (event_id) values ($1)")
///         .bind(event.id())
///         .execute(&mut *tx)
///         .await
///         .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
///     Ok(())
/// }
/// ```
pub struct EventTx<DB: Ledger> {
    transaction: OwnedMutexGuard<LedgerTransaction<DB>>,
    event: VerifiedStripeEvent,
    endpoint: Arc<str>,
}

/// Offers a transaction to the handler, in the request's extensions. The lock is the loan: while an
/// [`EventTx`] is alive, nobody else can have the transaction. The offer holds nothing: extensions
/// can be cloned and kept, and must not keep the transaction beyond its delivery.
pub(super) struct Offer<DB: Ledger> {
    transaction: Weak<Mutex<LedgerTransaction<DB>>>,
    endpoint: Arc<str>,
}

impl<DB: Ledger> EventTx<DB> {
    /// The event that is being processed.
    ///
    /// It borrows the transaction; a clone, which is cheap, does not.
    #[must_use]
    pub fn event(&self) -> &VerifiedStripeEvent {
        &self.event
    }

    /// The label of the endpoint that the event was delivered to.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl<DB: Ledger> EventTx<DB> {
    pub(super) fn on(&mut self) -> On<'_, DB> {
        self.transaction.on()
    }
}

impl<DB: Ledger> Offer<DB> {
    pub(super) fn of(transaction: &Arc<Mutex<LedgerTransaction<DB>>>, endpoint: &Arc<str>) -> Self {
        Self {
            transaction: Arc::downgrade(transaction),
            endpoint: Arc::clone(endpoint),
        }
    }

    /// Takes the transaction, unless somebody has it or its delivery is over.
    fn take(&self) -> Option<OwnedMutexGuard<LedgerTransaction<DB>>> {
        let taken = self.transaction.upgrade()?.try_lock_owned().ok()?;
        // The delivery may have ended it between the two.
        (!taken.has_ended()).then_some(taken)
    }
}

impl<DB: Ledger> Clone for Offer<DB> {
    fn clone(&self) -> Self {
        Self {
            transaction: Weak::clone(&self.transaction),
            endpoint: Arc::clone(&self.endpoint),
        }
    }
}

impl<DB: Ledger, S: Sync> FromRequestParts<S> for EventTx<DB> {
    type Rejection = EventTxRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let missing = EventTxRejection::MissingLayer;
        let offer = parts.extensions.get::<Offer<DB>>().ok_or(missing)?;
        let VerifiedUpstream(event) = parts.extensions.get().ok_or(missing)?;
        let transaction = offer.take().ok_or(EventTxRejection::Taken)?;
        Ok(Self {
            transaction,
            event: event.clone(),
            endpoint: Arc::clone(&offer.endpoint),
        })
    }
}

impl<DB: Ledger> Deref for EventTx<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &Self::Target {
        self.transaction.connection()
    }
}

impl<DB: Ledger> DerefMut for EventTx<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.transaction.connection_mut()
    }
}

impl<DB: Ledger> fmt::Debug for EventTx<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventTx")
            .field("event", &self.event)
            .finish_non_exhaustive()
    }
}

/// Why a handler could not have its [`EventTx`]. Both are faults of the service, answered with 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventTxRejection {
    /// The route is not under a `ProcessOnceLayer` of this database.
    #[error(
        "no transaction in the request: put `.route_layer(ProcessOnceLayer::new(pool, verifier))` \
         on this route, with a pool of the same database as the handler's `EventTx`"
    )]
    MissingLayer,
    /// The handler, or a layer before it, has an `EventTx` of this request already; or the delivery
    /// is over.
    #[error("the transaction is taken, or its delivery is over: extract `EventTx` once")]
    Taken,
}

impl IntoResponse for EventTxRejection {
    fn into_response(self) -> Response {
        telemetry::misplaced(&self);
        (StatusCode::INTERNAL_SERVER_ERROR, "failed\n").into_response()
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use sqlx::{Sqlite, sqlite::SqlitePoolOptions};

    use super::*;
    use crate::ledger::{LedgerAccess, Limits, Purpose};

    /// Somebody else may hold the transaction for an instant after its end.
    #[tokio::test]
    async fn a_transaction_that_has_ended_is_not_offered_any_more() {
        let pool = SqlitePoolOptions::new().max_connections(1);
        let pool = pool.connect("sqlite::memory:").await.unwrap();
        let transaction = LedgerAccess::<Sqlite>::new(pool, Limits::default())
            .begin(Purpose::Claim)
            .await;
        let transaction = Arc::new(Mutex::new(transaction.unwrap()));
        let offer = Offer::of(&transaction, &"default".into());
        assert!(offer.take().is_some());
        transaction.lock().await.rollback().await.unwrap();
        assert!(offer.take().is_none());
    }
}
