use axum_stripe_webhook::testing::{SampleEvent, Simulator};
use order_fulfillment::{demo::events::Session, orders::Shop};

use crate::bench::{Bench, Rows, SECRET, on_both_databases};

on_both_databases! {
    a_paid_order_never_expires,
    whatever_the_order_of_events_a_refunded_order_ends_refunded,
    whatever_the_order_of_events_a_disputed_order_ends_disputed,
    a_refund_in_part_changes_no_status,
    what_is_told_at_the_same_moment_as_the_payment_is_not_lost,
    a_parcel_that_has_left_stays_sent,
    days_of_deliveries_end_as_if_each_event_had_come_once,
}

async fn a_paid_order_never_expires<DB: Shop<Connection: Rows>>(bench: Bench<DB>) {
    let events = |session: &Session| vec![session.completed(), session.expired()];
    in_every_order(&bench, events, "paid 0 pending").await;
}

async fn whatever_the_order_of_events_a_refunded_order_ends_refunded<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    let events = |session: &Session| {
        vec![
            session.completed(),
            session.expired(),
            session.refunded(1000),
            session.refunded(4200),
        ]
    };
    in_every_order(&bench, events, "refunded 4200 held").await;
}

async fn whatever_the_order_of_events_a_disputed_order_ends_disputed<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    let events = |session: &Session| {
        vec![
            session.completed_unpaid(),
            session.paid_later(),
            session.expired(),
            session.refunded(4200),
            session.disputed(),
        ]
    };
    in_every_order(&bench, events, "disputed 4200 held").await;
}

async fn a_refund_in_part_changes_no_status<DB: Shop<Connection: Rows>>(bench: Bench<DB>) {
    let events = |session: &Session| vec![session.completed(), session.refunded(1000)];
    in_every_order(&bench, events, "paid 1000 pending").await;
}

async fn what_is_told_at_the_same_moment_as_the_payment_is_not_lost<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    for _ in 0..20 {
        let session = bench.order().await;
        // So that the payment's row is there, and only its lock keeps the events apart.
        assert_eq!(bench.deliver(session.refunded(1000)).await, 200);
        let events = vec![
            session.completed(),
            session.refunded(4200),
            session.disputed(),
        ];
        assert_eq!(bench.deliver_at_once(events).await, [200, 200, 200]);
        assert_eq!(bench.state_of(&session).await, "disputed 4200 held");
    }
}

async fn a_parcel_that_has_left_stays_sent<DB: Shop<Connection: Rows>>(bench: Bench<DB>) {
    let session = bench.order().await;
    bench.deliver(session.completed()).await;
    bench.run("update shipments set state = 'sent'").await;
    assert_eq!(bench.deliver(session.disputed()).await, 200);
    assert_eq!(bench.state_of(&session).await, "disputed 0 sent");
}

async fn days_of_deliveries_end_as_if_each_event_had_come_once<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    let mut expected = Vec::new();
    let mut events = Vec::new();
    for number in 0..30 {
        let session = bench.order().await;
        let (more, state) = match number % 3 {
            0 => (vec![session.expired()], "paid 0 pending"),
            1 => (vec![session.refunded(1000)], "paid 1000 pending"),
            _ => (vec![session.refunded(4200)], "refunded 4200 held"),
        };
        events.extend(more.into_iter().chain([session.completed()]));
        expected.push((session, state));
    }
    let events = events
        .iter()
        .map(|event| serde_json::from_str(event).unwrap());
    let simulator = Simulator::new(SECRET).chaos();
    let report = simulator
        .run(bench.app.clone(), events.map(SampleEvent::from_value))
        .await;
    report.assert_all_acknowledged();
    for (session, state) in expected {
        assert_eq!(bench.state_of(&session).await, state);
        assert_eq!(bench.refunds_due(&session).await, 0);
    }
    assert_eq!(bench.kept().await, [""; 0]);
}

/// Each order of the events gets an order of its own, and each must end in the same state.
async fn in_every_order<DB: Shop<Connection: Rows>>(
    bench: &Bench<DB>,
    events: impl Fn(&Session) -> Vec<String>,
    state: &str,
) {
    let session = bench.order().await;
    for places in permutations(events(&session).len()) {
        let session = bench.order().await;
        let events = events(&session);
        for place in &places {
            assert_eq!(
                bench.deliver(events[*place].clone()).await,
                200,
                "{places:?}"
            );
        }
        assert_eq!(bench.state_of(&session).await, state, "{places:?}");
        assert_eq!(bench.refunds_due(&session).await, 0, "{places:?}");
    }
    assert_eq!(bench.kept().await, [""; 0]);
}

fn permutations(length: usize) -> Vec<Vec<usize>> {
    let Some(last) = length.checked_sub(1) else {
        return vec![Vec::new()];
    };
    let shorter = permutations(last);
    let insert = |place: usize| {
        shorter.iter().map(move |places| {
            let mut places = places.clone();
            places.insert(place, last);
            places
        })
    };
    (0..length).flat_map(insert).collect()
}
