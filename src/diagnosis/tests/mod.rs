mod body;
mod header;
mod secret;

use std::time::{Duration, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::*;

const SIGNED_AT: u64 = 1_767_225_600;
const SECRET: &str = "whsec_c2VjcmV0LWZvci10ZXN0cw";
const SECRETS: &[(&str, &str)] = &[("MAIN", SECRET)];

/// An event of our own, laid out as Stripe does it, with what encoders trip over.
const BODY: &str = r#"{
  "id": "evt_1",
  "object": "event",
  "account": "acct_1",
  "api_version": null,
  "data": {
    "object": {
      "id": "cus_1",
      "email": "a+b=c&d@example.com",
      "metadata": {},
      "name": "Zoë “Œuvre” 💶 50% <ok>",
      "sources": [],
      "tags": [
        1.50,
        -2e3,
        "tab\t slash / quote \" and \\"
      ]
    }
  },
  "type": "customer.created"
}"#;

fn sign(body: impl AsRef<[u8]>) -> String {
    sign_with(SECRET.as_bytes(), body.as_ref())
}

fn sign_with(key: &[u8], body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(format!("{SIGNED_AT}.").as_bytes());
    mac.update(body);
    let mac = mac.finalize().into_bytes();
    let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={SIGNED_AT},v1={hex}")
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(SIGNED_AT)
}

fn found(body: &[u8], header: &str, secrets: &[(&str, &str)]) -> Vec<Finding> {
    diagnose(body, header.as_bytes(), secrets, now()).findings
}

fn codes(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(Finding::code).collect()
}

fn minified(json: &str) -> String {
    let json = rewrite::rewrite(
        json.as_bytes(),
        rewrite::Layout::Minified,
        rewrite::Escapes::Kept,
    );
    String::from_utf8(json.unwrap()).unwrap()
}

#[test]
fn a_genuine_delivery_is_genuine() {
    let diagnosis = diagnose(BODY.as_bytes(), sign(BODY).as_bytes(), SECRETS, now());
    assert!(diagnosis.is_genuine());
    assert_eq!(
        diagnosis.findings(),
        [Finding::Genuine {
            name: "MAIN".into()
        }]
    );
}

#[test]
fn a_forgery_is_unexplained() {
    let forged = sign_with(b"guessed", BODY.as_bytes());
    let diagnosis = diagnose(BODY.as_bytes(), forged.as_bytes(), SECRETS, now());
    assert!(!diagnosis.is_genuine());
    assert_eq!(
        codes(diagnosis.findings()),
        ["signature_mismatch", "unexplained"]
    );
}

#[test]
fn a_clock_that_is_wrong_is_the_only_finding() {
    for (now, text) in [
        (SIGNED_AT + 301, "older than the tolerance (301 s)"),
        (SIGNED_AT - 400, "from the future (400 s)"),
    ] {
        let now = UNIX_EPOCH + Duration::from_secs(now);
        let diagnosis = diagnose(BODY.as_bytes(), sign(BODY).as_bytes(), SECRETS, now);
        assert_eq!(codes(diagnosis.findings()), ["timestamp_out_of_tolerance"]);
        assert!(diagnosis.to_string().contains(text), "{diagnosis}");
        assert!(!diagnosis.is_genuine());
    }
}

#[test]
fn an_old_delivery_with_another_flaw_has_both_named() {
    let later = now() + Duration::from_secs(86_400);
    let found = diagnose(
        &[BODY, "\n"].concat().into_bytes(),
        sign(BODY).as_bytes(),
        SECRETS,
        later,
    );
    assert_eq!(
        codes(found.findings()),
        [
            "signature_mismatch",
            "body_end_added",
            "timestamp_out_of_tolerance"
        ]
    );
}

#[test]
fn a_body_over_the_limit_is_refused_unread() {
    let body = vec![b'x'; BODY_BYTES_MAX + 1];
    let bytes = body.len();
    assert_eq!(found(&body, "", SECRETS), [Finding::BodyTooLarge { bytes }]);
}

#[test]
fn each_repair_is_tried_with_each_secret_and_each_header() {
    let base64 = STANDARD.encode(minified(BODY));
    let secrets = [("OTHER", "whsec_other"), ("MAIN", &format!("'{SECRET}'"))];
    let found = found(base64.as_bytes(), &sign(BODY).replace(',', ";"), &secrets);
    assert_eq!(
        codes(&found),
        [
            "malformed_header",
            "header_semicolons",
            "body_base64",
            "body_reformatted",
            "secret_quoted",
            "secret_not_first"
        ]
    );
}

#[test]
fn what_is_undone_in_vain_is_suspected() {
    let other = [("MAIN", "whsec_other")];
    let found = found(&[BODY, "\n"].concat().into_bytes(), &sign(BODY), &other);
    assert_eq!(
        codes(&found),
        ["signature_mismatch", "body_end_added", "unexplained"]
    );
    assert!(found[1].to_string().contains("does not explain it"));
}

