use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use axum_stripe_webhook::{SigningSecret, VerifiedStripeEvent, Verifier};

use super::program::{Files, MARKER, nobody, program, serve};
use crate::stripe;

type Got = Arc<Mutex<Vec<(String, Bytes)>>>;

/// An endpoint that keeps what comes, header and body, and answers with this.
async fn endpoint(status: StatusCode) -> (String, Got) {
    let got = Got::default();
    let kept = got.clone();
    let keep = async move |headers: HeaderMap, body: Bytes| {
        let header = headers["stripe-signature"].to_str().unwrap().to_owned();
        kept.lock().unwrap().push((header, body));
        status
    };
    let url = serve(Router::new().route("/hook", post(keep))).await;
    (format!("{url}/hook"), got)
}

/// The events' ids, in the order in which they came.
fn ids(got: &Got) -> Vec<String> {
    let got = got.lock().unwrap();
    let id = |body: &Bytes| {
        let event: serde_json::Value = serde_json::from_slice(body).unwrap();
        event["id"].as_str().unwrap().to_owned()
    };
    got.iter().map(|(_, body)| id(body)).collect()
}

#[tokio::test]
async fn a_sample_is_delivered_as_it_was_set_and_verifies() {
    let seen = Arc::new(Mutex::new(None));
    let kept = seen.clone();
    let take = async move |event: VerifiedStripeEvent| {
        let object: serde_json::Value = event.object().unwrap();
        let seen = (event.event_type().to_owned(), object);
        *kept.lock().unwrap() = Some(seen);
    };
    let app = Router::new().route("/hook", post(take));
    let url = serve(app.with_state(stripe::verifier())).await;
    let ran = program(&[
        "send",
        &format!("{url}/hook"),
        "--secret-env",
        "SECRET",
        "--type",
        "invoice.paid",
        "--set",
        "data.object.amount_paid=4200",
        "--set",
        "data.object.note=on time",
        "--id",
        "evt_mine",
    ]);
    let ran = ran.run().await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(ran.out.starts_with("evt_mine  200  "), "{ran:?}");
    assert!(ran.out.ends_with("ms  invoice.paid\n"), "{ran:?}");
    let (event_type, object) = seen.lock().unwrap().take().unwrap();
    assert_eq!(event_type, "invoice.paid");
    assert_eq!(object["amount_paid"], 4200);
    assert_eq!(object["note"], "on time");
}

#[tokio::test]
async fn a_file_is_sent_as_it_is_or_not_at_all() {
    let (url, _got) = endpoint(StatusCode::OK).await;
    let files = Files::new();
    let file = files.write("event.json", stripe::event("evt_1"));
    for more in [&["--id", "evt_2"][..], &["--thin"]] {
        let words = ["send", &url, "--secret-env", "SECRET", "--file", &file];
        let ran = program(&[&words[..], more].concat()).run().await;
        ran.fails(2, "a file is sent as it is");
    }
}

#[tokio::test]
async fn an_old_secret_signs_beside_the_new_one() {
    let (url, got) = endpoint(StatusCode::OK).await;
    let files = Files::new();
    let new = files.write("new", format!("whsec_{MARKER}\n"));
    let ran = program(&[
        "send",
        &url,
        "--secret-file",
        &new,
        "--old-secret-env",
        "SECRET",
        "--type",
        "refund.failed",
    ]);
    assert_eq!(ran.run().await.exit, 0);
    let (header, body) = got.lock().unwrap().remove(0);
    assert_eq!(header.matches("v1=").count(), 2);
    for secret in [stripe::SECRET, &format!("whsec_{MARKER}")] {
        let verifier = Verifier::new(SigningSecret::new(secret).unwrap());
        let verified = verifier.verify_and_parse(body.clone(), header.as_bytes(), stripe::now());
        assert!(verified.is_ok());
    }
}

#[tokio::test]
async fn a_file_is_signed_byte_for_byte() {
    let (url, got) = endpoint(StatusCode::OK).await;
    let event = format!("{}\n\n ", stripe::event("evt_of_a_file"));
    let files = Files::new();
    let file = files.write("event.json", &event);
    let send = ["send", &url, "--secret-env", "SECRET", "--json", "--file"];
    let json = program(&[&send[..], &[&file]].concat()).run().await.json(0);
    assert_eq!(json["deliveries"][0]["event_id"], "evt_of_a_file");
    assert_eq!(json["deliveries"][0]["status"], 200);
    let from_stdin = program(&[&send[..], &["-"]].concat()).stdin(event.as_bytes());
    from_stdin.run().await.json(0);
    let got = got.lock().unwrap();
    assert!(got.iter().all(|(_, body)| body == &event));
    assert_eq!(got.len(), 2);
}

