//! The two databases, so that one test can be run on both.

use std::{any::Any, future::Future, time::Duration};

use axum_stripe_webhook::{Ledger, migrate};
use sqlx::{
    AssertSqlSafe, Pool, Postgres, Sqlite,
    postgres::PgPoolOptions,
    query, query_scalar,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};
use test_postgres::TestDatabase;

use crate::log;

/// Connections of a test's pool, unless it says otherwise.
pub(crate) const CONNECTIONS: u32 = 5;

/// A database of the test's own. It is gone when this is dropped.
pub(crate) struct Fresh {
    pub(crate) url: String,
    _keeper: Box<dyn Any + Send + Sync>,
}

/// A backend of the crate, with the few statements that tests need on either.
pub(crate) trait TestBackend: Ledger {
    fn fresh() -> impl Future<Output = Fresh> + Send;
    fn connect(url: &str, connections: u32) -> impl Future<Output = Pool<Self>> + Send;
    /// Runs a statement without parameters.
    fn run(
        connection: &mut Self::Connection,
        sql: &'static str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
    /// The business write of the tests: it has no constraint that would hide a doubling.
    fn work(
        connection: &mut Self::Connection,
        event_id: &str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
    fn count(pool: &Pool<Self>, table: &str) -> impl Future<Output = i64> + Send;
    /// What a query of one text gives.
    fn texts(pool: &Pool<Self>, sql: &'static str) -> impl Future<Output = Vec<String>> + Send;
    /// Makes the rows of a table older by so many days.
    fn age(
        pool: &Pool<Self>,
        table: &str,
        instant: &str,
        days: u32,
    ) -> impl Future<Output = ()> + Send;
    /// The bytes of the one event in the inbox.
    fn payload(pool: &Pool<Self>) -> impl Future<Output = Vec<u8>> + Send;
}

/// A database with its tables.
pub(crate) async fn open<DB: TestBackend>() -> (Fresh, Pool<DB>) {
    log::watch();
    let fresh = DB::fresh().await;
    let pool = DB::connect(&fresh.url, CONNECTIONS).await;
    create_tables(&pool).await;
    (fresh, pool)
}

/// Makes the crate's tables, and `work` for the tests' own writes.
pub(crate) async fn create_tables<DB: TestBackend>(pool: &Pool<DB>) {
    migrate(pool).await.expect("migrations run");
    let mut connection = pool.acquire().await.expect("a connection");
    let work = "create table work (event_id text not null)";
    DB::run(&mut connection, work).await.unwrap();
}

/// The statements whose text is the same, written once.
macro_rules! statements {
    () => {
        async fn run(
            connection: &mut Self::Connection,
            sql: &'static str,
        ) -> Result<(), sqlx::Error> {
            sqlx::raw_sql(sql).execute(connection).await.map(|_| ())
        }

        async fn work(
            connection: &mut Self::Connection,
            event_id: &str,
        ) -> Result<(), sqlx::Error> {
            let insert = query("insert into work (event_id) values ($1)").bind(event_id);
            insert.execute(connection).await.map(|_| ())
        }

        async fn count(pool: &Pool<Self>, table: &str) -> i64 {
            let count = AssertSqlSafe(format!("select count(*) from {table}"));
            query_scalar(count).fetch_one(pool).await.unwrap()
        }

        async fn texts(pool: &Pool<Self>, sql: &'static str) -> Vec<String> {
            query_scalar(sql).fetch_all(pool).await.unwrap()
        }

        async fn payload(pool: &Pool<Self>) -> Vec<u8> {
            let payload = query_scalar("select payload from stripe_inbox");
            payload.fetch_one(pool).await.unwrap()
        }
    };
}

impl TestBackend for Postgres {
    async fn fresh() -> Fresh {
        let database = TestDatabase::create().await;
        Fresh {
            url: database.url().to_owned(),
            _keeper: Box::new(database),
        }
    }

    async fn connect(url: &str, connections: u32) -> Pool<Self> {
        PgPoolOptions::new()
            .max_connections(connections)
            .connect(url)
            .await
            .expect("a database")
    }

    async fn age(pool: &Pool<Self>, table: &str, instant: &str, days: u32) {
        let age = format!("update {table} set {instant} = {instant} - interval '{days} days'");
        query(AssertSqlSafe(age)).execute(pool).await.unwrap();
    }

    statements!();
}

impl TestBackend for Sqlite {
    async fn fresh() -> Fresh {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("test.sqlite");
        Fresh {
            url: file.to_str().unwrap().to_owned(),
            _keeper: Box::new(folder),
        }
    }

    async fn connect(url: &str, connections: u32) -> Pool<Self> {
        let options = SqliteConnectOptions::new()
            .filename(url)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(Duration::from_secs(2));
        let pool = SqlitePoolOptions::new().max_connections(connections);
        pool.connect_with(options).await.expect("a database")
    }

    async fn age(pool: &Pool<Self>, table: &str, instant: &str, days: u32) {
        let ms = u64::from(days) * 24 * 60 * 60 * 1000;
        let age = format!("update {table} set {instant} = {instant} - {ms}");
        query(AssertSqlSafe(age)).execute(pool).await.unwrap();
    }

    statements!();
}
