//! The crate's tables, and the only home of SQL on them.
//!
//! [`Ledger`] is implemented for [`sqlx::Postgres`] and [`sqlx::Sqlite`]; a conformance suite holds
//! both to the same behaviour, and ARCHITECTURE.md lists where they cannot be alike.

mod error;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
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

pub(crate) use error::LedgerError;
pub use sqlx::migrate::MigrateError;
pub(crate) use transaction::{LedgerTransaction, is_processed};

/// A database that can hold the ledger: [`sqlx::Postgres`] or [`sqlx::Sqlite`].
///
/// Sealed: the guarantees rest on what each backend does in its transactions, so there are no
/// others.
pub trait Ledger: Backend {}

impl<DB: Backend> Ledger for DB {}

/// Which row of `stripe_inbox` is that of an event which a guard has stopped.
macro_rules! stopped_row {
    () => {
        "event_id = $1 and endpoint = $2 and state = 'quarantined'
            and substr(last_error, 1, 6) = 'guard_'"
    };
}
use stopped_row;

const IS_PROCESSED: &str = concat!(
    "select exists (
        select 1 from processed_stripe_events where event_id = $1 and endpoint = $2
     ) and not exists (
        select 1 from stripe_inbox where ",
    stopped_row!(),
    ")"
);

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

    /// How many transactions may run at once on this pool.
    fn transactions_max(pool: &Pool<Self>) -> usize;

    /// The statement that opens a transaction.
    fn begin_statement(limits: &Limits) -> SqlStr;

    /// Writes the entry of an event; `None` when it is there already.
    fn claim(
        connection: &mut Self::Connection,
        entry: &Entry<'_>,
        limits: &Limits,
    ) -> impl Future<Output = Result<Option<Self::Seal>, LedgerError>> + Send;

    /// What [`claim`](Self::claim) does beside writing.
    fn seal(
        connection: &mut Self::Connection,
        limits: &Limits,
    ) -> impl Future<Output = Result<Self::Seal, LedgerError>> + Send;

    /// The last statement before COMMIT: fails unless this is still the transaction of the claim,
    /// and permits the COMMIT.
    fn close(
        connection: &mut Self::Connection,
        seal: &Self::Seal,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Whether the entry of an event is there, and not because a guard has stopped it.
    fn is_processed(
        connection: &mut Self::Connection,
        entry: &Entry<'_>,
    ) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    /// Forgets an event that a guard has stopped, here and in the inbox. False: none has.
    ///
    /// Waits for a transaction that does the same.
    fn readmit(
        connection: &mut Self::Connection,
        entry: &Entry<'_>,
    ) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    /// Keeps an event in the inbox, as quarantined. One that is in the inbox already stays as it is,
    /// but for bytes that were scrubbed.
    fn quarantine(
        connection: &mut Self::Connection,
        inbox: &InboxEntry<'_>,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// What has to be undone on a connection before it may roll back and go back to the pool.
    fn release(
        connection: &mut Self::Connection,
        seal: &Self::Seal,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Stops the statement of a handler that is not waited for any more, where the server does not.
    fn abandon(seal: &Self::Seal);

    /// See [`migrate`].
    fn migrate(pool: &Pool<Self>) -> impl Future<Output = Result<(), MigrateError>> + Send;
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

/// The row of an event in `processed_stripe_events`.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub(crate) event_id: &'a str,
    pub(crate) endpoint: &'a str,
    pub(crate) event_type: &'a str,
    pub(crate) account: Option<&'a str>,
    pub(crate) livemode: Option<bool>,
    pub(crate) created_unix: Option<i64>,
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
        }
    }
}

/// The row of an event in `stripe_inbox`.
pub struct InboxEntry<'a> {
    pub(crate) entry: Entry<'a>,
    pub(crate) object_id: Option<String>,
    /// The bytes exactly as signed.
    pub(crate) payload: &'a [u8],
    /// Why it is kept: one word of ours.
    pub(crate) reason: &'static str,
}

impl<'a> InboxEntry<'a> {
    pub(crate) fn new(event: &'a Event, endpoint: &'a str, reason: &'static str) -> Self {
        Self {
            entry: Entry::new(event, endpoint),
            object_id: event.object_id(),
            payload: event.bytes(),
            reason,
        }
    }
}

impl fmt::Debug for InboxEntry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxEntry")
            .field("entry", &self.entry)
            .field("object_id", &self.object_id)
            .field("payload_bytes", &self.payload.len())
            .field("reason", &self.reason)
            .finish()
    }
}

fn unix_seconds(at: SystemTime) -> Option<i64> {
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
