use std::time::Duration;

use order_fulfillment::{demo::events::customer_created, orders::Shop, server::BODY_BYTES_MAX};

use crate::bench::{Bench, Rows, SECRET, again, now, on_both_databases, sign};

on_both_databases! {
    what_stripe_did_not_sign_writes_no_row,
    a_body_above_the_limit_is_refused_and_one_at_the_limit_is_not,
    an_unknown_type_is_acknowledged_and_leaves_no_row,
}

async fn what_stripe_did_not_sign_writes_no_row<DB: Shop<Connection: Rows>>(bench: Bench<DB>) {
    let session = bench.order().await;
    bench.deliver(again(&session).completed_unpaid()).await;
    let before = bench.counts().await;

    let event = session.completed();
    let ten_minutes = Duration::from_secs(600);
    for (forgery, signature) in [
        ("unsigned", String::new()),
        ("without scheme", "t=1".into()),
        ("forged", sign(&event, "whsec_guess", now())),
        ("stale", sign(&event, SECRET, now() - ten_minutes)),
        ("from the future", sign(&event, SECRET, now() + ten_minutes)),
        ("tampered", sign(&event.replace("4200", "1"), SECRET, now())),
    ] {
        let (status, text) = bench.deliver_signed(event.clone(), &signature).await;
        assert_eq!(
            (status, text.as_str()),
            (400, "not verified\n"),
            "{forgery}"
        );
        assert_eq!(bench.counts().await, before, "{forgery}");
    }
    let (status, _) = bench.post("/webhooks/stripe", "x-none", "", event).await;
    assert_eq!(status, 400);
    assert_eq!(bench.counts().await, before);
    assert_eq!(bench.state_of(&session).await, "pending 0 none");
}

async fn a_body_above_the_limit_is_refused_and_one_at_the_limit_is_not<
    DB: Shop<Connection: Rows>,
>(
    bench: Bench<DB>,
) {
    let session = bench.order().await;
    let before = bench.counts().await;
    let event = session.completed();
    let padded = |length: usize| format!("{event}{}", " ".repeat(length - event.len()));
    assert_eq!(bench.deliver(padded(BODY_BYTES_MAX + 1)).await, 413);
    assert_eq!(bench.counts().await, before);
    assert_eq!(bench.deliver(padded(BODY_BYTES_MAX)).await, 200);
    assert_eq!(bench.state_of(&session).await, "paid 0 pending");
}

async fn an_unknown_type_is_acknowledged_and_leaves_no_row<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    bench.order().await;
    let before = bench.counts().await;
    assert_eq!(bench.deliver(customer_created()).await, 200);
    assert_eq!(bench.counts().await, before);
}
