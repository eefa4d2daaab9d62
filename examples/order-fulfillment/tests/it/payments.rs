use order_fulfillment::{demo::events::Session, orders::Shop};

use crate::bench::{Bench, Rows, again, on_both_databases};

on_both_databases! {
    a_genuine_payment_pays_the_order_and_ships_it,
    a_duplicate_is_acknowledged_and_changes_nothing,
    fifty_copies_at_once_make_one_payment_and_one_shipment,
    of_two_sessions_at_once_one_pays_and_the_other_is_to_be_refunded,
    two_sessions_told_of_by_two_events_each_at_once_pay_once,
    a_second_payment_is_to_be_refunded_and_ships_nothing,
    a_session_told_of_by_two_events_pays_once,
    an_unpaid_session_pays_nothing_until_its_money_has_arrived,
    a_payment_that_does_not_fit_is_kept_and_pays_nothing,
    a_handler_that_fails_halfway_leaves_no_row_and_the_retry_pays,
    an_object_of_another_shape_is_kept_and_touches_no_row_of_the_shop,
}

async fn a_genuine_payment_pays_the_order_and_ships_it<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    let session = bench.order().await;
    assert_eq!(bench.deliver(session.completed()).await, 200);
    assert_eq!(bench.state_of(&session).await, "paid 0 pending");
    assert_eq!(bench.refunds_due(&session).await, 0);
}

async fn a_duplicate_is_acknowledged_and_changes_nothing<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    let session = bench.order().await;
    bench.deliver(session.completed()).await;
    let before = bench.counts().await;
    assert_eq!(bench.deliver(session.completed()).await, 200);
    assert_eq!(bench.counts().await, before);
    assert_eq!(bench.state_of(&session).await, "paid 0 pending");
}

async fn fifty_copies_at_once_make_one_payment_and_one_shipment<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    let session = bench.order().await;
    let answers = bench.deliver_at_once(vec![session.completed(); 50]).await;
    assert!(
        answers.iter().all(|status| [200, 409].contains(status)),
        "{answers:?}"
    );
    assert!(answers.contains(&200));
    let counts = bench.counts().await;
    for table in ["shipments", "stripe_effects", "processed_stripe_events"] {
        assert!(counts.contains(&(table, 1)), "{counts:?}");
    }
}

async fn of_two_sessions_at_once_one_pays_and_the_other_is_to_be_refunded<
    DB: Shop<Connection: Rows>,
>(
    bench: Bench<DB>,
) {
    for _ in 0..20 {
        let session = bench.order().await;
        let both = vec![session.completed(), again(&session).completed()];
        assert_eq!(bench.deliver_at_once(both).await, [200, 200]);
        assert_eq!(bench.state_of(&session).await, "paid 0 pending");
        assert_eq!(bench.refunds_due(&session).await, 1);
    }
    assert!(bench.counts().await.contains(&("shipments", 20)));
}

async fn two_sessions_told_of_by_two_events_each_at_once_pay_once<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    for _ in 0..10 {
        let session = bench.order().await;
        let other = again(&session);
        let events = vec![
            session.completed(),
            session.paid_later(),
            other.completed(),
            other.paid_later(),
            session.expired(),
        ];
        assert_eq!(bench.deliver_at_once(events).await, [200; 5]);
        assert_eq!(bench.state_of(&session).await, "paid 0 pending");
        assert_eq!(bench.refunds_due(&session).await, 1);
    }
    assert_eq!(bench.kept().await, [""; 0]);
    let counts = bench.counts().await;
    assert!(counts.contains(&("shipments", 10)), "{counts:?}");
    assert!(counts.contains(&("stripe_effects", 20)), "{counts:?}");
}

