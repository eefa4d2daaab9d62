//! What holds for every header, body, time and rotation, tried on arbitrary ones.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum_stripe_webhook::{
    Event, SigningSecret, Verifier, VerifyError,
    signature::{SIGNATURES_MAX, SignatureHeader},
    testing::sign_test_payload,
};
use hmac::{Hmac, KeyInit, Mac};
use proptest::{collection::vec, prelude::*, sample::select};
use sha2::Sha256;

use crate::stripe::{SECRET, verifier};

/// 2026-01-01, and the instants around it.
const TODAY: u64 = 1_767_225_600;

/// A failure prints its smallest case, which belongs into a test of its own and not into a file.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

fn at(unix: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(unix)
}

/// Who signed when, or why not.
type Outcome = Result<(u64, Option<String>), VerifyError>;

fn outcome(verifier: &Verifier, body: &[u8], header: &[u8], now: SystemTime) -> Outcome {
    let payload = verifier.verify(body.to_vec().into(), header, now)?;
    assert_eq!(payload.bytes(), body);
    let name = payload.secret_name().map(str::to_owned);
    Ok((payload.signed_at(), name))
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..200)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![9 => vec(any::<u8>(), 0..200), 1 => vec(any::<u8>(), 0..5000)]
}

/// Pieces of a header in any order.
fn like_a_header() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        select(vec![
            "t", "v1", "v0", "=", ",", " ", "\t", "t=", ",v1=", ",t=", "0", "é"
        ])
        .prop_map(str::to_owned),
        any::<u64>().prop_map(|t| t.to_string()),
        any::<[u8; 32]>().prop_map(|mac| hex(&mac)),
        "[A-F0-9a-f]{0,70}",
    ];
    vec(piece, 0..30).prop_map(|pieces| pieces.concat().into_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What can be said of any header that parses.
fn is_canonical(header: &SignatureHeader<'_>) {
    assert!((1..=SIGNATURES_MAX).contains(&header.signatures()));
    let value = header.to_value();
    let again = SignatureHeader::parse(value.as_bytes()).unwrap();
    assert_eq!(again.timestamp(), header.timestamp());
    assert_eq!(again.signatures(), header.signatures());
    assert!(again.macs().eq(header.macs()));
    assert_eq!(again.to_value(), value);
    let shown = format!("{header:?}");
    assert!(header.macs().all(|mac| !shown.contains(&hex(mac))));
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn no_bytes_make_the_header_parser_panic(header in bytes()) {
        SignatureHeader::parse(&header).iter().for_each(is_canonical);
    }

    #[test]
    fn what_looks_like_a_header_parses_canonically_or_not_at_all(header in like_a_header()) {
        SignatureHeader::parse(&header).iter().for_each(is_canonical);
    }

    #[test]
    fn a_header_is_read_as_it_was_written(
        timestamp: u64,
        macs in vec(any::<Option<[u8; 32]>>(), 1..=SIGNATURES_MAX),
    ) {
        let hex = |mac: &Option<[u8; 32]>| mac.as_ref().map_or(String::new(), |mac| hex(mac));
        let signatures: String = macs.iter().map(|mac| format!(",v1={}", hex(mac))).collect();
        let value = format!("t={timestamp}{signatures}");
        let header = SignatureHeader::parse(value.as_bytes()).unwrap();
        prop_assert_eq!(header.timestamp(), timestamp);
        prop_assert_eq!(header.signatures(), macs.len());
        prop_assert!(header.macs().eq(macs.iter().flatten()));
        prop_assert_eq!(header.to_value(), value);
    }
}

/// As set-up takes it.
fn secret() -> impl Strategy<Value = String> {
    let any = "[ -~\u{a1}-\u{ff}]{1,100}";
    prop_oneof!["whsec_[A-Za-z0-9+/]{1,90}", any].prop_filter("set-up refuses it", |secret| {
        SigningSecret::new(secret).is_ok()
    })
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn a_genuine_delivery_verifies_within_the_tolerance(
        body in body(),
        secret in secret(),
        others in vec(secret(), 0..3),
        signed_at in 1_000..u64::MAX / 4,
        late in -300_i64..=300,
        subsecond in 0..1_000_000_000_u32,
    ) {
        let new = |secret: &String| SigningSecret::new(secret).unwrap();
        let verifier = Verifier::new(new(&secret));
        let verifier = others.iter().map(new).fold(verifier, Verifier::with_secret);
        let now = at(signed_at.saturating_add_signed(late));
        let now = now + Duration::from_nanos(subsecond.into());
        let header = sign_test_payload(&body, &secret, at(signed_at));
        prop_assert_eq!(outcome(&verifier, &body, header.as_bytes(), now), Ok((signed_at, None)));
    }

    #[test]
    fn a_flipped_bit_of_a_large_delivery_is_refused(
        body in vec(any::<u8>(), 1..4000),
        place: prop::sample::Index,
        bit in 0..8,
    ) {
        let header = sign_test_payload(&body, SECRET, at(TODAY)).into_bytes();
        let mut delivery = (body, header);
        prop_assert!(is_genuine(&delivery));
        let place = place.index(delivery.0.len() + delivery.1.len());
        flip(&mut delivery, place, bit);
        prop_assert!(!is_genuine(&delivery));
    }
}

type Delivery = (Vec<u8>, Vec<u8>);

/// Without a check of the age, which would hide what a change of `t` does.
fn is_genuine((body, header): &Delivery) -> bool {
    let verifier = verifier().without_age_check();
    outcome(&verifier, body, header, at(TODAY)).is_ok()
}

fn flip((body, header): &mut Delivery, place: usize, bit: i32) {
    let byte = body.iter_mut().chain(header).nth(place).unwrap();
    *byte ^= 1 << bit;
}

#[test]
fn every_flipped_bit_of_a_small_delivery_is_refused() {
    let event = br#"{"id": "evt_1", "object": "event", "type": "a"}"#;
    for (body, t) in [
        (&b""[..], TODAY),
        (b"{}", 0),
        (event, TODAY),
        (b"\xff\0\r\n", u64::MAX / 4),
    ] {
        let header = sign_test_payload(body, SECRET, at(t)).into_bytes();
        let mut delivery = (body.to_vec(), header);
        assert!(is_genuine(&delivery));
        for place in 0..delivery.0.len() + delivery.1.len() {
            for bit in 0..8 {
                flip(&mut delivery, place, bit);
                assert!(
                    !is_genuine(&delivery),
                    "bit {bit} of byte {place} of {delivery:?}"
                );
                flip(&mut delivery, place, bit);
            }
        }
    }
}

/// Elements that do not count, of schemes that exist, may come, or make no sense.
fn junk() -> impl Strategy<Value = String> {
    let scheme = (
        select(vec!["v0", "v2", "V1", "T", "v1x", "tt", "", "v1 "]),
        any::<[u8; 32]>(),
    )
        .prop_map(|(scheme, mac)| format!("{scheme}={}", hex(&mac)));
    prop_oneof![scheme, "[^,]{0,20}"].prop_filter("it counts", |element| {
        let counts = |key| element.trim_ascii().split('=').next() == Some(key);
        !counts("t") && !counts("v1")
    })
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn other_elements_and_white_space_change_nothing(
        body in body(),
        is_forged: bool,
        age in 0..600_u64,
        junk in vec((junk(), any::<prop::sample::Index>()), 0..8),
        spaces in vec(select(vec!["", " ", "\t", " \t ", "\r\n"]), 20),
    ) {
        let secret = if is_forged { "whsec_of_somebody_else" } else { SECRET };
        let header = sign_test_payload(&body, secret, at(TODAY - age));
        let mut elements: Vec<_> = header.split(',').map(str::to_owned).collect();
        for (element, place) in junk {
            elements.insert(place.index(elements.len() + 1), element);
        }
        let around = elements.iter().zip(spaces.chunks(2));
        let padded = around.map(|(element, space)| [space[0], element, space[1]].concat());
        let padded = padded.collect::<Vec<_>>().join(",");

        let said = |header: &str| outcome(&verifier(), &body, header.as_bytes(), at(TODAY));
        prop_assert_eq!(said(&padded), said(&header));
    }
}

/// Now, and how far a timestamp is from it, at the limits more often than elsewhere.
fn seconds() -> impl Strategy<Value = u64> {
    let limits = [
        0,
        1,
        TODAY,
        u64::MAX / 2,
        u64::MAX / 2 + 1,
        u64::MAX - 1,
        u64::MAX,
    ];
    prop_oneof![select(limits.to_vec()), 0..1000_u64, any::<u64>()]
}

/// For times that no `SystemTime` can hold.
fn signed(body: &[u8], t: u64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{t}.").as_bytes());
    mac.update(body);
    format!("t={t},v1={}", hex(&mac.finalize().into_bytes()))
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn the_age_is_checked_without_overflow(
        t in seconds(),
        is_near: bool,
        distance in seconds(),
        tolerance in seconds(),
        nudge in -1..=1_i64,
    ) {
        let distance = if is_near { tolerance.saturating_add_signed(nudge) } else { distance };
        // The largest time that there is.
        const NOW_MAX: u64 = i64::MAX as u64;
        for now in [t.saturating_add(distance), t.saturating_sub(distance)] {
            let now = now.min(NOW_MAX);
            let verifier = verifier().with_tolerance(Duration::from_secs(tolerance));
            let age_seconds = i128::from(now) - i128::from(t);
            let expected = match u128::from(now).abs_diff(t.into()) <= tolerance.into() {
                true => Ok((t, None)),
                false => Err(VerifyError::TimestampOutOfTolerance { age_seconds }),
            };
            let header = signed(b"{}", t);
            prop_assert_eq!(outcome(&verifier, b"{}", header.as_bytes(), at(now)), expected);
        }
    }
}

const SECRETS: u8 = 4;

fn numbered(secret: u8) -> SigningSecret {
    SigningSecret::new(value(secret)).unwrap()
}

fn value(secret: u8) -> String {
    format!("whsec_{secret}")
}

#[derive(Clone, Debug)]
enum Step {
    Rotate {
        new: Vec<u8>,
        overlap_ms: Option<u64>,
    },
    Verify,
}

fn step() -> impl Strategy<Value = Step> {
    let new = vec(0..SECRETS, 0..3);
    let overlap_ms = prop_oneof![Just(Some(0)), (0..4000_u64).prop_map(Some), Just(None)];
    prop_oneof![
        (new, overlap_ms).prop_map(|(new, overlap_ms)| Step::Rotate { new, overlap_ms }),
        Just(Step::Verify),
    ]
}

/// Until when each secret counts, in milliseconds; `None`: without end.
type Model = BTreeMap<u8, Option<u64>>;

fn rotate(model: &mut Model, new: &[u8], overlap_ms: Option<u64>, now_ms: u64) {
    for ends in model.values_mut() {
        let sooner = [*ends, overlap_ms.map(|overlap| now_ms + overlap)];
        *ends = sooner.into_iter().flatten().min();
    }
    model.retain(|_, ends| ends.is_none_or(|ends| ends > now_ms));
    model.extend(new.iter().map(|secret| (*secret, None)));
}

proptest! {
    #![proptest_config(cases(200))]

    /// The clock may go back, as clocks do.
    #[test]
    fn a_secret_counts_exactly_as_long_as_its_rotations_say(
        steps in vec((step(), 0..5000_u64), 1..12),
    ) {
        let verifier = Verifier::new(numbered(0)).without_age_check();
        let mut model = Model::from([(0, None)]);
        for (step, now_ms) in steps {
            let now = UNIX_EPOCH + Duration::from_millis(now_ms);
            if let Step::Rotate { new, overlap_ms } = &step {
                let overlap = overlap_ms.map_or(Duration::MAX, Duration::from_millis);
                let secrets = new.iter().map(|secret| numbered(*secret));
                prop_assert_eq!(verifier.rotate_at(secrets, overlap, now).is_err(), new.is_empty());
                if !new.is_empty() {
                    rotate(&mut model, new, *overlap_ms, now_ms);
                }
            }
            for secret in 0..SECRETS {
                let header = sign_test_payload("{}", &value(secret), now);
                let ends = model.get(&secret);
                let counts = ends.is_some_and(|ends| ends.is_none_or(|ends| now_ms < ends));
                let result = outcome(&verifier, b"{}", header.as_bytes(), now);
                prop_assert_eq!(result.is_ok(), counts, "secret {} at {} ms", secret, now_ms);
            }
        }
    }
}

/// Pieces of an event in any order, some of them where they belong.
fn like_an_event() -> impl Strategy<Value = String> {
    let keys = "id object type created livemode account context snapshot_event related_object \
        reason request data changes detail specversion previous_attributes url";
    let keys: Vec<_> = keys.split(' ').collect();
    let text = prop_oneof![
        select(vec![
            "event",
            "v2.core.event",
            "evt_1",
            "",
            "/v1/a",
            "//a",
            "\\u0000",
            "\\ud800"
        ])
        .prop_map(str::to_owned),
        "[a-z_]{250,260}",
        "[^\"\\\\[:cntrl:]]{0,20}",
    ];
    let number = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        select(vec![
            "1e400",
            "-0",
            "1.5",
            "253402300800",
            "true",
            "null",
            "nul"
        ])
        .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![text.prop_map(|text| format!("\"{text}\"")), number];
    let value = leaf.prop_recursive(4, 40, 6, move |value| {
        let pair = (select(keys.clone()), value.clone());
        let pair = pair.prop_map(|(key, value)| format!("\"{key}\":{value}"));
        prop_oneof![
            vec(value, 0..4).prop_map(|values| format!("[{}]", values.join(","))),
            vec(pair, 0..8).prop_map(|pairs| format!("{{{}}}", pairs.join(","))),
        ]
    });
    let head = select(vec![
        "",
        r#"{"id":"evt_1","object":"event","type":"a","data":"#,
        r#"{"id":"evt_1","object":"v2.core.event","type":"a","related_object":"#,
        r#"{"object":"event","type":"a","id":"#,
    ]);
    (head, value).prop_map(|(head, value)| match head {
        "" => value,
        head => format!("{head}{value}}}"),
    })
}

fn is_kept_and_can_be_read(body: &[u8]) {
    let Ok(event) = Event::parse(body.to_vec().into()) else {
        return;
    };
    assert_eq!(event.bytes(), body);
    let is_key = |id: &str| (1..=255).contains(&id.len()) && !id.contains(char::is_control);
    assert!(
        [event.id(), event.event_type(), event.deduplication_id()]
            .into_iter()
            .all(is_key)
    );
    let _ = event.object::<serde_json::Value>();
    let _ = event.previous_attributes::<serde_json::Value>();
    let _ = event.changes::<serde_json::Value>();
    let url = event
        .related_object()
        .and_then(|related| related.url.as_deref());
    assert!(url.is_none_or(|url| url.starts_with('/') && !url.starts_with("//")));
    let _ = (event.created(), event.request(), event.reason());
    let _ = format!("{event:?}");
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn no_bytes_make_the_envelope_panic(body in bytes()) {
        is_kept_and_can_be_read(&body);
    }

    #[test]
    fn what_looks_like_an_event_is_kept_as_it_is(body in like_an_event()) {
        is_kept_and_can_be_read(body.as_bytes());
    }
}

#[test]
fn nesting_of_any_depth_needs_no_more_stack() {
    for depth in [1, 100, 127, 128, 129, 1000, 50_000] {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        is_kept_and_can_be_read(format!("{open}{close}").as_bytes());
        let event = r#"{"id":"evt_1","object":"event","type":"a","data":"#;
        is_kept_and_can_be_read(format!("{event}{open}{close}}}").as_bytes());
        let (open, close) = (r#"{"object":"#.repeat(depth), "}".repeat(depth));
        is_kept_and_can_be_read(format!("{event}{open}1{close}}}").as_bytes());
    }
}
