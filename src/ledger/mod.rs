//! The crate's tables, and the only home of SQL on them.
//!
//! [`Ledger`] is implemented for [`sqlx::Postgres`] and [`sqlx::Sqlite`]; a conformance suite holds
//! both to the same behaviour, and ARCHITECTURE.md lists where they cannot be alike.

mod access;
mod deliveries;
mod error;
mod handover;
mod inbox;
mod places;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod taken;
mod transaction;

use std::{
    fmt,
    future::Future,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sqlx::{
    Database, Pool, SqlSafeStr, SqlStr,
    migrate::{Migrate, Migration, MigrationType, Migrator},
};

use crate::event::Event;

pub(crate) use access::{LedgerAccess, On};
use deliveries::DeliveriesBackend;
pub(crate) use deliveries::DeliveryRow;
pub(crate) use error::LedgerError;
pub(crate) use handover::Handover;
pub(crate) use inbox::{
    Accepted, Arrival, AttemptEnd, Due, EntryRow, Lease, Leased, Selection, Wanted, of_unix_ms,
    unix_ms,
};
pub use sqlx::migrate::MigrateError;
pub(crate) use transaction::{LedgerTransaction, within_statement};

/// A database that can hold the ledger: [`sqlx::Postgres`] or [`sqlx::Sqlite`].
///
/// Sealed: the guarantees rest on what each backend does in its transactions, so there are no
/// others.
pub trait Ledger: DeliveriesBackend {}

impl<DB: DeliveriesBackend> Ledger for DB {}

/// The statements whose text is the same on both backends, each on its own connection.
macro_rules! shared_statements {
    () => {
        async fn end_and_begin(
            on: On<'_, Self>,
            end: End,
            begin: SqlStr,
        ) -> Result<(), LedgerError> {
            let statements = AssertSqlSafe(format!("{}; {}", end.statement(), begin.as_str()));
            let ended = raw_sql(statements).execute(on.connection).await;
            ended.map(drop).map_err(LedgerError::of_commit)
        }

        async fn is_processed(
            on: On<'_, Self>,
            entry: &Entry<'_>,
            or_held: bool,
        ) -> Result<bool, LedgerError> {
            query_scalar(
                "select exists (
                    select 1 from processed_stripe_events
                    where event_id = $1 and endpoint = $2
                        and (held_by is null or (held_by = 'handler' and $3)))",
            )
            .bind(entry.event_id)
            .bind(entry.endpoint)
            .bind(or_held)
            .persistent(on.persistent)
            .fetch_one(on.connection)
            .await
            .map_err(of_statement)
        }

        async fn is_stored(on: On<'_, Self>, entry: &Entry<'_>) -> Result<bool, LedgerError> {
            query_scalar(
                "select exists (
                    select 1 from stripe_inbox
                    where event_id = $1 and endpoint = $2 and event_type = $3)",
            )
            .bind(entry.event_id)
            .bind(entry.endpoint)
            .bind(entry.event_type)
            .persistent(on.persistent)
            .fetch_one(on.connection)
            .await
            .map_err(of_statement)
        }

        #[cfg(feature = "testing")]
        async fn processed(
            on: On<'_, Self>,
            limit: i64,
        ) -> Result<Vec<super::ProcessedRow>, LedgerError> {
            query_as(
                "select event_id, endpoint, held_by from processed_stripe_events
                 order by event_id, endpoint limit $1",
            )
            .bind(limit)
            .persistent(on.persistent)
            .fetch_all(on.connection)
            .await
            .map_err(of_statement)
        }

        async fn forget(
            on: On<'_, Self>,
            event_id: &str,
            endpoint: &str,
        ) -> Result<bool, LedgerError> {
            let forgotten = query(
                "delete from processed_stripe_events
                 where event_id = $1 and endpoint = $2 and held_by is not null",
            );
            let forgotten = forgotten.bind(event_id).bind(endpoint);
            let forgotten = forgotten.persistent(on.persistent).execute(on.connection);
            Ok(forgotten.await.map_err(of_statement)?.rows_affected() > 0)
        }

        async fn quarantined_payload(
            on: On<'_, Self>,
            event_id: &str,
            endpoint: &str,
        ) -> Result<Option<Vec<u8>>, LedgerError> {
            query_scalar(
                "select payload from stripe_inbox
                 where event_id = $1 and endpoint = $2 and state = 'quarantined'
                    and payload is not null",
            )
            .bind(event_id)
            .bind(endpoint)
            .persistent(on.persistent)
            .fetch_optional(on.connection)
            .await
            .map_err(of_statement)
        }

        async fn remove_quarantined(
            on: On<'_, Self>,
            event_id: &str,
            endpoint: &str,
            payload: Option<&[u8]>,
        ) -> Result<bool, LedgerError> {
            let removed = query(
                "delete from stripe_inbox
                 where event_id = $1 and endpoint = $2 and state = 'quarantined'
                    and (payload = $3 or $3 is null)",
            );
            let removed = removed.bind(event_id).bind(endpoint).bind(payload);
            let removed = removed.persistent(on.persistent).execute(on.connection);
            Ok(removed.await.map_err(of_statement)?.rows_affected() > 0)
        }

        async fn record(
            on: On<'_, Self>,
            event_id: &str,
            endpoint: &str,
            action: &Action<'_>,
        ) -> Result<(), LedgerError> {
            query(
                "insert into stripe_actions (event_id, endpoint, action, actor, reason)
                 values ($1, $2, $3, $4, $5)",
            )
            .bind(event_id)
            .bind(endpoint)
            .bind(action.action)
            .bind(action.actor)
            .bind(action.reason)
            .persistent(on.persistent)
            .execute(on.connection)
            .await
            .map_err(of_statement)?;
            Ok(())
        }

        async fn claim_effect(
            on: On<'_, Self>,
            effect_key: &str,
            event_id: &str,
        ) -> Result<bool, sqlx::Error> {
            let claimed = query(
                "insert into stripe_effects (effect_key, event_id) values ($1, $2)
                 on conflict (effect_key) do nothing",
            );
            let claimed = claimed.bind(effect_key).bind(event_id);
            let claimed = claimed.persistent(on.persistent).execute(on.connection);
            Ok(claimed.await?.rows_affected() > 0)
        }

        async fn touch_object(
            on: On<'_, Self>,
            object: &ObjectRow<'_>,
        ) -> Result<(Option<i64>, bool), sqlx::Error> {
            query_as(
                "insert into stripe_objects (object_id, endpoint, newest_created, deleted)
                 values ($1, $2, $3, $4)
                 on conflict (object_id, endpoint) do update set
                    before_created = stripe_objects.newest_created,
                    newest_created = case
                        when stripe_objects.newest_created > excluded.newest_created
                        then stripe_objects.newest_created else excluded.newest_created end,
                    deleted = stripe_objects.deleted or excluded.deleted,
                    touched_at = excluded.touched_at
                 returning before_created, deleted",
            )
            .bind(object.object_id)
            .bind(object.endpoint)
            .bind(object.created_unix)
            .bind(object.is_deleted)
            .persistent(on.persistent)
            .fetch_one(on.connection)
            .await
        }
    };
}
use shared_statements;

