//! Live and test mode.

use axum_stripe_webhook::{Guards, Mode};
use order_fulfillment::orders::Shop;

use crate::bench::{Bench, Rows, on_both_databases};

on_both_databases![a_test_card_pays_nothing_on_a_live_endpoint,];

async fn a_test_card_pays_nothing_on_a_live_endpoint<DB: Shop<Connection: Rows>>(bench: Bench<DB>) {
    let bench = bench.guarded(Guards::new().mode(Mode::Live));
    let session = bench.order().await;
    assert_eq!(bench.deliver(session.completed()).await, 200);
    assert!(bench.state_of(&session).await.starts_with("pending"));
    for (table, rows) in bench.counts().await {
        let kept = ["orders", "processed_stripe_events", "stripe_inbox"].contains(&table);
        assert_eq!(rows, i64::from(kept), "{table}");
    }
}
