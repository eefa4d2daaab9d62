//! What an operator can see of the inbox, and do with its entries.

use std::{
    error::Error,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use sqlx::Pool;
use tokio::time::sleep;

use crate::{
    event::is_key,
    ledger::{
        Action, EntryRow, Ledger, LedgerAccess, LedgerError, LedgerTransaction, Limits, Purpose,
        Selection, of_unix_ms, unix_ms, within_statement,
    },
    once::Operator,
    telemetry,
};

/// Most entries that a page holds, and that one call retries.
pub const PAGE_MAX: u32 = 1000;

/// How many entries a page holds, unless set.
pub const PAGE_DEFAULT: u32 = 100;

/// Looks after what is stored: counts, lists and shows entries, and retries, releases or discards them.
///
/// For operators' pages and command lines, in any process that reaches the database. Nothing here runs a
/// handler: what is retried or released is pending, and a worker runs it. What was done, by whom and why
/// stands in `stripe_actions`, written in the same transaction.
///
/// Waits for a connection and for locks as long as the layer does: five and two seconds.
///
/// ```no_run
/// use axum_stripe_webhook::{InboxOperations, Operator, inbox::{EntryFilter, EntryState}};
/// use sqlx::PgPool;
///
/// # async fn look(pool: PgPool) -> Result<(), Box<dyn std::error::Error>> {
/// let inbox = InboxOperations::new(pool);
/// let counts = inbox.counts().await?;
/// println!("{} pending, {} dead", counts.pending, counts.dead);
///
/// let dead = EntryFilter::new().state(EntryState::Dead).event_type("invoice.paid");
/// for entry in inbox.list(&dead, None).await?.entries {
///     println!("{} {:?}", entry.event_id, entry.last_error);
/// }
/// let operator = Operator::new("ada", "the invoice table is back")?;
/// let retried = inbox.retry_many(&dead, &operator).await?;
/// println!("{} retried", retried.len());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct InboxOperations<DB: Ledger> {
    ledger: LedgerAccess<DB>,
}

/// What an entry of `stripe_inbox` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EntryState {
    /// Waits for a worker, or is with one.
    Pending,
    /// Was given up by a worker, and waits for an operator.
    Dead,
    /// Is kept aside, and waits for an operator.
    Quarantined,
}

/// How many entries there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InboxCounts {
    /// Those that wait for a worker, for their next attempt, or are with a worker.
    pub pending: u64,
    /// Those of them that could be run now.
    pub due: u64,
    /// Those that were given up.
    pub dead: u64,
    /// Those that are kept aside.
    pub quarantined: u64,
    /// For how long the oldest of those that are due has been.
    pub oldest_due: Option<Duration>,
}

/// An entry, without its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredEntry {
    /// The id that the event is known by; a test event of the Dashboard has a suffix of its own.
    pub event_id: String,
    /// The endpoint's label.
    pub endpoint: String,
    /// The event's type.
    pub event_type: String,
    /// The connected account, or the context.
    pub account: Option<String>,
    /// Live mode or test mode.
    pub livemode: Option<bool>,
    /// When Stripe made the event.
    pub created: Option<SystemTime>,
    /// The object that the event is about.
    pub object_id: Option<String>,
    /// What it is.
    pub state: EntryState,
    /// Runs of its handler since it was stored, or last retried or released.
    pub attempts: u32,
    /// When it is run next, or, while a worker has it, when that one's lease ends.
    pub due_at: Option<SystemTime>,
    /// Why the last attempt failed, or why it is quarantined: a code, and nothing of the event.
    pub last_error: Option<String>,
    /// When it was stored.
    pub received_at: SystemTime,
    /// How long the payload is; `None` once it was scrubbed.
    pub payload_bytes: Option<u64>,
}

