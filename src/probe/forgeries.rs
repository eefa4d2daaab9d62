use bytes::Bytes;
use http::HeaderName;
use tokio::time::sleep;

use super::{
    check::{
        CHANGED_BODY_ACCEPTED, CHANGED_SIGNATURE_ACCEPTED, CHANGED_TIMESTAMP_ACCEPTED, Check,
        FORGERY_HAD_EFFECT, FUTURE_ACCEPTED, GARBAGE_ACCEPTED, GUESSABLE_SECRET,
        OTHER_BODY_ACCEPTED, PARSED_BEFORE_VERIFIED, QUERY_SIGNATURE_ACCEPTED, STALE_ACCEPTED,
        TWO_HEADERS_ACCEPTED, UNDERSCORE_HEADER_ACCEPTED, UNSIGNED_ACCEPTED, V0_ACCEPTED,
        WRONG_SECRET_ACCEPTED,
    },
    delivery::{Attempt, Outcome},
    events::Layout,
    parsing,
    run::{Died, PATIENCE_MAX, RETRY_PAUSE, Run},
    signer::{Attempts, Signer},
};
use crate::testing::SampleEvent;

/// Twice what Stripe's libraries tolerate.
const TOO_FAR_SECONDS: u64 = 600;

/// What keys are when nobody has set one, as words of the languages and as documentation has them.
const GUESSES: [(&str, &str); 16] = [
    ("the empty key", ""),
    ("a word for nothing as the key", "undefined"),
    ("a word for nothing as the key", "null"),
    ("a word for nothing as the key", "None"),
    ("a word for nothing as the key", "nil"),
    ("a word for nothing as the key", "false"),
    ("a prefix alone as the key", "whsec_"),
    ("a placeholder as the key", "whsec_test"),
    ("a placeholder as the key", "whsec_dev"),
    ("a placeholder as the key", "whsec_test_secret"),
    ("a placeholder as the key", "whsec_secret"),
    ("a placeholder as the key", "whsec_xxx"),
    ("a placeholder as the key", "whsec_..."),
    ("a placeholder as the key", "whsec_your_webhook_secret"),
    ("a placeholder as the key", "secret"),
    ("a placeholder as the key", "changeme"),
];

/// A check and what is sent for it. It is a finding if any of it is accepted.
static FORGERIES: [(&Check, Attempts); 14] = [
    (&UNSIGNED_ACCEPTED, unsigned),
    (&WRONG_SECRET_ACCEPTED, by_a_wrong_secret),
    (&GUESSABLE_SECRET, by_a_guess),
    (&V0_ACCEPTED, by_v0),
    (&STALE_ACCEPTED, stale),
    (&FUTURE_ACCEPTED, from_the_future),
    (&OTHER_BODY_ACCEPTED, on_another_body),
    (&CHANGED_BODY_ACCEPTED, with_a_changed_body),
    (&CHANGED_SIGNATURE_ACCEPTED, with_a_changed_signature),
    (&CHANGED_TIMESTAMP_ACCEPTED, with_a_changed_timestamp),
    (&TWO_HEADERS_ACCEPTED, with_two_headers),
    (&QUERY_SIGNATURE_ACCEPTED, in_the_query),
    (&UNDERSCORE_HEADER_ACCEPTED, in_an_underscore_header),
    // Last: it may end the server.
    (&GARBAGE_ACCEPTED, parsing::garbage),
];

/// The checks that are steps here.
pub(super) fn checks() -> impl Iterator<Item = &'static Check> {
    let forged = FORGERIES.iter().map(|(check, _)| *check);
    forged.chain([&PARSED_BEFORE_VERIFIED])
}

/// Sends every forgery that can be made.
pub(super) async fn all(run: &mut Run<'_>) -> Result<(), Died> {
    // What came before may have had effects, even if it was refused.
    let _earlier = run.effects.settled().await;
    for (check, attempts) in FORGERIES {
        let can_be_made = !check.needs.secret() || run.is_open_to_stripe;
        if !can_be_made || !run.begins(check) {
            continue;
        }
        run.trials.begin(check);
        for attempt in attempts(&run.signer()) {
            try_one(run, check, &attempt).await?;
        }
        run.trials.end();
        let moved = run.effects.moved().await;
        account(run, moved.unwrap_or(0));
    }
    parsing::parsed_before_verified(run).await?;
    match run.effects.settled().await {
        Ok(moved) => {
            account(run, moved);
            run.book.passed(&FORGERY_HAD_EFFECT);
        }
        Err(reason) => run.book.not_checked(&FORGERY_HAD_EFFECT, reason),
    }
    Ok(())
}

