use std::sync::Arc;

use sqlx::{Connection, pool::PoolConnection};
use sqlx_core::transaction::TransactionManager;
use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit},
    time::timeout,
};

use super::{Ledger, LedgerAccess, On};

/// After so many transactions a connection goes through the pool, however many wait: its lifetime and the
/// service's own hooks count there. Behind PgBouncer it lets go of its server then.
const HANDED_ON_MAX: usize = 10;

/// A connection of the pool while statements of ours run on it.
///
/// Dropped while its state is not known, it is closed, which makes the database roll back. It does not
/// go back to the pool: a cancelled `begin` may have left it inside a transaction, and sqlx cannot use one
/// to SQLite again on which a COMMIT has failed.
pub(super) struct Taken<DB: Ledger> {
    /// Locked by us alone: the mutex is there for whoever closes it when this is gone.
    connection: OwnedMutexGuard<PoolConnection<DB>>,
    pub(super) access: LedgerAccess<DB>,
    pub(super) state: State,
    /// By what the claim's transaction is known again, once there is a claim.
    pub(super) seal: Option<DB::Seal>,
    handed_on: usize,
    /// Given back with the connection, however late that is.
    place: Option<Arc<OwnedSemaphorePermit>>,
}

/// What is known of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// In no transaction.
    Idle,
    /// In a transaction that nobody has used yet.
    Begun,
    /// Nothing.
    InUse,
}

impl<DB: Ledger> Taken<DB> {
    pub(super) async fn new(
        connection: PoolConnection<DB>,
        access: &LedgerAccess<DB>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            connection: Arc::new(Mutex::new(connection)).lock_owned().await,
            access: access.clone(),
            state: State::Idle,
            seal: None,
            handed_on: 0,
            place: place.map(Arc::new),
        }
    }

    /// One that somebody else has handed on.
    pub(super) fn taken_over(self, access: &LedgerAccess<DB>, place: OwnedSemaphorePermit) -> Self {
        let mut taken = self;
        taken.access = access.clone();
        taken.place = Some(Arc::new(place));
        taken
    }

    pub(super) fn on(&mut self) -> On<'_, DB> {
        On::new(&mut self.connection, self.access.is_persistent)
    }

    /// And what the claim has left.
    pub(super) fn sealed(&mut self) -> (On<'_, DB>, Option<&DB::Seal>) {
        let on = On::new(&mut self.connection, self.access.is_persistent);
        (on, self.seal.as_ref())
    }

    pub(super) fn connection(&self) -> &DB::Connection {
        &self.connection
    }

    pub(super) fn connection_mut(&mut self) -> &mut DB::Connection {
        &mut self.connection
    }

    /// Whether it may go on without the pool: nobody waits there, to whom a turn is promised. Never on
    /// SQLite, where other processes want the write lock too.
    pub(super) fn may_be_handed_on(&self) -> bool {
        !DB::HAS_ONE_WRITER
            && self.handed_on + 1 < HANDED_ON_MAX
            && self.access.has_connections_left()
    }

    pub(super) fn begun_again(&mut self) {
        self.state = State::Begun;
        self.seal = None;
        self.handed_on = self.handed_on.saturating_add(1);
    }

    /// Lets somebody who waits go on with it, if a transaction is begun.
    pub(super) fn hand_on(mut self) {
        if self.state != State::Begun {
            return;
        }
        // Whoever gets the place finds it.
        let place = self.place.take();
        let places = self.access.places.clone();
        places.hand_on(self);
        drop(place);
    }
}

impl<DB: Ledger> Drop for Taken<DB> {
    fn drop(&mut self) {
        match self.state {
            State::Idle => {}
            // Sent by the pool, which asks each connection that comes back whether it is alive.
            State::Begun => DB::TransactionManager::start_rollback(&mut self.connection),
            State::InUse => self.close(),
        }
    }
}

impl<DB: Ledger> Taken<DB> {
    /// Closes it, once the server is done with it.
    ///
    /// A statement may still be executed. Until it is not, its place is not free and the pool opens no
    /// other connection for it, or the server would have more and more of them.
    fn close(&mut self) {
        if let Some(seal) = &self.seal {
            DB::abandon(seal);
        }
        self.connection.close_on_drop();
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let connection = Arc::clone(OwnedMutexGuard::mutex(&self.connection));
        let place = self.place.clone();
        let time_max = self.access.limits.abandoned_time_max();
        runtime.spawn(async move {
            let mut connection = connection.lock_owned().await;
            let _answered_or_long_enough = timeout(time_max, connection.ping()).await;
            drop((connection, place));
        });
    }
}