/// Which entries are meant: all, unless something is set; with several set, those to which all apply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct EntryFilter {
    event_id: Option<String>,
    state: Option<EntryState>,
    endpoint: Option<String>,
    event_type: Option<String>,
    error: Option<String>,
    received_from: Option<SystemTime>,
    received_before: Option<SystemTime>,
    page: Option<u32>,
}

/// Some entries, oldest first.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EntryPage {
    /// The entries.
    pub entries: Vec<StoredEntry>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<PageStart>,
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageStart {
    received_ms: i64,
    event_id: String,
    endpoint: String,
}

/// Why nothing was done. [`NotMigrated`](Self::NotMigrated) can come of every operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// No entry has this id and endpoint, or none for which this can be done.
    #[error("no entry for which this can be done has this id at this endpoint")]
    NotFound,
    /// A worker has the entry, or somebody else is about it.
    #[error("a worker has the entry: try again when its attempt is over")]
    InHand,
    /// Its payload was scrubbed: it cannot be run any more. Have Stripe send the event again.
    #[error("the entry's payload was scrubbed: have Stripe send the event again")]
    PayloadGone,
    /// The tables of the crate are missing.
    #[error("the tables are not there: call `axum_stripe_webhook::migrate`")]
    NotMigrated,
    /// The database failed; what was to be done is not, unless it failed at the very end.
    #[error("the database is not available")]
    Database(#[source] Box<dyn Error + Send + Sync>),
}

impl<DB: Ledger> InboxOperations<DB> {
    /// Works on the inbox of this database.
    #[must_use]
    pub fn new(pool: Pool<DB>) -> Self {
        Self {
            ledger: LedgerAccess::new(pool, Limits::default()),
        }
    }

    /// See [`ProcessOnceLayer::persistent_statements`](crate::ProcessOnceLayer::persistent_statements).
    #[must_use]
    pub fn persistent_statements(mut self, persistent: bool) -> Self {
        self.ledger.is_persistent = persistent;
        self
    }

    /// Counts the entries by state. Reads the whole table.
    ///
    /// # Errors
    ///
    /// [`OperationError::Database`].
    pub async fn counts(&self) -> Result<InboxCounts, OperationError> {
        let mut idle = self.ledger.idle_besides().await?;
        let counts = within_statement(DB::counts(idle.on())).await;
        let (pending, due, dead, quarantined, oldest_due_ms) = idle.settle(counts).await?;
        let counts = InboxCounts {
            pending: pending.unsigned_abs(),
            due: due.unsigned_abs(),
            dead: dead.unsigned_abs(),
            quarantined: quarantined.unsigned_abs(),
            oldest_due: oldest_due_ms.map(|ms| Duration::from_millis(ms.max(0).unsigned_abs())),
        };
        telemetry::counted(&counts);
        Ok(counts)
    }

    /// Counts them now, and again and again after this time, for the gauges of
    /// [`telemetry`](crate::telemetry). Never ends: spawn it, in one process. What fails is logged.
    pub async fn count_every(self, interval: Duration) {
        loop {
            match self.counts().await {
                Ok(_) | Err(OperationError::InHand) => {}
                Err(OperationError::Database(error)) => telemetry::count_failed(&*error),
                Err(error) => telemetry::count_failed(&error),
            }
            sleep(interval.max(Duration::from_secs(1))).await;
        }
    }

    /// Lists entries, in the order in which they were received. Entries that are received meanwhile come
    /// last, but for one that commits late, which may be left out; none is listed twice.
    ///
    /// # Errors
    ///
    /// [`OperationError::Database`].
    pub async fn list(
        &self,
        filter: &EntryFilter,
        start: Option<&PageStart>,
    ) -> Result<EntryPage, OperationError> {
        let limit = filter.page.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
        let mut selection = filter.selection(i64::from(limit).saturating_add(1));
        selection.after = start.map(|start| {
            let (event_id, endpoint) = (start.event_id.as_str(), start.endpoint.as_str());
            (start.received_ms, event_id, endpoint)
        });
        let mut entries = self.select(&selection).await?;
        let is_last = entries.len() <= limit as usize;
        entries.truncate(limit as usize);
        let next = entries.last().filter(|_| !is_last).map(PageStart::after);
        Ok(EntryPage { entries, next })
    }

