use order_fulfillment::{orders::Shop, webhook::FLOWS};

use crate::bench::{Bench, Rows, on_both_databases};

on_both_databases! {
    an_order_that_nobody_could_pay_is_refused,
    an_order_is_shown_as_it_stands,
    health_is_that_of_the_database,
    the_coverage_of_the_shops_flows_can_be_read,
}

async fn an_order_that_nobody_could_pay_is_refused<DB: Shop<Connection: Rows>>(bench: Bench<DB>) {
    for order in [
        r#"{"amount": -1, "currency": "eur"}"#,
        r#"{"amount": 1, "currency": "euro"}"#,
        r#"{"amount": 1, "currency": "€"}"#,
        r#"{"amount": "1", "currency": "eur"}"#,
    ] {
        let (status, _) = bench.post("/orders", "x-none", "", order.into()).await;
        assert_eq!(status, 422, "{order}");
    }
    assert!(bench.counts().await.contains(&("orders", 0)));
}

async fn an_order_is_shown_as_it_stands<DB: Shop<Connection: Rows>>(bench: Bench<DB>) {
    let session = bench.order().await;
    let (status, text) = bench.fetch(&format!("/orders/{}", session.order)).await;
    assert_eq!(status, 200);
    let expected = format!(
        r#"{{"id":"{}","amount":4200,"currency":"eur","status":"pending","amount_refunded":0,"shipment":null}}"#,
        session.order
    );
    assert_eq!(text, expected);
    for path in ["/orders/ord_missing", "/orders/%00"] {
        let missing = bench.fetch(path).await;
        assert_eq!(missing, (404, "no such order\n".into()), "{path}");
    }
}

async fn health_is_that_of_the_database<DB: Shop<Connection: Rows>>(bench: Bench<DB>) {
    assert_eq!(bench.fetch("/healthz").await, (200, "ok\n".into()));
    bench.pool.close().await;
    assert_eq!(
        bench.fetch("/healthz").await,
        (503, "database not available\n".into())
    );
}

async fn the_coverage_of_the_shops_flows_can_be_read<DB: Shop<Connection: Rows>>(bench: Bench<DB>) {
    let (status, report) = bench.fetch("/events/coverage").await;
    assert_eq!(status, 200);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let types = report["event_types"].as_array().unwrap();
    let needed = FLOWS.iter().map(|flow| flow.critical_types().len());
    assert_eq!(types.len(), needed.sum::<usize>());
    assert_eq!(types[0]["flow"], "checkout");
    assert_eq!(types[0]["event_type"], "checkout.session.completed");
    assert_eq!(types[0]["handling"], "handled");
    assert_eq!(report["missing"], 0);
}