async fn a_second_payment_is_to_be_refunded_and_ships_nothing<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    let session = bench.order().await;
    bench.deliver(session.completed()).await;
    let cheaper = Session {
        amount: 1,
        ..again(&session)
    };
    assert_eq!(bench.deliver(cheaper.completed()).await, 200);
    assert_eq!(bench.state_of(&session).await, "paid 0 pending");
    assert_eq!(bench.refunds_due(&session).await, 1);
    // Its refund is not the order's.
    assert_eq!(bench.deliver(cheaper.refunded(1)).await, 200);
    assert_eq!(bench.refunds_due(&session).await, 0);
    assert_eq!(bench.state_of(&session).await, "paid 0 pending");
}

async fn a_session_told_of_by_two_events_pays_once<DB: Shop<Connection: Rows>>(bench: Bench<DB>) {
    for _ in 0..10 {
        let session = bench.order().await;
        let both = vec![session.completed(), session.paid_later()];
        assert_eq!(bench.deliver_at_once(both).await, [200, 200]);
        assert_eq!(bench.state_of(&session).await, "paid 0 pending");
        assert_eq!(bench.refunds_due(&session).await, 0);
    }
    let counts = bench.counts().await;
    for table in ["shipments", "stripe_effects"] {
        assert!(counts.contains(&(table, 10)), "{counts:?}");
    }
}

async fn an_unpaid_session_pays_nothing_until_its_money_has_arrived<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    let session = bench.order().await;
    assert_eq!(bench.deliver(session.completed_unpaid()).await, 200);
    assert_eq!(bench.state_of(&session).await, "pending 0 none");
    assert_eq!(bench.deliver(session.paid_later()).await, 200);
    assert_eq!(bench.state_of(&session).await, "paid 0 pending");
}

async fn a_payment_that_does_not_fit_is_kept_and_pays_nothing<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    let session = bench.order().await;
    let less = Session {
        amount: 4199,
        ..session.clone()
    };
    let dollars = Session {
        currency: "usd",
        ..again(&session)
    };
    for misfit in [less, dollars] {
        assert_eq!(bench.deliver(misfit.completed()).await, 200);
    }
    assert_eq!(bench.state_of(&session).await, "pending 0 none");
    assert_eq!(bench.kept().await, ["handler_amount_mismatch"; 2]);
    // Stripe writes currencies in lower case; upper case is the same one.
    let fits = Session {
        name: "upper".into(),
        currency: "EUR",
        ..session.clone()
    };
    assert_eq!(bench.deliver(fits.completed()).await, 200);
    assert_eq!(bench.state_of(&session).await, "paid 0 pending");
}

async fn a_handler_that_fails_halfway_leaves_no_row_and_the_retry_pays<
    DB: Shop<Connection: Rows>,
>(
    bench: Bench<DB>,
) {
    let session = bench.order().await;
    let before = bench.counts().await;
    bench
        .run("alter table shipments rename to shipments_lost")
        .await;
    assert_eq!(bench.deliver(session.completed()).await, 503);
    bench
        .run("alter table shipments_lost rename to shipments")
        .await;
    assert_eq!(bench.counts().await, before);
    assert_eq!(bench.state_of(&session).await, "pending 0 none");
    assert_eq!(bench.deliver(session.completed()).await, 200);
    assert_eq!(bench.state_of(&session).await, "paid 0 pending");
}

async fn an_object_of_another_shape_is_kept_and_touches_no_row_of_the_shop<
    DB: Shop<Connection: Rows>,
>(
    bench: Bench<DB>,
) {
    let session = bench.order().await;
    let before = bench.counts().await;
    let event = session
        .completed()
        .replace(r#""amount_total": 4200"#, r#""amount_total": "42.00""#);
    assert_eq!(bench.deliver(event).await, 200);
    assert_eq!(
        bench.kept().await,
        ["object_misfit data.object.amount_total"]
    );
    for (table, rows) in before {
        let kept = ["processed_stripe_events", "stripe_inbox"].contains(&table);
        let after = (table, rows + i64::from(kept));
        assert!(bench.counts().await.contains(&after), "{table}");
    }
}
