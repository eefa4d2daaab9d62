//! Events that are kept, and what the shop's staff does with them.

use order_fulfillment::{demo::events::Session, orders::Shop};

use crate::bench::{Bench, Rows, id_of, on_both_databases};

on_both_databases! {
    an_event_that_names_no_order_is_kept_and_pays_once_when_it_is_released,
    a_released_event_and_another_of_its_session_at_once_pay_once,
    an_event_is_released_once,
    money_that_went_back_meanwhile_ships_nothing,
    a_release_that_fails_halfway_leaves_the_event_kept,
    what_was_discarded_never_pays,
    nobody_releases_or_discards_without_name_and_reason,
    only_what_is_kept_is_released_or_discarded,
}

/// A session that names an order which is not there yet.
fn early() -> Session {
    Session {
        name: "early".into(),
        order: "ord_early".into(),
        amount: 4200,
        currency: "eur",
    }
}

impl<DB: Shop<Connection: Rows>> Bench<DB> {
    async fn place_early(&self) {
        self.run(
            "insert into orders (id, amount, currency, status)
             values ('ord_early', 4200, 'eur', 'pending')",
        )
        .await;
    }

    pub(crate) async fn actions(&self) -> Vec<String> {
        let sql = "select event_id || ': ' || action || ' by ' || actor || ', ' || reason
            from stripe_actions order by id";
        self.pool.acquire().await.unwrap().texts(sql).await
    }
}

async fn an_event_that_names_no_order_is_kept_and_pays_once_when_it_is_released<
    DB: Shop<Connection: Rows>,
>(
    bench: Bench<DB>,
) {
    let event = early().completed();
    let (status, text) = bench.answer_to(event.clone()).await;
    assert_eq!((status, text.as_str()), (200, "kept\n"));
    assert_eq!(bench.kept().await, ["handler_unknown_order"]);
    let kept = bench.counts().await;
    for table in ["payment_intents", "shipments", "stripe_effects"] {
        assert!(kept.contains(&(table, 0)), "{kept:?}");
    }
    let (status, text) = bench.act("release", &event).await;
    assert_eq!((status, text.as_str()), (409, "still quarantined\n"));
    assert_eq!(bench.counts().await, kept);

    bench.place_early().await;
    // A delivery is a duplicate of what is kept, until that is released.
    assert_eq!(bench.deliver(event.clone()).await, 200);
    assert_eq!(bench.state_of(&early()).await, "pending 0 none");
    assert_eq!(bench.act("release", &event).await.0, 200);
    assert_eq!(bench.state_of(&early()).await, "paid 0 pending");
    assert_eq!(bench.kept().await, [""; 0]);
    let released = format!("{}: release by jo, looked at it", id_of(&event));
    assert_eq!(bench.actions().await, [released]);

    let paid = bench.counts().await;
    assert_eq!(bench.deliver(event.clone()).await, 200);
    assert_eq!(bench.act("release", &event).await.0, 404);
    assert_eq!(bench.counts().await, paid);
    assert_eq!(bench.deliver(early().paid_later()).await, 200);
    assert_eq!(bench.refunds_due(&early()).await, 0);
    assert_eq!(bench.state_of(&early()).await, "paid 0 pending");
}

async fn a_released_event_and_another_of_its_session_at_once_pay_once<
    DB: Shop<Connection: Rows>,
>(
    bench: Bench<DB>,
) {
    for round in 0..10 {
        let session = bench.order().await;
        let cheaper = Session {
            amount: 4100,
            ..session.clone()
        };
        let (event, other) = (cheaper.completed(), cheaper.paid_later());
        assert_eq!(bench.deliver(event.clone()).await, 200);
        // The shop puts the price of the order right.
        bench.run("update orders set amount = 4100").await;
        let (released, delivered) =
            tokio::join!(bench.act("release", &event), bench.deliver(other));
        assert_eq!((released.0, delivered), (200, 200), "{round}");
        assert_eq!(bench.state_of(&session).await, "paid 0 pending");
        assert_eq!(bench.refunds_due(&session).await, 0);
    }
    let counts = bench.counts().await;
    for table in ["shipments", "stripe_effects", "stripe_actions"] {
        assert!(counts.contains(&(table, 10)), "{counts:?}");
    }
}