/// What moves now may be what was genuine and came late, unless that has been seen.
fn account(run: &mut Run<'_>, moved: u64) {
    if !run.is_open_to_stripe || run.effects.per_event.is_some() {
        run.trials.moved(moved);
    }
}

/// One that is asked to come later comes later: it is not judged yet.
pub(super) async fn try_one(
    run: &mut Run<'_>,
    check: &'static Check,
    attempt: &Attempt,
) -> Result<Outcome, Died> {
    let mut outcome = run.send(attempt).await?;
    for _ in 0..PATIENCE_MAX {
        if !outcome.is_throttled() {
            break;
        }
        sleep(RETRY_PAUSE).await;
        outcome = run.send(attempt).await?;
    }
    let told = run.told(&outcome);
    let marker = run.events.marker();
    run.trials.note(check, attempt, &outcome, told, marker);
    Ok(outcome)
}

fn unsigned(signer: &Signer<'_>) -> Vec<Attempt> {
    let body = || signer.events.fresh_body();
    vec![
        Attempt::new("a delivery without a signature", body()),
        Attempt::new("a delivery with a blank signature header", body()).signature(" "),
        // None of no signatures is wrong.
        signer.headed("a delivery whose header has a t alone", |_| {
            format!("t={}", signer.now())
        }),
        signer.headed("a delivery whose header has a wrong v0 alone", |body| {
            signer.wrong_header(body).replace(",v1=", ",v0=")
        }),
    ]
}

fn by_a_wrong_secret(signer: &Signer<'_>) -> Vec<Attempt> {
    let body = signer.events.fresh_body();
    vec![signer.wrongly_signed("a delivery signed with a wrong secret", body)]
}

fn by_a_guess(signer: &Signer<'_>) -> Vec<Attempt> {
    let signed = |(what, key): (&str, &str)| {
        let what = format!("a delivery signed with {what}");
        signer.headed(what, |body| signer.header_by(key, body))
    };
    GUESSES.into_iter().map(signed).collect()
}

fn by_v0(signer: &Signer<'_>) -> Vec<Attempt> {
    let what = "a delivery whose right signature is called v0";
    let header = |body: &[u8]| signer.header(signer.now(), body).replace(",v1=", ",v0=");
    vec![signer.headed(what, header)]
}

fn stale(signer: &Signer<'_>) -> Vec<Attempt> {
    let now = signer.now();
    let old = now.saturating_sub(TOO_FAR_SECONDS);
    // Who takes one t for the age and another for the MAC takes anything.
    let twice = |what: &'static str, first: u64, second: u64| {
        signer.headed(what, |body| {
            format!("t={first},t={second},v1={}", signer.mac(old, body))
        })
    };
    vec![
        signer.signed_at("a delivery signed ten minutes ago", old),
        signer.signed_at("a delivery signed in 1970", 1),
        twice("an old delivery whose header has a new t first", now, old),
        twice("an old delivery whose header has a new t last", old, now),
    ]
}

fn from_the_future(signer: &Signer<'_>) -> Vec<Attempt> {
    let later = signer.now().saturating_add(TOO_FAR_SECONDS);
    let milliseconds = signer.now().saturating_mul(1000);
    vec![
        signer.signed_at("a delivery signed in ten minutes", later),
        signer.signed_at("a delivery whose t is in milliseconds", milliseconds),
    ]
}

fn on_another_body(signer: &Signer<'_>) -> Vec<Attempt> {
    let now = signer.now();
    let recorded = signer.events.fresh_body();
    let right = signer.mac(now, &recorded);
    let forged = || {
        let body = signer.events.fresh_body();
        let wrong = signer.wrong_header(&body);
        (body, wrong)
    };
    let (alone, _) = forged();
    let (in_two_lines, line) = forged();
    let (joined, joined_to) = forged();
    let header = format!("t={now},v1={right}");
    vec![
        Attempt::new(
            "the signature of a recorded delivery on another body",
            alone,
        )
        .signature(&header),
        Attempt::new(
            "a recorded signature and a forged one in two lines",
            in_two_lines,
        )
        .signature(&header)
        .signature(line),
        Attempt::new("a recorded signature and a forged one in one line", joined)
            .signature(format!("{header},{joined_to}")),
    ]
}

