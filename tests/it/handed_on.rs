//! Under load a transaction begins with the end of the one before, on the same connection.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{handler::Handler, http::StatusCode};
use axum_stripe_webhook::EventTx;
use futures_util::{future::join_all, poll};
use sqlx::{Postgres, postgres::PgPoolOptions, query_scalar};

use crate::{
    database::{TestBackend, open},
    endpoint::{Door, Endpoint, WAIT_MAX, behind, work},
    on_postgres::behind_proxy_with,
    proxy::Cut,
    stored::{Stored, service},
};

type Tx = EventTx<Postgres>;

/// An endpoint with one place, and how often a connection went back to its pool.
struct Crowded {
    endpoint: Endpoint<Postgres>,
    released: Arc<AtomicUsize>,
}

impl Crowded {
    async fn new<T: 'static>(handler: impl Handler<T, ()>) -> Self {
        let (fresh, _) = open::<Postgres>().await;
        let released = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&released);
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .after_release(move |_, _| {
                count.fetch_add(1, Ordering::SeqCst);
                Box::pin(async { Ok(true) })
            });
        let pool = pool.connect(&fresh.url).await.unwrap();
        let endpoint = Endpoint::on(Arc::new(fresh), pool, handler, |layer| {
            layer.acquire_time_max(WAIT_MAX)
        });
        Self { endpoint, released }
    }

    /// Delivers all of them: the first stands at the door until the others wait for its place.
    async fn deliver(&self, ids: impl Iterator<Item = String>, door: &Door) -> Vec<StatusCode> {
        let ids: Vec<_> = ids.collect();
        let all = join_all(ids.iter().map(|id| self.endpoint.deliver(id)));
        let opened = async {
            door.wait_for_arrival().await;
            door.open(ids.len());
        };
        tokio::join!(all, opened).0
    }

    /// The pool looks at a connection that is given back: a round trip that nobody waits for.
    async fn all_are_idle(&self) {
        let pool = &self.endpoint.pool;
        let idle = async {
            while pool.num_idle() < pool.size() as usize {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(WAIT_MAX, idle).await.unwrap();
    }

    fn released(&self) -> usize {
        self.released.swap(0, Ordering::SeqCst)
    }

    async fn open_transactions(&self) -> i64 {
        open_transactions(&self.endpoint.fresh.url).await
    }
}

/// Of other sessions of the database.
async fn open_transactions(url: &str) -> i64 {
    let direct = Postgres::connect(url, 1).await;
    let open = "select count(*) from pg_stat_activity
        where datname = current_database() and state like 'idle in transaction%'";
    query_scalar(open).fetch_one(&direct).await.unwrap()
}

fn ids(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("evt_{n}"))
}

#[tokio::test]
async fn deliveries_that_wait_are_handed_a_connection_past_the_pool() {
    let door = Door::closed();
    let crowded = Crowded::new(behind::<Postgres>(door.clone())).await;
    let answers = crowded.deliver(ids(10), &door).await;
    assert_eq!(answers, [StatusCode::OK; 10]);
    assert_eq!(crowded.endpoint.processed().await, (10, 10));
    crowded.endpoint.layer.drain().await;
    assert_eq!(crowded.open_transactions().await, 0);
    assert!(crowded.released() <= 3, "two of them are the counts above");
}

#[tokio::test]
async fn a_connection_goes_through_the_pool_from_time_to_time() {
    let door = Door::closed();
    let crowded = Crowded::new(behind::<Postgres>(door.clone())).await;
    let answers = crowded.deliver(ids(50), &door).await;
    assert_eq!(answers, [StatusCode::OK; 50]);
    crowded.endpoint.layer.drain().await;
    assert!((4..=25).contains(&crowded.released()));
}

