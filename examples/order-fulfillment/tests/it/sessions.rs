//! Sessions that pay nothing, and sessions and payments that turn up twice.

use order_fulfillment::{demo::events::Session, orders::Shop};

use crate::bench::{Bench, Rows, again, on_both_databases};

on_both_databases! {
    only_the_words_that_say_so_pay,
    a_session_over_nothing_pays_an_order_over_nothing_and_is_never_to_be_refunded,
    only_a_session_of_mode_payment_pays_or_expires_an_order,
    an_empty_reference_leaves_the_order_to_the_metadata,
    a_payment_intent_pays_one_order_and_is_kept_at_another,
    a_payment_intent_that_paid_an_order_is_never_to_be_refunded_for_another,
    a_session_pays_one_order_whatever_it_names_later,
    a_payment_intent_that_is_due_back_pays_no_other_order,
    a_session_whose_first_event_was_kept_is_paid_by_its_second,
}

async fn only_the_words_that_say_so_pay<DB: Shop<Connection: Rows>>(bench: Bench<DB>) {
    let session = bench.order().await;
    for (name, status) in [
        ("unpaid", "unpaid"),
        ("not free", "no_payment_required"),
        ("to come", "partially_paid"),
    ] {
        for event in [session.completed(), session.paid_later()] {
            let event = with_status(&event, status).replace("evt_", &format!("evt_{name}_"));
            assert_eq!(bench.deliver(event).await, 200, "{name}");
        }
        assert_eq!(bench.state_of(&session).await, "pending 0 none", "{name}");
    }
    assert_eq!(bench.kept().await, ["handler_unknown_payment"; 4]);
    assert!(bench.counts().await.contains(&("stripe_effects", 0)));
}

async fn a_session_over_nothing_pays_an_order_over_nothing_and_is_never_to_be_refunded<
    DB: Shop<Connection: Rows>,