#[test]
fn neither_display_nor_debug_shows_what_was_given() {
    const MARKER: &str = "marker";
    let body = BODY.replace("cus_1", MARKER);
    let header = sign(&body);
    let bodies = [
        body.clone(),
        minified(&body),
        format!("{body}\n"),
        MARKER.to_owned(),
        format!("{{\"body\": \"{MARKER}\", \"headers\": 1}}"),
    ];
    let headers = [
        header.clone(),
        format!("{header},v2={MARKER}"),
        format!("t={MARKER},v1={MARKER}"),
        format!("{MARKER};{header}"),
        MARKER.to_owned(),
    ];
    let secrets = [
        ("A", "whsec_marker"),
        ("B", " marker\n"),
        ("C", "sk_marker"),
        ("whsec_marker", "marker"),
        ("named marker", "marker"),
        ("D", SECRET),
    ];
    for body in &bodies {
        for header in &headers {
            for skipped in 0..secrets.len() {
                let diagnosis = diagnose(
                    body.as_bytes(),
                    header.as_bytes(),
                    &secrets[skipped..],
                    now(),
                );
                let shown = format!("{diagnosis}\n{diagnosis:?}\n{diagnosis:#?}");
                assert!(!shown.contains(MARKER), "{shown}");
            }
        }
    }
}

#[test]
fn a_name_that_shows_a_secret_is_a_number() {
    for (name, value) in [
        (&SECRET["whsec_".len()..], SECRET),
        (
            "of c2VjcmV0LWZvci10ZXN0cw",
            "\"whsec_c2VjcmV0LWZvci10ZXN0cw\"\n",
        ),
        (
            "c2VjcmV0LWZvci10ZXN0cw",
            "d2hzZWNfYzJWamNtVjBMV1p2Y2kxMFpYTjBjdw==",
        ),
        ("c2VjcmV0LWZvci10ZXN0cw", "connect"),
        ("secret-for-tests", "STRIPE_SECRET"),
        ("sk_live_51HabcDEFghiJKLmnoPQR", "connect"),
    ] {
        let diagnosis = diagnose(
            b"{}",
            sign(BODY).as_bytes(),
            &[(name, &format!("{value}\n"))],
            now(),
        );
        let shown = format!("{diagnosis}\n{diagnosis:?}");
        assert!(
            shown.contains("secret 1") && !shown.contains(name),
            "{shown}"
        );
    }
}

#[test]
fn a_name_that_shows_nothing_is_shown() {
    for (name, value) in [
        ("test", "whsec_test\n"),
        ("acct_1032D82eZvKYlo2C", "connect"),
        ("we_1Mr5jULkdIwHu7ix1ibLTM0x", "whsec_other\n"),
        ("STRIPE_CONNECT_WEBHOOK_SIGNING_SECRET", "of-no-prefix"),
    ] {
        let diagnosis = diagnose(b"{}", sign(BODY).as_bytes(), &[(name, value)], now());
        let shown = diagnosis.to_string();
        assert!(shown.contains(name), "{shown}");
    }
}

#[test]
fn the_documentation_of_a_finding_begins_with_its_code() {
    let name = String::new();
    for finding in [
        Finding::Genuine { name },
        Finding::BodyTooLarge { bytes: 0 },
        Finding::NoSecret,
        Finding::Unexplained,
    ] {
        let begins = format!("\n    /// `{}`: ", finding.code());
        assert!(include_str!("../finding.rs").contains(&begins), "{begins}");
    }
}

#[test]
fn every_finding_is_one_line() {
    let secrets = [("two\nlines", "whsec_a\n"), ("", "b"), (" ", "")];
    let diagnosis = diagnose(b"{}", sign(BODY).as_bytes(), &secrets, now());
    let shown = diagnosis.to_string();
    assert_eq!(shown.lines().count(), diagnosis.findings().len(), "{shown}");
    assert!(shown.contains("two\\nlines") && shown.contains("secret 2"));
}

#[test]
fn junk_does_not_panic() {
    let mut state = 1_u64;
    let mut random = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    const PARTS: [&str; 30] = [
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        "\\u",
        "\\ud83d",
        ",",
        ":",
        "1e9",
        "é",
        "\u{feff}",
        "\r\n",
        " ",
        "\u{b}",
        "%7B",
        "%",
        "+",
        "=",
        "&",
        "t=",
        "v1=",
        "t=1",
        ";",
        "&#61;",
        "null",
        "body",
        "\"headers\":",
        "=2f",
    ];
    for _ in 0..1_500 {
        let mut junk = || {
            let mut junk = Vec::new();
            for _ in 0..random(12) {
                match random(8) {
                    0 => junk.push(u8::try_from(random(256)).unwrap()),
                    1 => junk.extend_from_slice(&BODY.as_bytes()[..random(40)]),
                    _ => junk.extend_from_slice(PARTS[random(PARTS.len())].as_bytes()),
                }
            }
            junk
        };
        let (body, header, secret) = (junk(), junk(), junk());
        let secret = String::from_utf8_lossy(&secret);
        for header in [header, sign(BODY).into_bytes()] {
            let diagnosis = diagnose(&body, &header, &[("MAIN", &secret)], now());
            assert!(!diagnosis.is_genuine() && !diagnosis.findings().is_empty());
        }
    }
}
