use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Ledger, taken::Taken};

/// Leave to hold a connection for an event, for fewer at a time than the pool has; waited for in turn.
///
/// Whoever ends a transaction while others wait hands its connection on to one of them, inside a new
/// transaction: under load an event costs neither a BEGIN of its own nor a way through the pool.
/// Clones are the same places.
pub(super) struct Places<DB: Ledger> {
    free: Arc<Semaphore>,
    queue: Arc<Mutex<Queue<DB>>>,
}

/// Never more handed on than there are who wait for it: nothing stays here inside a transaction.
struct Queue<DB: Ledger> {
    /// For a transaction to claim in.
    waiting: usize,
    /// For a place, whatever they want it for.
    waiting_for_places: usize,
    handed_on: Vec<Taken<DB>>,
}

/// One who waits.
struct Waiting<'a, DB: Ledger> {
    places: &'a Places<DB>,
    for_begun: bool,
}

impl<DB: Ledger> Places<DB> {
    pub(super) fn new(places: usize) -> Self {
        let queue = Queue {
            waiting: 0,
            waiting_for_places: 0,
            handed_on: Vec::new(),
        };
        Self {
            free: Arc::new(Semaphore::new(places)),
            queue: Arc::new(Mutex::new(queue)),
        }
    }

    /// Waits for a place. `None`: they are closed.
    pub(super) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        let (place, handed_on) = self.wait(false).await?;
        // It goes back to the pool, which is asked next.
        drop(handed_on);
        Some(place)
    }

    /// Likewise, for whoever can go on with a transaction that somebody else has begun.
    pub(super) async fn take_begun(&self) -> Option<(OwnedSemaphorePermit, Option<Taken<DB>>)> {
        self.wait(true).await
    }

    /// Whoever has got a place takes what is handed on, or it would keep a connection beside that of the
    /// place.
    async fn wait(&self, for_begun: bool) -> Option<(OwnedSemaphorePermit, Option<Taken<DB>>)> {
        let _waiting = Waiting::of(self, for_begun);
        let place = Arc::clone(&self.free).acquire_owned().await.ok()?;
        let handed_on = self.lock().handed_on.pop();
        Some((place, handed_on))
    }

    /// Whether somebody waits for a transaction to be handed on.
    pub(super) fn are_waited_for_begun(&self) -> bool {
        let queue = self.lock();
        queue.handed_on.len() < queue.waiting
    }

    /// Whether somebody waits for a place.
    pub(super) fn are_waited_for(&self) -> bool {
        self.lock().waiting_for_places > 0
    }

    /// Hands a connection inside a transaction on that nobody has used. Whoever takes it has, or gets, a
    /// place of its own.
    pub(super) fn hand_on(&self, taken: Taken<DB>) {
        let mut queue = self.lock();
        if queue.handed_on.len() < queue.waiting {
            queue.handed_on.push(taken);
            return;
        }
        // Whoever waited has gone. Ended outside the lock.
        drop(queue);
        drop(taken);
    }

    /// A queue is whole between any two of its operations, so a poisoned lock means nothing.
    fn lock(&self) -> MutexGuard<'_, Queue<DB>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a, DB: Ledger> Waiting<'a, DB> {
    fn of(places: &'a Places<DB>, for_begun: bool) -> Self {
        let mut queue = places.lock();
        queue.waiting_for_places += 1;
        queue.waiting += usize::from(for_begun);
        drop(queue);
        Self { places, for_begun }
    }
}

/// Also when it is cancelled, or has come in between without: what is handed on must not stay behind.
impl<DB: Ledger> Drop for Waiting<'_, DB> {
    fn drop(&mut self) {
        let mut queue = self.places.lock();
        queue.waiting_for_places = queue.waiting_for_places.saturating_sub(1);
        queue.waiting = queue.waiting.saturating_sub(usize::from(self.for_begun));
        let is_left_over = queue.handed_on.len() > queue.waiting;
        let left_over = is_left_over.then(|| queue.handed_on.pop());
        drop(queue);
        drop(left_over);
    }
}

impl<DB: Ledger> Clone for Places<DB> {
    fn clone(&self) -> Self {
        Self {
            free: Arc::clone(&self.free),
            queue: Arc::clone(&self.queue),
        }
    }
}

impl<DB: Ledger> fmt::Debug for Places<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places")
            .field("free", &self.free.available_permits())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "sqlite"))]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use futures_util::poll;
    use sqlx::{Sqlite, sqlite::SqlitePoolOptions};
    use sqlx_core::transaction::TransactionManager;

    use super::*;
    use crate::ledger::{LedgerAccess, Limits, taken::State};

    async fn access() -> LedgerAccess<Sqlite> {
        let pool = SqlitePoolOptions::new().max_connections(1);
        let pool = pool.connect("sqlite::memory:").await.unwrap();
        LedgerAccess::new(pool, Limits::default())
    }

    /// A connection inside a transaction that nobody has used.
    async fn begun(access: &LedgerAccess<Sqlite>) -> Taken<Sqlite> {
        let connection = access.pool.acquire().await.unwrap();
        let mut taken = Taken::new(connection, access, None).await;
        let begun = sqlx::sqlite::SqliteTransactionManager::begin(taken.connection_mut(), None);
        begun.await.unwrap();
        taken.state = State::Begun;
        taken
    }

    /// The only connection of the pool is back, and in no transaction.
    async fn is_back(access: &LedgerAccess<Sqlite>) -> bool {
        let transaction = access.pool.begin().await.unwrap();
        transaction.rollback().await.is_ok()
    }

    #[tokio::test]
    async fn whoever_waits_gets_what_is_handed_on() {
        let access = access().await;
        let place = access.places.take().await.unwrap();
        let mut waiting = std::pin::pin!(access.places.take_begun());
        assert!(poll!(waiting.as_mut()).is_pending() && access.places.are_waited_for_begun());
        access.places.hand_on(begun(&access).await);
        assert!(!access.places.are_waited_for_begun());
        drop(place);
        let (_place, handed_on) = waiting.await.unwrap();
        assert!(handed_on.is_some_and(|taken| taken.state == State::Begun));
        assert!(is_back(&access).await);
    }

    /// Whoever wants a transaction of another kind has no use for it, and asks the pool next.
    #[tokio::test]
    async fn whoever_gets_a_place_leaves_nothing_handed_on_behind() {
        let access = access().await;
        let place = access.places.take().await.unwrap();
        let mut other = std::pin::pin!(access.places.take());
        assert!(poll!(other.as_mut()).is_pending());
        let mut waiting = std::pin::pin!(access.places.take_begun());
        assert!(poll!(waiting.as_mut()).is_pending());
        access.places.hand_on(begun(&access).await);
        drop(place);
        let _place = other.await.unwrap();
        assert!(is_back(&access).await);
        assert!(poll!(waiting.as_mut()).is_pending());
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_goes_back_to_the_pool() {
        let access = access().await;
        let _place = access.places.take().await.unwrap();
        access.places.hand_on(begun(&access).await);
        assert!(is_back(&access).await);
        {
            let mut waiting = std::pin::pin!(access.places.take_begun());
            assert!(poll!(waiting.as_mut()).is_pending());
            access.places.hand_on(begun(&access).await);
        }
        assert!(!access.places.are_waited_for() && is_back(&access).await);
    }
}