    /// Shows one entry; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`OperationError::Database`].
    pub async fn show(
        &self,
        event_id: &str,
        endpoint: &str,
    ) -> Result<Option<StoredEntry>, OperationError> {
        let one = Selection {
            event_id: Some(event_id),
            endpoint: Some(endpoint),
            limit: 1,
            ..Selection::default()
        };
        if !is_key(event_id) || !is_key(endpoint) {
            return Ok(None);
        }
        Ok(self.select(&one).await?.pop())
    }

    /// The event's bytes, exactly as signed; `None` if there is no entry, or its payload was scrubbed.
    /// They hold personal data.
    ///
    /// # Errors
    ///
    /// [`OperationError::Database`].
    pub async fn payload(
        &self,
        event_id: &str,
        endpoint: &str,
    ) -> Result<Option<Bytes>, OperationError> {
        if !is_key(event_id) || !is_key(endpoint) {
            return Ok(None);
        }
        let mut idle = self.ledger.idle_besides().await?;
        let payload = within_statement(DB::stored_payload(idle.on(), event_id, endpoint)).await;
        Ok(idle.settle(payload).await?.map(Bytes::from))
    }

    /// Makes an entry that is dead due at once, with all its attempts before it; and likewise one that
    /// waits for its next attempt.
    ///
    /// # Errors
    ///
    /// Each [`OperationError`]. Nothing is done then.
    pub async fn retry(
        &self,
        event_id: &str,
        endpoint: &str,
        operator: &Operator,
    ) -> Result<(), OperationError> {
        let mut transaction = self.begin(event_id, endpoint).await?;
        let retried = within_statement(DB::retry(transaction.on(), event_id, endpoint)).await?;
        let can_be = [EntryState::Dead, EntryState::Pending];
        self.finish(
            transaction,
            retried,
            (event_id, endpoint),
            can_be,
            operator.action("retry"),
        )
        .await
    }

    /// The entries that [`retry_many`](Self::retry_many) would retry: those that are dead and have their
    /// payload still; at most [`PAGE_MAX`] of them, unless the filter's page is smaller.
    ///
    /// # Errors
    ///
    /// [`OperationError::Database`].
    pub async fn retry_many_dry_run(
        &self,
        filter: &EntryFilter,
    ) -> Result<Vec<StoredEntry>, OperationError> {
        if filter.state.is_some_and(|state| state != EntryState::Dead) {
            return Ok(Vec::new());
        }
        let limit = filter.page.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
        let dead = Selection {
            state: Some(EntryState::Dead.code()),
            has_payload: true,
            ..filter.selection(i64::from(limit))
        };
        self.select(&dead).await
    }

    /// Retries the dead entries that a filter means, each as [`retry`](Self::retry) does, in one
    /// transaction. Gives those that were retried, at most [`PAGE_MAX`]; call it again until there are
    /// none.
    ///
    /// # Errors
    ///
    /// [`OperationError::InHand`] and [`OperationError::Database`]. Nothing is done then.
    pub async fn retry_many(
        &self,
        filter: &EntryFilter,
        operator: &Operator,
    ) -> Result<Vec<StoredEntry>, OperationError> {
        let mut entries = self.retry_many_dry_run(filter).await?;
        let mut transaction = self.ledger.begin(Purpose::Release).await?;
        let mut retried = Vec::with_capacity(entries.len());
        for entry in entries.drain(..) {
            let (event_id, endpoint) = (&*entry.event_id, &*entry.endpoint);
            let is_retried = DB::retry(transaction.on(), event_id, endpoint);
            if within_statement(is_retried).await? {
                let action = operator.action("retry");
                let recorded = DB::record(transaction.on(), event_id, endpoint, &action);
                within_statement(recorded).await?;
                retried.push(entry);
            }
        }
        transaction.skip_claim().await?;
        transaction.commit().await?;
        Ok(retried)
    }

