//! The business writes, and the pool, on either database.

use axum_stripe_webhook::Ledger;
use sqlx::{
    Pool, Postgres, Sqlite,
    postgres::{PgConnectOptions, PgPoolOptions},
    query, raw_sql,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};

use super::{
    Settings,
    sabotage::{Interruptible, SABOTAGE},
};
use crate::database::Address;

pub(crate) trait Books: Ledger<Connection: Interruptible> {
    fn pool(settings: &Settings) -> Pool<Self>;
    /// Whether a statement that fails leaves the rest of its transaction in place.
    const KEEPS_REST: bool;
    fn count(
        connection: &mut Self::Connection,
        shard: i32,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
    fn append(
        connection: &mut Self::Connection,
        event: &str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
    fn leave_trace(
        connection: &mut Self::Connection,
        event: &str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
    fn run(
        connection: &mut Self::Connection,
        sql: &'static str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// The statements whose text is the same, written once.
macro_rules! statements {
    () => {
        async fn count(connection: &mut Self::Connection, shard: i32) -> Result<(), sqlx::Error> {
            let counted = query("update counters set booked = booked + 1 where shard = $1");
            counted.bind(shard).execute(connection).await.map(|_| ())
        }

        async fn append(connection: &mut Self::Connection, event: &str) -> Result<(), sqlx::Error> {
            let appended = query("insert into bookings (event_id) values ($1)");
            appended.bind(event).execute(connection).await.map(|_| ())
        }

        async fn leave_trace(
            connection: &mut Self::Connection,
            event: &str,
        ) -> Result<(), sqlx::Error> {
            let left = query("insert into traces (event_id) values ($1)");
            left.bind(event).execute(connection).await.map(|_| ())
        }

        async fn run(
            connection: &mut Self::Connection,
            sql: &'static str,
        ) -> Result<(), sqlx::Error> {
            raw_sql(sql).execute(connection).await.map(|_| ())
        }
    };
}

impl Books for Postgres {
    const KEEPS_REST: bool = false;

    fn pool(settings: &Settings) -> Pool<Self> {
        let Address::Postgres(url) = &settings.database else {
            unreachable!("chosen by the address");
        };
        let options: PgConnectOptions = url.parse().expect("a URL of Postgres");
        PgPoolOptions::new()
            .max_connections(settings.connections)
            .connect_lazy_with(options)
    }

    statements!();
}

impl Books for Sqlite {
    const KEEPS_REST: bool = true;

    fn pool(settings: &Settings) -> Pool<Self> {
        let Address::Sqlite(file) = &settings.database else {
            unreachable!("chosen by the address");
        };
        let journal = match settings.rollback_journal {
            true => SqliteJournalMode::Delete,
            false => SqliteJournalMode::Wal,
        };
        let options = SqliteConnectOptions::new()
            .filename(file)
            .busy_timeout(settings.claim_wait_max);
        let options = match settings.read_only {
            true => options.read_only(true),
            false => options.journal_mode(journal),
        };
        // The layer removes all hooks when it is done with a connection.
        SqlitePoolOptions::new()
            .max_connections(settings.connections)
            .after_connect(|connection, _| {
                Box::pin(async move { SABOTAGE.before_delivery(connection).await })
            })
            .before_acquire(|connection, _| {
                Box::pin(async move { SABOTAGE.before_delivery(connection).await.map(|()| true) })
            })
            .connect_lazy_with(options)
    }

    statements!();
}
