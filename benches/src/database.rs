//! The database that is measured, and the few statements that measuring needs.

use std::{env, future::Future, path::Path};

use axum_stripe_webhook::{Ledger, migrate};
use sqlx::{
    AssertSqlSafe, PgPool, Pool, Postgres, Sqlite, SqlitePool,
    postgres::PgPoolOptions,
    query, query_scalar, raw_sql,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};
use tempfile::TempDir;
use test_postgres::TestDatabase;

use crate::deliveries::Delivery;

/// Connections of every pool that is measured, unless set: about what keeps a database on two cores busy.
/// Neither the crate nor the handler by hand is faster with 20.
pub(crate) const CONNECTIONS: u32 = 10;

/// The tests' server would lose a commit; this one keeps it, as a service's does.
const DURABLE: [&str; 4] = [
    "alter system set fsync = on",
    "alter system set synchronous_commit = on",
    "alter system set full_page_writes = on",
    "select pg_reload_conf()",
];

/// What the databases of a run live in.
pub(crate) struct Home {
    postgres: TestDatabase,
    folder: TempDir,
    /// Of every pool.
    connections: u32,
}

/// A database of the crate, with the statements of the measurements.
pub(crate) trait Backend: Ledger {
    /// Whoever runs a handler keeps everybody else from writing.
    const WRITES_ONE_AT_A_TIME: bool;

    const EMPTY: &'static str;

    fn connect(home: &Home) -> impl Future<Output = Pool<Self>> + Send;

    /// What a commit waits for.
    fn settings(pool: &Pool<Self>) -> impl Future<Output = String> + Send;

    /// The yardstick: the row that accepting a delivery writes, in a transaction of its own.
    fn insert(pool: &Pool<Self>, delivery: &Delivery) -> impl Future<Output = ()> + Send;

    /// What the handler writes.
    fn pay(
        connection: &mut Self::Connection,
        order: i64,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    fn run(pool: &Pool<Self>, sql: impl Into<String> + Send) -> impl Future<Output = ()> + Send;

    fn count(pool: &Pool<Self>, sql: &'static str) -> impl Future<Output = i64> + Send;
}

macro_rules! statements {
    (created: $created:literal) => {
        async fn insert(pool: &Pool<Self>, delivery: &Delivery) {
            let insert = query(concat!(
                "insert into stripe_inbox (event_id, endpoint, event_type, livemode, created_at,
                    object_id, payload)
                 values ($1, 'default', 'checkout.session.completed', false, ",
                $created,
                ", 'cs_test_1', $3)"
            ));
            let insert = insert.bind(&delivery.id).bind(delivery.created);
            let inserted = insert.bind(delivery.body.as_bytes()).execute(pool).await;
            inserted.expect("a row is inserted");
        }

        async fn pay(connection: &mut Self::Connection, order: i64) -> sqlx::Result<()> {
            let paying = query("update shop_orders set paid = paid + 1 where id = $1").bind(order);
            paying.execute(connection).await.map(|_| ())
        }

        async fn run(pool: &Pool<Self>, sql: impl Into<String> + Send) {
            let sql = AssertSqlSafe(sql.into());
            raw_sql(sql).execute(pool).await.expect("a statement runs");
        }

        async fn count(pool: &Pool<Self>, sql: &'static str) -> i64 {
            query_scalar(sql).fetch_one(pool).await.expect("a count")
        }
    };
}

impl Home {
    pub(crate) async fn new() -> Self {
        Self::with_connections(CONNECTIONS).await
    }

    pub(crate) async fn with_connections(connections: u32) -> Self {
        let postgres = TestDatabase::create().await;
        // A server that somebody else has given is measured as it is.
        if env::var("TEST_DATABASE_URL").is_ok_and(|url| !url.is_empty()) {
            return Self::of(postgres, connections);
        }
        let pool = PgPool::connect(postgres.url()).await.expect("a connection");
        for statement in DURABLE {
            <Postgres as Backend>::run(&pool, statement).await;
        }
        pool.close().await;
        Self::of(postgres, connections)
    }

    pub(crate) fn url(&self) -> &str {
        self.postgres.url()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn of(postgres: TestDatabase, connections: u32) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self {
            postgres,
            folder,
            connections,
        }
    }

    pub(crate) fn connections(&self) -> u32 {
        self.connections
    }
}

impl Backend for Postgres {
    const WRITES_ONE_AT_A_TIME: bool = false;
    const EMPTY: &'static str = "truncate stripe_inbox, processed_stripe_events";

    async fn connect(home: &Home) -> PgPool {
        connect_to(home.url(), home.connections).await
    }

    async fn settings(pool: &PgPool) -> String {
        let settings = "select format('%s, fsync %s, synchronous_commit %s, full_page_writes %s',
            current_setting('server_version'), current_setting('fsync'),
            current_setting('synchronous_commit'), current_setting('full_page_writes'))";
        let settings = query_scalar(settings).fetch_one(pool).await;
        settings.expect("the server's settings")
    }

    statements!(created: "to_timestamp($2)");
}

/// A pool as sqlx makes it, which asks each connection whether it is alive before it is used.
pub(crate) async fn connect_untuned(home: &Home) -> PgPool {
    let options = PgPoolOptions::new()
        .max_connections(home.connections)
        .min_connections(home.connections);
    options.connect(home.url()).await.expect("a pool")
}

/// A pool as the docs advise it.
pub(crate) async fn connect_to(url: &str, connections: u32) -> PgPool {
    let options = PgPoolOptions::new()
        .max_connections(connections)
        .min_connections(connections)
        .test_before_acquire(false);
    options.connect(url).await.expect("a pool")
}

impl Backend for Sqlite {
    const WRITES_ONE_AT_A_TIME: bool = true;
    const EMPTY: &'static str = "delete from stripe_inbox; delete from processed_stripe_events";

    async fn connect(home: &Home) -> SqlitePool {
        let options = SqliteConnectOptions::new()
            .filename(home.folder.path().join("shop.sqlite"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        let limits = SqlitePoolOptions::new().max_connections(home.connections);
        limits.connect_with(options).await.expect("a pool")
    }

    async fn settings(pool: &SqlitePool) -> String {
        let version: String = query_scalar("select sqlite_version()")
            .fetch_one(pool)
            .await
            .expect("a version");
        let synchronous = Self::count(pool, "pragma synchronous").await;
        format!("{version}, WAL, synchronous {synchronous}")
    }

    statements!(created: "$2");
}

/// A pool of a database with its tables.
pub(crate) async fn open<DB: Backend>(home: &Home) -> Pool<DB> {
    let pool = DB::connect(home).await;
    migrate(&pool).await.expect("migrations run");
    DB::run(
        &pool,
        "create table if not exists shop_orders (id bigint primary key, paid bigint not null);
         insert into shop_orders
            with recursive numbers (n) as (select 0 union all select n + 1 from numbers where n < 1023)
            select n, 0 from numbers where not exists (select 1 from shop_orders)",
    )
    .await;
    empty(&pool).await;
    pool
}

/// Each measurement begins with empty tables.
pub(crate) async fn empty<DB: Backend>(pool: &Pool<DB>) {
    DB::run(pool, DB::EMPTY).await;
    DB::run(pool, "update shop_orders set paid = 0 where paid > 0").await;
}

/// How many events were run since.
pub(crate) async fn paid<DB: Backend>(pool: &Pool<DB>) -> i64 {
    DB::count(
        pool,
        "select cast(coalesce(sum(paid), 0) as bigint) from shop_orders",
    )
    .await
}
