//! What a forgery can make a receiver allocate. A test binary of its own, because it counts.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::{Duration, UNIX_EPOCH};

use allocation_counter::{AllocationInfo, measure};
use axum_stripe_webhook::{SigningSecret, Verifier, testing::sign_test_payload};
use bytes::Bytes;

const SECRET: &str = "whsec_of_the_allocations";
const NOW_UNIX: u64 = 1_767_225_600;
const SIZES: [usize; 3] = [500, 200_000, 16_000_000];

/// What refusing a body takes whose bytes are there already.
fn refuse(bytes: usize, header: &str, code: &str) -> AllocationInfo {
    let verifier = Verifier::new(SigningSecret::new(SECRET).unwrap());
    let now = UNIX_EPOCH + Duration::from_secs(NOW_UNIX);
    let body = Bytes::from(format!("{{{}", " ".repeat(bytes)));
    let stale = sign_test_payload(&body, SECRET, UNIX_EPOCH + Duration::from_secs(1));
    let header = if header == "stale" { &stale } else { header };
    // The first clone of a `Bytes` allocates.
    let given = body.clone();
    measure(|| {
        let refused = verifier.verify_and_parse(given, header.as_bytes(), now);
        assert_eq!(refused.unwrap_err().code(), code);
    })
}

#[test]
fn what_a_refused_delivery_allocates_does_not_grow_with_its_body() {
    let forged = format!("t={NOW_UNIX},v1={}", "ab".repeat(32));
    for (header, code) in [
        ("", "missing_header"),
        ("t=1,v1", "malformed_header"),
        ("t=1,v0=ab", "no_signature"),
        (forged.as_str(), "signature_mismatch"),
        ("stale", "timestamp_out_of_tolerance"),
    ] {
        let taken = SIZES.map(|bytes| refuse(bytes, header, code));
        for info in &taken {
            assert_eq!(info.bytes_total, taken[0].bytes_total, "{code}");
            assert!(info.bytes_max < 1024, "{code}: {info:?}");
            assert_eq!(info.bytes_current, 0, "{code}");
        }
    }
}

/// Or the test above would count nothing.
#[test]
fn an_allocation_is_counted() {
    let copied = measure(|| drop(std::hint::black_box(vec![1_u8; 200_000])));
    assert_eq!(copied.bytes_total, 200_000);
}
