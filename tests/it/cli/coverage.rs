use axum::{Router, routing::get};
use axum_stripe_webhook::{EventRouter, router::Flow};
use serde_json::Value;

use super::program::{Files, nobody, program, serve};

async fn handle() {}

/// As a service serves it: Checkout whole, refunds not at all.
fn report() -> String {
    let events = EventRouter::<()>::new().on_prefix("checkout.session.", handle);
    let events = events.build().unwrap();
    serde_json::to_string(&events.coverage(&[Flow::Checkout, Flow::Refunds])).unwrap()
}

#[tokio::test]
async fn what_is_missing_is_named_with_what_comes_of_it() {
    let url = serve(Router::new().route("/coverage", get(async || report()))).await;
    let url = format!("{url}/coverage");
    let ran = program(&["coverage", &url]).run().await;
    assert_eq!(ran.exit, 1, "{ran:?}");
    assert!(
        ran.out.contains("checkout  checkout.session.completed"),
        "{ran:?}"
    );
    assert!(ran.out.contains("MISSING"), "{ran:?}");
    assert!(
        ran.out.contains("a refund made in the Dashboard"),
        "{ran:?}"
    );
    assert!(ran.out.ends_with("7 event types, 3 missing\n"), "{ran:?}");
    assert!(ran.out.lines().all(|line| line.len() <= 100), "{ran:?}");
    let json = program(&["coverage", &url, "--json"]).run().await.json(1);
    let served: Value = serde_json::from_str(&report()).unwrap();
    assert_eq!(json, served);
}

#[tokio::test]
async fn a_flow_can_be_looked_at_alone() {
    let files = Files::new();
    let file = files.write("report.json", report());
    let json = program(&["coverage", &file, "--flow", "checkout", "--json"]);
    let json = json.run().await.json(0);
    assert_eq!(json["missing"], 0);
    assert_eq!(json["event_types"].as_array().unwrap().len(), 4);
    let json = program(&["coverage", "-", "--flow", "refunds", "--json"]);
    let json = json.stdin(report().as_bytes()).run().await.json(1);
    assert_eq!(json["missing"], 3);
    let ran = program(&["coverage", &file, "--flow", "disputes"])
        .run()
        .await;
    ran.fails(3, "says nothing of the flow disputes");
    let ran = program(&["coverage", &file, "--flow", "refuns"])
        .run()
        .await;
    ran.fails(2, "refuns");
}

#[tokio::test]
async fn what_is_no_report_is_not_taken_for_one() {
    let files = Files::new();
    let file = files.write("other.json", r#"{"missing": 0}"#);
    let ran = program(&["coverage", &file]).run().await;
    ran.fails(3, "not a coverage report");
    let empty = files.write("empty.json", r#"{"event_types": [], "missing": 0}"#);
    let ran = program(&["coverage", &empty]).run().await;
    ran.fails(3, "of no event types");
    let ran = program(&["coverage", "/nowhere/report"]).run().await;
    ran.fails(3, "/nowhere/report: cannot be read");
    let long = || async { "x".repeat(100_000) };
    let url = serve(Router::new().route("/", get(long))).await;
    let ran = program(&["coverage", &url]).run().await;
    ran.fails(3, "longer than 65536 bytes");
    let ran = program(&["coverage", &nobody().await]).run().await;
    ran.fails(3, "no connection");
    let url = serve(Router::new()).await;
    let ran = program(&["coverage", &url]).run().await;
    ran.fails(3, "answered 404");
}
