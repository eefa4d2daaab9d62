//! Thin events, whose claim is also that of their snapshot twin.

use order_fulfillment::orders::Shop;

use crate::bench::{Bench, Rows, on_both_databases};

on_both_databases! {
    a_thin_event_leaves_no_row_and_its_snapshot_twin_pays,
    a_thin_event_and_its_twin_at_once_pay_once,
}

async fn a_thin_event_leaves_no_row_and_its_snapshot_twin_pays<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    let session = bench.order().await;
    let before = bench.counts().await;
    for event_type in ["v1.checkout.session.completed", "v1.customer.created"] {
        let thin = session
            .completed_thin()
            .replace("v1.checkout.session.completed", event_type);
        assert_eq!(bench.answer_to(thin).await, (200, "unhandled\n".into()));
        assert_eq!(bench.counts().await, before, "{event_type}");
    }
    assert_eq!(bench.deliver(session.completed()).await, 200);
    assert_eq!(bench.state_of(&session).await, "paid 0 pending");
    let late = bench.answer_to(session.completed_thin()).await;
    assert_eq!(late, (200, "already processed\n".into()));
}

async fn a_thin_event_and_its_twin_at_once_pay_once<DB: Shop<Connection: Rows>>(bench: Bench<DB>) {
    for _ in 0..10 {
        let session = bench.order().await;
        let both = vec![session.completed_thin(), session.completed()];
        let answers = bench.deliver_at_once(both).await;
        assert!(answers.iter().all(|status| [200, 409].contains(status)));
        // As Stripe does after a 409.
        assert_eq!(bench.deliver(session.completed()).await, 200);
        assert_eq!(bench.state_of(&session).await, "paid 0 pending");
    }
}
