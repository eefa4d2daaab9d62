use std::{future::Future, time::Duration};

use sqlx_core::transaction::TransactionManager;
use tokio::time::timeout;

use super::{
    Action, End, Entry, InboxEntry, Lease, Ledger, LedgerError, On, Purpose, Readmission,
    held::{Held, State},
};

/// Longest that one of the crate's own statements may take, waiting for a claim aside. They touch
/// one row by its key; a database that needs ten seconds for that is not there.
pub(super) const STATEMENT_TIME_MAX: Duration = Duration::from_secs(10);

/// A transaction on a connection of the pool, from BEGIN to its end. Dropped before it was committed or
/// rolled back, it closes its connection: see [`Held`].
pub(crate) struct LedgerTransaction<DB: Ledger> {
    held: Held<DB>,
    purpose: Purpose,
}

impl<DB: Ledger> LedgerTransaction<DB> {
    /// Opens a transaction in one round trip, unless it is open.
    pub(super) async fn begin(held: Held<DB>, purpose: Purpose) -> Result<Self, LedgerError> {
        let mut transaction = Self { held, purpose };
        if transaction.held.state != State::Begun {
            transaction.open().await?;
        }
        Ok(transaction.entered())
    }

    /// From here on its state is not known.
    pub(super) fn entered(mut self) -> Self {
        self.held.state = State::InUse;
        self
    }

    async fn open(&mut self) -> Result<(), LedgerError> {
        self.held.state = State::InUse;
        let begin = DB::begin_statement(&self.held.access.limits, self.purpose);
        let begun = DB::TransactionManager::begin(self.held.connection_mut(), Some(begin));
        within(STATEMENT_TIME_MAX, async { Ok(begun.await?) }).await
    }

    /// Writes the entry of an event. False: it is there already.
    ///
    /// Waits for a transaction that has written it and not ended yet.
    pub(crate) async fn claim(&mut self, entry: &Entry<'_>) -> Result<bool, LedgerError> {
        let time_max = self.claim_time_max();
        let limits = self.held.access.limits;
        let claimed = DB::claim(self.on(), entry, &limits);
        self.held.seal = within(time_max, claimed).await?;
        if cfg!(axum_stripe_webhook_without = "transaction") && self.held.seal.is_some() {
            self.commit().await?;
            self.open().await?;
            self.skip_claim().await?;
        }
        Ok(self.held.seal.is_some())
    }

    fn claim_time_max(&self) -> Duration {
        let wait_max = self.held.access.limits.claim_wait_max;
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
        let limits = self.held.access.limits;
        let sealed = DB::seal(self.on(), &limits);
        self.held.seal = Some(within(STATEMENT_TIME_MAX, sealed).await?);
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
        let (limits, time_max) = (self.held.access.limits, self.claim_time_max());
        let dequeued = DB::dequeue(self.on(), entry, lease, is_claimed, &limits);
        let Some((is_claimed_now, seal)) = within(time_max, dequeued).await? else {
            return Ok(None);
        };
        self.held.seal = Some(seal);
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
    pub(crate) async fn quarantine(&mut self, inbox: &InboxEntry<'_>) -> Result<bool, LedgerError> {
        let kept = DB::quarantine(self.on(), inbox);
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
        let given_up = DB::give_up(self.on(), event_id, endpoint);
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
        within(STATEMENT_TIME_MAX, recorded).await?;
        Ok(true)
    }

    /// Makes sure that this is still the claim's transaction and that nothing in it has failed, and
    /// commits it.
    pub(crate) async fn commit(&mut self) -> Result<(), LedgerError> {
        self.close().await?;
        let committed = DB::TransactionManager::commit(self.held.connection_mut());
        within(STATEMENT_TIME_MAX, async {
            committed.await.map_err(LedgerError::of_commit)
        })
        .await?;
        self.held.state = State::Idle;
        Ok(())
    }

    /// Likewise; and begins a transaction for this in the same round trip, if the connection may stay out of
    /// the pool.
    pub(crate) async fn commit_and_begin(&mut self, next: Purpose) -> Result<(), LedgerError> {
        if !self.held.may_be_handed_on() {
            return self.commit().await;
        }
        self.close().await?;
        self.end_and_begin(End::Commit, next).await
    }

    /// Rolls back what has claimed nothing, and begins likewise.
    pub(crate) async fn rollback_and_begin(&mut self, next: Purpose) -> Result<(), LedgerError> {
        if self.held.seal.is_some() || !self.held.may_be_handed_on() {
            return self.rollback().await;
        }
        self.end_and_begin(End::Rollback, next).await
    }

    async fn end_and_begin(&mut self, end: End, next: Purpose) -> Result<(), LedgerError> {
        let begin = DB::begin_statement(&self.held.access.limits, next);
        within(
            STATEMENT_TIME_MAX,
            DB::end_and_begin(self.held.on(), end, begin),
        )
        .await?;
        self.purpose = next;
        self.held.begun_again();
        Ok(())
    }

    async fn close(&mut self) -> Result<(), LedgerError> {
        let (on, seal) = self.held.sealed();
        let seal = seal.ok_or(LedgerError::Ended)?;
        let closed = within(STATEMENT_TIME_MAX, DB::close(on, seal)).await;
        if !cfg!(axum_stripe_webhook_without = "last_statement") {
            closed?;
        }
        self.refuse_open_savepoint()
    }

    /// Rolls back, so that the connection can go back to the pool.
    pub(crate) async fn rollback(&mut self) -> Result<(), LedgerError> {
        if let (on, Some(seal)) = self.held.sealed() {
            within(STATEMENT_TIME_MAX, DB::disarm(on, seal)).await?;
        }
        self.refuse_open_savepoint()?;
        let rolled_back = DB::TransactionManager::rollback(self.held.connection_mut());
        within(STATEMENT_TIME_MAX, async { Ok(rolled_back.await?) }).await?;
        self.held.state = State::Idle;
        Ok(())
    }

    /// Gives the connection back: to whoever waits for the transaction that was begun in it, or to the
    /// pool.
    pub(crate) fn hand_on(self) {
        self.held.hand_on();
    }

    /// Whether another transaction was begun in the place of the one that was committed.
    pub(crate) fn is_begun_again(&self) -> bool {
        self.held.state == State::Begun
    }

    /// Whether somebody waits for a transaction to claim in.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.held.access.places.are_waited_for_begun()
    }

    /// Whether somebody waits for its place, whatever for.
    pub(crate) fn is_in_the_way(&self) -> bool {
        self.held.access.places.are_waited_for()
    }

    /// Whether it was committed or rolled back: the connection is in no transaction any more, or in
    /// somebody else's.
    pub(crate) fn has_ended(&self) -> bool {
        self.held.state != State::InUse
    }

    pub(crate) fn on(&mut self) -> On<'_, DB> {
        self.held.on()
    }

    pub(crate) fn connection(&self) -> &DB::Connection {
        self.held.connection()
    }

    pub(crate) fn connection_mut(&mut self) -> &mut DB::Connection {
        self.held.connection_mut()
    }

    /// A savepoint that the handler left open would take the COMMIT or ROLLBACK for itself.
    ///
    /// Asked after a statement, because on SQLite a dropped savepoint is released by a thread.
    fn refuse_open_savepoint(&self) -> Result<(), LedgerError> {
        match DB::TransactionManager::get_transaction_depth(self.held.connection()) {
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