>(
    bench: Bench<DB>,
) {
    let (free, costly) = (bench.order_over(0).await, bench.order().await);
    let second = again(&free);
    for session in [&costly, &free, &second] {
        let event = over_nothing(session).replace(r#""currency": "eur""#, r#""currency": null"#);
        assert_eq!(bench.deliver(event).await, 200);
    }
    assert_eq!(bench.state_of(&free).await, "paid 0 pending");
    assert_eq!(bench.refunds_due(&free).await, 0);
    assert_eq!(bench.state_of(&costly).await, "pending 0 none");
    assert_eq!(bench.kept().await, ["handler_amount_mismatch"]);

    let unsaid = bench.order_over(0).await;
    let event = over_nothing(&unsaid).replace(r#""amount_total": 0"#, r#""amount_total": null"#);
    assert_eq!(bench.deliver(event).await, 200);
    assert_eq!(bench.state_of(&unsaid).await, "paid 0 pending");
}

async fn only_a_session_of_mode_payment_pays_or_expires_an_order<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    let session = bench.order().await;
    let before = bench.counts().await;
    for (mode, status) in [
        ("setup", "no_payment_required"),
        ("subscription", "paid"),
        ("to_come", "paid"),
    ] {
        for event in [session.completed(), session.expired()] {
            let event = with_status(&event, status)
                .replace(r#""mode": "payment""#, &format!(r#""mode": "{mode}""#))
                .replace("evt_", &format!("evt_{mode}_"));
            assert_eq!(bench.deliver(event).await, 200, "{mode}");
        }
        assert_eq!(bench.counts().await, before, "{mode}");
        assert_eq!(bench.state_of(&session).await, "pending 0 none", "{mode}");
    }
    let older = session.completed().replace(r#""mode": "payment","#, "");
    assert_eq!(bench.deliver(older).await, 200);
    assert_eq!(bench.state_of(&session).await, "paid 0 pending");
}

async fn an_empty_reference_leaves_the_order_to_the_metadata<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    let session = bench.order().await;
    let named = format!(r#""client_reference_id": "{}""#, session.order);
    let event = session
        .completed()
        .replace(&named, r#""client_reference_id": """#);
    assert_eq!(bench.deliver(event).await, 200);
    assert_eq!(bench.state_of(&session).await, "paid 0 pending");
}

async fn a_payment_intent_pays_one_order_and_is_kept_at_another<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    for _ in 0..10 {
        let (one, other) = (bench.order().await, bench.order().await);
        let intent = |session: &Session| format!(r#""pi_{}""#, session.name);
        let event = other.completed().replace(&intent(&other), &intent(&one));
        let both = vec![one.completed(), event];
        assert_eq!(bench.deliver_at_once(both).await, [200, 200]);
        let mut states = [bench.state_of(&one).await, bench.state_of(&other).await];
        states.sort();
        assert_eq!(states, ["paid 0 pending", "pending 0 none"]);
    }
    assert_eq!(bench.kept().await, ["handler_payment_spent"; 10]);
}

async fn a_payment_intent_that_paid_an_order_is_never_to_be_refunded_for_another<
    DB: Shop<Connection: Rows>,
>(
    bench: Bench<DB>,
) {
    let (one, other) = (bench.order().await, bench.order().await);
    let second = again(&other);
    let intent = |session: &Session| format!(r#""pi_{}""#, session.name);
    let event = second.completed().replace(&intent(&second), &intent(&one));
    for event in [one.completed(), other.completed(), event] {
        assert_eq!(bench.deliver(event).await, 200);
    }
    assert_eq!(bench.refunds_due(&other).await, 0);
    assert_eq!(bench.kept().await, ["handler_payment_spent"]);
}

async fn a_payment_intent_that_is_due_back_pays_no_other_order<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    let (paid, other) = (bench.order().await, bench.order().await);
    let due_back = again(&paid);
    let intent = |session: &Session| format!(r#""pi_{}""#, session.name);
    let event = other
        .completed()
        .replace(&intent(&other), &intent(&due_back));
    for event in [paid.completed(), due_back.completed(), event] {
        assert_eq!(bench.deliver(event).await, 200);
    }
    assert_eq!(bench.refunds_due(&paid).await, 1);
    assert_eq!(bench.state_of(&other).await, "pending 0 none");
    assert_eq!(bench.kept().await, ["handler_payment_spent"]);
}

async fn a_session_pays_one_order_whatever_it_names_later<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    for _ in 0..10 {
        let (one, other) = (bench.order_over(0).await, bench.order_over(0).await);
        let event = over_nothing(&one)
            .replace(&one.order, &other.order)
            .replace("evt_", "evt_other_");
        let both = vec![over_nothing(&one), event];
        assert_eq!(bench.deliver_at_once(both).await, [200, 200]);
        let mut states = [bench.state_of(&one).await, bench.state_of(&other).await];
        states.sort();
        assert_eq!(states, ["paid 0 pending", "pending 0 none"]);
    }
    assert!(bench.counts().await.contains(&("stripe_effects", 10)));
}

async fn a_session_whose_first_event_was_kept_is_paid_by_its_second<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    let session = bench.order().await;
    let unfit = Session {
        order: "ord_unknown".into(),
        amount: 1,
        currency: "usd",
        ..session.clone()
    };
    assert_eq!(bench.deliver(unfit.completed()).await, 200);
    assert_eq!(bench.kept().await, ["handler_unknown_order"]);
    assert_eq!(bench.deliver(session.paid_later()).await, 200);
    assert_eq!(bench.state_of(&session).await, "paid 0 pending");
    // The session has had its effect, so there is nothing left to keep.
    assert_eq!(bench.act("release", &unfit.completed()).await.0, 200);
    assert_eq!(bench.state_of(&session).await, "paid 0 pending");
    assert_eq!(bench.refunds_due(&session).await, 0);
    assert_eq!(bench.kept().await, [""; 0]);
}

fn with_status(event: &str, status: &str) -> String {
    let told = |status: &str| format!(r#""payment_status": "{status}""#);
    event
        .replace(&told("paid"), &told(status))
        .replace(&told("unpaid"), &told(status))
}

/// A session that a coupon has paid wholly.
fn over_nothing(session: &Session) -> String {
    let amount = format!(r#""amount_total": {}"#, session.amount);
    with_status(&session.completed(), "no_payment_required")
        .replace(&format!(r#""pi_{}""#, session.name), "null")
        .replace(&amount, r#""amount_total": 0"#)
}
