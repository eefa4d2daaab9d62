use std::{fmt, sync::Arc};

use sqlx::{AssertSqlSafe, Database, Pool, SqlSafeStr, pool::PoolConnection};
use sqlx_core::transaction::TransactionManager;
use tokio::{
    sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    Ledger, LedgerError, LedgerTransaction, Limits, Purpose,
    transaction::{STATEMENT_TIME_MAX, linger},
    within_statement,
};

/// How the ledger is reached: a pool, and how many transactions of ours may run on it. Clones share
/// their places.
pub(crate) struct LedgerAccess<DB: Ledger> {
    pub(crate) pool: Pool<DB>,
    pub(crate) limits: Limits,
    /// Whether our statements are prepared once for each connection.
    pub(crate) is_persistent: bool,
    /// One for each transaction at a time; waited for.
    places: Arc<Semaphore>,
}

/// A connection, and how statements are sent on it.
pub struct On<'c, DB: Database> {
    pub(crate) connection: &'c mut DB::Connection,
    pub(crate) persistent: bool,
}

impl<'c, DB: Database> On<'c, DB> {
    pub(super) fn new(connection: &'c mut PoolConnection<DB>, persistent: bool) -> Self {
        Self {
            connection,
            persistent,
        }
    }

    /// The same, for one statement of several.
    pub(crate) fn again(&mut self) -> On<'_, DB> {
        On {
            connection: &mut *self.connection,
            persistent: self.persistent,
        }
    }
}

impl<DB: Database> fmt::Debug for On<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("On")
            .field("persistent", &self.persistent)
            .finish_non_exhaustive()
    }
}

/// A connection for statements beside the transactions of events. It goes back to the pool with the
/// result of what it was taken for, and is closed if that has failed or was cancelled: its state is not
/// known.
pub(crate) struct Idle<DB: Ledger> {
    /// Held alone: the mutex is there for whoever closes it when this is gone.
    connection: OwnedMutexGuard<PoolConnection<DB>>,
    limits: Limits,
    is_persistent: bool,
    is_in_transaction: bool,
    is_sound: bool,
    place: Option<Arc<OwnedSemaphorePermit>>,
}

impl<DB: Ledger> LedgerAccess<DB> {
    pub(crate) fn new(pool: Pool<DB>, limits: Limits) -> Self {
        let places = Arc::new(Semaphore::new(DB::transactions_max(&pool)));
        Self {
            pool,
            limits,
            is_persistent: true,
            places,
        }
    }

    /// How many transactions may run at once.
    pub(crate) fn places(&self) -> usize {
        DB::transactions_max(&self.pool)
    }

    /// Waits for a place and for a connection, and opens a transaction in one round trip.
    pub(crate) async fn begin(
        &self,
        purpose: Purpose,
    ) -> Result<LedgerTransaction<DB>, LedgerError> {
        let (place, connection) = self.acquire().await?;
        LedgerTransaction::begin(connection, place, self, purpose).await
    }

    /// Waits for a place and for a connection.
    pub(crate) async fn idle(&self) -> Result<Idle<DB>, LedgerError> {
        let (place, connection) = self.acquire().await?;
        let idle = self.idle_with(connection, Some(place)).await;
        idle.open(false).await
    }

    /// Waits for a connection, and on SQLite, which has one writer, for a place: what takes an instant
    /// need not stand in line behind handlers.
    pub(crate) async fn idle_besides(&self) -> Result<Idle<DB>, LedgerError> {
        self.beside().await?.open(false).await
    }

    /// Likewise, for what must not come to pass when nobody hears of it any more.
    pub(crate) async fn transaction_besides(&self) -> Result<Idle<DB>, LedgerError> {
        self.beside().await?.open(true).await
    }

    async fn beside(&self) -> Result<Idle<DB>, LedgerError> {
        if DB::HAS_ONE_WRITER {
            let (place, connection) = self.acquire().await?;
            return Ok(self.idle_with(connection, Some(place)).await);
        }
        let acquired = timeout(self.limits.acquire_time_max, self.pool.acquire());
        let connection = acquired.await.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        Ok(self.idle_with(connection, None).await)
    }

    async fn idle_with(
        &self,
        connection: PoolConnection<DB>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Idle<DB> {
        Idle {
            connection: Arc::new(Mutex::new(connection)).lock_owned().await,
            limits: self.limits,
            is_persistent: self.is_persistent,
            is_in_transaction: false,
            is_sound: false,
            place: place.map(Arc::new),
        }
    }

    async fn acquire(&self) -> Result<(OwnedSemaphorePermit, PoolConnection<DB>), LedgerError> {
        let acquired = timeout(self.limits.acquire_time_max, async {
            let place = Arc::clone(&self.places).acquire_owned();
            let place = place.await.map_err(|_| sqlx::Error::PoolClosed)?;
            Ok((place, self.pool.acquire().await?))
        });
        let acquired: Result<_, sqlx::Error> =
            acquired.await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        Ok(acquired?)
    }
}

impl<DB: Ledger> Idle<DB> {
    pub(crate) fn on(&mut self) -> On<'_, DB> {
        On::new(&mut self.connection, self.is_persistent)
    }

    /// The server gives its statements up, too, and frees what a stalled process holds between two.
    ///
    /// A transaction reads the inbox by its indices, in their order: without statistics the planner would
    /// collect and sort the whole backlog for each lease (1.9 ms instead of 0.2 ms with 8,000 entries).
    ///
    /// A statement that is not persistent is prepared and executed in two messages: PgBouncer may have
    /// another server execute it, unless a transaction is open.
    async fn open(mut self, in_transaction: bool) -> Result<Self, LedgerError> {
        if !DB::HAS_ONE_WRITER && (in_transaction || !self.is_persistent) {
            let limit = STATEMENT_TIME_MAX.as_millis();
            let begin = AssertSqlSafe(format!(
                "begin isolation level read committed; set local statement_timeout = {limit};
                 set local idle_in_transaction_session_timeout = {limit};
                 set local enable_seqscan = off; set local enable_bitmapscan = off"
            ));
            let begin = begin.into_sql_str();
            let begun = DB::TransactionManager::begin(&mut self.connection, Some(begin));
            within_statement(async { Ok(begun.await?) }).await?;
            self.is_in_transaction = true;
        }
        Ok(self)
    }

    /// Commits, if there is something to commit, and hands the connection back; unless what it was taken
    /// for has failed.
    pub(crate) async fn settle<T>(
        mut self,
        done: Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let done = done?;
        if self.is_in_transaction {
            let committed = DB::TransactionManager::commit(&mut self.connection);
            within_statement(async { committed.await.map_err(LedgerError::of_commit) }).await?;
        }
        self.is_sound = true;
        Ok(done)
    }
}

impl<DB: Ledger> Drop for Idle<DB> {
    fn drop(&mut self) {
        if !self.is_sound {
            linger(&mut self.connection, self.place.clone(), &self.limits);
        }
    }
}

impl<DB: Ledger> Clone for LedgerAccess<DB> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            limits: self.limits,
            is_persistent: self.is_persistent,
            places: Arc::clone(&self.places),
        }
    }
}

impl<DB: Ledger> fmt::Debug for LedgerAccess<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LedgerAccess")
            .field("limits", &self.limits)
            .field("is_persistent", &self.is_persistent)
            .finish_non_exhaustive()
    }
}
