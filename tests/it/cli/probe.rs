use std::time::Duration;

use axum::{
    Router,
    http::StatusCode,
    routing::{get, post},
};
use serde_json::Value;
use sqlx::Sqlite;

use super::program::{Files, MARKER, nobody, program, serve};
use crate::{
    database::TestBackend,
    endpoint::{Endpoint, work},
    stripe,
};

/// So that it takes seconds: a sound endpoint of the tests waits 800 ms for a body.
const QUICK: [&str; 6] = [
    "--settle-time",
    "200ms",
    "--slow-time",
    "2s",
    "--copies",
    "8",
];

/// A sound endpoint, and a page that counts what it has done.
async fn sound() -> (String, Endpoint<Sqlite>) {
    let endpoint = Endpoint::<Sqlite>::with(work::<Sqlite>, |layer| {
        layer.body_time_max(Duration::from_millis(800))
    })
    .await;
    let pool = endpoint.pool.clone();
    let count = async move || format!("{}\n", Sqlite::count(&pool, "work").await);
    let app = endpoint.app.clone().route("/count", get(count));
    (serve(app).await, endpoint)
}

/// One that takes whatever comes.
async fn gullible() -> String {
    let app = Router::new().route("/", post(async || StatusCode::OK));
    serve(app).await
}

fn codes(findings: &Value) -> Vec<&str> {
    let findings = findings.as_array().unwrap().iter();
    findings
        .map(|finding| finding["code"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn nothing_is_found_at_a_sound_endpoint_whose_effects_are_counted() {
    let (server, _endpoint) = sound().await;
    let (url, count) = (
        format!("{server}/webhooks/stripe"),
        format!("{server}/count"),
    );
    let words = [
        "probe",
        &url,
        "--secret-env",
        "SECRET",
        "--json",
        "--count-url",
        &count,
    ];
    let json = program(&[&words[..], &QUICK].concat()).run().await.json(0);
    assert_eq!(codes(&json["findings"]), Vec::<&str>::new());
    assert_eq!(json["not_checked"], serde_json::json!([]), "{json}");
    assert!(json["passed"].as_array().unwrap().len() > 10);
    assert_eq!(json["target"], url.as_str());
}

#[tokio::test]
async fn a_command_counts_and_an_event_of_ones_own_is_delivered() {
    let (server, endpoint) = sound().await;
    let (url, file) = (format!("{server}/webhooks/stripe"), &endpoint.fresh.url);
    let files = Files::new();
    let event = files.write(
        "event.json",
        stripe::event_of_type("evt_1", "charge.refunded"),
    );
    let script = format!("test -s '{file}' && echo 7");
    let words = [
        "probe",
        &url,
        "--secret-env",
        "SECRET",
        "--json",
        "--count-command",
        &script,
        "--file",
        &event,
    ];
    // A count that never moves says nothing about a doubling.
    let json = program(&[&words[..], &QUICK].concat()).run().await.json(0);
    let not_checked = json["not_checked"].as_array().unwrap().iter();
    let mut not_checked = not_checked.filter(|entry| entry["code"] == "doubled");
    let reason = not_checked.next().unwrap()["reason"].as_str().unwrap();
    assert!(
        reason.contains("no effect that the count shows"),
        "{reason}"
    );
    let sent = Sqlite::count(&endpoint.pool, "work where event_id like 'evt_probe%'").await;
    assert!(sent > 0);
}

#[tokio::test]
async fn a_finding_fails_from_its_severity_on_unless_it_is_skipped() {
    let url = gullible().await;
    let probe = async |more: &[&str]| {
        let words = [&["probe", &url, "--slow-time", "1s"][..], more].concat();
        program(&words).run().await
    };
    let json = probe(&["--json"]).await.json(1);
    let found = codes(&json["findings"]);
    assert_eq!(json["findings"][0]["severity"], "critical", "{json}");
    assert!(found.contains(&"not_verified"), "{json}");
    for field in ["title", "sent", "answered", "why", "remedy", "details"] {
        assert!(!json["findings"][0][field].is_null(), "{field}");
    }
    let ran = probe(&["--fail-on", "critical"]).await;
    assert_eq!(ran.exit, 1);
    assert!(ran.out.contains("CRITICAL\n  not_verified: "), "{ran:?}");
    assert!(
        ran.out.lines().all(|line| line.chars().count() <= 100),
        "{ran:?}"
    );
    let skipped: Vec<_> = found.iter().flat_map(|code| ["--skip", code]).collect();
    let json = probe(&[&skipped[..], &["--json"]].concat()).await.json(0);
    assert_eq!(codes(&json["findings"]), Vec::<&str>::new());
}

#[tokio::test]
async fn what_keeps_it_from_running_is_named() {
    let url = nobody().await;
    let probe =
        async |url: &str, more: &[&str]| program(&[&["probe", url][..], more].concat()).run().await;
    probe(&url, &[])
        .await
        .fails(3, "the endpoint cannot be reached");
    probe("http://192.0.2.1/", &[]).await.fails(2, "--own");
    probe(&url, &["--skip", "nonsense"])
        .await
        .fails(2, "not_verified");
    probe(&url, &["--fail-on", "lots"])
        .await
        .fails(2, "low, medium, high or critical");
    let secret = format!("whsec_{MARKER}");
    let ran = probe(&url, &["--secret-env", &secret]).await;
    ran.fails(2, "looks like the secret itself");
    let server = gullible().await;
    let ran = probe(&server, &["--count-command", "echo many"]).await;
    ran.fails(3, "the output of --count-command is not a number");
    let ran = probe(&server, &["--count-url", &format!("{server}/count")]).await;
    ran.fails(3, "the server answered 404");
    let ran = probe(&server, &["--count-url", "/count"]).await;
    ran.fails(2, "not a URL");
    let ran = probe(
        &server,
        &["--type", "invoice.paid", "--type", "refund.failed"],
    )
    .await;
    ran.fails(2, "one event is enough");
}
