use std::fmt;

use sqlx::{Database, Pool, pool::PoolConnection};
use sqlx_core::transaction::TransactionManager;
use tokio::time::timeout;

use super::{
    Ledger, LedgerError, LedgerTransaction, Limits, Purpose,
    places::Places,
    taken::{State, Taken},
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
    pub(super) places: Places<DB>,
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
    taken: Taken<DB>,
    is_in_transaction: bool,
}

impl<DB: Ledger> LedgerAccess<DB> {
    pub(crate) fn new(pool: Pool<DB>, limits: Limits) -> Self {
        let places = Places::new(DB::transactions_max(&pool));
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

    /// Waits for a place and for a connection, and opens a transaction, in one round trip or in none.
    pub(crate) async fn begin(
        &self,
        purpose: Purpose,
    ) -> Result<LedgerTransaction<DB>, LedgerError> {
        LedgerTransaction::begin(self.acquire(purpose == Purpose::Claim).await?, purpose).await
    }

    /// Waits for a place and for a connection.
    pub(crate) async fn idle(&self) -> Result<Idle<DB>, LedgerError> {
        Idle::open(self.acquire(false).await?, None).await
    }

    /// Waits for a connection, and on SQLite, which has one writer, for a place: what takes an instant
    /// need not stand in line behind handlers.
    pub(crate) async fn idle_besides(&self) -> Result<Idle<DB>, LedgerError> {
        Idle::open(self.acquire_besides().await?, None).await
    }

    /// Likewise, for what must not come to pass when nobody hears of it any more.
    pub(crate) async fn transaction_besides(
        &self,
        purpose: Purpose,
    ) -> Result<Idle<DB>, LedgerError> {
        Idle::open(self.acquire_besides().await?, Some(purpose)).await
    }

    /// Whether somebody waits for a place or a connection, or would have to.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.places.are_waited_for() || !self.has_connections_left()
    }

    /// Whether the pool has a connection for whoever asks, so that nobody waits for one.
    pub(super) fn has_connections_left(&self) -> bool {
        let pool = &self.pool;
        let has_room = pool.size() < pool.options().get_max_connections();
        !pool.is_closed() && (has_room || pool.num_idle() > 0)
    }

    async fn acquire(&self, may_be_begun: bool) -> Result<Taken<DB>, LedgerError> {
        self.in_time(async {
            let (place, handed_on) = match may_be_begun {
                true => self.places.take_begun().await,
                false => self.places.take().await.map(|place| (place, None)),
            }
            .ok_or(sqlx::Error::PoolClosed)?;
            Ok(match handed_on {
                Some(taken) => taken.taken_over(self, place),
                None => Taken::new(self.pool.acquire().await?, self, Some(place)).await,
            })
        })
        .await
    }

    async fn acquire_besides(&self) -> Result<Taken<DB>, LedgerError> {
        if DB::HAS_ONE_WRITER {
            return self.acquire(false).await;
        }
        self.in_time(async { Ok(Taken::new(self.pool.acquire().await?, self, None).await) })
            .await
    }

    async fn in_time(
        &self,
        taken: impl Future<Output = Result<Taken<DB>, sqlx::Error>>,
    ) -> Result<Taken<DB>, LedgerError> {
        let taken = timeout(self.limits.acquire_time_max, taken).await;
        Ok(taken.unwrap_or(Err(sqlx::Error::PoolTimedOut))?)
    }
}

impl<DB: Ledger> Idle<DB> {
    pub(crate) fn on(&mut self) -> On<'_, DB> {
        self.taken.on()
    }

    /// A statement that is not persistent is prepared and executed in two messages: PgBouncer may have
    /// another server execute it, unless a transaction is open.
    async fn open(mut taken: Taken<DB>, transaction: Option<Purpose>) -> Result<Self, LedgerError> {
        taken.state = State::InUse;
        let is_persistent = taken.access.is_persistent;
        let purpose = transaction.or((!is_persistent).then_some(Purpose::Besides));
        let purpose = purpose.filter(|_| !DB::HAS_ONE_WRITER);
        if let Some(purpose) = purpose {
            let begin = DB::begin_statement(&taken.access.limits, purpose);
            let begun = DB::TransactionManager::begin(taken.connection_mut(), Some(begin));
            within_statement(async { Ok(begun.await?) }).await?;
        }
        Ok(Self {
            taken,
            is_in_transaction: purpose.is_some(),
        })
    }

    /// Commits, if there is something to commit, and hands the connection back; unless what it was taken
    /// for has failed.
    pub(crate) async fn settle<T>(
        mut self,
        done: Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let done = done?;
        if self.is_in_transaction {
            let committed = DB::TransactionManager::commit(self.taken.connection_mut());
            within_statement(async { committed.await.map_err(LedgerError::of_commit) }).await?;
        }
        self.taken.state = State::Idle;
        Ok(done)
    }
}

impl<DB: Ledger> Clone for LedgerAccess<DB> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            limits: self.limits,
            is_persistent: self.is_persistent,
            places: self.places.clone(),
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
