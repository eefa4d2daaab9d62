//! What verifying a delivery and parsing its envelope costs, next to SHA-256 of the same bytes and to
//! `construct_event` of async-stripe-webhook.
//!
//! `cargo bench` in this folder runs criterion over all cases and then prints ratios: both sides by turns, so
//! that a machine which others use too slows both. `cargo bench -- ratios` prints those alone.

use std::{
    env,
    hint::black_box,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum_stripe_webhook::{
    SigningSecret, StripeEventRejection, VerifiedStripeEvent, Verifier,
    testing::{SampleEvent, sign_test_payload},
};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use sha2::{Digest, Sha256};
use stripe_webhook::Webhook;

/// From an event of a few fields to the largest that Stripe sends.
const SIZES: [usize; 4] = [500, 3200, 20_000, 200_000];
/// That of most events.
const SIZE_USUAL: usize = 3200;
const SECRETS: [usize; 3] = [1, 2, 5];
const ROUNDS: usize = 31;
/// How long each side of a round is measured.
const TURN: Duration = Duration::from_millis(20);

fn main() {
    if !env::args().any(|argument| argument == "ratios") {
        let mut criterion = Criterion::default()
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(2))
            .configure_from_args();
        accepted(&mut criterion);
        several_secrets(&mut criterion);
        refused(&mut criterion);
        criterion.final_summary();
    }
    ratios();
}

/// A delivery, and the time at which it comes.
#[derive(Clone)]
struct Delivery {
    body: Bytes,
    header: String,
    now: SystemTime,
}

impl Delivery {
    /// Signed now, with the n-th secret: async-stripe looks at the clock itself.
    fn of(body: String, secret: usize) -> Self {
        let now = SystemTime::now();
        Self {
            header: sign_test_payload(&body, &secret_of(secret), now),
            body: body.into(),
            now,
        }
    }

    fn sized(bytes: usize) -> Self {
        Self::of(body(bytes), 0)
    }

    fn verify(&self, verifier: &Verifier) -> Result<VerifiedStripeEvent, StripeEventRejection> {
        verifier.verify_and_parse(self.body.clone(), self.header.as_bytes(), self.now)
    }

    /// What a server does before it can call it: the body has to be text.
    fn construct(&self) -> Option<stripe_webhook::Event> {
        let text = std::str::from_utf8(&self.body).ok()?;
        Webhook::construct_event(text, &self.header, &secret_of(0)).ok()
    }
}

fn secret_of(n: usize) -> String {
    format!("whsec_{n}_of_the_benches_0123456789ab")
}

fn verifier(secrets: usize) -> Verifier {
    let secret = |n| SigningSecret::new(secret_of(n)).expect("a secret");
    (1..secrets).fold(Verifier::new(secret(0)), |verifier, n| {
        verifier.with_secret(secret(n))
    })
}

/// An event of this many bytes, as Stripe writes them: indented, and most of it fields of the object.
fn body(bytes: usize) -> String {
    let event = match bytes < 3000 {
        true => SampleEvent::of("balance.available").set(
            "data.object",
            r#"{"object": "balance", "available": [], "livemode": false, "pending": []}"#
                .parse::<serde_json::Value>()
                .expect("JSON"),
        ),
        false => SampleEvent::of("checkout.session.completed"),
    };
    let sized = |entries: usize, last: usize| {
        let mut event = event.clone();
        for n in 0..entries {
            let width = if n + 1 == entries { last } else { 40 };
            event = event.object(&format!("metadata.key_{n:04}"), "v".repeat(width));
        }
        event.to_json()
    };
    let (bare, one) = (sized(0, 0).len(), sized(1, 40).len());
    let each = sized(2, 40).len() - one;
    let missing = bytes.saturating_sub(bare);
    let body = sized(missing / each + 1, missing % each);
    assert!(
        body.len().abs_diff(bytes) < 100,
        "{} for {bytes}",
        body.len()
    );
    body
}

fn accepted(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("accepted");
    for bytes in SIZES {
        let delivery = Delivery::sized(bytes);
        let verifier = verifier(1);
        assert!(delivery.verify(&verifier).is_ok() && delivery.construct().is_some());
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::new("sha256", bytes), |bencher| {
            bencher.iter(|| Sha256::digest(black_box(&delivery.body)));
        });
        group.bench_function(BenchmarkId::new("verify", bytes), |bencher| {
            let header = delivery.header.as_bytes();
            bencher.iter(|| verifier.verify(delivery.body.clone(), header, delivery.now));
        });
        group.bench_function(BenchmarkId::new("verify_and_parse", bytes), |bencher| {
            bencher.iter(|| black_box(&delivery).verify(&verifier));
        });
        group.bench_function(BenchmarkId::new("async_stripe", bytes), |bencher| {
            bencher.iter(|| black_box(&delivery).construct());
        });
    }
    group.finish();
}

