use std::{future::Future, sync::Arc, time::Duration};

use sqlx::{Connection, Pool, pool::PoolConnection};
use sqlx_core::transaction::TransactionManager;
use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{Action, Entry, InboxEntry, Ledger, LedgerError, Limits, Readmission};

/// Longest that one of the crate's own statements may take, waiting for a claim aside. They touch
/// one row by its key; a database that needs ten seconds for that is not there.
const STATEMENT_TIME_MAX: Duration = Duration::from_secs(10);

/// A transaction on a connection of the pool, from BEGIN to its end.
///
/// Dropped before it was committed or rolled back, it closes its connection, which makes the
/// database roll back. The connection does not go back to the pool, because its state is not known:
/// a cancelled `begin` may have left it inside a transaction, and sqlx cannot use one to SQLite
/// again on which a COMMIT has failed.
pub(crate) struct LedgerTransaction<DB: Ledger> {
    /// Held alone: the mutex is there for whoever closes it when this is gone.
    connection: OwnedMutexGuard<PoolConnection<DB>>,
    limits: Limits,
    seal: Option<DB::Seal>,
    ended: bool,
    /// Given back with the connection, however late that is.
    place: Arc<OwnedSemaphorePermit>,
}

impl<DB: Ledger> LedgerTransaction<DB> {
    /// Waits for one of `places` and for a connection, and opens a transaction in one round trip.
    pub(crate) async fn begin(
        pool: &Pool<DB>,
        places: Arc<Semaphore>,
        limits: Limits,
    ) -> Result<Self, LedgerError> {
        let (place, connection) = acquire(pool, places, limits).await?;
        let connection = Arc::new(Mutex::new(connection));
        let mut transaction = Self {
            connection: connection.lock_owned().await,
            limits,
            seal: None,
            ended: false,
            place: Arc::new(place),
        };
        transaction.open().await?;
        Ok(transaction)
    }

    async fn open(&mut self) -> Result<(), LedgerError> {
        let begin = DB::begin_statement(&self.limits);
        within(STATEMENT_TIME_MAX, async {
            Ok(DB::TransactionManager::begin(&mut self.connection, Some(begin)).await?)
        })
        .await?;
        self.ended = false;
        Ok(())
    }

    /// Writes the entry of an event. False: it is there already.
    ///
    /// Waits for a transaction that has written it and not ended yet.
    pub(crate) async fn claim(&mut self, entry: &Entry<'_>) -> Result<bool, LedgerError> {
        let time_max = self.claim_time_max();
        let claimed = DB::claim(&mut self.connection, entry, &self.limits);
        self.seal = within(time_max, claimed).await?;
        if cfg!(axum_stripe_webhook_without = "transaction") && self.seal.is_some() {
            self.commit().await?;
            self.open().await?;
            self.skip_claim().await?;
        }
        Ok(self.seal.is_some())
    }

    fn claim_time_max(&self) -> Duration {
        let wait_max = self.limits.claim_wait_max;
        wait_max.saturating_add(STATEMENT_TIME_MAX)
    }

    /// Likewise, also if the entry is there because a guard has stopped the event or it did not fit: this
    /// delivery of it has passed, or may fit.
    pub(crate) async fn claim_or_readmit(
        &mut self,
        entry: &Entry<'_>,
    ) -> Result<bool, LedgerError> {
        if self.claim(entry).await? {
            return Ok(true);
        }
        let time_max = self.claim_time_max();
        let readmitted = DB::readmit(&mut self.connection, entry);
        match within(time_max, readmitted).await? {
            Readmission::Readmitted => self.claim(entry).await,
            Readmission::Duplicate => Ok(false),
            Readmission::Missing => Err(LedgerError::NotWritten),
        }
    }

    /// Does without an entry, for an event that is not deduplicated.
    pub(crate) async fn skip_claim(&mut self) -> Result<(), LedgerError> {
        let sealed = DB::seal(&mut self.connection, &self.limits);
        self.seal = Some(within(STATEMENT_TIME_MAX, sealed).await?);
        Ok(())
    }

    /// Keeps an event that was claimed, or that needs no claim, in the inbox.
    pub(crate) async fn quarantine(&mut self, inbox: &InboxEntry<'_>) -> Result<(), LedgerError> {
        let kept = DB::quarantine(&mut self.connection, inbox);
        within(STATEMENT_TIME_MAX, kept).await
    }

    /// Takes a quarantined event with these bytes out of the inbox and out of the ledger, to be claimed
    /// anew. False: it is not quarantined.
    pub(crate) async fn take(
        &mut self,
        entry: &Entry<'_>,
        payload: &[u8],
        action: &Action<'_>,
    ) -> Result<bool, LedgerError> {
        // The ledger first, as everywhere: or two that wait for each other would deadlock.
        let time_max = self.claim_time_max();
        within(time_max, DB::forget(&mut self.connection, entry)).await?;
        self.remove_quarantined(entry.event_id, entry.endpoint, Some(payload), action)
            .await
    }

    /// Takes a quarantined event out of the inbox, never to be run. False: it is not quarantined.
    pub(crate) async fn discard(
        &mut self,
        event_id: &str,
        endpoint: &str,
        action: &Action<'_>,
    ) -> Result<bool, LedgerError> {
        let time_max = self.claim_time_max();
        let given_up = DB::give_up(&mut self.connection, event_id, endpoint);
        within(time_max, given_up).await?;
        self.remove_quarantined(event_id, endpoint, None, action)
            .await
    }

