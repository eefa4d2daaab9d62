use std::{future::Future, time::Duration};

use sqlx_core::transaction::TransactionManager;
use tokio::time::timeout;

use super::{
    Action, Arrival, End, Entry, Lease, Ledger, LedgerError, On, Purpose, Readmission,
    taken::{State, Taken},
};

/// Longest that one of the crate's own statements may take, waiting for a claim aside. They touch
/// a row by its key, or some hundred of them; a database that needs ten seconds for that is not there.
pub(super) const STATEMENT_TIME_MAX: Duration = Duration::from_secs(10);

/// A transaction on a connection of the pool, from BEGIN to its end. Dropped before it was committed or
/// rolled back, it closes its connection: see [`Taken`].
pub(crate) struct LedgerTransaction<DB: Ledger> {
    taken: Taken<DB>,
    purpose: Purpose,
}

impl<DB: Ledger> LedgerTransaction<DB> {
    /// Opens a transaction in one round trip, unless it is open.
    pub(super) async fn begin(taken: Taken<DB>, purpose: Purpose) -> Result<Self, LedgerError> {
        let mut transaction = Self { taken, purpose };
        if transaction.taken.state != State::Begun {
            transaction.open().await?;
        }
        Ok(transaction.entered())
    }

    /// From here on its state is not known.
    pub(super) fn entered(mut self) -> Self {
        self.taken.state = State::InUse;
        self
    }

    async fn open(&mut self) -> Result<(), LedgerError> {
        self.taken.state = State::InUse;
        let begin = DB::begin_statement(&self.taken.access.limits, self.purpose);
        let begun = DB::TransactionManager::begin(self.taken.connection_mut(), Some(begin));
        within_statement(async { Ok(begun.await?) }).await
    }

    /// Writes the entry of an event. False: it is there already.
    ///
    /// Waits for a transaction that has written it and not ended yet.
    pub(crate) async fn claim(&mut self, entry: &Entry<'_>) -> Result<bool, LedgerError> {
        let time_max = self.claim_time_max();
        let limits = self.taken.access.limits;
        let claimed = DB::claim(self.on(), entry, &limits);
        self.taken.seal = within(time_max, claimed).await?;
        if cfg!(axum_stripe_webhook_without = "transaction") && self.taken.seal.is_some() {
            self.commit().await?;
            self.open().await?;
            self.skip_claim().await?;
        }
        Ok(self.taken.seal.is_some())
    }

    fn claim_time_max(&self) -> Duration {
        let wait_max = self.taken.access.limits.claim_wait_max;
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
        let readmitted = DB::readmit(self.on(), entry);
        match within(time_max, readmitted).await? {
            Readmission::Readmitted => self.claim(entry).await,
            Readmission::Duplicate => Ok(false),
            Readmission::Missing => Err(LedgerError::NotWritten),
        }
    }

    /// Does without an entry, for an event that is not deduplicated.
    pub(crate) async fn skip_claim(&mut self) -> Result<(), LedgerError> {
        let limits = self.taken.access.limits;
        let sealed = DB::seal(self.on(), &limits);
        self.taken.seal = Some(within_statement(sealed).await?);
        Ok(())
    }

    /// Takes a leased entry out of the inbox, and claims its event if it is to be claimed. `None`: the
    /// lease is lost. False: the event is processed already.
    pub(crate) async fn dequeue(
        &mut self,
        entry: &Entry<'_>,
        lease: &Lease,
        is_claimed: bool,
    ) -> Result<Option<bool>, LedgerError> {
        let (limits, time_max) = (self.taken.access.limits, self.claim_time_max());
        let dequeued = DB::dequeue(self.on(), entry, lease, is_claimed, &limits);
        let Some((is_claimed_now, seal)) = within(time_max, dequeued).await? else {
            return Ok(None);
        };
        self.taken.seal = Some(seal);
        if is_claimed_now || !is_claimed {
            return Ok(Some(true));
        }
        self.claim_from_held(entry).await.map(Some)
    }

    /// Claims an event whose entry waits in the inbox although the ledger says that it is held: it was
    /// held while it arrived. False: it is processed.
    async fn claim_from_held(&mut self, entry: &Entry<'_>) -> Result<bool, LedgerError> {
        let time_max = self.claim_time_max();
        if within(
            time_max,
            DB::forget(self.on(), entry.event_id, entry.endpoint),
        )
        .await?
        {
            let is_claimed = self.claim(entry).await?;
            if !is_claimed {
                self.skip_claim().await?;
            }
            return Ok(is_claimed);
        }
        let looked = within(time_max, DB::readmit(self.on(), entry)).await?;
        match looked {
            Readmission::Duplicate => Ok(false),
            Readmission::Readmitted | Readmission::Missing => Err(LedgerError::NotWritten),
        }
    }

    /// Makes a leased entry quarantined, if its event is not processed. `None`: the lease is lost.
    /// False: it is processed, and the entry is taken out.
    pub(crate) async fn hold(
        &mut self,
        entry: &Entry<'_>,
        lease: &Lease,
        is_claimed: bool,
        reason: &str,
    ) -> Result<Option<bool>, LedgerError> {
        let time_max = self.claim_time_max();
        if !is_claimed {
            self.skip_claim().await?;
        } else if !self.claim(entry).await? && !self.claim_from_held(entry).await? {
            let dequeued = self.dequeue(entry, lease, false).await?;
            return Ok(dequeued.map(|_| false));
        }
        let held = within(time_max, DB::hold(self.on(), lease, reason)).await?;
        Ok(held.then_some(true))
    }

