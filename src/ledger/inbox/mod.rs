//! `stripe_inbox`: what is stored, taken by workers, and looked after by operators.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::{
    fmt,
    future::Future,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{Backend, Entry, LedgerError, Limits, On};
use crate::event::Event;

/// What a backend does with the inbox, one function for each statement or, on SQLite, for several in
/// one transaction.
pub trait InboxBackend: Backend {
    /// Stores events, each in its place of the answer. None may stand there twice.
    ///
    /// Waits for nobody who runs a handler.
    fn accept(
        on: On<'_, Self>,
        arrivals: &[Arrival<'_>],
    ) -> impl Future<Output = Result<Vec<Accepted>, LedgerError>> + Send;

    /// Takes entries that are due, for a time.
    fn lease(
        on: On<'_, Self>,
        wanted: &Wanted<'_>,
    ) -> impl Future<Output = Result<Due, LedgerError>> + Send;

    /// Takes an entry out of the inbox, if nobody else has leased it since, and writes its event's row
    /// in the ledger, if it is to be claimed. `None`: the lease is lost. With false, the event's row is
    /// there already, or was not to be written.
    ///
    /// Waits for a transaction that has written the row and not ended yet.
    fn dequeue(
        on: On<'_, Self>,
        entry: &Entry<'_>,
        lease: &Lease,
        is_claimed: bool,
        limits: &Limits,
    ) -> impl Future<Output = Result<Option<(bool, Self::Seal)>, LedgerError>> + Send;

    /// Makes a leased entry quarantined. False: the lease is lost.
    fn hold(
        on: On<'_, Self>,
        lease: &Lease,
        reason: &str,
    ) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    /// Writes what has become of an attempt. False: the lease is lost.
    fn end_attempt(
        on: On<'_, Self>,
        lease: &Lease,
        end: &AttemptEnd<'_>,
    ) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    /// Counts the entries.
    fn counts(on: On<'_, Self>) -> impl Future<Output = Result<CountsRow, LedgerError>> + Send;

    /// Some entries, in the order in which they were received.
    fn list(
        on: On<'_, Self>,
        selection: &Selection<'_>,
    ) -> impl Future<Output = Result<Vec<EntryRow>, LedgerError>> + Send;

    /// The bytes of an event.
    fn stored_payload(
        on: On<'_, Self>,
        event_id: &str,
        endpoint: &str,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, LedgerError>> + Send;

    /// Makes an entry that is dead, or waits, due at once. False: there is none, or a worker has it.
    fn retry(
        on: On<'_, Self>,
        event_id: &str,
        endpoint: &str,
    ) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    /// Makes a quarantined entry pending. False: there is none.
    fn make_pending(
        on: On<'_, Self>,
        event_id: &str,
        endpoint: &str,
    ) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    /// Has the ledger's row of an event that is held stand for good, as one of now.
    fn discard_held(
        on: On<'_, Self>,
        event_id: &str,
        endpoint: &str,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Writes the ledger's row of an entry that was never claimed: one that is dead, or waits.
    fn mark_processed(
        on: On<'_, Self>,
        event_id: &str,
        endpoint: &str,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Removes an entry that no worker has. False: there is none.
    fn remove(
        on: On<'_, Self>,
        event_id: &str,
        endpoint: &str,
    ) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    /// Deletes rows of the ledger that are older; gives how many.
    fn sweep_ledger(
        on: On<'_, Self>,
        age: Duration,
        limit: i64,
    ) -> impl Future<Output = Result<u64, LedgerError>> + Send;

    /// Deletes rows of objects that no event has touched for longer.
    fn sweep_objects(
        on: On<'_, Self>,
        age: Duration,
        limit: i64,
    ) -> impl Future<Output = Result<u64, LedgerError>> + Send;

    /// Forgets the bytes of dead and quarantined entries that are older.
    fn scrub(
        on: On<'_, Self>,
        age: Duration,
        limit: i64,
    ) -> impl Future<Output = Result<u64, LedgerError>> + Send;
}

/// An event that is to be stored.
pub struct Arrival<'a> {
    pub(crate) entry: Entry<'a>,
    pub(crate) object_id: Option<String>,
    /// The bytes exactly as signed.
    pub(crate) payload: &'a [u8],
}

/// What has become of an event that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    Stored,
    /// It is stored or processed already.
    Duplicate,
    /// Somebody is releasing it; or its thin or snapshot twin waits, and may be one that nobody handles.
    InFlight,
}

/// Which entries a worker wants.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub(crate) endpoint: Option<&'a str>,
    pub(crate) limit: i64,
    pub(crate) lease_time: Duration,
    /// Those whose last attempt left no outcome, or the others.
    pub(crate) suspects: bool,
}

/// What was leased.
#[derive(Debug, Default)]
pub struct Due {
    pub(crate) leased: Vec<Leased>,
    /// Whether there are entries due whose last attempt left no outcome.
    pub(crate) has_suspects: bool,
}

/// An entry that a worker has, for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub(crate) event_id: String,
    pub(crate) endpoint: String,
    pub(crate) fence: i64,
    /// Whether an operator has retried or released it, or a delivery has readmitted its event.
    pub(crate) is_wanted: bool,
}

/// An entry that was leased, as a worker wants it.
pub(crate) struct Leased {
    pub(crate) lease: Lease,
    pub(crate) payload: Vec<u8>,
    /// This one included.
    pub(crate) attempts: u32,
    pub(crate) not_yets: u32,
}

/// What has become of an attempt that did not finish its event.
#[derive(Clone, Copy, Debug)]
pub struct AttemptEnd<'a> {
    /// When the entry is due again; `None` makes it dead.
    pub(crate) due_in: Option<Duration>,
    pub(crate) attempts: u32,
    pub(crate) not_yets: u32,
    pub(crate) error: &'a str,
}

