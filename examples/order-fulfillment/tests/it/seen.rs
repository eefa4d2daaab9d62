//! What operators see of the program, and what nobody sees.

use std::{collections::BTreeSet, fs};

use axum_stripe_webhook::telemetry::metric;
use order_fulfillment::demo::events::Session;
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection, query_scalar};
use tempfile::TempDir;

use crate::{
    bench::{SECRET, now, sign},
    killed::Sender,
    program::{Serving, program},
};

const MARKER: &str = "marker-of-a-person";

/// A customer's session of an order that nobody has placed, with a person in each field that has one.
fn event(name: &str) -> String {
    let session = Session {
        name: name.to_owned(),
        order: "ord_unknown".to_owned(),
        amount: 4200,
        currency: "eur",
    };
    let mut event: Value = serde_json::from_str(&session.completed()).unwrap();
    let object = &mut event["data"]["object"];
    object["customer_details"] = json!({"email": format!("{MARKER}@example.com"), "name": MARKER});
    object["customer_email"] = MARKER.into();
    object["metadata"]["note"] = MARKER.into();
    event.to_string()
}

async fn post(sent: &Sender, signature: &str, body: &str) -> (u16, String) {
    let answer = sent.post(
        "/webhooks/stripe",
        "stripe-signature",
        signature,
        body.to_owned(),
    );
    answer.await.unwrap()
}

fn start(folder: &TempDir, mode: &str, log: &str) -> Serving {
    let variables = [
        ("STRIPE_WEBHOOK_SECRET", SECRET),
        ("DATABASE_URL", "sqlite://orders.sqlite"),
        ("MODE", mode),
        ("RUST_LOG", log),
    ];
    Serving::start(folder, &variables)
}

/// Those of the crate's metrics that have a value.
async fn metrics(sent: &Sender) -> String {
    let (status, text) = sent.get("/metrics").await.unwrap();
    assert_eq!(status, 200, "{text}");
    text
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn no_person_secret_or_signature_is_seen_anywhere_with_every_level_on() {
    for mode in ["inline", "inbox"] {
        let folder = TempDir::new().unwrap();
        let mut server = start(&folder, mode, "trace");
        let sent = Sender::to(&server);
        let mut seen = Vec::new();
        for name in ["a", "b", "a"] {
            let body = event(name);
            let genuine = sign(&body, SECRET, now());
            seen.push(post(&sent, &genuine, &body).await.1);
            for forged in [
                "",
                "t=1,v1=00",
                &sign(&body, "whsec_of_somebody_else", now()),
            ] {
                let (status, answer) = post(&sent, forged, &body).await;
                assert_eq!(status, 400);
                seen.push(answer);
            }
        }
        if mode == "inbox" {
            server.logged("stripe attempt ended");
        }
        seen.push(metrics(&sent).await);
        seen.push(sent.get("/events").await.unwrap().1);
        server.terminate();
        assert_eq!(server.ended(), Some(0));
        seen.extend(server.rest_of_the_log());

        let path = folder.path().join("orders.sqlite");
        let url = format!("sqlite://{}", path.display());
        let mut database = SqliteConnection::connect(&url).await.unwrap();
        let rows = "select outcome || ' ' || coalesce(event_id, '') || ' ' || coalesce(event_type, '') || ' '
            || coalesce(secret_name, '') || ' ' || coalesce(peer, '') from stripe_deliveries";
        let rows: Vec<String> = query_scalar(rows).fetch_all(&mut database).await.unwrap();
        assert_eq!(rows.len(), 12, "{rows:?}");
        assert!(
            rows.iter().all(|row| row.ends_with(" 127.0.0.1")),
            "{rows:?}"
        );
        seen.extend(rows);
        let errors = "select coalesce(last_error, '') from stripe_inbox";
        seen.extend(
            query_scalar::<_, String>(errors)
                .fetch_all(&mut database)
                .await
                .unwrap(),
        );

        assert!(
            seen.iter().any(|line| line.contains("request_id=")),
            "the log was read"
        );
        for line in seen {
            for marker in [MARKER, SECRET, "v1="] {
                assert!(!line.contains(marker), "{mode}: {line}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_delivered_and_refused_can_be_read_at_metrics() {
    let folder = TempDir::new().unwrap();
    let server = start(&folder, "inline", "warn,order_fulfillment=info");
    let sent = Sender::to(&server);
    let body = event("a");
    for _ in 0..2 {
        let genuine = sign(&body, SECRET, now());
        assert_eq!(post(&sent, &genuine, &body).await.0, 200);
    }
    assert_eq!(post(&sent, "t=1,v1=00", &body).await.0, 400);
    let text = metrics(&sent).await;
    for line in [
        r#"stripe_deliveries_total{endpoint="default",outcome="quarantined"} 1"#,
        r#"stripe_deliveries_total{endpoint="default",outcome="duplicate"} 1"#,
        r#"stripe_rejections_total{rule="signature_mismatch"} 1"#,
        r#"stripe_signature_matches_total{secret_name="current"} 2"#,
        r#"stripe_handler_seconds_bucket{event_type="checkout.session.completed","#,
    ] {
        assert!(text.contains(line), "no {line} in {text}");
    }
}

/// And what stands there instead of an id does not get into a log.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_known_by_its_id_in_the_log_and_in_the_answer() {
    let folder = TempDir::new().unwrap();
    let server = start(&folder, "inline", "info,axum_stripe_webhook=debug");
    let sent = Sender::to(&server);
    for (id, is_kept) in [
        ("from-the-proxy_1", true),
        ("jenny@example.com", false),
        (&*"a".repeat(65), false),
    ] {
        let answered = sent.request_id(id).await;
        assert_eq!(answered == id, is_kept, "{id}: {answered}");
        assert!((1..=64).contains(&answered.len()), "{answered}");
        let line = server.logged("stripe delivery rejected");
        assert!(
            line.contains(&format!("request_id=\"{answered}\"")),
            "{line}"
        );
    }
}

#[test]
fn the_alerts_ask_for_metrics_that_there_are() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/alerts.yml");
    let alerts = fs::read_to_string(path).unwrap();
    let words = alerts.split(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
    let asked: BTreeSet<_> = words.filter(|word| word.starts_with("stripe_")).collect();
    let there = BTreeSet::from([
        metric::AUDIT_LEFT_OUT,
        metric::DELIVERIES,
        metric::ENTRIES,
        metric::OLDEST_DUE_SECONDS,
        metric::REJECTIONS,
        metric::SIGNATURE_MATCHES,
        metric::UNHANDLED,
    ]);
    assert_eq!(asked, there);
}

#[test]
fn the_demo_shows_no_secret_and_no_signature_with_every_level_on() {
    let folder = TempDir::new().unwrap();
    let variables = [
        ("RUST_LOG", "trace"),
        ("TMPDIR", folder.path().to_str().unwrap()),
    ];
    let output = program(&folder, &variables).arg("demo").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("stripe_delivery{"), "the log was read");
    for text in [log, String::from_utf8(output.stdout).unwrap()] {
        for marker in ["whsec_", "v1="] {
            assert!(!text.contains(marker), "{marker}");
        }
    }
}
