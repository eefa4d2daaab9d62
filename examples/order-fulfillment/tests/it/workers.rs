//! Servers that store, and workers that are processes of their own, on one database.

use std::sync::Mutex;

use sqlx::{Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;
use test_postgres::TestDatabase;
use tokio::time::timeout;

use crate::{
    bench::{Rows, SECRET, now, sign},
    killed::{
        COUNT_RUNS_ON_POSTGRES, COUNT_RUNS_ON_SQLITE, ORDERS, Sender, TIME_MAX,
        nobody_is_connected, place_order, place_orders, wrong_orders,
    },
    program::Serving,
};

/// Each worker is killed once so many events more have been worked off.
const KILLED_AFTER: [i64; 6] = [1, 7, 13, 2, 29, 19];

/// What workers have taken, those included who have died.
const IN_HAND: &str = "stripe_inbox where in_attempt";

const LAST_YEAR: &str = "
    insert into processed_stripe_events (event_id, endpoint, event_type, processed_at)
    values ('evt_last_year', 'default', 'charge.refunded', 1000 * unixepoch('now', '-1 year'))";

/// Time passes: the leases of those who have died run out.
const LEASES_RUN_OUT: &str = "update stripe_inbox set due_at = received_at where in_attempt";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_stores_is_worked_off_though_workers_are_killed_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("shop.sqlite").display());
    let story = is_worked_off::<SqliteConnection>(&url, COUNT_RUNS_ON_SQLITE);
    timeout(TIME_MAX, story).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_stores_is_worked_off_though_workers_are_killed_on_postgres() {
    let database = TestDatabase::create().await;
    let url = database.url();
    let story = is_worked_off::<PgConnection>(url, COUNT_RUNS_ON_POSTGRES);
    timeout(TIME_MAX, story).await.unwrap();
    timeout(TIME_MAX, nobody_is_connected(url)).await.unwrap();
}

async fn is_worked_off<C: Connection + Rows>(url: &str, count_runs: &'static str) {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(&folder, url, "0");
    let events = place_orders(&server).await;
    let mut connection = C::connect(url).await.unwrap();
    connection.run(count_runs).await;
    for event in &events {
        assert_eq!(deliver(&server, event).await, (200, "stored\n".into()));
    }
    drop(server);
    assert_eq!(connection.count("stripe_inbox").await, ORDERS as i64);

    let mut broken_off = 0;
    for more in KILLED_AFTER {
        let processed = connection.count("processed_stripe_events").await;
        let mut worker = work(&folder, url);
        while connection.count("processed_stripe_events").await < processed + more {}
        // On SQLite, at the moment of a commit nothing else is in hand.
        while connection.count(IN_HAND).await == 0 {}
        worker.kill();
        broken_off += connection.count(IN_HAND).await;
        connection.run(LEASES_RUN_OUT).await;
    }
    assert!(broken_off > 0);
    let worker = work(&folder, url);
    while connection.count("stripe_inbox").await > 0 {}
    drop(worker);

    assert_eq!(wrong_orders(&mut connection).await, [""; 0]);
    for table in ["processed_stripe_events", "shipments", "stripe_effects"] {
        assert_eq!(connection.count(table).await, ORDERS as i64, "{table}");
    }
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_works_off_by_itself_what_it_stores() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("shop.sqlite").display());
    let server = serve(&folder, &url, "2");
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    connection.run(COUNT_RUNS_ON_SQLITE).await;
    let events = Mutex::new(place_orders(&server).await);
    let (answer, mut answered) = tokio::sync::mpsc::channel(ORDERS);
    Sender::to(&server).deliver_all(&events, &answer).await;
    drop(answer);
    while let Some((event, status)) = answered.recv().await {
        assert_eq!(status, 200, "{event}");
    }
    let done = async { while connection.count("stripe_inbox").await > 0 {} };
    timeout(TIME_MAX, done).await.unwrap();
    assert_eq!(wrong_orders(&mut connection).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_and_a_worker_sweep_what_is_too_old_to_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("shop.sqlite").display());
    drop(serve(&folder, &url, "0"));
    for starts in [|folder: &TempDir, url: &str| serve(folder, url, "0"), work] {
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        connection.run(LAST_YEAR).await;
        let _running = starts(&folder, &url);
        let swept = async { while connection.count("processed_stripe_events").await > 0 {} };
        timeout(TIME_MAX, swept).await.unwrap();
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn told_to_end_a_worker_finishes_what_it_has_in_hand() {
    let locked = Locked::new().await;
    let mut worker = work(&locked.folder, locked.database.url());
    let mut lock = locked.lock_once_stored().await;
    worker.terminate();
    worker.logged("shutting down");
    lock.run("rollback").await;
    assert_eq!(worker.ended(), Some(0));
    assert_eq!(lock.texts("select status from orders").await, ["paid"]);
    assert_eq!(lock.count("stripe_inbox").await, 0);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn told_to_end_a_second_time_a_worker_ends_at_once_and_another_one_pays() {
    let locked = Locked::new().await;
    let mut worker = work(&locked.folder, locked.database.url());
    let mut lock = locked.lock_once_stored().await;
    worker.terminate();
    worker.logged("shutting down");
    worker.terminate();
    assert_eq!(worker.ended(), Some(1));
    lock.run("rollback").await;
    assert_eq!(lock.texts("select status from orders").await, ["pending"]);

    lock.run(LEASES_RUN_OUT).await;
    let _worker = work(&locked.folder, locked.database.url());
    let done = async { while lock.count("stripe_inbox").await > 0 {} };
    timeout(TIME_MAX, done).await.unwrap();
    assert_eq!(lock.texts("select status from orders").await, ["paid"]);
    assert_eq!(lock.count("shipments").await, 1);
}

/// A server on Postgres, whose one order somebody else locks.
struct Locked {
    database: TestDatabase,
    folder: TempDir,
    server: Serving,
}

impl Locked {
    async fn new() -> Self {
        let database = TestDatabase::create().await;
        let folder = tempfile::tempdir().unwrap();
        let server = serve(&folder, database.url(), "0");
        Self {
            database,
            folder,
            server,
        }
    }

    /// The connection that has the lock, once a worker waits for it.
    async fn lock_once_stored(&self) -> PgConnection {
        let url = self.database.url();
        let event = place_order(&self.server).await;
        let mut lock = PgConnection::connect(url).await.unwrap();
        lock.run("begin").await;
        lock.run("select id from orders for update").await;
        assert_eq!(deliver(&self.server, &event).await.0, 200);
        let mut watch = PgConnection::connect(url).await.unwrap();
        let waiting = "pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'";
        let waits = async { while watch.count(waiting).await == 0 {} };
        timeout(TIME_MAX, waits).await.unwrap();
        lock
    }
}

/// A server that stores, and works off so many at once by itself.
fn serve(folder: &TempDir, url: &str, concurrency: &str) -> Serving {
    let variables = [
        ("STRIPE_WEBHOOK_SECRET", SECRET),
        ("DATABASE_URL", url),
        ("MODE", "inbox"),
        ("WORKER_CONCURRENCY", concurrency),
    ];
    Serving::start(folder, &variables)
}

/// It needs no secret.
fn work(folder: &TempDir, url: &str) -> Serving {
    Serving::start_worker(folder, &[("DATABASE_URL", url)])
}

async fn deliver(server: &Serving, event: &str) -> (u16, String) {
    let signature = sign(event, SECRET, now());
    let sent = Sender::to(server);
    let answered = sent.post(
        "/webhooks/stripe",
        "stripe-signature",
        &signature,
        event.to_owned(),
    );
    answered.await.unwrap()
}