/// Of a transaction that is over, nothing is met by the next: no setting, no mode, no row.
#[tokio::test]
async fn what_is_handed_on_is_a_transaction_like_any_other() {
    let door = Door::closed();
    let passing = door.clone();
    let crowded = Crowded::new(move |mut tx: Tx| {
        let door = passing.clone();
        async move {
            door.pass().await;
            let id = tx.event().id().to_owned();
            Postgres::work(&mut tx, &id).await.unwrap();
            let met: String = query_scalar(
                "select concat_ws(' ', current_setting('transaction_read_only'),
                    current_setting('transaction_isolation'), current_setting('work_mem'),
                    current_setting('lock_timeout'), current_setting('search_path'))",
            )
            .fetch_one(&mut *tx)
            .await
            .unwrap();
            let leaves = "set local work_mem = '1MB'; set local lock_timeout = '1s';
                set local search_path = pg_catalog; set transaction read only";
            Postgres::run(&mut tx, leaves).await.unwrap();
            assert_eq!(met, r#"off read committed 4MB 0 "$user", public"#);
        }
    })
    .await;
    let answers = crowded.deliver(ids(5), &door).await;
    assert_eq!(answers, [StatusCode::OK; 5]);
    crowded.all_are_idle().await;
    assert_eq!(crowded.released(), 1);
    assert_eq!(crowded.endpoint.processed().await, (5, 5));
}

#[tokio::test]
async fn a_handler_that_ends_its_transaction_is_500_and_hands_nothing_on() {
    for ends in ["rollback", "rollback; begin", "select 1 / 0"] {
        let door = Door::closed();
        let passing = door.clone();
        let crowded = Crowded::new(move |mut tx: Tx| {
            let door = passing.clone();
            async move {
                door.pass().await;
                let id = tx.event().id().to_owned();
                if id == "evt_0" {
                    let _swallowed = Postgres::run(&mut tx, ends).await;
                } else {
                    Postgres::work(&mut tx, &id).await.unwrap();
                }
            }
        })
        .await;
        let answers = crowded.deliver(ids(4), &door).await;
        let (ok, failed) = (StatusCode::OK, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answers, [failed, ok, ok, ok], "{ends}");
        assert_eq!(crowded.endpoint.processed().await, (3, 3), "{ends}");
    }
}

/// The claim, the last statement, and the COMMIT that begins the next; a duplicate: the claim, whether it is
/// held, and the ROLLBACK.
#[tokio::test]
async fn what_is_handed_on_takes_three_round_trips_beside_the_handlers() {
    let door = Door::closed();
    let settings = |pool: PgPoolOptions| pool.max_connections(2).test_before_acquire(false);
    let handler = behind::<Postgres>(door.clone());
    let (proxy, endpoint) = behind_proxy_with(handler, "", Cut::Stall, settings).await;
    let crowded = Crowded {
        endpoint,
        released: Arc::default(),
    };
    let first = |n: usize| std::iter::once(format!("evt_first_{n}"));
    // Nothing is prepared before the first of them.
    assert_eq!(crowded.deliver(first(0), &door).await, [StatusCode::OK]);
    crowded.all_are_idle().await;
    let again = crowded.endpoint.deliver("evt_first_0").await;
    assert_eq!(again, StatusCode::OK);
    crowded.all_are_idle().await;
    for (round, handlers) in [(1, 1), (2, 0)] {
        proxy.round_trips();
        crowded.deliver(first(round).chain(ids(8)), &door).await;
        crowded.all_are_idle().await;
        // The first has a BEGIN, and a handler; when all is done, the pool asks the connection how it is.
        let expected = 5 + 8 * (3 + handlers) + 1;
        assert_eq!(proxy.round_trips(), expected, "in round {round}");
    }
}

#[tokio::test]
async fn duplicates_hand_their_connection_on() {
    let door = Door::closed();
    let crowded = Crowded::new(behind::<Postgres>(door.clone())).await;
    crowded.deliver(ids(9), &door).await;
    crowded.all_are_idle().await;
    crowded.released();
    let first = std::iter::once("evt_first".to_owned());
    let answers = crowded.deliver(first.chain(ids(9)), &door).await;
    assert_eq!(answers, [StatusCode::OK; 10]);
    assert_eq!(crowded.endpoint.processed().await, (10, 10));
    crowded.endpoint.layer.drain().await;
    crowded.all_are_idle().await;
    assert!(crowded.released() <= 4, "one of them is the count above");
    assert_eq!(crowded.open_transactions().await, 0);
}