async fn an_event_is_released_once<DB: Shop<Connection: Rows>>(bench: Bench<DB>) {
    let event = early().completed();
    assert_eq!(bench.deliver(event.clone()).await, 200);
    bench.place_early().await;
    let (one, other) = tokio::join!(bench.act("release", &event), bench.act("release", &event));
    let mut answers = [one.0, other.0];
    answers.sort_unstable();
    // The other one came meanwhile, or afterwards.
    assert!([[200, 409], [200, 404]].contains(&answers), "{answers:?}");
    assert_eq!(bench.state_of(&early()).await, "paid 0 pending");
    assert!(bench.counts().await.contains(&("stripe_actions", 1)));
}

async fn money_that_went_back_meanwhile_ships_nothing<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    let event = early().completed();
    for event in [event.clone(), early().refunded(4200)] {
        assert_eq!(bench.deliver(event).await, 200);
    }
    bench.place_early().await;
    assert_eq!(bench.act("release", &event).await.0, 200);
    assert_eq!(bench.state_of(&early()).await, "refunded 4200 held");
}

async fn a_release_that_fails_halfway_leaves_the_event_kept<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    let event = early().completed();
    assert_eq!(bench.deliver(event.clone()).await, 200);
    bench.place_early().await;
    let before = bench.counts().await;
    bench
        .run("alter table shipments rename to shipments_lost")
        .await;
    assert_eq!(bench.act("release", &event).await.0, 503);
    bench
        .run("alter table shipments_lost rename to shipments")
        .await;
    assert_eq!(bench.counts().await, before);
    assert_eq!(bench.act("release", &event).await.0, 200);
    assert_eq!(bench.state_of(&early()).await, "paid 0 pending");
}

async fn what_was_discarded_never_pays<DB: Shop<Connection: Rows>>(bench: Bench<DB>) {
    let event = early().completed();
    assert_eq!(bench.deliver(event.clone()).await, 200);
    let (status, text) = bench.act("discard", &event).await;
    assert_eq!((status, text.as_str()), (200, "discarded\n"));
    let discarded = format!("{}: discard by jo, looked at it", id_of(&event));
    assert_eq!(bench.actions().await, [discarded]);
    bench.place_early().await;
    let (status, text) = bench.answer_to(event.clone()).await;
    assert_eq!((status, text.as_str()), (200, "already processed\n"));
    assert_eq!(bench.act("release", &event).await.0, 404);
    assert_eq!(bench.state_of(&early()).await, "pending 0 none");
}

async fn nobody_releases_or_discards_without_name_and_reason<DB: Shop<Connection: Rows>>(
    bench: Bench<DB>,
) {
    let event = early().completed();
    assert_eq!(bench.deliver(event.clone()).await, 200);
    bench.place_early().await;
    let before = bench.counts().await;
    let longer = |length: usize| "x".repeat(length + 1);
    for by in [
        String::new(),
        "jo".into(),
        r#"{"actor": "jo"}"#.into(),
        r#"{"actor": "jo", "reason": 1}"#.into(),
        r#"{"actor": " ", "reason": "why not"}"#.into(),
        r#"{"actor": "jo", "reason": ""}"#.into(),
        r#"{"actor": "jo", "reason": "\u0000"}"#.into(),
        format!(r#"{{"actor": "{}", "reason": "why not"}}"#, longer(255)),
        format!(r#"{{"actor": "jo", "reason": "{}"}}"#, longer(1000)),
    ] {
        for action in ["release", "discard"] {
            let (status, text) = bench.act_as(action, &event, &by).await;
            assert_eq!(status, 400, "{action} {by}");
            let said = "say who acts and why, as JSON: an \"actor\" of 1 to 255 characters and a \
                \"reason\" of 1 to 1000\n";
            assert_eq!(text, said);
        }
    }
    assert_eq!(bench.counts().await, before);
}

async fn only_what_is_kept_is_released_or_discarded<DB: Shop<Connection: Rows>>(bench: Bench<DB>) {
    let session = bench.order().await;
    assert_eq!(bench.deliver(session.completed()).await, 200);
    let before = bench.counts().await;
    for event in [session.completed(), early().completed()] {
        for action in ["release", "discard"] {
            let (status, text) = bench.act(action, &event).await;
            assert_eq!(status, 404);
            assert_eq!(text, "nothing is quarantined under this id\n");
        }
    }
    assert_eq!(bench.counts().await, before);
}