    /// Releases an event that is quarantined: its row leaves `processed_stripe_events`, and its entry is
    /// pending, for a worker to run. A service without a worker runs it at once, with
    /// [`ProcessOnceLayer::release`](crate::ProcessOnceLayer::release).
    ///
    /// # Errors
    ///
    /// Each [`OperationError`]. Nothing is done then.
    pub async fn release(
        &self,
        event_id: &str,
        endpoint: &str,
        operator: &Operator,
    ) -> Result<(), OperationError> {
        let mut transaction = self.begin(event_id, endpoint).await?;
        within_statement(DB::forget(transaction.on(), event_id, endpoint)).await?;
        let released = DB::make_pending(transaction.on(), event_id, endpoint);
        let released = within_statement(released).await?;
        let can_be = [EntryState::Quarantined];
        self.finish(
            transaction,
            released,
            (event_id, endpoint),
            can_be,
            operator.action("release"),
        )
        .await
    }

    /// Gives an event up: its entry goes with its payload, and its row in `processed_stripe_events`
    /// stands, so that it is never run.
    ///
    /// # Errors
    ///
    /// [`OperationError::NotFound`], [`OperationError::InHand`] and [`OperationError::Database`]. Nothing
    /// is done then.
    pub async fn discard(
        &self,
        event_id: &str,
        endpoint: &str,
        operator: &Operator,
    ) -> Result<(), OperationError> {
        let mut transaction = self.begin(event_id, endpoint).await?;
        within_statement(DB::discard_held(transaction.on(), event_id, endpoint)).await?;
        within_statement(DB::mark_processed(transaction.on(), event_id, endpoint)).await?;
        let discarded = DB::remove(transaction.on(), event_id, endpoint);
        let discarded = within_statement(discarded).await?;
        let can_be = [
            EntryState::Pending,
            EntryState::Dead,
            EntryState::Quarantined,
        ];
        self.finish(
            transaction,
            discarded,
            (event_id, endpoint),
            can_be,
            operator.action("discard"),
        )
        .await
    }

    async fn begin(
        &self,
        event_id: &str,
        endpoint: &str,
    ) -> Result<LedgerTransaction<DB>, OperationError> {
        if !is_key(event_id) || !is_key(endpoint) {
            return Err(OperationError::NotFound);
        }
        Ok(self.ledger.begin(Purpose::Release).await?)
    }

    /// Records what was done, and commits; or says why it was not.
    async fn finish<const N: usize>(
        &self,
        mut transaction: LedgerTransaction<DB>,
        is_done: bool,
        (event_id, endpoint): (&str, &str),
        can_be: [EntryState; N],
        action: Action<'_>,
    ) -> Result<(), OperationError> {
        if is_done {
            let recorded = DB::record(transaction.on(), event_id, endpoint, &action);
            within_statement(recorded).await?;
            transaction.skip_claim().await?;
            return Ok(transaction.commit().await?);
        }
        transaction.rollback().await?;
        drop(transaction);
        let entry = self.show(event_id, endpoint).await?;
        Err(match entry.filter(|entry| can_be.contains(&entry.state)) {
            None => OperationError::NotFound,
            Some(entry) if entry.payload_bytes.is_none() => OperationError::PayloadGone,
            Some(_) => OperationError::InHand,
        })
    }

    async fn select(&self, selection: &Selection<'_>) -> Result<Vec<StoredEntry>, OperationError> {
        // No text of the database's holds a NUL, and Postgres refuses to compare with one.
        if selection
            .texts()
            .into_iter()
            .flatten()
            .any(|text| text.contains('\0'))
        {
            return Ok(Vec::new());
        }
        let mut idle = self.ledger.idle_besides().await?;
        let rows = within_statement(DB::list(idle.on(), selection)).await;
        let rows = idle.settle(rows).await?;
        Ok(rows.into_iter().map(StoredEntry::of).collect())
    }
}