/// It stays JSON: a server that lets garbage pass is another finding.
fn with_a_changed_body(signer: &Signer<'_>) -> Vec<Attempt> {
    let body = signer.events.fresh_body();
    let header = signer.header(signer.now(), &body);
    let places = inner_digits(&body);
    let white_space = with_other_white_space(signer);
    let some = [0, 1, 2, 3, 4].map(|quarter| places.len().saturating_sub(1) * quarter / 4);
    let some = some.into_iter().filter_map(|index| places.get(index));
    let changed = some.map(|place| {
        let mut bytes = body.to_vec();
        let byte = bytes.iter_mut().skip(*place).take(1);
        byte.for_each(|byte| *byte ^= 1);
        let what = format!("a delivery with one bit of byte {place} of its body changed");
        Attempt::new(what, bytes).signature(&header)
    });
    changed.chain(white_space).collect()
}

/// Means the same, and is not what was signed. Who writes bodies again is known by then to do so.
fn with_other_white_space(signer: &Signer<'_>) -> Vec<Attempt> {
    if !matches!(signer.events.layout(), Layout::Indented) {
        return Vec::new();
    }
    let changed = |what: &'static str, change: fn(&SampleEvent) -> Bytes| {
        let event = signer.events.fresh();
        let header = signer.header(signer.now(), &signer.events.body(&event));
        Attempt::new(what, change(&event)).signature(header)
    };
    vec![
        changed("a delivery with an empty line after its body", |event| {
            (event.to_json() + "\n\n").into()
        }),
        changed("a delivery whose white space was taken out", |event| {
            Layout::Compact.of(event)
        }),
    ]
}

/// Places of digits that can be any other: no number begins with them.
fn inner_digits(body: &[u8]) -> Vec<usize> {
    let pairs = body.windows(2).enumerate();
    let digits = pairs.filter(|(_, pair)| pair.iter().all(u8::is_ascii_digit));
    digits.map(|(place, _)| place + 1).collect()
}

fn with_a_changed_signature(signer: &Signer<'_>) -> Vec<Attempt> {
    let now = signer.now();
    let signed = |what: String, change: &dyn Fn(String) -> String| {
        signer.headed(what, |body| {
            format!("t={now},v1={}", change(signer.mac(now, body)))
        })
    };
    let bits = [0, 31, 63].map(|place| {
        let what = format!("a delivery with one bit of its signature changed, in digit {place}");
        signed(what, &|mac| with_digit_changed(&mac, place))
    });
    let cut = [0, 2, 62].map(|digits| {
        let what = format!("a delivery with the first {digits} digits of its signature");
        signed(what, &|mac| mac.chars().take(digits).collect())
    });
    bits.into_iter().chain(cut).collect()
}

/// Still lower-case hex.
fn with_digit_changed(mac: &str, place: usize) -> String {
    let digits = mac.chars().enumerate();
    let changed = digits.map(|(index, digit)| match digit.to_digit(16) {
        Some(value) if index == place => char::from_digit(value ^ 1, 16).unwrap_or(digit),
        _ => digit,
    });
    changed.collect()
}

fn with_a_changed_timestamp(signer: &Signer<'_>) -> Vec<Attempt> {
    let now = signer.now();
    let moved = [-60, -1, 1, 60].into_iter().map(|by: i64| {
        let said = now.saturating_add_signed(by);
        let what = format!("a delivery whose t was changed by {by} s");
        signer.headed(what, |body| {
            format!("t={said},v1={}", signer.mac(now, body))
        })
    });
    moved.collect()
}

fn with_two_headers(signer: &Signer<'_>) -> Vec<Attempt> {
    let two = |what: &'static str, is_genuine_first: bool| {
        let body = signer.events.fresh_body();
        let mut lines = [
            signer.header(signer.now(), &body),
            signer.wrong_header(&body),
        ];
        if !is_genuine_first {
            lines.reverse();
        }
        let attempt = Attempt::new(what, body);
        lines
            .iter()
            .fold(attempt, |attempt, line| attempt.signature(line))
    };
    vec![
        two(
            "a genuine delivery with a second header, which is forged",
            true,
        ),
        two(
            "a genuine delivery with a forged header before its own",
            false,
        ),
    ]
}

fn in_the_query(signer: &Signer<'_>) -> Vec<Attempt> {
    let body = signer.events.fresh_body();
    let header = signer.header(signer.now(), &body);
    let query = format!("Stripe-Signature={header}&stripe_signature={header}&signature={header}");
    vec![Attempt::new("a genuine signature in the query string", body).query(query)]
}

fn in_an_underscore_header(signer: &Signer<'_>) -> Vec<Attempt> {
    let body = signer.events.fresh_body();
    let header = signer.header(signer.now(), &body);
    let name = HeaderName::from_static("stripe_signature");
    vec![
        Attempt::new("a genuine signature in a header Stripe_Signature", body).header(name, header),
    ]
}
