use http::HeaderName;

use super::{
    check::{
        CHANGED_BODY_ACCEPTED, CHANGED_SIGNATURE_ACCEPTED, CHANGED_TIMESTAMP_ACCEPTED, Check,
        FORGERY_HAD_EFFECT, FUTURE_ACCEPTED, GARBAGE_ACCEPTED, GUESSABLE_SECRET, Needs,
        OTHER_BODY_ACCEPTED, PARSED_BEFORE_VERIFIED, QUERY_SIGNATURE_ACCEPTED, STALE_ACCEPTED,
        TWO_HEADERS_ACCEPTED, UNDERSCORE_HEADER_ACCEPTED, UNSIGNED_ACCEPTED, V0_ACCEPTED,
        WRONG_SECRET_ACCEPTED,
    },
    delivery::{Attempt, Outcome},
    parsing,
    run::{Died, Run},
    signer::Signer,
};

/// Twice what Stripe's libraries tolerate.
const TOO_FAR_SECONDS: u64 = 600;

/// What keys are when nobody has set one, as words of the languages and as documentation has them.
const GUESSES: [(&str, &str); 15] = [
    ("the empty key", ""),
    ("a word for nothing as the key", "undefined"),
    ("a word for nothing as the key", "null"),
    ("a word for nothing as the key", "None"),
    ("a word for nothing as the key", "nil"),
    ("a word for nothing as the key", "false"),
    ("a prefix alone as the key", "whsec_"),
    ("a placeholder as the key", "whsec_test"),
    ("a placeholder as the key", "whsec_test_secret"),
    ("a placeholder as the key", "whsec_secret"),
    ("a placeholder as the key", "whsec_xxx"),
    ("a placeholder as the key", "whsec_..."),
    ("a placeholder as the key", "whsec_your_webhook_secret"),
    ("a placeholder as the key", "secret"),
    ("a placeholder as the key", "changeme"),
];

/// What is sent to find out about a check. It is a finding if any of it is accepted.
struct Forgery {
    check: &'static Check,
    attempts: fn(&Signer<'_>) -> Vec<Attempt>,
}

static FORGERIES: [Forgery; 14] = [
    Forgery {
        check: &UNSIGNED_ACCEPTED,
        attempts: unsigned,
    },
    Forgery {
        check: &WRONG_SECRET_ACCEPTED,
        attempts: by_a_wrong_secret,
    },
    Forgery {
        check: &GUESSABLE_SECRET,
        attempts: by_a_guess,
    },
    Forgery {
        check: &V0_ACCEPTED,
        attempts: by_v0,
    },
    Forgery {
        check: &STALE_ACCEPTED,
        attempts: stale,
    },
    Forgery {
        check: &FUTURE_ACCEPTED,
        attempts: from_the_future,
    },
    Forgery {
        check: &OTHER_BODY_ACCEPTED,
        attempts: on_another_body,
    },
    Forgery {
        check: &CHANGED_BODY_ACCEPTED,
        attempts: with_a_changed_body,
    },
    Forgery {
        check: &CHANGED_SIGNATURE_ACCEPTED,
        attempts: with_a_changed_signature,
    },
    Forgery {
        check: &CHANGED_TIMESTAMP_ACCEPTED,
        attempts: with_a_changed_timestamp,
    },
    Forgery {
        check: &TWO_HEADERS_ACCEPTED,
        attempts: with_two_headers,
    },
    Forgery {
        check: &QUERY_SIGNATURE_ACCEPTED,
        attempts: in_the_query,
    },
    Forgery {
        check: &UNDERSCORE_HEADER_ACCEPTED,
        attempts: in_an_underscore_header,
    },
    // Last: it may end the server.
    Forgery {
        check: &GARBAGE_ACCEPTED,
        attempts: parsing::garbage,
    },
];

/// The checks that are steps here.
pub(super) fn checks() -> impl Iterator<Item = &'static Check> {
    let forged = FORGERIES.iter().map(|forgery| forgery.check);
    forged.chain([&PARSED_BEFORE_VERIFIED])
}