impl EntryState {
    /// The word in `stripe_inbox.state`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Dead => "dead",
            Self::Quarantined => "quarantined",
        }
    }

    /// The state of that word.
    #[must_use]
    pub fn of_code(code: &str) -> Option<Self> {
        [Self::Pending, Self::Dead, Self::Quarantined]
            .into_iter()
            .find(|state| state.code() == code)
    }
}

impl EntryFilter {
    /// All entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Those of an event, at whatever endpoint.
    pub fn event_id(mut self, event_id: impl Into<String>) -> Self {
        self.event_id = Some(event_id.into());
        self
    }

    /// Those in this state.
    pub fn state(mut self, state: EntryState) -> Self {
        self.state = Some(state);
        self
    }

    /// Those of this endpoint.
    pub fn endpoint(mut self, label: impl Into<String>) -> Self {
        self.endpoint = Some(label.into());
        self
    }

    /// Those of events of exactly this type.
    pub fn event_type(mut self, event_type: impl Into<String>) -> Self {
        self.event_type = Some(event_type.into());
        self
    }

    /// Those whose `last_error` begins with this: `handler_failed`, say, or `handler_failed 503`.
    pub fn error(mut self, prefix: impl Into<String>) -> Self {
        self.error = Some(prefix.into());
        self
    }

    /// Those received at this instant or later.
    pub fn received_from(mut self, at: SystemTime) -> Self {
        self.received_from = Some(at);
        self
    }

    /// Those received before this instant.
    pub fn received_before(mut self, at: SystemTime) -> Self {
        self.received_before = Some(at);
        self
    }

    /// How many entries a page holds: [`PAGE_DEFAULT`] unless set, and at most [`PAGE_MAX`].
    pub fn page(mut self, entries: u32) -> Self {
        self.page = Some(entries);
        self
    }

    fn selection(&self, limit: i64) -> Selection<'_> {
        Selection {
            event_id: self.event_id.as_deref(),
            state: self.state.map(EntryState::code),
            endpoint: self.endpoint.as_deref(),
            event_type: self.event_type.as_deref(),
            error: self.error.as_deref(),
            has_payload: false,
            received_from_ms: self.received_from.map(unix_ms),
            received_before_ms: self.received_before.map(unix_ms),
            after: None,
            limit,
        }
    }
}

impl StoredEntry {
    fn of(row: EntryRow) -> Self {
        let (event_id, endpoint, event_type, account, livemode, created, object_id, ..) = row;
        let (.., state, attempts, due_at, last_error, received_at, payload_bytes) = row;
        Self {
            event_id,
            endpoint,
            event_type,
            account,
            livemode,
            created: created.map(of_unix_ms),
            object_id,
            // The table's CHECK knows no other.
            state: EntryState::of_code(&state).unwrap_or(EntryState::Dead),
            attempts: attempts.unsigned_abs(),
            due_at: due_at.map(of_unix_ms),
            last_error,
            received_at: of_unix_ms(received_at),
            payload_bytes: payload_bytes.map(i64::unsigned_abs),
        }
    }
}

impl PageStart {
    fn after(entry: &StoredEntry) -> Self {
        Self {
            received_ms: unix_ms(entry.received_at),
            event_id: entry.event_id.clone(),
            endpoint: entry.endpoint.clone(),
        }
    }
}

impl From<LedgerError> for OperationError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::InFlight => Self::InHand,
            LedgerError::NotMigrated => Self::NotMigrated,
            error => Self::Database(error.into()),
        }
    }
}

impl<DB: Ledger> Clone for InboxOperations<DB> {
    fn clone(&self) -> Self {
        Self {
            ledger: self.ledger.clone(),
        }
    }
}
