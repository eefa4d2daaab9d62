//! What only Postgres can show of an inbox.

use std::sync::Arc;

use axum::http::StatusCode;
use axum_stripe_webhook::{
    EventTx, InboxOperations, InboxWorker, ProcessOnceLayer,
    inbox::{EntryFilter, Retention},
};
use futures_util::future::join_all;
use sqlx::{Executor, PgPool, Postgres, postgres::PgPoolOptions, query, query_scalar};

use crate::{
    database::{TestBackend, open},
    endpoint::{Door, Endpoint, work},
    proxy::{Cut, Proxy},
    stored::{Stored, service, stops_at},
};

/// Holds what is stored up until it is dropped, so that what arrives meanwhile is one group.
async fn hold_up(pool: &PgPool) -> sqlx::Transaction<'static, Postgres> {
    let mut transaction = pool.begin().await.unwrap();
    let lock = "lock table stripe_inbox in share row exclusive mode";
    transaction.execute(lock).await.unwrap();
    transaction
}

/// Until so many sessions wait for a lock.
async fn until_waiting(stored: &Stored<Postgres>, sessions: i64) {
    let waiting =
        "pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
    stored
        .until(async || stored.count(waiting).await >= sessions)
        .await;
}

#[tokio::test]
async fn what_arrives_together_shares_a_statement() {
    let stored = Stored::<Postgres>::new().await;
    let held = hold_up(&stored.pool).await;
    let first = tokio::spawn(deliver(&stored, "evt_0"));
    until_waiting(&stored, 1).await;
    let rest: Vec<_> = (1..=60)
        .map(|number| deliver(&stored, &format!("evt_{number}")))
        .collect();
    let mut rest = std::pin::pin!(join_all(rest));
    // All of them have joined those that wait.
    assert!(futures_util::poll!(rest.as_mut()).is_pending());
    held.rollback().await.unwrap();
    assert_eq!(first.await.unwrap(), StatusCode::OK);
    assert!(rest.await.iter().all(|answer| *answer == StatusCode::OK));
    let transactions = "select count(distinct xmin::text)::text from stripe_inbox";
    assert_eq!(Postgres::texts(&stored.pool, transactions).await, ["2"]);
    assert_eq!(stored.count("stripe_inbox").await, 61);
}

fn deliver(
    stored: &Stored<Postgres>,
    id: &str,
) -> impl Future<Output = StatusCode> + Send + 'static + use<> {
    let (app, id) = (stored.app.clone(), id.to_owned());
    async move {
        let delivery = crate::stripe::delivery(&crate::stripe::event(&id));
        tower::ServiceExt::oneshot(app, delivery)
            .await
            .unwrap()
            .status()
    }
}

