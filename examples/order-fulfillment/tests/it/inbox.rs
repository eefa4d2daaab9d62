//! Events that are stored first, and worked off.

use std::{collections::BTreeMap, time::Duration};

use axum_stripe_webhook::{Guards, InboxOperations, Mode, inbox::RetryPolicy};
use order_fulfillment::{demo::events::Session, orders::Shop, webhook::events, worker::worker};
use tokio::time::timeout;

use crate::bench::{Bench, Rows, id_of, on_both_databases};

/// So that what never happens is a failure.
const WAIT_MAX: Duration = Duration::from_secs(60);

on_both_databases! {
    an_event_is_stored_and_answered_at_once_and_pays_once_in_a_worker,
    of_copies_at_once_two_workers_run_one,
    an_event_that_always_fails_is_dead_and_pays_once_when_it_is_retried,
    an_event_that_was_kept_is_released_to_a_worker,
    what_was_discarded_before_a_worker_came_never_pays,
    a_test_card_on_a_live_endpoint_reaches_no_worker,
    an_event_that_nobody_handles_leaves_no_row,
    staff_without_a_name_and_events_that_are_not_there_change_nothing,
}

impl<DB: Shop<Connection: Rows>> Bench<DB> {
    /// So many workers, as other processes have them, until nothing is pending any more.
    async fn work_off(&self, workers: usize) {
        let policy = RetryPolicy::new()
            .attempts_max(3)
            .retry_time_first(Duration::ZERO);
        let start = || {
            worker(self.pool.clone(), events::<DB>().unwrap())
                .poll_interval(Duration::from_millis(5))
                .retry_policy(policy.clone())
                .start()
        };
        let workers: Vec<_> = std::iter::repeat_with(start).take(workers).collect();
        let operations = InboxOperations::new(self.pool.clone());
        let done = async {
            while operations.counts().await.unwrap().pending > 0 {
                tokio::task::yield_now().await;
            }
            for worker in workers {
                worker.stop().await;
            }
        };
        timeout(WAIT_MAX, done).await.unwrap();
    }

    /// State, attempts and last error of each entry.
    async fn entries(&self) -> Vec<String> {
        let sql = "select state || ' ' || attempts || ' ' || coalesce(last_error, '-')
            from stripe_inbox order by event_id";
        self.pool.acquire().await.unwrap().texts(sql).await
    }

    async fn rows(&self, table: &str) -> i64 {
        let counts: BTreeMap<_, _> = self.counts().await.into_iter().collect();
        counts[table]
    }
}

async fn an_event_is_stored_and_answered_at_once_and_pays_once_in_a_worker<
    DB: Shop<Connection: Rows>,
>(
    bench: Bench<DB>,
) {
    let bench = bench.stored_first();
    let session = bench.order().await;
    let event = session.completed();
    let (forged, _) = bench.deliver_signed(event.clone(), "t=1,v1=00").await;
    assert_eq!((forged, bench.rows("stripe_inbox").await), (400, 0));

    assert_eq!(
        bench.answer_to(event.clone()).await,
        (200, "stored\n".into())
    );
    let copy = (200, "already processed\n".into());
    assert_eq!(bench.answer_to(event.clone()).await, copy);
    assert_eq!(bench.entries().await, ["pending 0 -"]);
    assert_eq!(bench.state_of(&session).await, "pending 0 none");

    bench.work_off(1).await;
    assert_eq!(bench.state_of(&session).await, "paid 0 pending");
    let paid = bench.counts().await;
    assert!(paid.contains(&("stripe_inbox", 0)), "{paid:?}");
    assert!(paid.contains(&("processed_stripe_events", 1)), "{paid:?}");
    assert_eq!(bench.answer_to(event).await, copy);
    bench.work_off(1).await;
    assert_eq!(bench.counts().await, paid);
}

async fn of_copies_at_once_two_workers_run_one<DB: Shop<Connection: Rows>>(bench: Bench<DB>) {
    let bench = bench.stored_first();
    let mut sessions = Vec::new();
    let mut deliveries = Vec::new();
    for _ in 0..5 {
        let session = bench.order().await;
        deliveries.extend(vec![session.completed(); 10]);
        deliveries.push(session.paid_later());
        sessions.push(session);
    }
    let answers = bench.deliver_at_once(deliveries).await;
    assert!(answers.iter().all(|status| [200, 409].contains(status)));
    assert_eq!(bench.rows("stripe_inbox").await, 10);

    bench.work_off(2).await;
    for session in sessions {
        assert_eq!(bench.state_of(&session).await, "paid 0 pending");
        assert_eq!(bench.refunds_due(&session).await, 0);
    }
    assert_eq!(bench.rows("shipments").await, 5);
    assert_eq!(bench.rows("processed_stripe_events").await, 10);
    assert_eq!(bench.rows("stripe_inbox").await, 0);
}

async fn an_event_that_always_fails_is_dead_and_pays_once_when_it_is_retried<
    DB: Shop<Connection: Rows>,
