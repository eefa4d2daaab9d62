//! Opening the database: connections, limits, tables.

use std::time::Duration;

use axum_stripe_webhook::{Ledger, migrate};
use sqlx::{
    Connection, Executor, PgPool, Pool, SqlitePool,
    migrate::MigrateError,
    pool::PoolOptions,
    postgres::{PgConnectOptions, PgPoolOptions},
    raw_sql,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};
use tokio::time::timeout;

const SCHEMA: &str = include_str!("schema.sql");

/// For the first connection, at the start.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// For a connection of the pool. Stripe retries, so a request that waits longer had better go.
const ACQUIRE_TIME_MAX: Duration = Duration::from_secs(3);

/// For SQLite's write lock, which the webhook holds while a handler runs.
const BUSY_TIME_MAX: Duration = Duration::from_secs(5);

/// For any lock of Postgres. Shorter than [`ACQUIRE_TIME_MAX`], so that events which wait for one
/// order give their connections back before other events give up.
const LOCK_TIME_MAX_MS: &str = "2000";

/// A tenth of what Postgres offers by default, so that several servers share one database.
const POSTGRES_CONNECTIONS: u32 = 10;

/// One writes; the others read meanwhile.
const SQLITE_CONNECTIONS: u32 = 4;

/// Any number that no other part of the shop locks.
const SCHEMA_LOCK: i64 = 0x6f72_6465_7273;

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Likely causes: it is down, the address or the password is wrong, the folder is not there.
    #[error("the database of DATABASE_URL cannot be reached")]
    Unreachable(#[source] sqlx::Error),
    /// It took the connection and said nothing.
    #[error(
        "the database of DATABASE_URL cannot be reached: no answer within {CONNECT_TIME_MAX:?}"
    )]
    TimedOut,
    /// Likely cause: the user may not create tables.
    #[error("the shop's tables cannot be created")]
    Schema(#[from] sqlx::Error),
    /// Likely cause: the database was used by a newer version.
    #[error("the webhook's tables cannot be created")]
    Ledger(#[from] MigrateError),
}

/// Opens a Postgres database, with the tables it needs.
///
/// # Errors
///
/// When it cannot be reached or its tables cannot be created.
pub async fn open_postgres(options: PgConnectOptions) -> Result<PgPool, OpenError> {
    // Without the limit for locks: whoever starts while another server migrates has to wait.
    set_up(open(options.clone(), PgPoolOptions::new().max_connections(1)).await?).await?;
    // Every connection is tried before it is used: a round trip for each delivery, and no burst of
    // errors after the database was restarted.
    let limits = PgPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS)
        .test_before_acquire(true)
        .acquire_timeout(ACQUIRE_TIME_MAX);
    limits
        .connect_with(options.options([("lock_timeout", LOCK_TIME_MAX_MS)]))
        .await
        .map_err(OpenError::Unreachable)
}

async fn set_up(pool: PgPool) -> Result<(), OpenError> {
    let mut transaction = pool.begin().await?;
    // Servers that start together would create the same table.
    sqlx::query("select pg_advisory_xact_lock($1)")
        .bind(SCHEMA_LOCK)
        .execute(&mut *transaction)
        .await?;
    transaction.execute(raw_sql(SCHEMA)).await?;
    transaction.commit().await?;
    pool.close().await;
    Ok(())
}

/// Opens a SQLite file, or makes it, with the tables it needs.
///
/// # Errors
///
/// When it cannot be opened or its tables cannot be created.
pub async fn open_sqlite(options: SqliteConnectOptions) -> Result<SqlitePool, OpenError> {
    let options = options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(BUSY_TIME_MAX);
    // A file does not hang up: there is nothing to try.
    let limits = SqlitePoolOptions::new()
        .max_connections(SQLITE_CONNECTIONS)
        .test_before_acquire(false);
    let pool = open(options, limits).await?;
    let mut transaction = pool.begin_with("begin immediate").await?;
    transaction.execute(raw_sql(SCHEMA)).await?;
    transaction.commit().await?;
    Ok(pool)
}

/// The first connection is made outside the pool, which would keep trying and not say why it fails.
async fn open<DB: Ledger>(
    options: <DB::Connection as Connection>::Options,
    limits: PoolOptions<DB>,
) -> Result<Pool<DB>, OpenError> {
    timeout(CONNECT_TIME_MAX, DB::Connection::connect_with(&options))
        .await
        .map_err(|_| OpenError::TimedOut)?
        .map_err(OpenError::Unreachable)?
        .close()
        .await?;
    let pool = limits
        .acquire_timeout(ACQUIRE_TIME_MAX)
        .connect_with(options)
        .await
        .map_err(OpenError::Unreachable)?;
    migrate(&pool).await?;
    Ok(pool)
}