#[tokio::test]
async fn an_event_that_the_database_refuses_does_not_take_its_group_along() {
    let stored = Stored::<Postgres>::new().await;
    // No text holds a NUL.
    let (good, bad) = (&stored, stored.clones(|inbox| inbox.endpoint("a\0b")));
    let held = hold_up(&stored.pool).await;
    let first = tokio::spawn(deliver(good, "evt_0"));
    until_waiting(&stored, 1).await;
    let group = [
        deliver(good, "evt_1"),
        deliver(&bad, "evt_2"),
        deliver(good, "evt_3"),
        deliver(good, "evt_3"),
    ];
    let mut group = std::pin::pin!(join_all(group));
    assert!(futures_util::poll!(group.as_mut()).is_pending());
    held.rollback().await.unwrap();
    assert_eq!(first.await.unwrap(), StatusCode::OK);
    let (ok, refused) = (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(group.await, [ok, refused, ok, ok]);
    let states = stored.states().await;
    assert_eq!(states, ["evt_0 pending", "evt_1 pending", "evt_3 pending"]);
}

#[tokio::test]
async fn processes_that_store_the_same_events_do_not_wait_for_each_other_crosswise() {
    let stored = Stored::<Postgres>::new().await;
    let other = stored.other_process().await;
    let ids: Vec<_> = (0..100).map(|number| format!("evt_{number}")).collect();
    let there = ids.iter().map(|id| deliver(&stored, id));
    let back = ids.iter().rev().map(|id| deliver(&other, id));
    for answer in join_all(there.chain(back).map(tokio::spawn)).await {
        assert_eq!(answer.unwrap(), StatusCode::OK);
    }
    assert_eq!(stored.count("stripe_inbox").await, 100);
    let deadlocks =
        "select deadlocks::text from pg_stat_database where datname = current_database()";
    assert_eq!(Postgres::texts(&stored.pool, deadlocks).await, ["0"]);
}

#[tokio::test]
async fn what_is_stored_is_durable_although_synchronous_commit_is_off() {
    let (fresh, _) = open::<Postgres>().await;
    let pool = PgPoolOptions::new().after_connect(|connection, _| {
        Box::pin(async move {
            connection
                .execute("set synchronous_commit = off")
                .await
                .map(|_| ())
        })
    });
    let pool = pool.connect(&fresh.url).await.unwrap();
    let note = "create table noted (setting text);
        create function note() returns trigger language plpgsql as $$ begin
            insert into noted values (current_setting('synchronous_commit')); return null;
        end $$;
        create constraint trigger note after insert on stripe_inbox
            deferrable initially deferred for each row execute function note()";
    pool.execute(note).await.unwrap();
    let stored = Stored::<Postgres>::on(Arc::new(fresh), pool, |inbox| inbox);
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    let noted = Postgres::texts(&stored.pool, "select setting from noted").await;
    assert_eq!(noted, ["local"]);
}

#[tokio::test]
async fn an_entry_that_a_trigger_keeps_from_being_written_is_not_acknowledged() {
    let stored = Stored::<Postgres>::new().await;
    let trigger = "create function suppress() returns trigger language plpgsql as $$ begin
            return null; end $$;
        create trigger suppress before insert on stripe_inbox
            for each row execute function suppress()";
    stored.run(trigger).await;
    let answer = stored.deliver("evt_1").await;
    assert_eq!(answer, StatusCode::SERVICE_UNAVAILABLE);
}

/// How many statements are prepared after everything that the crate does on a connection.
/// Or the entries that it has just taken would be nobody's for as long as it is stopped.
#[tokio::test]
async fn what_a_stalled_worker_holds_between_two_statements_is_freed_by_the_server() {
    let stored = Stored::<Postgres>::new().await;
    let watch = "create table seen (setting text);
        create function see() returns trigger language plpgsql as $$ begin
            insert into seen values (current_setting('idle_in_transaction_session_timeout'));
            return new;
        end $$;
        create trigger see before update on stripe_inbox for each row execute function see()";
    stored.pool.execute(sqlx::raw_sql(watch)).await.unwrap();
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    stored.work_off(service(async || StatusCode::GONE)).await;
    // When it was leased, and when its end was written.
    let seen = "select setting from seen";
    assert_eq!(Postgres::texts(&stored.pool, seen).await, ["10s", "10s"]);
}

async fn statements_prepared(persistent: bool) -> i64 {
    let (fresh, pool) = open::<Postgres>().await;
    pool.close().await;
    // One to serve, one to run beside it.
    let pool = PgPoolOptions::new().min_connections(2).max_connections(2);
    let pool = pool.connect(&fresh.url).await.unwrap();
    let handler = async |mut tx: EventTx<Postgres>| {
        tx.object_order("cs_1").await.unwrap();
        tx.claim_effect("once").await.unwrap();
        let write = query("insert into work values ('1')").persistent(false);
        write.execute(&mut *tx).await.unwrap();
    };
    let layer = move |layer: ProcessOnceLayer<Postgres>| layer.persistent_statements(persistent);
    let inline = Endpoint::<Postgres>::on(Arc::new(fresh), pool.clone(), handler, layer);
    for _ in 0..2 {
        assert_eq!(inline.deliver("evt_1").await, StatusCode::OK);
    }
    let stored = Stored::<Postgres>::on(inline.fresh.clone(), pool.clone(), |inbox| {
        inbox.persistent_statements(persistent)
    });
    for id in ["evt_1", "evt_2"] {
        assert_eq!(stored.deliver(id).await, StatusCode::OK);
    }
    let worker = InboxWorker::new(pool.clone(), service(handler));
    let worker = worker.persistent_statements(persistent).start();
    let operations = InboxOperations::new(pool.clone()).persistent_statements(persistent);
    stored
        .until(async || operations.counts().await.unwrap().pending == 0)
        .await;
    worker.stop().await;
    let listed = operations.list(&EntryFilter::new(), None).await.unwrap();
    assert!(listed.entries.is_empty());
    let retention = Retention::new(pool.clone()).persistent_statements(persistent);
    retention.sweep().await.unwrap();
    let mut prepared = 0;
    let (first, second) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    for mut connection in [first, second] {
        let count: i64 = query_scalar("select count(*) from pg_prepared_statements")
            .persistent(false)
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        prepared += count;
    }
    prepared
}

/// As PgBouncer in transaction mode wants it, which has another server connection each time.
#[tokio::test]
async fn nothing_is_prepared_where_statements_are_not_persistent() {
    assert_eq!(statements_prepared(false).await, 0);
    assert!(statements_prepared(true).await > 5);
}

/// Settings of the crate's own that must not stay on for the handler.
#[tokio::test]
async fn a_workers_handler_runs_under_the_services_own_settings() {
    let (fresh, _) = open::<Postgres>().await;
    let pool = PgPoolOptions::new().after_connect(|connection, _| {
        let own = "set lock_timeout = '7s'; set plan_cache_mode = 'force_generic_plan'";
        Box::pin(async move { connection.execute(own).await.map(|_| ()) })
    });
    let pool = pool.connect(&fresh.url).await.unwrap();
    let stored = Stored::<Postgres>::on(Arc::new(fresh), pool, |inbox| inbox);
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    let handler = async |mut tx: EventTx<Postgres>| {
        let note = "insert into work select concat_ws(' ', current_setting('lock_timeout'),
            current_setting('plan_cache_mode'), current_setting('transaction_isolation'),
            'seqscan', current_setting('enable_seqscan'))";
        query(note).execute(&mut *tx).await.unwrap();
    };
    stored.work_off(service(handler)).await;
    let noted = Postgres::texts(&stored.pool, "select event_id from work").await;
    assert_eq!(noted, ["7s force_generic_plan read committed seqscan on"]);
}