#[tokio::test]
async fn whoever_waits_for_the_pool_is_served_before_deliveries_that_wait() {
    let door = Door::closed();
    let crowded = Crowded::new(behind::<Postgres>(door.clone())).await;
    let endpoint = &crowded.endpoint;
    let outside = endpoint.pool.acquire().await.unwrap();
    let deliveries = async { tokio::join!(endpoint.deliver("evt_1"), endpoint.deliver("evt_2")) };
    let waiting = async {
        door.wait_for_arrival().await;
        let mut next = std::pin::pin!(endpoint.pool.acquire());
        assert!(poll!(next.as_mut()).is_pending());
        door.open(1);
        let served = next.await.unwrap();
        door.open(1);
        drop((served, outside));
    };
    let (answers, ()) = tokio::join!(deliveries, waiting);
    assert_eq!(answers, (StatusCode::OK, StatusCode::OK));
    assert_eq!(endpoint.processed().await, (2, 2));
}

/// The look into the ledger before the step wants a place, and all of them could be handed over.
#[tokio::test]
async fn a_worker_that_prepares_takes_all_places_of_its_pool_and_goes_on() {
    let (fresh, _) = open::<Postgres>().await;
    let pool = Postgres::connect(&fresh.url, 3).await;
    let stored = Stored::<Postgres>::on(Arc::new(fresh), pool, |inbox| inbox);
    for id in ids(20) {
        assert_eq!(stored.deliver(&id).await, StatusCode::OK);
    }
    let worker = stored.worker(service(work::<Postgres>)).concurrency(8);
    let worker = worker.prepare(async |_| Ok::<_, StatusCode>(())).start();
    stored
        .until(async || stored.processed().await == (20, 20))
        .await;
    worker.stop().await;
    assert_eq!(stored.count("stripe_inbox").await, 0);
}

/// Two endpoints of one service share its places; here there is one.
#[tokio::test]
async fn a_workers_backlog_lets_whoever_waits_for_its_place_go_first() {
    let (fresh, _) = open::<Postgres>().await;
    let pool = Postgres::connect(&fresh.url, 2).await;
    let direct = Postgres::connect(&fresh.url, 1).await;
    let busy = Stored::<Postgres>::on(Arc::new(fresh), pool, |inbox| inbox);
    let other = busy.clones(|inbox| inbox.endpoint("other"));
    for id in ids(5) {
        assert_eq!(busy.deliver(&id).await, StatusCode::OK);
    }
    let (door, order) = (Door::closed(), Arc::new(Mutex::new(Vec::new())));
    let handler = {
        let (door, order) = (door.clone(), Arc::clone(&order));
        move |tx: Tx| {
            let (door, order) = (door.clone(), Arc::clone(&order));
            async move {
                order.lock().unwrap().push(tx.event().id().to_owned());
                door.pass().await;
                work(tx).await
            }
        }
    };
    let busy_worker = busy.beside(service(handler.clone())).start();
    door.wait_for_arrival().await;
    assert_eq!(other.deliver("evt_other").await, StatusCode::OK);
    let other_worker = other.beside(service(handler)).start();
    let leased = "stripe_inbox where in_attempt and endpoint = 'other'";
    busy.until(async || Postgres::count(&direct, leased).await == 1)
        .await;
    door.open(6);
    busy.until(async || Postgres::count(&direct, "work").await == 6)
        .await;
    busy_worker.stop().await;
    other_worker.stop().await;
    assert_eq!(order.lock().unwrap()[1], "evt_other");
}

#[tokio::test]
async fn a_worker_with_nothing_to_do_leaves_no_transaction_open() {
    let stored = Stored::<Postgres>::new().await;
    for id in ids(30) {
        assert_eq!(stored.deliver(&id).await, StatusCode::OK);
    }
    let worker = stored.worker(service(work::<Postgres>)).concurrency(3);
    let worker = worker.start();
    stored
        .until(async || stored.processed().await == (30, 30))
        .await;
    let url = stored.fresh.url.clone();
    stored
        .until(async || open_transactions(&url).await == 0)
        .await;
    worker.stop().await;
}
