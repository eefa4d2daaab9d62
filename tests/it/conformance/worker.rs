//! What a worker does with what is stored.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Extension, Router, http::StatusCode, routing::post};
use axum_stripe_webhook::{
    Disposition, EventRouter, EventTx, Operator, StripeObject, VerifiedStripeEvent,
    inbox::{EntryState, RetryPolicy, StoredEntry},
};
use tower::limit::ConcurrencyLimitLayer;

use crate::{
    database::TestBackend,
    endpoint::{Door, behind, work},
    stored::{Stored, one, service},
    stripe,
};

on_both!(
    each_disposition_does_to_an_entry_what_its_table_says,
    an_object_that_does_not_fit_is_quarantined_and_stays_as_it_was_received,
    an_event_that_always_fails_is_dead_after_twenty_attempts_and_replayed_once,
    a_permanent_error_is_dead_at_once,
    whatever_goes_wrong_is_rolled_back_and_named,
    a_service_that_panics_when_it_is_cloned_has_failed_once,
    what_an_attempt_has_not_begun_with_nobody_handles_goes,
    an_event_whose_process_died_runs_alone,
    an_event_whose_process_died_at_its_last_attempt_is_dead_without_another,
    what_is_no_event_is_dead_at_once,
    what_is_processed_already_leaves_without_a_run,
    what_the_ledger_holds_although_it_waits_is_run,
    no_more_is_taken_than_there_are_slots,
    a_worker_beside_its_inbox_is_woken_by_it,
    a_worker_finishes_what_it_has_when_it_is_stopped,
    a_worker_may_be_stopped_twice_and_by_two_at_once,
    a_worker_leaves_the_entries_of_other_endpoints,
    a_clone_for_another_endpoint_has_a_worker_of_its_own,
    a_worker_of_every_endpoint_takes_all,
    what_nobody_handles_goes_at_its_first_attempt,
    what_was_released_or_retried_and_nobody_handles_is_dead,
    a_limit_of_attempts_that_was_lowered_still_leaves_one,
    what_finds_no_place_is_tried_again_and_does_not_count,
    any_service_works_an_inbox_off,
    what_is_prepared_is_handed_to_the_workers_handler,
    a_step_that_fails_before_the_transaction_is_retried,
    a_worker_outlives_a_database_that_refuses,
);

/// Runs each pending entry's handler once, and gives the one entry there is then, if there is one.
async fn after_one_attempt<DB: TestBackend>(
    disposition: Disposition,
) -> (Stored<DB>, Vec<StoredEntry>) {
    let stored = Stored::<DB>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    let handler = move |mut tx: EventTx<DB>| async move {
        DB::work(&mut tx, "evt_1").await.unwrap();
        disposition
    };
    let patient = RetryPolicy::new().retry_time_first(Duration::from_secs(1000));
    let worker = stored
        .worker(service(handler))
        .retry_policy(patient)
        .start();
    stored.until_attempted(1).await;
    worker.stop().await;
    let entries = stored.entries().await;
    (stored, entries)
}

async fn each_disposition_does_to_an_entry_what_its_table_says<DB: TestBackend>() {
    let reason = "no_order";
    for (disposition, processed, state) in [
        (Disposition::Done, (1, 1), None),
        (Disposition::Ignore, (0, 0), None),
        (Disposition::Discard { reason }, (1, 0), None),
        (
            Disposition::Quarantine { reason },
            (1, 0),
            Some((EntryState::Quarantined, 1)),
        ),
        (
            Disposition::RetryAfter(Duration::from_secs(500)),
            (0, 0),
            Some((EntryState::Pending, 1)),
        ),
        (Disposition::NotYet, (0, 0), Some((EntryState::Pending, 0))),
    ] {
        let (stored, entries) = after_one_attempt::<DB>(disposition).await;
        assert_eq!(stored.processed().await, processed, "{disposition:?}");
        let found = entries.first().map(|entry| (entry.state, entry.attempts));
        assert_eq!(found, state, "{disposition:?}");
        let wait = entries.first().and_then(|entry| entry.due_at);
        let wait = wait.map(|due_at| due_at.duration_since(stripe::now()).unwrap_or_default());
        match disposition {
            Disposition::RetryAfter(_) => {
                assert!((400..=500).contains(&wait.unwrap().as_secs()), "{wait:?}");
            }
            Disposition::NotYet => assert!(wait.unwrap() <= Duration::from_secs(1), "{wait:?}"),
            _ => {}
        }
    }
}