    async fn remove_quarantined(
        &mut self,
        event_id: &str,
        endpoint: &str,
        payload: Option<&[u8]>,
        action: &Action<'_>,
    ) -> Result<bool, LedgerError> {
        let time_max = self.claim_time_max();
        let removed = DB::remove_quarantined(&mut self.connection, event_id, endpoint, payload);
        if !within(time_max, removed).await? {
            return Ok(false);
        }
        let recorded = DB::record(&mut self.connection, event_id, endpoint, action);
        within(STATEMENT_TIME_MAX, recorded).await?;
        Ok(true)
    }

    /// Makes sure that this is still the claim's transaction and that nothing in it has failed, and
    /// commits it.
    pub(crate) async fn commit(&mut self) -> Result<(), LedgerError> {
        let seal = self.seal.as_ref().ok_or(LedgerError::Ended)?;
        let closed = within(STATEMENT_TIME_MAX, DB::close(&mut self.connection, seal)).await;
        if !cfg!(axum_stripe_webhook_without = "last_statement") {
            closed?;
        }
        self.refuse_open_savepoint()?;
        within(STATEMENT_TIME_MAX, async {
            let committed = DB::TransactionManager::commit(&mut self.connection).await;
            committed.map_err(LedgerError::of_commit)
        })
        .await?;
        self.ended = true;
        Ok(())
    }

    /// Rolls back, so that the connection can go back to the pool.
    pub(crate) async fn rollback(&mut self) -> Result<(), LedgerError> {
        if let Some(seal) = &self.seal {
            within(STATEMENT_TIME_MAX, DB::disarm(&mut self.connection, seal)).await?;
        }
        self.refuse_open_savepoint()?;
        within(STATEMENT_TIME_MAX, async {
            Ok(DB::TransactionManager::rollback(&mut self.connection).await?)
        })
        .await?;
        self.ended = true;
        Ok(())
    }

    /// Whether it was committed or rolled back: the connection is in no transaction any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(crate) fn connection(&self) -> &DB::Connection {
        &self.connection
    }

    pub(crate) fn connection_mut(&mut self) -> &mut DB::Connection {
        &mut self.connection
    }

    /// A savepoint that the handler left open would take the COMMIT or ROLLBACK for itself.
    ///
    /// Asked after a statement, because on SQLite a dropped savepoint is released by a thread.
    fn refuse_open_savepoint(&self) -> Result<(), LedgerError> {
        match DB::TransactionManager::get_transaction_depth(&self.connection) {
            1 => Ok(()),
            _ => Err(LedgerError::Ended),
        }
    }
}

impl<DB: Ledger> Drop for LedgerTransaction<DB> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if let Some(seal) = &self.seal {
            DB::abandon(seal);
        }
        self.connection.close_on_drop();
        // A statement may still be executed. Until it is not, its place is not free and the pool opens
        // no other connection for it, or the server would have more and more of them.
        if let Ok(runtime) = Handle::try_current() {
            let connection = Arc::clone(OwnedMutexGuard::mutex(&self.connection));
            let place = Arc::clone(&self.place);
            let time_max = self.limits.abandoned_time_max();
            runtime.spawn(async move {
                let mut connection = connection.lock_owned().await;
                let _answered_or_long_enough = timeout(time_max, connection.ping()).await;
                drop((connection, place));
            });
        }
    }
}

/// Looks whether the entry of an event is there, in no transaction.
pub(crate) async fn is_processed<DB: Ledger>(
    pool: &Pool<DB>,
    places: Arc<Semaphore>,
    limits: Limits,
    entry: &Entry<'_>,
) -> Result<bool, LedgerError> {
    let (_place, mut connection) = acquire(pool, places, limits).await?;
    let looked = within(STATEMENT_TIME_MAX, DB::is_processed(&mut connection, entry));
    let looked = looked.await;
    if looked.is_err() {
        connection.close_on_drop();
    }
    looked
}

/// The bytes of an event that is quarantined, read in no transaction.
pub(crate) async fn quarantined_payload<DB: Ledger>(
    pool: &Pool<DB>,
    places: Arc<Semaphore>,
    limits: Limits,
    event_id: &str,
    endpoint: &str,
) -> Result<Option<Vec<u8>>, LedgerError> {
    let (_place, mut connection) = acquire(pool, places, limits).await?;
    let read = DB::quarantined_payload(&mut connection, event_id, endpoint);
    let read = within(STATEMENT_TIME_MAX, read).await;
    if read.is_err() {
        connection.close_on_drop();
    }
    read
}

/// Waits for a place and for a connection of the pool.
async fn acquire<DB: Ledger>(
    pool: &Pool<DB>,
    places: Arc<Semaphore>,
    limits: Limits,
) -> Result<(OwnedSemaphorePermit, PoolConnection<DB>), LedgerError> {
    let acquired = timeout(limits.acquire_time_max, async {
        let place = places
            .acquire_owned()
            .await
            .map_err(|_| sqlx::Error::PoolClosed)?;
        Ok((place, pool.acquire().await?))
    });
    let acquired: Result<_, sqlx::Error> = acquired.await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
    Ok(acquired?)
}

async fn within<T>(
    time_max: Duration,
    statement: impl Future<Output = Result<T, LedgerError>>,
) -> Result<T, LedgerError> {
    timeout(time_max, statement)
        .await
        .unwrap_or(Err(LedgerError::TimedOut))
}