/// Keeps an event. What is quarantined of another event with its id goes, if this one is claimed:
/// whoever has a test secret can sign an event that is not deduplicated with a live one's id. What is
/// there for a worker, or was given up by one, stays.
macro_rules! keep {
    ($created:literal, $fence:literal) => {
        concat!(
            "insert into stripe_inbox
                (event_id, endpoint, event_type, account, livemode, created_at,
                 object_id, payload, state, due_at, last_error, fence)
             values ($1, $2, $3, $4, $5, ",
            $created,
            ", $7, $8, 'quarantined', null, $9, ",
            $fence,
            ")
             on conflict (event_id, endpoint) do update set
                event_type = excluded.event_type, account = excluded.account,
                livemode = excluded.livemode, created_at = excluded.created_at,
                object_id = excluded.object_id, payload = excluded.payload,
                state = excluded.state, attempts = excluded.attempts, due_at = excluded.due_at,
                last_error = excluded.last_error, received_at = excluded.received_at
             where stripe_inbox.payload is null
                or (stripe_inbox.state = 'quarantined' and $10)"
        )
    };
}
use keep;

/// Binds what a statement writes of an entry, as `$1` to `$6`.
macro_rules! bind_entry {
    ($query:expr, $entry:expr, $created:expr) => {
        $query
            .bind($entry.event_id)
            .bind($entry.endpoint)
            .bind($entry.event_type)
            .bind($entry.account)
            .bind($entry.livemode)
            .bind($created)
    };
}
use bind_entry;

/// Creates the crate's tables, or brings them up to date.
///
/// The versions are kept in `_stripe_webhook_migrations`, a table of the crate's own, so they do not
/// meet the service's migrations. May be called at every start, by several processes at once.
///
/// On Postgres it takes a session's advisory lock: behind PgBouncer in transaction mode, give it a
/// direct connection.
///
/// # Errors
///
/// When the database cannot be reached, refuses a statement, or holds migrations that this version
/// of the crate does not know.
pub async fn migrate<DB: Ledger>(pool: &Pool<DB>) -> Result<(), MigrateError> {
    DB::migrate(pool).await
}

/// What a backend does, one function for each statement. The order of the calls, the time limits
/// and the connection's fate are [`LedgerTransaction`]'s.
pub trait Backend: Database {
    /// What is remembered between the claim and the last statement, to know the transaction again.
    type Seal: Send + 'static;

    /// Whether one transaction at a time can write.
    const HAS_ONE_WRITER: bool;

    /// How many transactions may run at once on this pool.
    fn transactions_max(pool: &Pool<Self>) -> usize;

    /// The statement that opens a transaction.
    fn begin_statement(limits: &Limits, purpose: Purpose) -> SqlStr;

    /// Writes the entry of an event; `None` when it is there already.
    fn claim(
        on: On<'_, Self>,
        entry: &Entry<'_>,
        limits: &Limits,
    ) -> impl Future<Output = Result<Option<Self::Seal>, LedgerError>> + Send;

    /// What [`claim`](Self::claim) does beside writing.
    fn seal(
        on: On<'_, Self>,
        limits: &Limits,
    ) -> impl Future<Output = Result<Self::Seal, LedgerError>> + Send;

    /// The last statement before COMMIT: fails unless this is still the transaction of the claim,
    /// and permits the COMMIT.
    fn close(
        on: On<'_, Self>,
        seal: &Self::Seal,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// The end of a transaction and the begin of the next, in one round trip.
    fn end_and_begin(
        on: On<'_, Self>,
        end: End,
        begin: SqlStr,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Whether the entry of an event is there, and not because a guard has stopped it or it did not fit;
    /// and whether also one that its handler has quarantined counts.
    fn is_processed(
        on: On<'_, Self>,
        entry: &Entry<'_>,
        or_held: bool,
    ) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    /// Forgets an event that a guard has stopped, or that did not fit, here and in the inbox.
    ///
    /// Waits for a transaction that does the same.
    fn readmit(
        on: On<'_, Self>,
        entry: &Entry<'_>,
    ) -> impl Future<Output = Result<Readmission, LedgerError>> + Send;

    /// Keeps an event in the inbox, as quarantined. False: what is there under its id stays, because it
    /// waits for a worker, is dead, or because the event was not claimed. The reason is a code.
    fn quarantine(
        on: On<'_, Self>,
        arrival: &Arrival<'_>,
        is_claimed: bool,
        reason: &str,
    ) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    /// Whether the inbox has this event, and not its twin.
    fn is_stored(
        on: On<'_, Self>,
        entry: &Entry<'_>,
    ) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    /// The first events of the ledger, by their keys.
    #[cfg(feature = "testing")]
    fn processed(
        on: On<'_, Self>,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<ProcessedRow>, LedgerError>> + Send;

    /// Deletes the entry of an event that is held. False: none is.
    fn forget(
        on: On<'_, Self>,
        event_id: &str,
        endpoint: &str,
    ) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    /// The bytes of an event that is quarantined.
    fn quarantined_payload(
        on: On<'_, Self>,
        event_id: &str,
        endpoint: &str,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, LedgerError>> + Send;

    /// Removes an event that is quarantined from the inbox, if its bytes are these. False: none is.
    ///
    /// Waits for a transaction that does the same.
    fn remove_quarantined(
        on: On<'_, Self>,
        event_id: &str,
        endpoint: &str,
        payload: Option<&[u8]>,
    ) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    /// Records what an operator does with an event.
    fn record(
        on: On<'_, Self>,
        event_id: &str,
        endpoint: &str,
        action: &Action<'_>,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Writes the entry of an effect. False: it is there already.
    ///
    /// Waits for a transaction that has written it and not ended yet.
    fn claim_effect(
        on: On<'_, Self>,
        effect_key: &str,
        event_id: &str,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// Writes down an event of an object, and locks the object's row. Gives `created` of the newest one
    /// before it, and whether the object is deleted.
    fn touch_object(
        on: On<'_, Self>,
        object: &ObjectRow<'_>,
    ) -> impl Future<Output = Result<(Option<i64>, bool), sqlx::Error>> + Send;

    /// What has to be undone on a connection before it may roll back and go back to the pool. Fails if
    /// this is not the transaction of the claim any more.
    fn disarm(
        on: On<'_, Self>,
        seal: &Self::Seal,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Stops the statement of a handler that is not waited for any more, where the server does not.
    fn abandon(seal: &Self::Seal);

    /// See [`migrate`].
    fn migrate(pool: &Pool<Self>) -> impl Future<Output = Result<(), MigrateError>> + Send;
}

/// Event id, endpoint, and what holds it.
#[cfg(feature = "testing")]
pub(crate) type ProcessedRow = (String, String, Option<String>);

/// The server's own margin, and time for its answer to come.
const ABANDONED_TIME_MARGIN: Duration = Duration::from_secs(10);

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To claim an event that has arrived, before anything else.
    Claim,
    /// To do what an operator wants with an event that is kept.
    Release,
    /// To take an event out of the inbox for a worker, and claim it.
    Dequeue,
    /// To lease entries.
    Lease,
    /// To write down what has become of one that has failed, or anything else beside events.
    Besides,
}

/// How a transaction ends after which another begins.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// What it wrote is there.
    Commit,
    /// Nothing of it is.
    Rollback,
}

impl End {
    fn statement(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Rollback => "rollback",
        }
    }
}

/// The time limits of a transaction.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a place among the transactions and a connection of the pool.
    pub acquire_time_max: Duration,
    /// For a copy of the event that another process has in hand.
    pub claim_wait_max: Duration,
    /// For the handler.
    pub handler_time_max: Duration,
}

impl Limits {
    /// How long a statement that nobody waits for is executed at most: the server's patience counts
    /// from its begin, and SQLite's ends at once.
    fn abandoned_time_max(&self) -> Duration {
        self.handler_time_max.saturating_add(ABANDONED_TIME_MARGIN)
    }
}

/// The row of an event in `processed_stripe_events`.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub(crate) event_id: &'a str,
    pub(crate) endpoint: &'a str,
    pub(crate) event_type: &'a str,
    pub(crate) account: Option<&'a str>,
    pub(crate) livemode: Option<bool>,
    pub(crate) created_unix: Option<i64>,
    /// What keeps the event from being run, if anything does.
    pub(crate) held_by: Option<HeldBy>,
}

/// What keeps an event from being run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeldBy {
    /// A guard, until a delivery passes it.
    Guard,
    /// An object that does not fit, until a delivery does: of its twin, or to a handler that was mended.
    Misfit,
    /// The service's own handler.
    Handler,
}

/// What is known of an event that could not be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readmission {
    /// A guard had stopped it, or it did not fit, and that is forgotten: it can be claimed.
    Readmitted,
    /// Its entry is there.
    Duplicate,
    /// Its entry is not there either.
    Missing,
}

impl HeldBy {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::Misfit => "misfit",
            Self::Handler => "handler",
        }
    }
}