/// A plan that was cached while the inbox was empty would read all of it for each event.
#[tokio::test]
async fn a_backlog_that_grew_at_once_is_not_read_from_end_to_end_for_each_event() {
    let stored = Stored::<Postgres>::new().await;
    stored
        .run("alter table stripe_inbox set (autovacuum_enabled = off); analyze stripe_inbox")
        .await;
    let pool = PgPoolOptions::new().max_connections(2);
    let pool = pool.connect(&stored.fresh.url).await.unwrap();
    let worker = InboxWorker::new(pool.clone(), service(work::<Postgres>));
    let worker = worker
        .poll_interval(std::time::Duration::from_millis(5))
        .start();
    for warm_up in 0..12 {
        assert_eq!(
            stored.deliver(&format!("evt_{warm_up}")).await,
            StatusCode::OK
        );
        stored.until_empty().await;
    }
    let backlog = "insert into stripe_inbox (event_id, endpoint, event_type, payload, due_at)
        select 'evt_later_' || n, 'default', 'a', 'x', now() + interval '1 hour'
        from generate_series(1, 20000) as n";
    stored.run(backlog).await;
    for more in 0..12 {
        assert_eq!(
            stored.deliver(&format!("evt_more_{more}")).await,
            StatusCode::OK
        );
    }
    stored
        .until(async || stored.count("work").await == 24)
        .await;
    worker.stop().await;
    // Whoever has read tells so at its end.
    pool.close().await;
    let scanned = "select coalesce(seq_tup_read, 0)::text from pg_stat_user_tables
        where relname = 'stripe_inbox'";
    let scanned = Postgres::texts(&stored.pool, scanned).await;
    assert!(scanned[0].parse::<u64>().unwrap() < 20_000, "{scanned:?}");
}