    /// Keeps an event that was claimed, or that needs no claim, in the inbox.
    ///
    /// False: its entry there waits for a worker, or is dead.
    pub(crate) async fn quarantine(
        &mut self,
        arrival: &Arrival<'_>,
        is_claimed: bool,
        reason: &str,
    ) -> Result<bool, LedgerError> {
        within_statement(DB::quarantine(self.on(), arrival, is_claimed, reason)).await
    }

    /// Takes a quarantined event with these bytes out of the inbox and out of the ledger, to be claimed
    /// anew. False: it is not quarantined.
    pub(crate) async fn take(
        &mut self,
        entry: &Entry<'_>,
        payload: &[u8],
        action: &Action<'_>,
    ) -> Result<bool, LedgerError> {
        // The ledger first, as whoever keeps an event does: or the two would wait for each other.
        let time_max = self.claim_time_max();
        within(
            time_max,
            DB::forget(self.on(), entry.event_id, entry.endpoint),
        )
        .await?;
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
        let given_up = DB::discard_held(self.on(), event_id, endpoint);
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
        let removed = DB::remove_quarantined(self.on(), event_id, endpoint, payload);
        if !within(time_max, removed).await? {
            return Ok(false);
        }
        let recorded = DB::record(self.on(), event_id, endpoint, action);
        within_statement(recorded).await?;
        Ok(true)
    }

    /// Makes sure that this is still the claim's transaction and that nothing in it has failed, and
    /// commits it.
    pub(crate) async fn commit(&mut self) -> Result<(), LedgerError> {
        self.close().await?;
        let committed = DB::TransactionManager::commit(self.taken.connection_mut());
        within_statement(async { committed.await.map_err(LedgerError::of_commit) }).await?;
        self.taken.state = State::Idle;
        Ok(())
    }

    /// Likewise; and begins a transaction for this in the same round trip, if the connection may stay out of
    /// the pool.
    pub(crate) async fn commit_and_begin(&mut self, next: Purpose) -> Result<(), LedgerError> {
        if !self.taken.may_be_handed_on() {
            return self.commit().await;
        }
        self.close().await?;
        self.end_and_begin(End::Commit, next).await
    }

    /// Rolls back what has claimed nothing, and begins likewise.
    pub(crate) async fn rollback_and_begin(&mut self, next: Purpose) -> Result<(), LedgerError> {
        if self.taken.seal.is_some() || !self.taken.may_be_handed_on() {
            return self.rollback().await;
        }
        self.end_and_begin(End::Rollback, next).await
    }

    async fn end_and_begin(&mut self, end: End, next: Purpose) -> Result<(), LedgerError> {
        let begin = DB::begin_statement(&self.taken.access.limits, next);
        within_statement(DB::end_and_begin(self.taken.on(), end, begin)).await?;
        self.purpose = next;
        self.taken.begun_again();
        Ok(())
    }

    async fn close(&mut self) -> Result<(), LedgerError> {
        let (on, seal) = self.taken.sealed();
        let seal = seal.ok_or(LedgerError::Ended)?;
        let closed = within_statement(DB::close(on, seal)).await;
        if !cfg!(axum_stripe_webhook_without = "last_statement") {
            closed?;
        }
        self.refuse_open_savepoint()
    }

    /// Rolls back, so that the connection can go back to the pool.
    pub(crate) async fn rollback(&mut self) -> Result<(), LedgerError> {
        if let (on, Some(seal)) = self.taken.sealed() {
            within_statement(DB::disarm(on, seal)).await?;
        }
        self.refuse_open_savepoint()?;
        let rolled_back = DB::TransactionManager::rollback(self.taken.connection_mut());
        within_statement(async { Ok(rolled_back.await?) }).await?;
        self.taken.state = State::Idle;
        Ok(())
    }

    /// Gives the connection back: to whoever waits for the transaction that was begun in it, or to the
    /// pool.
    pub(crate) fn hand_on(self) {
        self.taken.hand_on();
    }

    /// Whether another transaction was begun in the place of the one that was committed.
    pub(crate) fn is_begun_again(&self) -> bool {
        self.taken.state == State::Begun
    }

    /// Whether somebody waits for a transaction to claim in.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.taken.access.places.are_waited_for_begun()
    }

    /// Whether somebody waits for its place, whatever for.
    pub(crate) fn is_in_the_way(&self) -> bool {
        self.taken.access.places.are_waited_for()
    }

    /// Whether it was committed or rolled back: the connection is in no transaction any more, or in
    /// somebody else's.
    pub(crate) fn has_ended(&self) -> bool {
        self.taken.state != State::InUse
    }

    pub(crate) fn on(&mut self) -> On<'_, DB> {
        self.taken.on()
    }

    pub(crate) fn connection(&self) -> &DB::Connection {
        self.taken.connection()
    }

    pub(crate) fn connection_mut(&mut self) -> &mut DB::Connection {
        self.taken.connection_mut()
    }

    /// A savepoint that the handler left open would take the COMMIT or ROLLBACK for itself.
    ///
    /// Asked after a statement, because on SQLite a dropped savepoint is released by a thread.
    fn refuse_open_savepoint(&self) -> Result<(), LedgerError> {
        match DB::TransactionManager::get_transaction_depth(self.taken.connection()) {
            1 => Ok(()),
            _ => Err(LedgerError::Ended),
        }
    }
}

/// One of the crate's own statements, within its time limit.
pub(crate) async fn within_statement<T>(
    statement: impl Future<Output = Result<T, LedgerError>>,
) -> Result<T, LedgerError> {
    within(STATEMENT_TIME_MAX, statement).await
}

async fn within<T>(
    time_max: Duration,
    statement: impl Future<Output = Result<T, LedgerError>>,
) -> Result<T, LedgerError> {
    timeout(time_max, statement)
        .await
        .unwrap_or(Err(LedgerError::TimedOut))
}
