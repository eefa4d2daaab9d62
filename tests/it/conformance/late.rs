//! A worker that is late: nothing that it does counts any more.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::http::StatusCode;
use axum_stripe_webhook::{
    Disposition, EventTx, Operator,
    inbox::{EntryState, RetryPolicy, RunningWorker},
};

use crate::{
    database::TestBackend,
    endpoint::{Door, work},
    stored::{Stored, one, service, stops_at},
};

on_both!(
    a_late_worker_cannot_complete_what_another_has_finished,
    a_late_worker_cannot_complete_what_another_has_failed_with,
    a_late_worker_cannot_complete_what_an_operator_has_retried,
    a_late_workers_failure_says_nothing_of_what_another_has,
    a_late_workers_failure_does_not_undo_an_operators_retry,
    a_late_worker_cannot_complete_what_was_gone_and_stored_anew,
);

/// A worker that stands before its transaction, while its lease is over.
struct Late<DB: TestBackend> {
    stored: Stored<DB>,
    door: Door,
    worker: RunningWorker,
    runs: Arc<AtomicUsize>,
}

impl<DB: TestBackend> Late<DB> {
    async fn new() -> Self {
        Self::whose_step(Ok(())).await
    }

    /// One whose step before the transaction ends like this.
    async fn whose_step(ends: Result<(), StatusCode>) -> Self {
        let (stored, door) = (Stored::<DB>::new().await, Door::closed());
        let runs = Arc::new(AtomicUsize::new(0));
        assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
        let step = stops_at(&door, ends);
        let handler = {
            let runs = runs.clone();
            move |tx: EventTx<DB>| async move {
                runs.fetch_add(1, Ordering::SeqCst);
                work(tx).await
            }
        };
        // It looks once: what it would take later is none of this.
        let worker = stored.worker(service(handler)).prepare(step);
        let worker = worker.poll_interval(Duration::from_secs(3600)).start();
        door.wait_for_arrival().await;
        stored
            .run("update stripe_inbox set due_at = received_at")
            .await;
        Self {
            stored,
            door,
            worker,
            runs,
        }
    }

    /// The late worker goes on, and ends.
    async fn go_on(&self) {
        self.door.open(1);
        self.worker.stop().await;
    }
}

async fn a_late_worker_cannot_complete_what_another_has_finished<DB: TestBackend>() {
    let late = Late::<DB>::new().await;
    late.stored.work_off(service(work::<DB>)).await;
    assert_eq!(late.stored.processed().await, (1, 1));
    late.go_on().await;
    assert_eq!(late.stored.processed().await, (1, 1));
    assert_eq!(late.runs.load(Ordering::SeqCst), 0);
}

async fn a_late_worker_cannot_complete_what_another_has_failed_with<DB: TestBackend>() {
    let late = Late::<DB>::new().await;
    let failing = late
        .stored
        .worker(service(async || StatusCode::BAD_GATEWAY));
    let patient = RetryPolicy::new().retry_time_first(Duration::from_secs(3600));
    let failing = failing.retry_policy(patient).start();
    late.stored.until_attempted(2).await;
    failing.stop().await;
    late.go_on().await;
    assert_eq!(late.stored.processed().await, (0, 0));
    let entry = one(&late.stored).await;
    assert_eq!((entry.state, entry.attempts), (EntryState::Pending, 2));
    assert_eq!(entry.last_error.as_deref(), Some("handler_failed 502"));
}

/// A retry begins to count attempts anew, but not what a late worker is known by.
async fn a_late_worker_cannot_complete_what_an_operator_has_retried<DB: TestBackend>() {
    let late = Late::<DB>::new().await;
    late.stored
        .work_off(service(async || StatusCode::GONE))
        .await;
    let operator = Operator::new("ada", "again").unwrap();
    let retried = late.stored.operations.retry("evt_1", "default", &operator);
    retried.await.unwrap();
    let (door, stored) = (Door::closed(), &late.stored);
    let step = stops_at(&door, Ok(()));
    let second = stored.worker(service(work::<DB>)).prepare(step).start();
    door.wait_for_arrival().await;
    assert_eq!(one(stored).await.attempts, 1, "as the late worker's own");
    late.go_on().await;
    assert_eq!(stored.processed().await, (0, 0));
    door.open(1);
    stored.until_empty().await;
    second.stop().await;
    assert_eq!(stored.processed().await, (1, 1));
    assert_eq!(late.runs.load(Ordering::SeqCst), 0);
}

async fn a_late_workers_failure_says_nothing_of_what_another_has<DB: TestBackend>() {
    let late = Late::<DB>::whose_step(Err(StatusCode::BAD_GATEWAY)).await;
    let (door, stored) = (Door::closed(), &late.stored);
    let step = stops_at(&door, Ok(()));
    let other = stored.worker(service(work::<DB>)).prepare(step).start();
    door.wait_for_arrival().await;
    let before = one(stored).await;
    late.go_on().await;
    assert_eq!(one(stored).await, before);
    assert_eq!(stored.count("stripe_inbox where in_attempt").await, 1);
    door.open(1);
    stored.until_empty().await;
    other.stop().await;
    assert_eq!(stored.processed().await, (1, 1));
}

async fn a_late_workers_failure_does_not_undo_an_operators_retry<DB: TestBackend>() {
    let late = Late::<DB>::whose_step(Err(StatusCode::GONE)).await;
    let operator = Operator::new("ada", "now").unwrap();
    let retried = late.stored.operations.retry("evt_1", "default", &operator);
    retried.await.unwrap();
    let before = one(&late.stored).await;
    late.go_on().await;
    assert_eq!(one(&late.stored).await, before);
    assert_eq!((before.state, before.attempts), (EntryState::Pending, 0));
}

async fn a_late_worker_cannot_complete_what_was_gone_and_stored_anew<DB: TestBackend>() {
    let late = Late::<DB>::new().await;
    let stored = &late.stored;
    stored.work_off(service(async || Disposition::Ignore)).await;
    assert_eq!(stored.count("stripe_inbox").await, 0);
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    let door = Door::closed();
    let step = stops_at(&door, Ok(()));
    let other = stored.worker(service(work::<DB>)).prepare(step).start();
    door.wait_for_arrival().await;
    late.go_on().await;
    assert_eq!(late.runs.load(Ordering::SeqCst), 0);
    door.open(1);
    stored.until_empty().await;
    other.stop().await;
    assert_eq!(stored.processed().await, (1, 1));
}
