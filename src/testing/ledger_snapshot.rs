use std::{collections::BTreeMap, fmt};

use sqlx::Pool;

use crate::{
    InboxOperations, Ledger,
    inbox::{EntryFilter, EntryState, OperationError, PAGE_MAX},
    ledger::{LedgerAccess, Limits, within_statement},
};

/// Most events that a snapshot holds, of the ledger and of the inbox each: a test with more than these
/// counts with SQL.
pub const SNAPSHOT_EVENTS_MAX: usize = 100_000;

/// What the ledger and the inbox hold of each event at one moment, on either database, with assertions
/// that say what is there instead.
///
/// An event is found by its id, at whatever endpoint it is; [`endpoint`](Self::endpoint) leaves one
/// endpoint's.
///
/// ```
/// use axum_stripe_webhook::testing::TestLedger;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let ledger = TestLedger::in_memory().await?;
/// // … deliver an event, and another one that the handler refuses …
/// let snapshot = ledger.snapshot().await?;
/// snapshot.assert_absent("evt_2");
/// snapshot.assert_len(0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct LedgerSnapshot {
    /// By id and endpoint.
    events: BTreeMap<(String, String), LedgerState>,
}

/// Where an event stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LedgerState {
    /// There is no row of it.
    Absent,
    /// It was processed, or discarded: it is never run again.
    Processed,
    /// It is stored, and waits for a worker.
    Pending,
    /// It was given up by a worker, for this reason.
    Dead(String),
    /// It is kept aside, for this reason.
    Quarantined(String),
}

impl LedgerSnapshot {
    /// Reads what is there now.
    ///
    /// What commits while it reads may be in it or not.
    ///
    /// # Errors
    ///
    /// [`OperationError::Database`], also when there are more than [`SNAPSHOT_EVENTS_MAX`] events.
    pub async fn of<DB: Ledger>(pool: &Pool<DB>) -> Result<Self, OperationError> {
        let mut events = BTreeMap::new();
        for (event_id, endpoint, held_by) in processed(pool).await? {
            let state = match held_by {
                None => LedgerState::Processed,
                // Where it is kept, the reason is.
                Some(held_by) => LedgerState::Quarantined(held_by),
            };
            events.insert((event_id, endpoint), state);
        }
        let inbox = InboxOperations::new(pool.clone());
        let filter = EntryFilter::new().page(PAGE_MAX);
        let mut page = inbox.list(&filter, None).await?;
        let mut stored = 0;
        loop {
            stored += page.entries.len();
            for entry in page.entries {
                let error = entry.last_error.unwrap_or_default();
                let state = match entry.state {
                    EntryState::Pending => LedgerState::Pending,
                    EntryState::Dead => LedgerState::Dead(error),
                    EntryState::Quarantined => LedgerState::Quarantined(error),
                };
                events.insert((entry.event_id, entry.endpoint), state);
            }
            if stored > SNAPSHOT_EVENTS_MAX {
                return Err(OperationError::Database(Box::new(TooMany)));
            }
            let Some(next) = page.next else { break };
            page = inbox.list(&filter, Some(&next)).await?;
        }
        Ok(Self { events })
    }

    /// Leaves what is of one endpoint.
    #[must_use]
    pub fn endpoint(mut self, label: &str) -> Self {
        self.events.retain(|(_, endpoint), _| endpoint == label);
        self
    }

    /// Where an event stands.
    ///
    /// # Panics
    ///
    /// If it is at several endpoints: say with [`endpoint`](Self::endpoint) which is meant. So do the
    /// assertions.
    #[must_use]
    #[track_caller]
    pub fn state(&self, event_id: &str) -> LedgerState {
        let mut found = self.events.iter().filter(|((id, _), _)| id == event_id);
        let (first, second) = (found.next(), found.next());
        assert!(
            second.is_none(),
            "{event_id} is at several endpoints: say with `endpoint` which is meant; the ledger has {self:?}"
        );
        first.map_or(LedgerState::Absent, |(_, state)| state.clone())
    }

    /// How many events there are, in whatever state.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// How many events are in this state.
    #[must_use]
    pub fn count(&self, state: &LedgerState) -> usize {
        self.events.values().filter(|found| *found == state).count()
    }

    /// # Panics
    ///
    /// If the event was not processed.
    #[track_caller]
    pub fn assert_processed(&self, event_id: &str) {
        self.assert_state(event_id, &LedgerState::Processed);
    }

    /// # Panics
    ///
    /// If there is a row of the event.
    #[track_caller]
    pub fn assert_absent(&self, event_id: &str) {
        self.assert_state(event_id, &LedgerState::Absent);
    }

    /// # Panics
    ///
    /// If the event does not wait for a worker.
    #[track_caller]
    pub fn assert_pending(&self, event_id: &str) {
        self.assert_state(event_id, &LedgerState::Pending);
    }

    /// # Panics
    ///
    /// If the event was not given up for this reason.
    #[track_caller]
    pub fn assert_dead(&self, event_id: &str, reason: &str) {
        self.assert_state(event_id, &LedgerState::Dead(reason.to_owned()));
    }

    /// # Panics
    ///
    /// If the event is not kept aside for this reason.
    #[track_caller]
    pub fn assert_quarantined(&self, event_id: &str, reason: &str) {
        self.assert_state(event_id, &LedgerState::Quarantined(reason.to_owned()));
    }

    /// # Panics
    ///
    /// If there are more events than these, or fewer, in whatever state.
    #[track_caller]
    pub fn assert_len(&self, events: usize) {
        assert_eq!(self.len(), events, "the ledger has {self:?}");
    }

    #[track_caller]
    fn assert_state(&self, event_id: &str, expected: &LedgerState) {
        let state = self.state(event_id);
        assert_eq!(state, *expected, "{event_id}; the ledger has {self:?}");
    }
}

async fn processed<DB: Ledger>(
    pool: &Pool<DB>,
) -> Result<Vec<(String, String, Option<String>)>, OperationError> {
    let ledger = LedgerAccess::new(pool.clone(), Limits::default());
    let mut idle = ledger.idle_besides().await?;
    let limit = i64::try_from(SNAPSHOT_EVENTS_MAX + 1).unwrap_or(i64::MAX);
    let rows = within_statement(DB::processed(idle.on(), limit)).await;
    let rows = idle.settle(rows).await?;
    match rows.len() > SNAPSHOT_EVENTS_MAX {
        true => Err(OperationError::Database(Box::new(TooMany))),
        false => Ok(rows),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("there are more than {SNAPSHOT_EVENTS_MAX} events")]
struct TooMany;

/// The first events and where they stand: enough to see what has gone wrong.
impl fmt::Debug for LedgerSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        let mut list = f.debug_list();
        for ((event_id, endpoint), state) in self.events.iter().take(SHOWN) {
            list.entry(&format_args!("{event_id} at {endpoint}: {state:?}"));
        }
        if self.len() > SHOWN {
            list.entry(&format_args!("and {} more", self.len() - SHOWN));
        }
        list.finish()
    }
}