async fn an_object_that_does_not_fit_is_quarantined_and_stays_as_it_was_received<
    DB: TestBackend,
>() {
    #[derive(serde::Deserialize)]
    struct Other {
        #[expect(dead_code, reason = "it is not there")]
        elsewhere: String,
    }
    let stored = Stored::<DB>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    let before = one(&stored).await;
    let handler = async |_tx: EventTx<DB>, StripeObject(_): StripeObject<Other>| {};
    stored.work_off(service(handler)).await;
    let after = one(&stored).await;
    assert_eq!(after.state, EntryState::Quarantined);
    assert!(after.last_error.unwrap().starts_with("object_misfit "));
    assert_eq!(after.received_at, before.received_at);
    assert_eq!(after.payload_bytes, before.payload_bytes);
    let held = "select coalesce(held_by, '') from processed_stripe_events";
    assert_eq!(DB::texts(&stored.pool, held).await, ["misfit"]);
}

async fn an_event_that_always_fails_is_dead_after_twenty_attempts_and_replayed_once<
    DB: TestBackend,
>() {
    let (stored, mended) = (Stored::<DB>::new().await, Arc::new(AtomicBool::new(false)));
    let runs = Arc::new(AtomicUsize::new(0));
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    let handler = {
        let (mended, runs) = (mended.clone(), runs.clone());
        move |tx: EventTx<DB>| async move {
            runs.fetch_add(1, Ordering::SeqCst);
            match mended.load(Ordering::SeqCst) {
                true => work(tx).await,
                false => StatusCode::INTERNAL_SERVER_ERROR,
            }
        }
    };
    let policy = RetryPolicy::new();
    let worker = stored
        .worker(service(handler))
        .retry_policy(policy.clone())
        .start();
    for attempt in 1..20 {
        stored.until_attempted(attempt).await;
        let entry = one(&stored).await;
        assert_eq!(
            (entry.state, entry.attempts),
            (EntryState::Pending, attempt)
        );
        assert_eq!(entry.last_error.as_deref(), Some("handler_failed 500"));
        let wait = entry
            .due_at
            .unwrap()
            .duration_since(entry.received_at)
            .unwrap();
        let longest = policy.retry_time(attempt).unwrap();
        // Beside the wait itself, the test's own time since the delivery.
        assert!(
            wait <= longest + crate::endpoint::WAIT_MAX,
            "{attempt}: {wait:?}"
        );
        assert_eq!(runs.load(Ordering::SeqCst) as u32, attempt);
        // The time that is waited for passes.
        stored
            .run("update stripe_inbox set due_at = received_at")
            .await;
    }
    stored
        .until(async || one(&stored).await.state == EntryState::Dead)
        .await;
    let dead = one(&stored).await;
    assert_eq!((dead.attempts, dead.due_at), (20, None));
    assert_eq!(runs.load(Ordering::SeqCst), 20);
    assert_eq!(stored.processed().await, (0, 0));

    mended.store(true, Ordering::SeqCst);
    let operator = Operator::new("ada", "mended").unwrap();
    stored
        .operations
        .retry("evt_1", "default", &operator)
        .await
        .unwrap();
    stored.until_empty().await;
    worker.stop().await;
    assert_eq!(stored.processed().await, (1, 1));
    assert_eq!(runs.load(Ordering::SeqCst), 21);
    assert_eq!(stored.count("stripe_actions").await, 1);
}

async fn a_permanent_error_is_dead_at_once<DB: TestBackend>() {
    for status in [400, 410, 422, 501] {
        let stored = Stored::<DB>::new().await;
        assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
        let status = StatusCode::from_u16(status).unwrap();
        stored.work_off(service(async move || status)).await;
        let entry = one(&stored).await;
        assert_eq!((entry.state, entry.attempts), (EntryState::Dead, 1));
        let error = format!("handler_failed {}", status.as_u16());
        assert_eq!(entry.last_error, Some(error));
    }
}

