//! A database for a run, and the connection by which its end is checked.

use std::path::PathBuf;

use axum_stripe_webhook::migrate;
use serde::{Deserialize, Serialize};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool, SqliteConnection, SqlitePool, query_scalar,
    raw_sql,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};
use tempfile::TempDir;
use test_postgres::TestDatabase;

/// A row that every transaction writes would let only one run at a time.
pub(crate) const SHARDS: i32 = 32;

/// The business write counts and appends, and no constraint hides that it was done twice.
/// `orphans` is there for a COMMIT that the database refuses, and `traces` for what handlers write
/// whose transaction must not be committed.
const TABLES: &str = "
    create table bookings (event_id text not null);
    create table counters (shard integer not null, booked bigint not null);
    create table parents (id integer primary key);
    create table orphans (parent integer not null
        references parents deferrable initially deferred);
    create table traces (event_id text not null);";

/// A database that is gone when this is dropped.
pub(crate) struct Database {
    pub(crate) address: Address,
    _keeper: Keeper,
}

enum Keeper {
    Shared(#[expect(dead_code, reason = "dropped with the run")] TestDatabase),
    Folder(#[expect(dead_code, reason = "dropped with the run")] TempDir),
    Scenario,
}

/// What a service is told of its database.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Address {
    Postgres(String),
    Sqlite(PathBuf),
}

impl Database {
    /// On the Postgres that the tests share.
    pub(crate) async fn postgres() -> Self {
        let database = TestDatabase::create().await;
        let address = Address::Postgres(database.url().to_owned());
        Self::at(address, Keeper::Shared(database)).await
    }

    /// On a Postgres that belongs to the scenario.
    pub(crate) async fn on_own(url: &str) -> Self {
        Self::at(Address::Postgres(url.to_owned()), Keeper::Scenario).await
    }

    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let address = Address::Sqlite(folder.path().join("shop.sqlite"));
        Self::at(address, Keeper::Folder(folder)).await
    }

    async fn at(address: Address, keeper: Keeper) -> Self {
        match &address {
            Address::Postgres(url) => {
                let pool = PgPool::connect(url).await.expect("a database");
                migrate(&pool).await.expect("migrations run");
                pool.close().await;
            }
            Address::Sqlite(file) => {
                let options = SqliteConnectOptions::new()
                    .filename(file)
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal);
                let pool = SqlitePool::connect_with(options).await.expect("a database");
                migrate(&pool).await.expect("migrations run");
                pool.close().await;
            }
        }
        let mut direct = Direct::connect(&address).await.expect("a connection");
        direct.run(TABLES).await.expect("tables");
        for shard in 0..SHARDS {
            let row = format!("insert into counters values ({shard}, 0)");
            direct.run(&row).await.expect("a counter");
        }
        direct.close().await;
        Self {
            address,
            _keeper: keeper,
        }
    }
}

impl Address {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "Postgres",
            Self::Sqlite(_) => "SQLite",
        }
    }
}

/// A connection past the service and past every fault.
pub(crate) enum Direct {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl Direct {
    pub(crate) async fn connect(address: &Address) -> sqlx::Result<Self> {
        Ok(match address {
            Address::Postgres(url) => Self::Postgres(PgConnection::connect(url).await?),
            Address::Sqlite(file) => {
                let options = SqliteConnectOptions::new().filename(file);
                Self::Sqlite(SqliteConnection::connect_with(&options).await?)
            }
        })
    }

    pub(crate) async fn run(&mut self, sql: &str) -> sqlx::Result<()> {
        let sql = raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Postgres(connection) => sql.execute(connection).await.map(|_| ()),
            Self::Sqlite(connection) => sql.execute(connection).await.map(|_| ()),
        }
    }

    /// What a query of one text gives.
    pub(crate) async fn texts(&mut self, sql: &str) -> sqlx::Result<Vec<String>> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Postgres(connection) => query_scalar(sql).fetch_all(connection).await,
            Self::Sqlite(connection) => query_scalar(sql).fetch_all(connection).await,
        }
    }

    /// SQLite: whether nobody reads or writes; why not, if not.
    pub(crate) async fn lock_alone(&mut self) -> Result<(), String> {
        // Each tells of other transactions under one of the two journals, and nothing under the other.
        let exclusive = "begin exclusive; rollback";
        self.run(exclusive).await.map_err(|why| why.to_string())?;
        let Self::Sqlite(connection) = self else {
            return Ok(());
        };
        let checkpoint = "pragma wal_checkpoint(truncate)";
        let busy: i32 = query_scalar(checkpoint)
            .fetch_one(connection)
            .await
            .map_err(|why| why.to_string())?;
        match busy {
            0 => Ok(()),
            _ => Err("a reader keeps the log from its end".to_owned()),
        }
    }

    pub(crate) async fn close(self) {
        let _gone_already_if_it_fails = match self {
            Self::Postgres(connection) => connection.close().await,
            Self::Sqlite(connection) => connection.close().await,
        };
    }
}