impl<'a> Entry<'a> {
    pub(crate) fn new(event: &'a Event, endpoint: &'a str) -> Self {
        Self {
            event_id: event.deduplication_id(),
            endpoint,
            event_type: event.event_type(),
            account: event.account_or_context(),
            livemode: event.livemode(),
            created_unix: event.created().and_then(unix_seconds),
            held_by: None,
        }
    }

    fn held_by_code(&self) -> Option<&'static str> {
        self.held_by.map(HeldBy::code)
    }
}

/// A row of `stripe_actions`, but for the event that it is about.
#[derive(Clone, Copy)]
pub struct Action<'a> {
    pub(crate) action: &'static str,
    pub(crate) actor: &'a str,
    pub(crate) reason: &'a str,
}

impl fmt::Debug for Action<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Action")
            .field("action", &self.action)
            .finish_non_exhaustive()
    }
}

/// What an event says of the row of its object in `stripe_objects`.
#[derive(Clone, Copy, Debug)]
pub struct ObjectRow<'a> {
    pub(crate) object_id: &'a str,
    pub(crate) endpoint: &'a str,
    pub(crate) created_unix: i64,
    pub(crate) is_deleted: bool,
}

pub(crate) fn unix_seconds(at: SystemTime) -> Option<i64> {
    i64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}

/// Runs a backend's migrations that the database has not seen. Their versions are their places in
/// the list.
async fn run<C: Migrate>(
    files: &[(&'static str, &'static str)],
    connection: &mut C,
) -> Result<(), MigrateError> {
    let migrations = (1..).zip(files).map(|(version, (description, sql))| {
        let sql = sql.into_sql_str();
        Migration::new(
            version,
            (*description).into(),
            MigrationType::Simple,
            sql,
            false,
        )
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.dangerous_set_table_name("_stripe_webhook_migrations");
    // `Migrator::run` takes an `Acquire`, with which no future that borrows a connection is `Send`.
    migrator.run_direct(None, connection, false).await
}