>(
    bench: Bench<DB>,
) {
    let bench = bench.stored_first();
    let session = bench.order().await;
    let event = session.completed();
    assert_eq!(bench.deliver(event.clone()).await, 200);
    bench
        .run("alter table shipments rename to shipments_lost")
        .await;
    bench.work_off(1).await;
    bench
        .run("alter table shipments_lost rename to shipments")
        .await;
    assert_eq!(bench.entries().await, ["dead 3 handler_failed 503"]);
    assert_eq!(bench.state_of(&session).await, "pending 0 none");
    let listed = format!(
        r#"{{"pending":0,"due":0,"oldest_due_seconds":null,"dead":1,"quarantined":0,"events":[{{"id":"{}","type":"checkout.session.completed","state":"dead","attempts":3,"last_error":"handler_failed 503"}}]}}"#,
        id_of(&event)
    );
    assert_eq!(bench.fetch("/events").await, (200, listed));

    // Stripe would not help: what is dead is a duplicate.
    assert_eq!(bench.deliver(event.clone()).await, 200);
    bench.work_off(1).await;
    assert_eq!(bench.state_of(&session).await, "pending 0 none");

    assert_eq!(bench.act("retry", &event).await, (202, "pending\n".into()));
    bench.work_off(1).await;
    assert_eq!(bench.state_of(&session).await, "paid 0 pending");
    assert_eq!(bench.rows("shipments").await, 1);
    assert_eq!(bench.act("retry", &event).await.0, 404);
    let retried = format!("{}: retry by jo, looked at it", id_of(&event));
    assert_eq!(bench.actions().await, [retried]);
}

async fn an_event_that_was_kept_is_released_to_a_worker<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    let bench = bench.stored_first();
    let session = bench.order().await;
    let less = Session {
        amount: 4100,
        ..session.clone()
    };
    let event = less.completed();
    assert_eq!(bench.deliver(event.clone()).await, 200);
    bench.work_off(1).await;
    assert_eq!(bench.kept().await, ["handler_amount_mismatch"]);
    assert_eq!(bench.act("retry", &event).await.0, 404);

    // Released too soon, it is kept again.
    for price in [4200, 4100] {
        if price == 4100 {
            bench.run("update orders set amount = 4100").await;
        }
        let released = bench.act("release", &event).await;
        assert_eq!(released, (202, "pending\n".into()));
        bench.work_off(1).await;
        let expected = match price {
            4100 => "paid 0 pending",
            _ => "pending 0 none",
        };
        assert_eq!(bench.state_of(&session).await, expected);
    }
    assert_eq!(bench.kept().await, [""; 0]);
    assert_eq!(bench.rows("stripe_actions").await, 2);
    assert_eq!(bench.act("release", &event).await.0, 404);
    assert_eq!(bench.rows("shipments").await, 1);
}

async fn what_was_discarded_before_a_worker_came_never_pays<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    let bench = bench.stored_first();
    let session = bench.order().await;
    let event = session.completed();
    assert_eq!(bench.deliver(event.clone()).await, 200);
    let discarded = (200, "discarded\n".into());
    assert_eq!(bench.act("discard", &event).await, discarded);
    assert_eq!(bench.deliver(event).await, 200);
    bench.work_off(1).await;
    assert_eq!(bench.state_of(&session).await, "pending 0 none");
}

async fn a_test_card_on_a_live_endpoint_reaches_no_worker<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    let bench = bench.stored_first_guarded(Guards::new().mode(Mode::Live));
    let session = bench.order().await;
    assert_eq!(bench.deliver(session.completed()).await, 200);
    bench.work_off(1).await;
    assert_eq!(bench.kept().await.len(), 1);
    assert_eq!(bench.state_of(&session).await, "pending 0 none");
}

async fn an_event_that_nobody_handles_leaves_no_row<DB: Shop<Connection: Rows>>(bench: Bench<DB>) {
    let bench = bench.stored_first();
    let session = bench.order().await;
    let before = bench.counts().await;
    assert_eq!(bench.deliver(session.completed_thin()).await, 200);
    bench.work_off(1).await;
    assert_eq!(bench.counts().await, before);
    // Nor is it in the way of its snapshot twin.
    assert_eq!(bench.deliver(session.completed()).await, 200);
    bench.work_off(1).await;
    assert_eq!(bench.state_of(&session).await, "paid 0 pending");
}

async fn staff_without_a_name_and_events_that_are_not_there_change_nothing<
    DB: Shop<Connection: Rows>,
>(
    bench: Bench<DB>,
) {
    let inline = bench;
    let session = inline.order().await;
    let event = session.completed();
    assert_eq!(inline.act("retry", &event).await.0, 404);
    let bench = inline.stored_first();
    assert_eq!(bench.deliver(event.clone()).await, 200);
    let before = bench.counts().await;
    for action in ["release", "discard", "retry"] {
        let nobody = bench.act_as(action, &event, r#"{"actor": ""}"#).await;
        assert_eq!(nobody.0, 400, "{action}");
        let missing = bench.act(action, &session.refunded(1)).await;
        assert_eq!(missing.0, 404, "{action}");
    }
    // It is pending, not kept.
    assert_eq!(bench.act("release", &event).await.0, 404);
    assert_eq!(bench.counts().await, before);
    assert_eq!(bench.entries().await, ["pending 0 -"]);
}