async fn whatever_goes_wrong_is_rolled_back_and_named<DB: TestBackend>() {
    let kept = Arc::new(std::sync::Mutex::new(None));
    let keep = kept.clone();
    let stored = Stored::<DB>::new().await;
    for id in ["evt_panics", "evt_hangs", "evt_keeps", "evt_redirects"] {
        assert_eq!(stored.deliver(id).await, StatusCode::OK);
    }
    let handler = move |mut tx: EventTx<DB>| {
        let keep = keep.clone();
        async move {
            let id = tx.event().id().to_owned();
            DB::work(&mut tx, &id).await.unwrap();
            match id.as_str() {
                "evt_panics" => panic!("as a handler may"),
                "evt_hangs" => std::future::pending().await,
                "evt_keeps" => drop(keep.lock().unwrap().replace(tx)),
                _ => return StatusCode::FOUND,
            }
            StatusCode::OK
        }
    };
    let worker = stored.worker(service(handler));
    let worker = worker
        .retry_policy(RetryPolicy::new().attempts_max(1))
        .concurrency(1)
        .handler_time_max(Duration::from_millis(200))
        .start();
    let dead = async || {
        let named = |id: &'static str| stored.operations.show(id, "default");
        let [panics, hangs, redirects] = [
            named("evt_panics").await.unwrap().unwrap(),
            named("evt_hangs").await.unwrap().unwrap(),
            named("evt_redirects").await.unwrap().unwrap(),
        ];
        [panics, hangs, redirects].map(|entry| entry.last_error.unwrap_or_default())
    };
    stored
        .until(async || {
            drop(kept.lock().unwrap().take());
            stored.count("stripe_inbox where state = 'dead'").await == 4
        })
        .await;
    worker.stop().await;
    let expected = [
        "handler_panicked",
        "handler_timed_out",
        "handler_failed 302",
    ];
    assert_eq!(dead().await, expected);
    let keeps = stored
        .operations
        .show("evt_keeps", "default")
        .await
        .unwrap();
    assert_eq!(keeps.unwrap().last_error.unwrap(), "transaction_kept");
    assert_eq!(stored.processed().await, (0, 0));
}

/// A service that panics the first time that it is cloned.
struct Fragile<S>(S, Arc<AtomicBool>);

impl<S: Clone> Clone for Fragile<S> {
    fn clone(&self) -> Self {
        assert!(self.1.swap(true, Ordering::SeqCst), "as a service may");
        Self(self.0.clone(), self.1.clone())
    }
}

impl<S: tower::Service<axum::extract::Request>> tower::Service<axum::extract::Request>
    for Fragile<S>
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: axum::extract::Request) -> S::Future {
        self.0.call(request)
    }
}

async fn a_service_that_panics_when_it_is_cloned_has_failed_once<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    for id in ["evt_1", "evt_2"] {
        assert_eq!(stored.deliver(id).await, StatusCode::OK);
    }
    stored
        .work_off(Fragile(service(work::<DB>), Arc::default()))
        .await;
    assert_eq!(stored.processed().await, (2, 2));
}

/// A process that has died says nothing of whether anybody wants the event.
async fn what_an_attempt_has_not_begun_with_nobody_handles_goes<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    stored
        .run("update stripe_inbox set in_attempt = true, attempts = 1, fence = fence + 1")
        .await;
    let nobody = EventRouter::new().on("invoice.paid", work::<DB>);
    stored.work_off(nobody.build().unwrap()).await;
    assert_eq!(stored.count("stripe_inbox").await, 0);
}

async fn an_event_whose_process_died_runs_alone<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    for id in ["evt_1", "evt_2", "evt_3", "evt_4"] {
        assert_eq!(stored.deliver(id).await, StatusCode::OK);
    }
    stored
        .run("update stripe_inbox set in_attempt = true, attempts = 1, fence = 1 where event_id = 'evt_4'")
        .await;
    let running = Arc::new(AtomicUsize::new(0));
    let beside = Arc::new(AtomicUsize::new(0));
    let handler = {
        let (running, beside) = (running.clone(), beside.clone());
        move |tx: EventTx<DB>| async move {
            let others = running.fetch_add(1, Ordering::SeqCst);
            let is_suspect = tx.event().id() == "evt_4";
            for _ in 0..100 {
                tokio::task::yield_now().await;
                let now = running.load(Ordering::SeqCst) - 1;
                if is_suspect {
                    beside.fetch_add(others + now, Ordering::SeqCst);
                }
            }
            let answer = work(tx).await;
            running.fetch_sub(1, Ordering::SeqCst);
            answer
        }
    };
    let worker = stored.worker(service(handler)).concurrency(4).start();
    stored.until_empty().await;
    worker.stop().await;
    assert_eq!(stored.processed().await, (4, 4));
    assert_eq!(beside.load(Ordering::SeqCst), 0);
}

