//! Thin events, whose claim is also that of their snapshot twin.

use order_fulfillment::{demo::events::Session, orders::Shop};

use crate::bench::{Bench, Rows, on_both_databases};

on_both_databases! {
    a_thin_event_is_refused_and_its_snapshot_twin_pays,
    a_thin_event_that_nobody_handles_is_acknowledged,
}

async fn a_thin_event_is_refused_and_its_snapshot_twin_pays<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    let session = bench.order().await;
    let before = bench.counts().await;
    for event_type in ["v1.checkout.session.completed", "charge.refunded"] {
        let thin = thin_twin(&session, event_type);
        assert_eq!(bench.deliver(thin).await, 422, "{event_type}");
        assert_eq!(bench.counts().await, before);
    }
    assert_eq!(bench.deliver(session.completed()).await, 200);
    assert_eq!(bench.state_of(&session).await, "paid 0 pending");
}

async fn a_thin_event_that_nobody_handles_is_acknowledged<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    let session = bench.order().await;
    let thin = thin_twin(&session, "v1.customer.created");
    assert_eq!(bench.deliver(thin).await, 200);
    assert_eq!(bench.state_of(&session).await, "pending 0 none");
}

fn thin_twin(session: &Session, event_type: &str) -> String {
    format!(
        r#"{{"id": "evt_thin_{0}", "object": "v2.core.event", "type": "{event_type}",
            "livemode": false,
            "snapshot_event": "evt_{0}_completed_paid",
            "related_object": {{"id": "cs_test_{0}", "type": "checkout.session",
                "url": "/v1/checkout/sessions/cs_test_{0}"}}}}"#,
        session.name
    )
}