/// Sorted anew for each lease, a backlog would take longer the longer it is.
#[tokio::test]
async fn a_lease_reads_no_more_of_a_due_backlog_than_it_takes() {
    const BACKLOG: u64 = 20_000;
    let stored = Stored::<Postgres>::new().await;
    stored
        .run("alter table stripe_inbox set (autovacuum_enabled = off)")
        .await;
    let backlog = "insert into stripe_inbox (event_id, endpoint, event_type, payload)
        select 'evt_' || n, 'default', 'charge.captured', convert_to(
            '{\"object\": \"event\", \"type\": \"charge.captured\", \"id\": \"evt_' || n || '\"}', 'utf8')
        from generate_series(1, 20000) as n";
    stored.run(backlog).await;
    let pool = PgPoolOptions::new().max_connections(4);
    let pool = pool.connect(&stored.fresh.url).await.unwrap();
    let worker = InboxWorker::new(pool.clone(), service(work::<Postgres>)).start();
    stored
        .until(async || stored.count("work").await >= 20)
        .await;
    worker.stop().await;
    let processed = u64::try_from(stored.count("work").await).unwrap();
    // Whoever has read tells so at its end.
    pool.close().await;
    let read = "select (idx_tup_read)::text from pg_stat_user_indexes
        where indexrelname = 'stripe_inbox_due_at_idx'";
    let read = Postgres::texts(&stored.pool, read).await;
    let read = read[0].parse::<u64>().unwrap();
    assert!(read < BACKLOG + 100 * processed, "{read} for {processed}");
}

#[tokio::test]
async fn events_that_take_long_do_not_hold_the_others_up() {
    let (stored, door) = (Stored::<Postgres>::new().await, Door::closed());
    for id in ["evt_slow_1", "evt_slow_2", "evt_slow_3"] {
        assert_eq!(stored.deliver(id).await, StatusCode::OK);
    }
    for number in 0..10 {
        let id = format!("evt_{number}");
        assert_eq!(stored.deliver(&id).await, StatusCode::OK);
    }
    let handler = {
        let door = door.clone();
        move |tx: EventTx<Postgres>| {
            let door = door.clone();
            async move {
                if tx.event().id().starts_with("evt_slow") {
                    door.pass().await;
                }
                work(tx).await
            }
        }
    };
    // Of four slots three are taken, and the fourth does all the rest.
    let worker = stored.worker(service(handler)).concurrency(4);
    let worker = worker
        .poll_interval(std::time::Duration::from_secs(3600))
        .start();
    stored
        .until(async || stored.count("work").await == 10)
        .await;
    door.open(3);
    stored.until_empty().await;
    worker.stop().await;
    assert_eq!(stored.processed().await, (13, 13));
}

/// Whoever stores ends when nobody waits, and somebody else may begin in that instant.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_is_refused_when_the_last_group_has_just_ended() {
    let stored = Stored::<Postgres>::new().await;
    let clients = (0..4).map(|client| {
        let deliveries: Vec<_> = (0..300)
            .map(|number| deliver(&stored, &format!("evt_{client}_{number}")))
            .collect();
        tokio::spawn(async move {
            for delivery in deliveries {
                assert_eq!(delivery.await, StatusCode::OK);
            }
        })
    });
    for client in join_all(clients).await {
        client.unwrap();
    }
    assert_eq!(stored.count("stripe_inbox").await, 1200);
}

/// An inbox behind a proxy that counts, with one connection.
async fn counted(persistent: bool) -> (Proxy, Stored<Postgres>) {
    let (fresh, _) = open::<Postgres>().await;
    let proxy = Proxy::start(&fresh.url, "", Cut::Stall).await;
    let pool = PgPoolOptions::new().max_connections(1);
    let pool = pool.test_before_acquire(false);
    let pool = pool.connect_with(proxy.options.clone()).await.unwrap();
    let stored = Stored::on(Arc::new(fresh), pool, |inbox| {
        inbox.persistent_statements(persistent)
    });
    (proxy, stored)
}