/// Sends every forgery that can be made.
pub(super) async fn all<P: FnMut(&str, usize, usize)>(run: &mut Run<'_, P>) -> Result<(), Died> {
    parsing::parsed_before_verified(run).await?;
    for forgery in &FORGERIES {
        let can_be_made = forgery.check.needs == Needs::Nothing || run.is_open_to_stripe;
        if !can_be_made || !run.begins(forgery.check) {
            continue;
        }
        run.trials.begin(forgery.check);
        for attempt in (forgery.attempts)(&run.signer()) {
            try_one(run, forgery.check, &attempt).await?;
        }
        run.trials.end();
        let moved = run.effects.moved().await.unwrap_or(0);
        run.trials.moved(moved);
    }
    match run.effects.settled().await {
        Ok(moved) => {
            run.trials.moved(moved);
            run.book.passed(&FORGERY_HAD_EFFECT);
        }
        Err(reason) => run.book.not_checked(&FORGERY_HAD_EFFECT, reason),
    }
    Ok(())
}

pub(super) async fn try_one<P: FnMut(&str, usize, usize)>(
    run: &mut Run<'_, P>,
    check: &'static Check,
    attempt: &Attempt,
) -> Result<Outcome, Died> {
    let outcome = run.send(attempt).await?;
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
    ]
}

fn by_a_wrong_secret(signer: &Signer<'_>) -> Vec<Attempt> {
    let body = signer.events.fresh_body();
    let header = signer.wrong_header(&body);
    vec![Attempt::new("a delivery signed with a wrong secret", body).signature(header)]
}

fn by_a_guess(signer: &Signer<'_>) -> Vec<Attempt> {
    let signed = |(what, key): (&str, &str)| {
        let body = signer.events.fresh_body();
        let header = signer.header_by(key, &body);
        Attempt::new(format!("a delivery signed with {what}"), body).signature(header)
    };
    GUESSES.into_iter().map(signed).collect()
}

fn by_v0(signer: &Signer<'_>) -> Vec<Attempt> {
    let body = signer.events.fresh_body();
    let header = signer.header(signer.now(), &body).replace(",v1=", ",v0=");
    vec![Attempt::new("a delivery whose right signature is called v0", body).signature(header)]
}

fn stale(signer: &Signer<'_>) -> Vec<Attempt> {
    let now = signer.now();
    let old = now.saturating_sub(TOO_FAR_SECONDS);
    let at = |what: &'static str, at: u64| {
        let body = signer.events.fresh_body();
        let header = signer.header(at, &body);
        Attempt::new(what, body).signature(header)
    };
    // Who takes one t for the age and another for the MAC takes anything.
    let twice = |what: &'static str, first: u64, second: u64| {
        let body = signer.events.fresh_body();
        let header = format!("t={first},t={second},v1={}", signer.mac(old, &body));
        Attempt::new(what, body).signature(header)
    };
    vec![
        at("a delivery signed ten minutes ago", old),
        at("a delivery signed in 1970", 1),
        twice("an old delivery whose header has a new t first", now, old),
        twice("an old delivery whose header has a new t last", old, now),
    ]
}

fn from_the_future(signer: &Signer<'_>) -> Vec<Attempt> {
    let now = signer.now();
    let at = |what: &'static str, at: u64| {
        let body = signer.events.fresh_body();
        let header = signer.header(at, &body);
        Attempt::new(what, body).signature(header)
    };
    vec![
        at(
            "a delivery signed in ten minutes",
            now.saturating_add(TOO_FAR_SECONDS),
        ),
        at(
            "a delivery whose t is in milliseconds",
            now.saturating_mul(1000),
        ),
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
    let some = [0, 1, 2, 3, 4].map(|quarter| places.len().saturating_sub(1) * quarter / 4);
    let some = some.into_iter().filter_map(|index| places.get(index));
    let changed = some.map(|place| {
        let mut bytes = body.to_vec();
        let byte = bytes.iter_mut().skip(*place).take(1);
        byte.for_each(|byte| *byte ^= 1);
        let what = format!("a delivery with one bit of byte {place} of its body changed");
        Attempt::new(what, bytes).signature(&header)
    });
    changed.collect()
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
        let body = signer.events.fresh_body();
        let mac = change(signer.mac(now, &body));
        Attempt::new(what, body).signature(format!("t={now},v1={mac}"))
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
        let body = signer.events.fresh_body();
        let said = now.saturating_add_signed(by);
        let header = format!("t={said},v1={}", signer.mac(now, &body));
        let what = format!("a delivery whose t was changed by {by} s");
        Attempt::new(what, body).signature(header)
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
