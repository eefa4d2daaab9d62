//! A secret is rolled while deliveries come in.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{Router, http::StatusCode, routing::post};
use axum_stripe_webhook::{
    SigningSecret, VerifiedStripeEvent, Verifier, testing::sign_test_payload,
};
use tower::ServiceExt;

use crate::stripe;

const OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);

/// Deliveries of each sender in each stage of a roll.
const DELIVERIES: u64 = 200;

const SENDERS: u64 = 4;

/// Rolls, every other one back to the secret before.
const ROLLS: u64 = 20;

fn secret(name: &str) -> SigningSecret {
    SigningSecret::new(format!("whsec_{name}"))
        .unwrap()
        .named(name)
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A delivery as Stripe signs it, with one signature for each secret that is alive there.
fn sign(body: &str, secrets: &[&str], now: SystemTime) -> String {
    let signed = secrets
        .iter()
        .map(|secret| sign_test_payload(body, &format!("whsec_{secret}"), now));
    let mut signed: Vec<_> = signed.collect();
    let rest = signed.split_off(1);
    rest.iter().fold(signed.remove(0), |header, other| {
        format!("{header},{}", other.split_once(',').unwrap().1)
    })
}

/// Who learns of the new secret first.
#[derive(Clone, Copy, Debug)]
enum First {
    Stripe,
    Service,
}

/// Sends in every stage of the roll from `old` to `new`, while the rotation happens in between.
fn roll(verifier: &Verifier, first: First, [old, new]: [&str; 2], start: u64) {
    let body = stripe::event("evt_1");
    let (sent, rotated) = (AtomicU64::new(0), AtomicBool::new(false));
    let rotate = || {
        // In the midst of the deliveries: a quarter of them has been sent.
        while sent.load(Ordering::SeqCst) < SENDERS * DELIVERIES / 4 {
            thread::yield_now();
        }
        verifier
            .rotate_at([secret(new)], OVERLAP, at(start))
            .unwrap();
        rotated.store(true, Ordering::SeqCst);
    };
    let verify = |by: &str, now: SystemTime| {
        let header = sign(&body, &[by], now);
        let verified = verifier.verify(body.clone().into(), header.as_bytes(), now);
        verified.map(|payload| payload.secret_name().unwrap().to_owned())
    };
    let last = at(start) + OVERLAP - Duration::from_nanos(1);
    let end = at(start) + OVERLAP;
    let send = || {
        let mut after = 0;
        // Until the rotation has been over for a while.
        while after < DELIVERIES / 4 {
            if rotated.load(Ordering::SeqCst) {
                after += 1;
                assert_eq!(verify(old, end).unwrap_err().code(), "signature_mismatch");
            }
            // Stripe signs with the old one until it is rolled there, and then with both.
            let both = matches!(first, First::Stripe);
            let secrets: &[&str] = if both { &[new, old] } else { &[old] };
            let header = sign(&body, secrets, at(start));
            let verified = verifier.verify(body.clone().into(), header.as_bytes(), at(start));
            assert!(verified.is_ok(), "{first:?}: {verified:?}");
            sent.fetch_add(1, Ordering::SeqCst);
        }
    };
    thread::scope(|threads| {
        threads.spawn(rotate);
        for _ in 0..SENDERS {
            threads.spawn(send);
        }
    });
    assert_eq!(verify(old, last).unwrap(), old);
    assert_eq!(verify(new, end).unwrap(), new);
    assert_eq!(verify(old, end).unwrap_err().code(), "signature_mismatch");
}

#[test]
fn rolled_under_load_no_genuine_delivery_is_refused_and_nothing_retired_is_accepted() {
    let verifier = Verifier::new(secret("a"));
    for number in 0..ROLLS {
        let names = match number % 2 {
            0 => ["a", "b"],
            _ => ["b", "a"],
        };
        let first = match number % 4 {
            0 | 1 => First::Stripe,
            _ => First::Service,
        };
        roll(&verifier, first, names, 1_000_000 * (number + 1));
    }
}

#[test]
fn rotations_at_once_leave_one_whole_set() {
    let verifier = Verifier::new(secret("first"));
    thread::scope(|threads| {
        for sender in 0..SENDERS {
            let verifier = &verifier;
            threads.spawn(move || {
                for number in 0..50 {
                    let new = [secret(&format!("{sender}-{number}"))];
                    verifier.rotate_at(new, OVERLAP, at(number)).unwrap();
                }
            });
        }
    });
    let secrets = verifier.secrets();
    let active = secrets.iter().filter(|secret| secret.retires_at.is_none());
    assert_eq!(active.count(), 1);
    // None is lost on the way: each was active once and retires.
    assert_eq!(secrets.len() as u64, 1 + SENDERS * 50);
}

#[tokio::test]
async fn a_rotation_reaches_the_endpoint_that_was_built_before() {
    let verifier = Verifier::new(secret("old"));
    let app = Router::new()
        .route(
            "/webhooks/stripe",
            post(|event: VerifiedStripeEvent| async move {
                event.secret_name().unwrap_or_default().to_owned()
            }),
        )
        .with_state(verifier.clone());
    let answer = async |by: &str| {
        let body = stripe::event("evt_1");
        let header = sign(&body, &[by], stripe::now());
        let request = stripe::delivery_with(body, &header);
        app.clone().oneshot(request).await.unwrap().status()
    };
    let refused = StatusCode::BAD_REQUEST;
    assert_eq!(
        (answer("old").await, answer("new").await),
        (StatusCode::OK, refused)
    );
    verifier.rotate([secret("new")], OVERLAP).unwrap();
    assert_eq!(
        (answer("old").await, answer("new").await),
        (StatusCode::OK, StatusCode::OK)
    );
    verifier.rotate([secret("new")], Duration::ZERO).unwrap();
    assert_eq!(
        (answer("old").await, answer("new").await),
        (refused, StatusCode::OK)
    );
}

#[test]
fn uses_tell_when_the_old_secret_is_needed_no_more() {
    let verifier = Verifier::new(secret("old"));
    let body = stripe::event("evt_1");
    let send = |by: &[&str], now: u64| {
        let header = sign(&body, by, at(now));
        let verified = verifier.verify(body.clone().into(), header.as_bytes(), at(now));
        assert!(verified.is_ok());
    };
    let uses = || -> Vec<_> {
        let secrets = verifier.secrets().into_iter();
        secrets
            .map(|used| (used.name.unwrap().to_string(), used.uses, used.last_used_at))
            .collect()
    };
    assert_eq!(uses(), [("old".to_owned(), 0, None)]);
    send(&["old"], 10);
    verifier
        .rotate_at([secret("new")], OVERLAP, at(20))
        .unwrap();
    send(&["old"], 30);
    send(&["old", "new"], 40);
    send(&["new"], 50);
    let expected = [
        ("new".to_owned(), 2, Some(at(50))),
        ("old".to_owned(), 2, Some(at(30))),
    ];
    assert_eq!(uses(), expected);
    // Neither a forgery nor a replay counts as a use.
    let replay = sign(&body, &["new"], at(60));
    assert!(
        verifier
            .verify(body.clone().into(), replay.as_bytes(), at(9_000))
            .is_err()
    );
    assert!(
        verifier
            .verify("{}".into(), replay.as_bytes(), at(60))
            .is_err()
    );
    assert_eq!(uses(), expected);
}