async fn an_event_whose_process_died_at_its_last_attempt_is_dead_without_another<
    DB: TestBackend,
>() {
    let stored = Stored::<DB>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    stored
        .run("update stripe_inbox set in_attempt = true, attempts = 20, fence = 20")
        .await;
    stored.work_off(service(work::<DB>)).await;
    let entry = one(&stored).await;
    assert_eq!((entry.state, entry.attempts), (EntryState::Dead, 20));
    assert_eq!(entry.last_error.as_deref(), Some("process_died"));
    assert_eq!(stored.processed().await, (0, 0));
    // Retried, it still begins alone.
    let operator = Operator::new("ada", "more memory").unwrap();
    let retried = stored.operations.retry("evt_1", "default", &operator);
    retried.await.unwrap();
    assert_eq!(stored.count("stripe_inbox where in_attempt").await, 1);
    stored.work_off(service(work::<DB>)).await;
    assert_eq!(stored.processed().await, (1, 1));
}

async fn what_is_no_event_is_dead_at_once<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    stored
        .run("update stripe_inbox set payload = substr(payload, 2)")
        .await;
    stored.work_off(service(work::<DB>)).await;
    let entry = one(&stored).await;
    assert_eq!((entry.state, entry.attempts), (EntryState::Dead, 1));
    assert_eq!(entry.last_error.as_deref(), Some("not_an_event"));
}

async fn what_is_processed_already_leaves_without_a_run<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    stored
        .run("insert into processed_stripe_events (event_id, endpoint, event_type) values ('evt_1', 'default', 'a')")
        .await;
    stored.work_off(service(work::<DB>)).await;
    assert_eq!(stored.processed().await, (1, 0));
    assert_eq!(stored.count("stripe_inbox").await, 0);
}

/// It was held while it arrived.
async fn what_the_ledger_holds_although_it_waits_is_run<DB: TestBackend>() {
    for held in ["guard", "misfit", "handler"] {
        let stored = Stored::<DB>::new().await;
        assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
        stored
            .run("insert into processed_stripe_events (event_id, endpoint, event_type, held_by) values ('evt_1', 'default', 'a', 'guard')")
            .await;
        if held == "misfit" {
            let misfit = "update processed_stripe_events set held_by = 'misfit'";
            stored.run(misfit).await;
        }
        if held == "handler" {
            let handler = "update processed_stripe_events set held_by = 'handler'";
            stored.run(handler).await;
        }
        // A step before the transaction looks into the ledger first.
        let step = async |_event| Ok::<_, StatusCode>(());
        let worker = stored.worker(service(work::<DB>)).prepare(step).start();
        stored.until_empty().await;
        worker.stop().await;
        assert_eq!(stored.processed().await, (1, 1));
        let still = "processed_stripe_events where held_by is not null";
        assert_eq!(stored.count(still).await, 0);
    }
}

async fn no_more_is_taken_than_there_are_slots<DB: TestBackend>() {
    let (stored, door) = (Stored::<DB>::new().await, Door::closed());
    for id in ["evt_1", "evt_2", "evt_3", "evt_4", "evt_5"] {
        assert_eq!(stored.deliver(id).await, StatusCode::OK);
    }
    let slots = if DB::HAS_ONE_WRITER { 1 } else { 2 };
    let worker = stored.worker(service(behind::<DB>(door.clone())));
    let worker = worker.concurrency(2).start();
    for _ in 0..slots {
        door.wait_for_arrival().await;
    }
    for _ in 0..20 {
        let taken = stored.count("stripe_inbox where in_attempt").await;
        assert_eq!(taken, slots);
    }
    door.open(5);
    stored.until_empty().await;
    worker.stop().await;
    assert_eq!(stored.processed().await, (5, 5));
}

async fn a_worker_beside_its_inbox_is_woken_by_it<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    // It would look again in an hour.
    let worker = stored.beside(service(work::<DB>)).start();
    for id in ["evt_1", "evt_2"] {
        assert_eq!(stored.deliver(id).await, StatusCode::OK);
        stored.until_empty().await;
    }
    worker.stop().await;
    assert_eq!(stored.processed().await, (2, 2));
}