#[tokio::test]
async fn the_same_seed_mixes_copies_in_the_same_order() {
    let (url, got) = endpoint(StatusCode::OK).await;
    let files = Files::new();
    let event = |id| files.write(id, stripe::event(id));
    let (one, two) = (event("evt_1"), event("evt_2"));
    let send = [
        "send",
        &url,
        "--secret-env",
        "SECRET",
        "--file",
        &one,
        "--file",
        &two,
        "--copies",
        "30",
    ];
    let all = |more: &[&str]| program(&[&send[..], more].concat()).run();
    let json = all(&["--json"]).await.json(0);
    assert_eq!(json["statuses"]["200"], 60);
    assert_eq!(json["seed"], serde_json::Value::Null);
    assert!(json["milliseconds"]["median"].as_f64().unwrap() > 0.0);
    let plain = std::mem::take(&mut *got.lock().unwrap());
    let plain = ids(&Arc::new(Mutex::new(plain)));
    assert!(plain.is_sorted());

    let ran = all(&["--shuffle"]).await;
    assert!(ran.out.starts_with("60 answered 200\nmin "), "{ran:?}");
    let seed = ran.out.lines().find_map(|line| line.strip_prefix("seed "));
    let seed = seed.unwrap();
    let mixed = ids(&got);
    assert_ne!(mixed, plain);
    got.lock().unwrap().clear();
    all(&["--shuffle", "--seed", seed, "--json"]).await.json(0);
    assert_eq!(ids(&got), mixed);
}

#[tokio::test]
async fn a_thin_event_is_the_samples_twin() {
    let (url, got) = endpoint(StatusCode::OK).await;
    let ran = program(&[
        "send",
        &url,
        "--secret-env",
        "SECRET",
        "--thin",
        "--type",
        "charge.refunded",
    ]);
    assert_eq!(ran.run().await.exit, 0);
    let (_, body) = got.lock().unwrap().remove(0);
    let event: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(event["type"], "v1.charge.refunded");
    assert_eq!(event["object"], "v2.core.event");
}

#[tokio::test]
async fn many_can_be_under_way_at_once() {
    const PARALLEL: usize = 8;
    let barrier = Arc::new(tokio::sync::Barrier::new(PARALLEL));
    let wait = async move || {
        barrier.wait().await;
    };
    let url = serve(Router::new().route("/", post(wait))).await;
    let ran = program(&[
        "send",
        &url,
        "--secret-env",
        "SECRET",
        "--type",
        "invoice.paid",
        "--copies",
        "16",
        "--parallel",
        "8",
    ]);
    assert_eq!(ran.run().await.exit, 0);
}

#[tokio::test]
async fn what_is_refused_and_what_is_not_answered_have_their_exit_codes() {
    let (url, _got) = endpoint(StatusCode::INTERNAL_SERVER_ERROR).await;
    let send = |url: &str| {
        let words = [
            "send",
            url,
            "--secret-env",
            "SECRET",
            "--type",
            "invoice.paid",
            "--json",
        ];
        program(&words).run()
    };
    let json = send(&url).await.json(1);
    assert_eq!(json["deliveries"][0]["status"], 500);
    assert_eq!(json["statuses"]["500"], 1);
    let json = send(&nobody().await).await.json(3);
    assert_eq!(json["unreachable"], 1);
    assert_eq!(json["deliveries"][0]["status"], serde_json::Value::Null);
    assert!(json["deliveries"][0]["error"].is_string());
}

#[tokio::test]
async fn nothing_is_sent_elsewhere_unless_it_is_said_to_be_ones_own() {
    let words = ["--secret-env", "SECRET", "--type", "invoice.paid"];
    for (url, message) in [
        ("http://192.0.2.1/hook", "own"),
        ("ftp://127.0.0.1/hook", "http"),
        ("127.0.0.1/hook", "http"),
        (&format!("http://user:{MARKER}@127.0.0.1/hook"), "URL"),
    ] {
        let ran = program(&[&["send", url][..], &words].concat()).run().await;
        ran.fails(2, message);
    }
}

/// Connections to 0.0.0.0 arrive on this machine, yet the address is not one of loopback.
#[tokio::test]
async fn an_endpoint_of_ones_own_may_be_anywhere() {
    let (url, got) = endpoint(StatusCode::OK).await;
    let url = url.replace("127.0.0.1", "0.0.0.0");
    let words = [
        "send",
        &url,
        "--secret-env",
        "SECRET",
        "--type",
        "invoice.paid",
    ];
    program(&words).run().await.fails(2, "--own");
    assert_eq!(ids(&got), Vec::<String>::new());
    let ran = program(&[&words[..], &["--own"]].concat()).run().await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert_eq!(ids(&got).len(), 1);
}

#[tokio::test]
async fn mistakes_are_named() {
    let url = nobody().await;
    let send = |more: &[&str]| program(&[&["send", &url][..], more].concat());
    let ran = send(&["--type", "invoice.paid"]).run().await;
    ran.fails(2, "--secret-env <NAME>");
    let ran = send(&["--secret-env", "SECRET"]).run().await;
    ran.fails(2, "--type or --file");
    let ran = send(&[
        "--secret-env",
        "SECRET",
        "--set",
        "a=1",
        "--type",
        "invoice.paid",
    ]);
    ran.run().await.fails(2, "behind the --type");
    let ran = send(&["--secret-env", "SECRET", "--file", "/nowhere/event"]);
    ran.run().await.fails(3, "/nowhere/event: cannot be read");
    let ran = send(&["--secret-env", "KEY", "--type", "invoice.paid"]);
    let ran = ran.env("KEY", &format!("sk_live_{MARKER}")).run().await;
    ran.fails(3, "KEY: this is an API key");
}