/// Which entries to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection<'a> {
    pub(crate) event_id: Option<&'a str>,
    pub(crate) state: Option<&'a str>,
    pub(crate) endpoint: Option<&'a str>,
    pub(crate) event_type: Option<&'a str>,
    /// What `last_error` begins with.
    pub(crate) error: Option<&'a str>,
    /// Those that can be run.
    pub(crate) has_payload: bool,
    pub(crate) received_from_ms: Option<i64>,
    pub(crate) received_before_ms: Option<i64>,
    /// The last one of the page before.
    pub(crate) after: Option<(i64, &'a str, &'a str)>,
    pub(crate) limit: i64,
}

/// `pending`, those of them that are due, `dead`, `quarantined`, and for how many milliseconds the oldest
/// has been due.
pub(super) type CountsRow = (i64, i64, i64, i64, Option<i64>);

/// Of an entry: id, endpoint, type, account, mode, `created`, object, state, attempts, `due_at`, error,
/// `received_at`, bytes. Instants are Unix milliseconds.
pub(crate) type EntryRow = (
    String,
    String,
    String,
    Option<String>,
    Option<bool>,
    Option<i64>,
    Option<String>,
    String,
    i32,
    Option<i64>,
    Option<String>,
    i64,
    Option<i64>,
);

impl Selection<'_> {
    pub(crate) fn texts(&self) -> [Option<&str>; 4] {
        [self.event_id, self.endpoint, self.event_type, self.error]
    }
}

impl<'a> Arrival<'a> {
    /// The key is the event's id, unless it is one that is not deduplicated.
    pub(crate) fn new(event: &'a Event, endpoint: &'a str, key: &'a str) -> Self {
        let mut entry = Entry::new(event, endpoint);
        entry.event_id = key;
        Self {
            entry,
            object_id: event.object_id(),
            payload: event.bytes(),
        }
    }
}

impl fmt::Debug for Arrival<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival")
            .field("entry", &self.entry)
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Leased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leased")
            .field("lease", &self.lease)
            .field("attempts", &self.attempts)
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// Of a lease's row: id, endpoint, fence, whether it is wanted, bytes, attempts, "not yet"s.
type LeasedRow = (String, String, i64, bool, Vec<u8>, i32, i32);

fn leased(row: LeasedRow) -> Leased {
    let (event_id, endpoint, fence, is_wanted, payload, attempts, not_yets) = row;
    Leased {
        lease: Lease {
            event_id,
            endpoint,
            fence,
            is_wanted,
        },
        payload,
        attempts: attempts.unsigned_abs(),
        not_yets: not_yets.unsigned_abs(),
    }
}