async fn a_worker_finishes_what_it_has_when_it_is_stopped<DB: TestBackend>() {
    let (stored, door) = (Stored::<DB>::new().await, Door::closed());
    for id in ["evt_1", "evt_2"] {
        assert_eq!(stored.deliver(id).await, StatusCode::OK);
    }
    let worker = stored.worker(service(behind::<DB>(door.clone())));
    let worker = worker.concurrency(1).start();
    door.wait_for_arrival().await;
    let mut stopping = std::pin::pin!(worker.stop());
    assert!(futures_util::poll!(stopping.as_mut()).is_pending());
    door.open(2);
    stopping.await;
    assert_eq!(stored.processed().await, (1, 1));
    assert_eq!(stored.count("stripe_inbox").await, 1);
}

async fn a_worker_may_be_stopped_twice_and_by_two_at_once<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    let worker = stored.worker(service(work::<DB>)).start();
    let other = worker.clone();
    tokio::join!(worker.stop(), other.stop());
    worker.stop().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(stored.states().await, ["evt_1 pending"]);
}

async fn a_worker_leaves_the_entries_of_other_endpoints<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    let connect = stored.again(|inbox| inbox.endpoint("connect"));
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(connect.deliver("evt_1").await, StatusCode::OK);
    let of_connect = async |tx: EventTx<DB>| assert_eq!(tx.endpoint(), "connect");
    let of_default = async |tx: EventTx<DB>| assert_eq!(tx.endpoint(), "default");
    let worker = stored
        .worker(service(of_connect))
        .endpoint("connect")
        .start();
    stored
        .until(async || stored.count("stripe_inbox").await == 1)
        .await;
    worker.stop().await;
    assert_eq!(one(&stored).await.endpoint, "default");
    let worker = stored.worker(service(of_default)).start();
    assert_eq!(connect.deliver("evt_2").await, StatusCode::OK);
    stored
        .until(async || stored.count("processed_stripe_events").await == 2)
        .await;
    worker.stop().await;
    assert_eq!(one(&stored).await.endpoint, "connect");
}

async fn a_clone_for_another_endpoint_has_a_worker_of_its_own<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    let connect = stored.clones(|inbox| inbox.endpoint("connect"));
    let of_connect = async |tx: EventTx<DB>| assert_eq!(tx.endpoint(), "connect");
    let of_default = async |tx: EventTx<DB>| assert_eq!(tx.endpoint(), "default");
    let workers = [
        stored.beside(service(of_default)).start(),
        connect.beside(service(of_connect)).start(),
    ];
    for id in ["evt_1", "evt_2"] {
        assert_eq!(stored.deliver(id).await, StatusCode::OK);
        assert_eq!(connect.deliver(id).await, StatusCode::OK);
    }
    stored.until_empty().await;
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(stored.count("processed_stripe_events").await, 4);
}

async fn a_worker_of_every_endpoint_takes_all<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    for label in ["default", "tenant_1", "tenant_2"] {
        let tenant = stored.again(|inbox| inbox.endpoint(label));
        assert_eq!(tenant.deliver("evt_1").await, StatusCode::OK);
    }
    let worker = stored.worker(service(work::<DB>)).every_endpoint().start();
    stored.until_empty().await;
    worker.stop().await;
    assert_eq!(stored.processed().await, (3, 3));
}

async fn what_nobody_handles_goes_at_its_first_attempt<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    let nobody = EventRouter::new().on("invoice.paid", work::<DB>);
    stored.work_off(nobody.build().unwrap()).await;
    assert_eq!(stored.count("stripe_inbox").await, 0);
    assert_eq!(stored.processed().await, (0, 0));
}

/// A worker with an older router must not lose what an operator wanted.
async fn what_was_released_or_retried_and_nobody_handles_is_dead<DB: TestBackend>() {
    for disposition in [StatusCode::GONE, StatusCode::OK] {
        let stored = Stored::<DB>::new().await;
        let operator = Operator::new("ada", "again").unwrap();
        if disposition == StatusCode::GONE {
            assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
            stored.work_off(service(async || StatusCode::GONE)).await;
            let retried = stored.operations.retry("evt_1", "default", &operator);
            retried.await.unwrap();
        } else {
            let live = axum_stripe_webhook::Guards::new().mode(axum_stripe_webhook::Mode::Live);
            let stopping = stored.again(|inbox| inbox.guards(live));
            assert_eq!(stopping.deliver("evt_1").await, StatusCode::OK);
            let released = stored.operations.release("evt_1", "default", &operator);
            released.await.unwrap();
        }
        let nobody = EventRouter::new().on("invoice.paid", work::<DB>);
        stored.work_off(nobody.build().unwrap()).await;
        let entry = one(&stored).await;
        assert_eq!(entry.state, EntryState::Dead);
        assert_eq!(entry.last_error.as_deref(), Some("unhandled"));
    }
}