/// Signed with the last of them, so each is tried.
fn several_secrets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("secrets");
    for secrets in SECRETS {
        let delivery = Delivery::of(body(SIZE_USUAL), secrets - 1);
        let verifier = verifier(secrets);
        assert!(delivery.verify(&verifier).is_ok());
        group.bench_function(secrets.to_string(), |bencher| {
            bencher.iter(|| black_box(&delivery).verify(&verifier));
        });
    }
    group.finish();
}

fn refused(criterion: &mut Criterion) {
    for bytes in SIZES {
        let mut group = criterion.benchmark_group(format!("refused/{bytes}"));
        let verifier = verifier(1);
        for (code, delivery) in refusals(bytes) {
            let refused = delivery.verify(&verifier).expect_err("it is refused");
            assert_eq!(refused.code(), code);
            group.bench_function(code, |bencher| {
                bencher.iter(|| black_box(&delivery).verify(&verifier));
            });
        }
        group.finish();
    }
}

/// One of each kind, by its code.
fn refusals(bytes: usize) -> Vec<(&'static str, Delivery)> {
    let genuine = Delivery::sized(bytes);
    let header = |header: &str| Delivery {
        header: header.to_owned(),
        ..genuine.clone()
    };
    let at = |now| Delivery {
        now,
        ..genuine.clone()
    };
    let now = genuine.now.duration_since(UNIX_EPOCH).expect("after 1970");
    let forged = format!("t={},v1={}", now.as_secs(), "ab".repeat(32));
    let blanks = |start: &str| Delivery::of(format!("{start}{}", " ".repeat(bytes)), 0);
    vec![
        ("missing_header", header("")),
        ("malformed_header", header("v1=ab,t=0x1")),
        ("no_signature", header("t=1,v0=ab")),
        ("signature_mismatch", header(&forged)),
        (
            "timestamp_out_of_tolerance",
            at(genuine.now + Duration::from_secs(900)),
        ),
        ("not_json", blanks("{")),
        (
            "not_an_event",
            blanks(r#"{"object": "charge", "id": "ch_1"}"#),
        ),
    ]
}

/// The goals, each as a ratio within the same round.
fn ratios() {
    println!("| bytes | what | to what | lowest | median | highest |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let verifier = verifier(1);
    for bytes in SIZES {
        let genuine = Delivery::sized(bytes);
        let refusals = refusals(bytes);
        let forged = refusals
            .iter()
            .find(|(code, _)| *code == "signature_mismatch");
        let forged = &forged.expect("a forgery").1;
        let hash = || {
            black_box(Sha256::digest(black_box(&genuine.body)));
        };
        let header = genuine.header.as_bytes();
        let mac = || {
            drop(black_box(verifier.verify(
                genuine.body.clone(),
                header,
                genuine.now,
            )))
        };
        let accept = || drop(black_box(genuine.verify(&verifier)));
        let refuse = || drop(black_box(forged.verify(&verifier)));
        let construct = || drop(black_box(genuine.construct()));
        compare(bytes, ("verify and parse", &accept), ("SHA-256", &hash));
        compare(
            bytes,
            ("async-stripe", &construct),
            ("verify and parse", &accept),
        );
        compare(bytes, ("refuse a forgery", &refuse), ("accept", &accept));
        compare(bytes, ("refuse a forgery", &refuse), ("verify alone", &mac));
    }
}

type Side<'a> = (&'a str, &'a dyn Fn());

fn compare(bytes: usize, (what, run): Side<'_>, (yardstick, other): Side<'_>) {
    let mut ratios: Vec<f64> = (0..ROUNDS).map(|_| each(run) / each(other)).collect();
    ratios.sort_by(f64::total_cmp);
    let (low, median, high) = (ratios[0], ratios[ROUNDS / 2], ratios[ROUNDS - 1]);
    println!("| {bytes} | {what} | {yardstick} | {low:.2} | {median:.2} | {high:.2} |");
}

/// Seconds of each of as many runs as a turn has time for.
fn each(run: &dyn Fn()) -> f64 {
    let begun = Instant::now();
    let mut runs = 0;
    while begun.elapsed() < TURN {
        (0..20).for_each(|_| run());
        runs += 20;
    }
    begun.elapsed().as_secs_f64() / f64::from(runs)
}
