use std::time::{Duration, UNIX_EPOCH};

use axum_stripe_webhook::testing::sign_test_payload;

use super::program::{Files, MARKER, program};
use crate::stripe;

const SIGNED_AT: u64 = 1_767_225_600;

struct Recorded {
    files: Files,
    header: String,
    body: String,
}

fn recorded() -> Recorded {
    let files = Files::new();
    let event = stripe::event("evt_1");
    let signed_at = UNIX_EPOCH + Duration::from_secs(SIGNED_AT);
    Recorded {
        header: sign_test_payload(&event, stripe::SECRET, signed_at),
        body: files.write("body", &event),
        files,
    }
}

#[tokio::test]
async fn a_genuine_delivery_verifies_at_the_time_at_which_it_came() {
    let Recorded {
        files,
        header,
        body,
    } = recorded();
    let header_file = files.write("header", format!("{header}\n"));
    for at in ["2026-01-01T00:00:10Z", "1767225610"] {
        let ran = program(&[
            "verify",
            "--header-file",
            &header_file,
            "--body",
            &body,
            "--secret-env",
            "SECRET",
            "--received-at",
            at,
        ]);
        let ran = ran.run().await;
        assert_eq!(ran.exit, 0, "{ran:?}");
        assert!(
            ran.out.starts_with("SECRET: the delivery verifies"),
            "{ran:?}"
        );
    }
    let late = [
        "verify",
        "--header",
        &header,
        "--body",
        &body,
        "--secret-env",
        "SECRET",
        "--json",
    ];
    let json = program(&late).run().await.json(1);
    assert_eq!(json["genuine"], false);
    assert_eq!(json["findings"][0]["code"], "timestamp_out_of_tolerance");
}

#[tokio::test]
async fn the_first_secret_is_the_expected_one_in_the_order_of_the_command_line() {
    let Recorded {
        files,
        header,
        body,
    } = recorded();
    let file = files.write("secret", format!("whsec_{MARKER}\n"));
    let verify = |secrets: [&'static str; 2]| {
        let mut words = vec!["verify", "--json", "--received-at", "1767225600"];
        words.extend(["--header", &header, "--body", &body]);
        for secret in secrets {
            words.extend(match secret {
                "file" => ["--secret-file", file.as_str()],
                name => ["--secret-env", name],
            });
        }
        program(&words).run()
    };
    let json = verify(["SECRET", "file"]).await.json(0);
    assert_eq!(json["genuine"], true);
    let json = verify(["file", "SECRET"]).await.json(1);
    let last = json["findings"].as_array().unwrap().last().unwrap();
    assert_eq!(last["code"], "secret_not_first");
    assert_eq!(last["evidence"], "proven");
    assert!(last["text"].as_str().unwrap().starts_with("SECRET: "));
}

#[tokio::test]
async fn a_secret_that_no_service_would_start_with_is_named_for_what_it_is() {
    let Recorded {
        files: _files,
        header,
        body,
    } = recorded();
    let words = [
        "verify",
        "--header",
        &header,
        "--body",
        &body,
        "--secret-env",
        "QUOTED",
    ];
    let ran = program(&words).env("QUOTED", &format!("\"{}\"", stripe::SECRET));
    let ran = ran.run().await;
    assert_eq!(ran.exit, 1);
    assert!(ran.out.contains("QUOTED: "), "{ran:?}");
}

/// In `task_key` stands `sk_`, with which API keys begin.
#[tokio::test]
async fn a_variable_that_is_there_may_be_called_whatever_it_likes() {
    let Recorded {
        files: _files,
        header,
        body,
    } = recorded();
    let words = [
        "verify",
        "--header",
        &header,
        "--body",
        &body,
        "--secret-env",
        "task_key",
    ];
    let ran = program(&words).env("task_key", stripe::SECRET).run().await;
    assert!(ran.out.contains("genuine, but older"), "{ran:?}");
}

#[tokio::test]
async fn body_and_secret_can_come_from_standard_input_but_not_both() {
    let Recorded {
        files: _files,
        header,
        body,
    } = recorded();
    let head = [
        "verify",
        "--received-at",
        "1767225600",
        "--header",
        &header,
        "--body",
    ];
    let words = [&head[..], &["-", "--secret-env", "SECRET"]].concat();
    let from_stdin = program(&words).stdin(stripe::event("evt_1").as_bytes());
    assert_eq!(from_stdin.run().await.exit, 0);
    let words = [&head[..], &[&body, "--secret-stdin"]].concat();
    let from_stdin = program(&words).stdin(format!("{}\n", stripe::SECRET).as_bytes());
    assert_eq!(from_stdin.run().await.exit, 0);
    let words = [&head[..], &["-", "--secret-stdin"]].concat();
    program(&words).run().await.fails(2, "standard input");
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let Recorded {
        files: _files,
        header,
        body,
    } = recorded();
    let verify = ["verify", "--header", &header];
    let with = |more: &[&str]| program(&[&verify[..], more].concat()).run();
    with(&["--body", &body])
        .await
        .fails(2, "--secret-env <NAME>");
    let ran = with(&["--body", &body, "--secret-env", "NOT_SET"]).await;
    ran.fails(3, "NOT_SET: not set");
    let ran = with(&["--body", "/nowhere/body", "--secret-env", "SECRET"]).await;
    ran.fails(3, "/nowhere/body: cannot be read");
    let ran = with(&["--body", &body, "--secret-file", "/nowhere/secret"]).await;
    ran.fails(3, "/nowhere/secret: cannot be read");
    let ran = with(&[
        "--body",
        &body,
        "--secret-env",
        "SECRET",
        "--received-at",
        "soon",
    ])
    .await;
    ran.fails(2, "RFC 3339");
}