/// The pool looks at a connection that is given back: a round trip that nobody waits for.
async fn until_idle(stored: &Stored<Postgres>) {
    stored.until(async || stored.pool.num_idle() == 1).await;
}

/// Prepared and executed in two messages, a statement is met by PgBouncer only in a transaction.
#[tokio::test]
async fn what_is_stored_takes_one_round_trip_and_a_transaction_where_nothing_is_prepared() {
    for (persistent, round_trips) in [(true, 1), (false, 4)] {
        let (proxy, stored) = counted(persistent).await;
        for warm_up in ["evt_1", "evt_2"] {
            assert_eq!(stored.deliver(warm_up).await, StatusCode::OK);
        }
        until_idle(&stored).await;
        proxy.round_trips();
        assert_eq!(stored.deliver("evt_3").await, StatusCode::OK);
        assert_eq!(proxy.round_trips(), round_trips);
    }
}

#[tokio::test]
async fn an_attempt_takes_four_round_trips_beside_the_handlers_and_three_for_its_lease() {
    let (proxy, stored) = counted(true).await;
    let worker = stored.beside(service(work::<Postgres>)).start();
    for warm_up in ["evt_1", "evt_2"] {
        assert_eq!(stored.deliver(warm_up).await, StatusCode::OK);
        stored.until_empty().await;
    }
    until_idle(&stored).await;
    proxy.round_trips();
    assert_eq!(stored.deliver("evt_3").await, StatusCode::OK);
    // Woken, it has leased the event before it hears of the stop, or it has not begun.
    stored.until(async || stored.pool.num_idle() == 0).await;
    worker.stop().await;
    until_idle(&stored).await;
    // One to store, three to lease, one of the handler's; and the pool's look at the connection each time.
    assert_eq!(proxy.round_trips(), 1 + 3 + 4 + 1 + 3);
}

/// Those that share no row can fail by each other there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_where_transactions_are_serializable_is_acknowledged() {
    let (fresh, _) = open::<Postgres>().await;
    let fresh = Arc::new(fresh);
    let mut processes = Vec::new();
    for _ in 0..2 {
        let pool = PgPoolOptions::new().after_connect(|connection, _| {
            let strict = "set default_transaction_isolation = serializable";
            Box::pin(async move { connection.execute(strict).await.map(|_| ()) })
        });
        let pool = pool.connect(&fresh.url).await.unwrap();
        processes.push(Stored::<Postgres>::on(Arc::clone(&fresh), pool, |inbox| {
            inbox
        }));
    }
    let worker = processes[0].beside(service(work::<Postgres>)).start();
    for round in 0..10 {
        let deliveries = (0..40).map(|number| {
            let id = format!("evt_{round}_{number}");
            deliver(&processes[number % 2], &id)
        });
        for answer in join_all(deliveries.map(tokio::spawn)).await {
            assert_eq!(answer.unwrap(), StatusCode::OK);
        }
    }
    drop(worker);
}

/// A lease does not wait for the disk, and a replica that takes over may not have it.
#[tokio::test]
async fn a_worker_whose_lease_a_crash_has_taken_back_cannot_complete_what_another_has() {
    let stored = Stored::<Postgres>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    let (first_door, second_door) = (Door::closed(), Door::closed());
    let first = stored.worker(service(work::<Postgres>));
    let first = first.prepare(stops_at(&first_door, Ok(()))).start();
    first_door.wait_for_arrival().await;
    let taken_back = "update stripe_inbox set
        attempts = attempts - 1, fence = fence - 1, in_attempt = false, due_at = received_at";
    stored.run(taken_back).await;
    let second = stored.worker(service(work::<Postgres>));
    let second = second.prepare(stops_at(&second_door, Ok(()))).start();
    second_door.wait_for_arrival().await;
    first_door.open(1);
    first.stop().await;
    assert_eq!(stored.processed().await, (0, 0));
    second_door.open(1);
    second.stop().await;
    assert_eq!(stored.processed().await, (1, 1));
}
