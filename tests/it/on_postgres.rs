//! What only Postgres can show.

use std::{sync::Arc, time::Duration};

use axum::{handler::Handler, http::StatusCode};
use axum_stripe_webhook::{Disposition, EventTx, ProcessOnceLayer};
use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, Executor, Postgres, postgres::PgPoolOptions, query, query_scalar};
use tokio::time::Instant;

use crate::{
    database::{TestBackend, open},
    endpoint::{Door, Endpoint, WAIT_MAX, behind, work},
    proxy::{Cut, Proxy},
    stripe,
};

type Tx = EventTx<Postgres>;

#[tokio::test]
async fn a_swallowed_database_error_is_not_answered_with_200() {
    let endpoint = Endpoint::<Postgres>::new(|mut tx: Tx| async move {
        Postgres::work(&mut tx, "evt_1").await.unwrap();
        let _swallowed = Postgres::run(&mut tx, "select 1 / 0").await;
    })
    .await;
    assert_eq!(
        endpoint.deliver("evt_1").await,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    assert_eq!(endpoint.rows().await, 0);
    let mended = endpoint
        .other_process(work::<Postgres>, |layer| layer)
        .await;
    assert_eq!(mended.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(mended.processed().await, (1, 1));
}

#[tokio::test]
async fn the_handlers_own_unique_violation_is_not_taken_for_a_duplicate() {
    // At its statement, swallowed; and at the COMMIT.
    for constraint in ["unique", "unique deferrable initially deferred"] {
        let endpoint = Endpoint::<Postgres>::new(|mut tx: Tx| async move {
            for _ in 0..2 {
                let _swallowed = Postgres::run(&mut tx, "insert into taken values (1)").await;
            }
        })
        .await;
        let table = AssertSqlSafe(format!("create table taken (n int {constraint})"));
        endpoint.pool.execute(table).await.unwrap();
        assert_eq!(
            endpoint.deliver("evt_1").await,
            StatusCode::INTERNAL_SERVER_ERROR
        );
        assert_eq!(endpoint.rows().await + endpoint.count("taken").await, 0);
    }
}

#[tokio::test]
async fn a_commit_that_a_deferred_constraint_refuses_is_500() {
    let endpoint = Endpoint::<Postgres>::new(|mut tx: Tx| async move {
        Postgres::run(&mut tx, "insert into child values (7)")
            .await
            .unwrap();
    })
    .await;
    let mut connection = endpoint.pool.acquire().await.unwrap();
    let tables = "create table parent (id int primary key);
        create table child (id int references parent deferrable initially deferred)";
    Postgres::run(&mut connection, tables).await.unwrap();
    assert_eq!(
        endpoint.deliver("evt_1").await,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    assert_eq!(endpoint.rows().await + endpoint.count("child").await, 0);
}

#[tokio::test]
async fn a_copy_in_another_process_waits_and_learns_that_it_is_a_duplicate() {
    let door = Door::closed();
    let first = Endpoint::<Postgres>::new(behind::<Postgres>(door.clone())).await;
    let other = first.other_process(work::<Postgres>, |layer| layer).await;
    let copy = async {
        door.wait_for_arrival().await;
        let copy = other.deliver("evt_1");
        let release = async {
            waits_for_a_lock(&other).await;
            door.open(1);
        };
        tokio::join!(copy, release).0
    };
    let (first_answer, copy) = tokio::join!(first.deliver("evt_1"), copy);
    assert_eq!((first_answer, copy), (StatusCode::OK, StatusCode::OK));
    assert_eq!(first.processed().await, (1, 1));
}

#[tokio::test]
async fn a_copy_in_another_process_takes_over_when_the_first_rolls_back() {
    let door = Door::closed();
    let passing = door.clone();
    let first = Endpoint::<Postgres>::new(move |_: Tx| {
        let door = passing.clone();
        async move {
            door.pass().await;
            StatusCode::BAD_GATEWAY
        }
    })
    .await;
    let other = first.other_process(work::<Postgres>, |layer| layer).await;
    let copy = async {
        door.wait_for_arrival().await;
        let release = async {
            waits_for_a_lock(&other).await;
            door.open(1);
        };
        tokio::join!(other.deliver("evt_1"), release).0
    };
    let (first_answer, copy) = tokio::join!(first.deliver("evt_1"), copy);
    assert_eq!(
        (first_answer, copy),
        (StatusCode::BAD_GATEWAY, StatusCode::OK)
    );
    assert_eq!(first.processed().await, (1, 1));
}

/// Between the rollback and the transaction that keeps the event, a copy that has waited can take it.
#[tokio::test]
async fn a_copy_that_waits_while_its_event_is_quarantined_takes_over() {
    let door = Door::closed();
    let passing = door.clone();
    let first = Endpoint::<Postgres>::new(move |_: Tx| {
        let door = passing.clone();
        async move {
            door.pass().await;
            Disposition::Quarantine { reason: "no_order" }
        }
    })
    .await;
    let other = first.other_process(work::<Postgres>, |layer| layer).await;
    let copy = async {
        door.wait_for_arrival().await;
        let release = async {
            waits_for_a_lock(&other).await;
            door.open(1);
        };
        tokio::join!(other.deliver("evt_1"), release).0
    };
    let (first_answer, copy) = tokio::join!(first.deliver("evt_1"), copy);
    assert_eq!((first_answer, copy), (StatusCode::OK, StatusCode::OK));
    assert_eq!(first.processed().await, (1, 1));
    assert_eq!(first.count("stripe_inbox").await, 0);
}

#[tokio::test]
async fn the_wait_for_a_copy_in_another_process_is_limited() {
    let door = Door::closed();
    let first = Endpoint::<Postgres>::new(behind::<Postgres>(door.clone())).await;
    let limit = Duration::from_millis(50);
    let other = first
        .other_process(work::<Postgres>, |layer| layer.claim_wait_max(limit))
        .await;
    let copy = async {
        door.wait_for_arrival().await;
        let copy = other.deliver("evt_1").await;
        door.open(1);
        copy
    };
    let (first_answer, copy) = tokio::join!(first.deliver("evt_1"), copy);
    assert_eq!((first_answer, copy), (StatusCode::OK, StatusCode::CONFLICT));
    assert_eq!(first.processed().await, (1, 1));
}

#[tokio::test]
async fn handlers_that_take_a_second_connection_do_not_deadlock_the_pool() {
    let (fresh, pool) = open::<Postgres>().await;
    let second = pool.clone();
    let handler = move |mut tx: Tx| {
        let pool = second.clone();
        async move {
            let id = tx.event().id().to_owned();
            pool.acquire().await.unwrap();
            Postgres::work(&mut tx, &id).await.unwrap();
        }
    };
    let endpoint = Endpoint::on(Arc::new(fresh), pool, handler, |layer| layer);
    let ids: Vec<_> = (0..40).map(|n| format!("evt_{n}")).collect();
    let answers = join_all(ids.iter().map(|id| endpoint.deliver(id))).await;
    assert_eq!(answers, vec![StatusCode::OK; 40]);
    assert_eq!(endpoint.processed().await, (40, 40));
}

/// The sessions' own time-outs in force, as the handler sees them.
async fn settings_in_handler(session: &'static str, limit: Duration) -> String {
    let (fresh, _) = open::<Postgres>().await;
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .after_connect(move |connection, _| {
            Box::pin(async move { connection.execute(session).await.map(|_| ()) })
        })
        .connect(&fresh.url)
        .await
        .unwrap();
    let handler = |mut tx: Tx| async move {
        let settings = "select concat_ws(' ', current_setting('lock_timeout'),
            current_setting('idle_in_transaction_session_timeout'),
            current_setting('statement_timeout'), current_setting('transaction_isolation'))";
        query_scalar::<_, String>(settings)
            .fetch_one(&mut *tx)
            .await
            .unwrap()
    };
    let endpoint = Endpoint::on(Arc::new(fresh), pool, handler, |layer| {
        layer.handler_time_max(limit)
    });
    endpoint
        .body(stripe::delivery(&stripe::event("evt_1")))
        .await
}

#[tokio::test]
async fn the_claims_lock_timeout_does_not_stay_on_for_the_handler() {
    let settings = settings_in_handler("select 1", Duration::from_secs(30)).await;
    assert_eq!(settings, "0 35s 35s read committed");
}

#[tokio::test]
async fn the_server_is_as_patient_as_the_handlers_limit_asks_for() {
    let settings = settings_in_handler("select 1", Duration::from_secs(2)).await;
    assert_eq!(settings, "0 4s 4s read committed");
}

#[tokio::test]
async fn shorter_timeouts_of_the_service_stay_and_longer_ones_are_cut() {
    let session = "set lock_timeout = '7s'; set statement_timeout = '3s';
        set idle_in_transaction_session_timeout = '1d';
        set default_transaction_isolation = 'serializable'";
    let settings = settings_in_handler(session, Duration::from_secs(30)).await;
    assert_eq!(settings, "7s 35s 3s read committed");
}

/// Delivers with a connection that is cut at COMMIT; the rows afterwards, and what a second delivery
/// is answered.
async fn cut_at_commit(cut: Cut) -> ((i64, i64), StatusCode) {
    let (fresh, direct) = open::<Postgres>().await;
    let proxy = Proxy::start(&fresh.url, "COMMIT", cut).await;
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .connect_with(proxy.options.clone());
    let pool = pool.await.unwrap();
    let endpoint = Endpoint::on(Arc::new(fresh), pool, work::<Postgres>, |layer| layer);
    assert_eq!(endpoint.deliver("evt_0").await, StatusCode::OK);
    proxy.arm();
    assert_eq!(
        endpoint.deliver("evt_1").await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    let there = Endpoint::on(endpoint.fresh, direct, work::<Postgres>, |layer| layer);
    let rows = there.processed().await;
    let again = there.deliver("evt_1").await;
    assert_eq!(there.processed().await, (2, 2));
    (rows, again)
}

#[tokio::test]
async fn a_rollback_that_fails_leaves_nothing_behind() {
    let handler = |mut tx: Tx| async move {
        Postgres::work(&mut tx, "evt_1").await.unwrap();
        StatusCode::IM_A_TEAPOT
    };
    let (proxy, endpoint) = behind_proxy(handler, "ROLLBACK", Cut::Before).await;
    proxy.arm();
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::IM_A_TEAPOT);
    let direct = Postgres::connect(&endpoint.fresh.url, 2).await;
    let there = Endpoint::on(endpoint.fresh, direct, work::<Postgres>, |layer| layer);
    assert_eq!(there.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(there.processed().await, (1, 1));
}

#[tokio::test]
async fn a_commit_that_never_arrives_is_not_answered_with_2xx_and_the_redelivery_succeeds() {
    assert_eq!(cut_at_commit(Cut::Before).await, ((1, 1), StatusCode::OK));
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_not_answered_with_2xx_and_the_redelivery_doubles_nothing()
{
    assert_eq!(cut_at_commit(Cut::After).await, ((2, 2), StatusCode::OK));
}

/// An endpoint behind a proxy, with one connection on which nothing is prepared yet.
async fn behind_proxy<T: 'static>(
    handler: impl Handler<T, ()>,
    statement: &'static str,
    cut: Cut,
) -> (Proxy, Endpoint<Postgres>) {
    let untested = |pool: PgPoolOptions| pool.test_before_acquire(false);
    behind_proxy_with(handler, statement, cut, untested).await
}

pub(crate) async fn behind_proxy_with<T: 'static>(
    handler: impl Handler<T, ()>,
    statement: &'static str,
    cut: Cut,
    settings: impl FnOnce(PgPoolOptions) -> PgPoolOptions,
) -> (Proxy, Endpoint<Postgres>) {
    let (fresh, _) = open::<Postgres>().await;
    let proxy = Proxy::start(&fresh.url, statement, cut).await;
    let options = settings(PgPoolOptions::new().max_connections(1));
    let pool = options.connect_with(proxy.options.clone()).await.unwrap();
    let endpoint = Endpoint::on(Arc::new(fresh), pool, handler, |layer| layer);
    (proxy, endpoint)
}

/// What a delivery is answered whose statement never is, and after how many seconds.
async fn stalled_at(statement: &'static str, handlers_answer: StatusCode) -> (StatusCode, u64) {
    let handler = move |_: Tx| async move { handlers_answer };
    let (proxy, endpoint) = behind_proxy(handler, statement, Cut::Stall).await;
    proxy.arm();
    let stalled = async {
        proxy.hit().await;
        // Time jumps to the next time-out, because nothing else can happen any more.
        tokio::time::pause();
        Instant::now()
    };
    let (answer, stalled_at) = tokio::join!(endpoint.deliver("evt_1"), stalled);
    (answer, stalled_at.elapsed().as_secs())
}

#[tokio::test]
async fn a_statement_that_is_never_answered_is_given_up_after_its_limit() {
    for (statement, handlers_answer, answer, limit) in [
        ("begin isolation", 200, 503, 10),
        ("insert into processed", 200, 503, 12),
        ("pg_current_xact_id_if", 200, 503, 10),
        ("COMMIT", 200, 503, 10),
        ("ROLLBACK", 418, 418, 10),
    ] {
        let code = |code| StatusCode::from_u16(code).unwrap();
        assert_eq!(
            stalled_at(statement, code(handlers_answer)).await,
            (code(answer), limit),
            "{statement}"
        );
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_begin_that_fails_half_way_hands_no_aborted_connection_back() {
    let (fresh, direct) = open::<Postgres>().await;
    let sabotage = "create schema sabotage;
        create table sabotage.armed ();
        create function sabotage.set_config(text, text, bool) returns text language plpgsql as $$
            begin
                if to_regclass('sabotage.armed') is not null then raise 'sabotage'; end if;
                return pg_catalog.set_config($1, $2, $3);
            end $$";
    direct.execute(sabotage).await.unwrap();
    let pool = PgPoolOptions::new().max_connections(1);
    let pool = pool.after_connect(|connection, _| {
        Box::pin(async move {
            let first = "set search_path = sabotage, pg_catalog, public";
            connection.execute(first).await.map(|_| ())
        })
    });
    let pool = pool.connect(&fresh.url).await.unwrap();
    let endpoint = Endpoint::on(Arc::new(fresh), pool, work::<Postgres>, |layer| layer);
    assert_eq!(
        endpoint.deliver("evt_1").await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    direct.execute("drop table sabotage.armed").await.unwrap();
    let insert = "insert into work (event_id) values ('evt_0')";
    endpoint.pool.execute(insert).await.unwrap();
    assert_eq!(Postgres::count(&direct, "work").await, 1);
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
}

/// BEGIN, claim, last statement and COMMIT; a duplicate: BEGIN, claim, whether a guard has stopped
/// it, ROLLBACK.
async fn takes_round_trips(settings: impl FnOnce(PgPoolOptions) -> PgPoolOptions, expected: usize) {
    let handler = work::<Postgres>;
    let (proxy, endpoint) = behind_proxy_with(handler, "", Cut::Stall, settings).await;
    for warm_up in ["evt_1", "evt_1"] {
        assert_eq!(endpoint.deliver(warm_up).await, StatusCode::OK);
    }
    for (event, handlers) in [("evt_2", 1), ("evt_2", 0)] {
        // The pool looks at a connection that is given back: a round trip that nobody waits for.
        let idle = async {
            while endpoint.pool.num_idle() == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(WAIT_MAX, idle).await.unwrap();
        proxy.round_trips();
        assert_eq!(endpoint.deliver(event).await, StatusCode::OK);
        assert_eq!(proxy.round_trips(), expected + handlers, "{event}");
    }
}

#[tokio::test]
async fn a_delivery_takes_four_round_trips_beside_the_handlers() {
    takes_round_trips(|pool| pool.test_before_acquire(false), 4).await;
}

#[tokio::test]
async fn a_pool_that_tests_its_connections_adds_one_round_trip() {
    takes_round_trips(|pool| pool, 5).await;
}

#[tokio::test]
async fn a_burst_of_copies_leaves_their_places_to_other_events() {
    let door = Door::closed();
    let endpoint = Endpoint::<Postgres>::new(behind::<Postgres>(door.clone())).await;
    let burst = async {
        door.wait_for_arrival().await;
        let copies = join_all((0..499).map(|_| endpoint.deliver("evt_1")));
        let others = ["evt_2", "evt_3", "evt_4"].map(|id| endpoint.deliver(id));
        // All three are in their transactions at once: a pool of five has four places.
        let opened = async {
            for _ in 0..3 {
                door.wait_for_arrival().await;
            }
            door.open(4);
        };
        tokio::join!(copies, join_all(others), opened)
    };
    let (first, (copies, others, ())) = tokio::join!(endpoint.deliver("evt_1"), burst);
    assert_eq!(first, StatusCode::OK);
    assert_eq!(copies, vec![StatusCode::CONFLICT; 499]);
    assert_eq!(others, [StatusCode::OK; 3]);
    assert_eq!(endpoint.processed().await, (4, 4));
}

#[tokio::test]
async fn a_burst_of_copies_in_three_processes_takes_one_place_in_each() {
    let door = Door::closed();
    let wait_max = Duration::from_secs(600);
    let patient = |layer: ProcessOnceLayer<Postgres>| layer.claim_wait_max(wait_max);
    let first = Endpoint::<Postgres>::with(behind::<Postgres>(door.clone()), patient).await;
    let handler = || behind::<Postgres>(door.clone());
    let processes = [
        first.other_process(handler(), patient).await,
        first.other_process(handler(), patient).await,
    ];
    let burst = async {
        door.wait_for_arrival().await;
        let copies = join_all((0..500).map(|copy| processes[copy % 2].deliver("evt_1")));
        let others = join_all((0..6).map(|other| {
            let (process, id) = (&processes[other % 2], format!("evt_{}", 2 + other));
            async move { process.deliver(&id).await }
        }));
        let opened = async {
            for _ in 0..6 {
                door.wait_for_arrival().await;
            }
            door.open(7);
        };
        tokio::join!(copies, others, opened)
    };
    let (answer, (copies, others, ())) = tokio::join!(first.deliver("evt_1"), burst);
    assert_eq!(answer, StatusCode::OK);
    assert_eq!(others, [StatusCode::OK; 6]);
    let duplicates = copies.iter().filter(|copy| **copy == StatusCode::OK);
    // One in each process waits for the first; the others are refused from memory meanwhile.
    assert_eq!(duplicates.count(), 2);
    assert_eq!(first.processed().await, (7, 7));
}

#[tokio::test]
async fn a_database_that_refuses_to_write_is_not_taken_for_a_duplicate() {
    let (fresh, _) = open::<Postgres>().await;
    let pool = PgPoolOptions::new().after_connect(|connection, _| {
        Box::pin(async move {
            let read_only = "set default_transaction_read_only = on";
            connection.execute(read_only).await.map(|_| ())
        })
    });
    let pool = pool.connect(&fresh.url).await.unwrap();
    let endpoint = Endpoint::on(Arc::new(fresh), pool, work::<Postgres>, |layer| layer);
    assert_eq!(
        endpoint.deliver("evt_1").await,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn a_row_that_a_trigger_keeps_from_being_written_is_not_taken_for_a_duplicate() {
    let endpoint = Endpoint::<Postgres>::new(work::<Postgres>).await;
    let trigger = "create function elsewhere() returns trigger language plpgsql as
            $$ begin return null; end $$;
        create trigger elsewhere before insert on processed_stripe_events
            for each row execute function elsewhere()";
    endpoint.pool.execute(trigger).await.unwrap();
    assert_eq!(
        endpoint.deliver("evt_1").await,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

/// With it off, Postgres answers a COMMIT that a crash can still lose.
#[tokio::test]
async fn a_commit_is_durable_although_synchronous_commit_is_off() {
    for (service, at_commit) in [("off", "local"), ("remote_write", "remote_write")] {
        let (fresh, _) = open::<Postgres>().await;
        let pool = PgPoolOptions::new().after_connect(move |connection, _| {
            Box::pin(async move {
                let off = format!("set synchronous_commit = {service}");
                connection.execute(AssertSqlSafe(off)).await.map(|_| ())
            })
        });
        let pool = pool.connect(&fresh.url).await.unwrap();
        let note = "create table noted (setting text);
            create function note() returns trigger language plpgsql as $$ begin
                insert into noted values (current_setting('synchronous_commit')); return null;
            end $$;
            create constraint trigger note after insert on work
                deferrable initially deferred for each row execute function note()";
        pool.execute(note).await.unwrap();
        let endpoint = Endpoint::on(Arc::new(fresh), pool, work::<Postgres>, |layer| layer);
        assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
        let noted = Postgres::texts(&endpoint.pool, "select setting from noted").await;
        assert_eq!(noted, [at_commit]);
    }
}

/// The server executes on; were its place free at once, there would be more and more sessions.
#[tokio::test]
async fn a_statement_that_was_given_up_keeps_its_place_until_the_server_is_done() {
    let handler = |mut tx: Tx| async move {
        let sleep = query("select pg_sleep(30)").execute(&mut *tx);
        let slow = tokio::time::timeout(Duration::from_millis(20), sleep).await;
        slow.expect("as it is meant to").unwrap();
    };
    let endpoint = Endpoint::<Postgres>::with(handler, |layer| {
        layer.acquire_time_max(Duration::from_millis(50))
    })
    .await;
    let direct = Postgres::connect(&endpoint.fresh.url, 1).await;
    for round in 0..5 {
        let ids: Vec<_> = (0..4).map(|n| format!("evt_{round}_{n}")).collect();
        join_all(ids.iter().map(|id| endpoint.deliver(id))).await;
        let sessions = "select count(*) from pg_stat_activity
            where datname = current_database() and pid <> pg_backend_pid()";
        let sessions: i64 = query_scalar(sessions).fetch_one(&direct).await.unwrap();
        assert!(sessions <= 5, "{sessions} sessions");
    }
    let cancel = "select pg_cancel_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()";
    direct.execute(cancel).await.unwrap();
    let pool = endpoint.pool.clone();
    let there = Endpoint::on(endpoint.fresh, pool, work::<Postgres>, |layer| layer);
    assert_eq!(there.deliver("evt_1").await, StatusCode::OK);
}

#[tokio::test]
async fn a_duplicate_hands_its_connection_back() {
    let (fresh, _) = open::<Postgres>().await;
    let pool = Postgres::connect(&fresh.url, 1).await;
    let session = async || -> i32 {
        query_scalar("select pg_backend_pid()")
            .fetch_one(&pool)
            .await
            .unwrap()
    };
    let before = session().await;
    let endpoint = Endpoint::on(Arc::new(fresh), pool.clone(), work::<Postgres>, |layer| {
        layer
    });
    for _ in 0..3 {
        assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    }
    assert_eq!(session().await, before);
}

#[tokio::test]
async fn rows_that_somebody_else_inserts_can_be_committed() {
    let (_fresh, pool) = open::<Postgres>().await;
    query("insert into processed_stripe_events (event_id, endpoint, event_type) values ('a', 'b', 'c')")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(Postgres::count(&pool, "processed_stripe_events").await, 1);
}

#[tokio::test]
async fn no_transaction_is_left_open_behind_clients_that_disconnect() {
    let door = Door::closed();
    let endpoint = Endpoint::<Postgres>::new(behind::<Postgres>(door.clone())).await;
    for n in 0..10 {
        let id = format!("evt_{n}");
        tokio::select! {
            answer = endpoint.deliver(&id) => panic!("answered {answer} behind a closed door"),
            () = door.wait_for_arrival() => {}
        }
        door.open(1);
    }
    endpoint.layer.drain().await;
    assert_eq!(endpoint.processed().await, (10, 10));
    let open = "select count(*) from pg_stat_activity
        where datname = current_database() and state like 'idle in transaction%'";
    let open: i64 = query_scalar(open).fetch_one(&endpoint.pool).await.unwrap();
    assert_eq!(open, 0);
}

/// Returns once some session of the test's database waits for a lock.
pub(crate) async fn waits_for_a_lock(endpoint: &Endpoint<Postgres>) {
    let waiting = "select exists (select from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock')";
    let waits = async {
        while !query_scalar::<_, bool>(waiting)
            .fetch_one(&endpoint.pool)
            .await
            .unwrap()
        {}
    };
    let waits = tokio::time::timeout(WAIT_MAX, waits).await;
    waits.expect("somebody waits for a lock");
}