/// Milliseconds for a statement; what is too long is as good as for ever.
pub(crate) fn statement_ms(duration: Duration) -> i64 {
    /// Ten centuries: the database's instants do not reach as far as an `i64`.
    const MAX: i64 = 1000 * 365 * 24 * 60 * 60 * 1000;
    i64::try_from(duration.as_millis()).unwrap_or(MAX).min(MAX)
}

/// What lies before 1970 counts as 1970.
pub(crate) fn unix_ms(at: SystemTime) -> i64 {
    statement_ms(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

pub(crate) fn of_unix_ms(ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms.unsigned_abs())
}

fn small(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Stores an event whose delivery was accepted, also in the place of one that is quarantined and may
/// now be run, or whose bytes are gone. It begins anew, but for its fence.
macro_rules! store {
    ($from:literal, $now:literal) => {
        concat!(
            "insert into stripe_inbox
                (event_id, endpoint, event_type, account, livemode, created_at, object_id, payload,
                 fence)
             ",
            $from,
            " on conflict (event_id, endpoint) do update set
                event_type = excluded.event_type, account = excluded.account,
                livemode = excluded.livemode, created_at = excluded.created_at,
                object_id = excluded.object_id, payload = excluded.payload,
                state = 'pending', attempts = 0, not_yets = 0, due_at = ",
            $now,
            ", last_error = null, received_at = ",
            $now,
            ", fence = stripe_inbox.fence + 1, wanted = true
             where stripe_inbox.state = 'quarantined' or stripe_inbox.payload is null"
        )
    };
}
use store;

/// The statements whose text differs by how an instant is written, each on its own connection.
macro_rules! inbox_statements {
    (
        now: $now:literal,
        in_ms: $in:literal $in_end:literal,
        unix_ms: $unix:literal $unix_end:literal,
        of_unix_ms: $of:literal $of_end:literal
    ) => {
        async fn hold(on: On<'_, Self>, lease: &Lease, reason: &str) -> Result<bool, LedgerError> {
            let held = query(
                "update stripe_inbox
                 set state = 'quarantined', due_at = null, last_error = $4, in_attempt = false
                 where event_id = $1 and endpoint = $2 and state = 'pending' and fence = $3",
            );
            let held = held.bind(&lease.event_id).bind(&lease.endpoint);
            let held = held.bind(lease.fence).bind(reason);
            let held = held.persistent(on.persistent).execute(on.connection);
            Ok(held.await.map_err(of_statement)?.rows_affected() > 0)
        }

        async fn end_attempt(
            on: On<'_, Self>,
            lease: &Lease,
            end: &AttemptEnd<'_>,
        ) -> Result<bool, LedgerError> {
            let ended = query(concat!(
                "update stripe_inbox set
                    state = case when $4 is null then 'dead' else 'pending' end,
                    due_at = ",
                $in,
                "$4",
                $in_end,
                ",
                    attempts = $5, not_yets = $6, last_error = $7, in_attempt = false
                 where event_id = $1 and endpoint = $2 and state = 'pending' and fence = $3",
            ));
            let ended = ended
                .bind(&lease.event_id)
                .bind(&lease.endpoint)
                .bind(lease.fence);
            let ended = ended
                .bind(end.due_in.map(statement_ms))
                .bind(small(end.attempts));
            let ended = ended.bind(small(end.not_yets)).bind(end.error);
            let ended = ended.persistent(on.persistent).execute(on.connection);
            Ok(ended.await.map_err(of_statement)?.rows_affected() > 0)
        }

        async fn counts(on: On<'_, Self>) -> Result<CountsRow, LedgerError> {
            query_as(concat!(
                "select
                    count(case when state = 'pending' then 1 end),
                    count(case when due_at <= ",
                $now,
                " then 1 end),
                    count(case when state = 'dead' then 1 end),
                    count(case when state = 'quarantined' then 1 end),
                    ",
                $unix,
                $now,
                $unix_end,
                " - ",
                $unix,
                "min(case when due_at <= ",
                $now,
                " then due_at end)",
                $unix_end,
                "
                 from stripe_inbox",
            ))
            .persistent(on.persistent)
            .fetch_one(on.connection)
            .await
            .map_err(of_statement)
        }

        async fn list(
            on: On<'_, Self>,
            selection: &Selection<'_>,
        ) -> Result<Vec<EntryRow>, LedgerError> {
            let after = selection.after;
            query_as(concat!(
                "select event_id, endpoint, event_type, account, livemode, ",
                $unix,
                "created_at",
                $unix_end,
                ", object_id, state, attempts, ",
                $unix,
                "due_at",
                $unix_end,
                ", last_error, ",
                $unix,
                "received_at",
                $unix_end,
                ", cast(length(payload) as bigint)
                 from stripe_inbox
                 where ($1 is null or event_id = $1) and ($2 is null or state = $2)
                    and ($3 is null or endpoint = $3) and ($4 is null or event_type = $4)
                    and ($5 is null or substr(last_error, 1, length($5)) = $5)
                    and ($6 is null or received_at >= ",
                $of,
                "$6",
                $of_end,
                ")
                    and ($7 is null or received_at < ",
                $of,
                "$7",
                $of_end,
                ")
                    and ($8 is null or (",
                $unix,
                "received_at",
                $unix_end,
                ", event_id, endpoint)
                        > ($8, $9, $10))
                 and (payload is not null or not $12)
                 order by ",
                $unix,
                "received_at",
                $unix_end,
                ", event_id, endpoint
                 limit $11",
            ))
            .bind(selection.event_id)
            .bind(selection.state)
            .bind(selection.endpoint)
            .bind(selection.event_type)
            .bind(selection.error)
            .bind(selection.received_from_ms)
            .bind(selection.received_before_ms)
            .bind(after.map(|(received_ms, ..)| received_ms))
            .bind(after.map(|(_, event_id, _)| event_id))
            .bind(after.map(|(.., endpoint)| endpoint))
            .bind(selection.limit)
            .bind(selection.has_payload)
            .persistent(on.persistent)
            .fetch_all(on.connection)
            .await
            .map_err(of_statement)
        }

        async fn stored_payload(
            on: On<'_, Self>,
            event_id: &str,
            endpoint: &str,
        ) -> Result<Option<Vec<u8>>, LedgerError> {
            query_scalar(
                "select payload from stripe_inbox
                 where event_id = $1 and endpoint = $2 and payload is not null",
            )
            .bind(event_id)
            .bind(endpoint)
            .persistent(on.persistent)
            .fetch_optional(on.connection)
            .await
            .map_err(of_statement)
        }

        /// What has killed a process begins alone.
        async fn retry(
            on: On<'_, Self>,
            event_id: &str,
            endpoint: &str,
        ) -> Result<bool, LedgerError> {
            let retried = query(concat!(
                "update stripe_inbox set
                    state = 'pending', attempts = 0, not_yets = 0, fence = fence + 1, wanted = true,
                    due_at = ",
                $now,
                ",
                    in_attempt = in_attempt or coalesce(last_error, '') = 'process_died'
                 where event_id = $1 and endpoint = $2 and payload is not null
                    and (state = 'dead'
                        or (state = 'pending' and (not in_attempt or due_at <= ",
                $now,
                ")))",
            ));
            let retried = retried.bind(event_id).bind(endpoint);
            let retried = retried.persistent(on.persistent).execute(on.connection);
            Ok(retried.await.map_err(of_statement)?.rows_affected() > 0)
        }

        async fn make_pending(
            on: On<'_, Self>,
            event_id: &str,
            endpoint: &str,
        ) -> Result<bool, LedgerError> {
            let released = query(concat!(
                "update stripe_inbox set
                    state = 'pending', attempts = 0, not_yets = 0, fence = fence + 1, wanted = true,
                    due_at = ",
                $now,
                "
                 where event_id = $1 and endpoint = $2 and payload is not null
                    and state = 'quarantined'",
            ));
            let released = released.bind(event_id).bind(endpoint);
            let released = released.persistent(on.persistent).execute(on.connection);
            Ok(released.await.map_err(of_statement)?.rows_affected() > 0)
        }

        async fn discard_held(
            on: On<'_, Self>,
            event_id: &str,
            endpoint: &str,
        ) -> Result<(), LedgerError> {
            query(concat!(
                "update processed_stripe_events set held_by = null, processed_at = ",
                $now,
                "
                 where event_id = $1 and endpoint = $2 and held_by is not null",
            ))
            .bind(event_id)
            .bind(endpoint)
            .persistent(on.persistent)
            .execute(on.connection)
            .await
            .map_err(of_statement)?;
            Ok(())
        }

        async fn mark_processed(
            on: On<'_, Self>,
            event_id: &str,
            endpoint: &str,
        ) -> Result<(), LedgerError> {
            query(
                "insert into processed_stripe_events
                    (event_id, endpoint, event_type, account, livemode, created_at)
                 select event_id, endpoint, event_type, account, livemode, created_at
                 from stripe_inbox
                 where event_id = $1 and endpoint = $2 and state <> 'quarantined'
                 on conflict (event_id, endpoint) do nothing",
            )
            .bind(event_id)
            .bind(endpoint)
            .persistent(on.persistent)
            .execute(on.connection)
            .await
            .map_err(of_statement)?;
            Ok(())
        }

        async fn remove(
            on: On<'_, Self>,
            event_id: &str,
            endpoint: &str,
        ) -> Result<bool, LedgerError> {
            let removed = query(concat!(
                "delete from stripe_inbox
                 where event_id = $1 and endpoint = $2
                    and (state <> 'pending' or not in_attempt or due_at <= ",
                $now,
                ")",
            ));
            let removed = removed.bind(event_id).bind(endpoint);
            let removed = removed.persistent(on.persistent).execute(on.connection);
            Ok(removed.await.map_err(of_statement)?.rows_affected() > 0)
        }

        /// What is held stays, and so does what an entry of the inbox is about.
        async fn sweep_ledger(
            on: On<'_, Self>,
            age: Duration,
            limit: i64,
        ) -> Result<u64, LedgerError> {
            let swept = query(concat!(
                "delete from processed_stripe_events
                 where (event_id, endpoint) in (
                    select event_id, endpoint from processed_stripe_events as old
                    where processed_at < ",
                $in,
                "-$1",
                $in_end,
                " and held_by is null
                        and not exists (select 1 from stripe_inbox as kept
                            where kept.event_id = old.event_id and kept.endpoint = old.endpoint)
                    order by processed_at limit $2)",
            ));
            let swept = swept.bind(statement_ms(age)).bind(limit);
            let swept = swept.persistent(on.persistent).execute(on.connection);
            Ok(swept.await.map_err(of_statement)?.rows_affected())
        }

        async fn sweep_objects(
            on: On<'_, Self>,
            age: Duration,
            limit: i64,
        ) -> Result<u64, LedgerError> {
            let swept = query(concat!(
                "delete from stripe_objects
                 where touched_at < ",
                $in,
                "-$1",
                $in_end,
                " and (object_id, endpoint) in (
                    select object_id, endpoint from stripe_objects
                    where touched_at < ",
                $in,
                "-$1",
                $in_end,
                "
                    order by touched_at limit $2)",
            ));
            let swept = swept.bind(statement_ms(age)).bind(limit);
            let swept = swept.persistent(on.persistent).execute(on.connection);
            Ok(swept.await.map_err(of_statement)?.rows_affected())
        }

        async fn scrub(on: On<'_, Self>, age: Duration, limit: i64) -> Result<u64, LedgerError> {
            let scrubbed = query(concat!(
                "update stripe_inbox set payload = null
                 where state <> 'pending' and (event_id, endpoint) in (
                    select event_id, endpoint from stripe_inbox
                    where state <> 'pending' and payload is not null
                        and received_at < ",
                $in,
                "-$1",
                $in_end,
                "
                    order by received_at limit $2)",
            ));
            let scrubbed = scrubbed.bind(statement_ms(age)).bind(limit);
            let scrubbed = scrubbed.persistent(on.persistent).execute(on.connection);
            Ok(scrubbed.await.map_err(of_statement)?.rows_affected())
        }
    };
}
use inbox_statements;