async fn a_limit_of_attempts_that_was_lowered_still_leaves_one<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    let tried =
        "update stripe_inbox set attempts = 10, fence = 10, last_error = 'handler_failed 503'";
    stored.run(tried).await;
    let worker = stored.worker(service(work::<DB>));
    let fewer = RetryPolicy::new().attempts_max(5);
    let worker = worker.retry_policy(fewer).start();
    stored.until_empty().await;
    worker.stop().await;
    assert_eq!(stored.processed().await, (1, 1));
}

async fn what_finds_no_place_is_tried_again_and_does_not_count<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    // Whatever has a connection of the pool for itself.
    let pool = DB::connect(&stored.fresh.url, 1).await;
    let taken = Arc::new(tokio::sync::Mutex::new(None));
    let step = {
        let (pool, taken) = (pool.clone(), taken.clone());
        move |_event| {
            let (pool, taken) = (pool.clone(), taken.clone());
            async move {
                *taken.lock().await = Some(pool.acquire().await.unwrap());
                Ok::<_, StatusCode>(())
            }
        }
    };
    let worker = axum_stripe_webhook::InboxWorker::new(pool, service(work::<DB>));
    let worker = worker
        .prepare(step)
        .acquire_time_max(Duration::from_millis(50))
        .poll_interval(Duration::from_secs(3600))
        .start();
    stored.until(async || taken.lock().await.is_some()).await;
    let begun_at = tokio::time::Instant::now();
    stored
        .until(async || begun_at.elapsed() > Duration::from_millis(200))
        .await;
    // It has waited long enough; what came of it can be written now.
    drop(taken.lock().await.take());
    stored
        .until(async || stored.count("stripe_inbox where in_attempt").await == 0)
        .await;
    worker.stop().await;
    let entry = one(&stored).await;
    assert_eq!((entry.state, entry.attempts), (EntryState::Pending, 0));
    assert_eq!(
        entry.last_error.as_deref(),
        Some("database_unavailable no connection in time")
    );
}

async fn any_service_works_an_inbox_off<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    for id in ["evt_1", "evt_2"] {
        assert_eq!(stored.deliver(id).await, StatusCode::OK);
    }
    let events = EventRouter::new().on("checkout.session.completed", work::<DB>);
    let router = Router::new().route("/", post(events.build().unwrap()));
    stored
        .work_off(router.layer(ConcurrencyLimitLayer::new(1)))
        .await;
    assert_eq!(stored.processed().await, (2, 2));
}

#[derive(Clone)]
struct Fetched(String);

async fn what_is_prepared_is_handed_to_the_workers_handler<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    let step = |event: VerifiedStripeEvent| async move {
        assert_eq!((event.signed_at(), event.secret_name()), (None, None));
        Ok::<_, StatusCode>(Fetched(event.id().to_owned()))
    };
    let handler = async |Extension(fetched): Extension<Fetched>, tx: EventTx<DB>| {
        assert_eq!(fetched.0, tx.event().id());
        work(tx).await
    };
    let worker = stored.worker(service(handler)).prepare(step).start();
    stored.until_empty().await;
    worker.stop().await;
    assert_eq!(stored.processed().await, (1, 1));
}

async fn a_step_that_fails_before_the_transaction_is_retried<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    let asked = Arc::new(AtomicUsize::new(0));
    let step = {
        let asked = asked.clone();
        move |_event| {
            let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                match first {
                    true => Err(StatusCode::BAD_GATEWAY),
                    false => Ok(()),
                }
            }
        }
    };
    let worker = stored.worker(service(work::<DB>)).prepare(step).start();
    stored.until_empty().await;
    worker.stop().await;
    assert_eq!(stored.processed().await, (1, 1));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

async fn a_worker_outlives_a_database_that_refuses<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    stored
        .run("alter table stripe_inbox rename to elsewhere")
        .await;
    let worker = stored.worker(service(work::<DB>)).start();
    stored.until_logged_or_asked().await;
    stored
        .run("alter table elsewhere rename to stripe_inbox")
        .await;
    stored.until_empty().await;
    worker.stop().await;
    assert_eq!(stored.processed().await, (1, 1));
}
