use std::borrow::Cow;

use super::{
    check::{GARBAGE_ACCEPTED, PARSED_BEFORE_VERIFIED, WRONG_SECRET_ACCEPTED},
    delivery::{Attempt, Outcome},
    forgeries::try_one,
    run::{Died, Run},
    signer::Signer,
    trials::THROTTLED,
};

/// So many brackets overflow the stack of a parser that recurses without a limit.
const BRACKETS: usize = 100_000;

/// Longer than any server takes a header to be.
const HEADER_BYTES: usize = 64 * 1024;

/// As many signatures as nobody rolls secrets.
const SIGNATURES: usize = 500;

/// Forgeries that differ in what a parser makes of them have to be answered alike.
pub(super) async fn parsed_before_verified(run: &mut Run<'_>) -> Result<(), Died> {
    if !run.begins(&PARSED_BEFORE_VERIFIED) {
        return Ok(());
    }
    let signer = run.signer();
    let marker = signer.events.marker();
    let no_event = format!(r#"{{"object": "list", "url": "{marker}"}}"#);
    let no_json = format!("{marker} is no JSON");
    let (event, other_event) = (signer.events.fresh_body(), signer.events.fresh_body());
    let (wrong, garbage) = (&WRONG_SECRET_ACCEPTED, &GARBAGE_ACCEPTED);
    // What of an answer changes with time alone differs between the first and the last.
    let attempts = [
        (wrong, "an event signed with a wrong secret", event),
        (
            garbage,
            "JSON that is no event, signed with a wrong secret",
            no_event.into(),
        ),
        (
            garbage,
            "no JSON, signed with a wrong secret",
            no_json.into(),
        ),
        (
            wrong,
            "another event signed with a wrong secret",
            other_event,
        ),
    ];
    let attempts = attempts.map(|(check, what, body)| (check, signer.wrongly_signed(what, body)));
    let mut outcomes = Vec::new();
    for (check, attempt) in attempts {
        let outcome = try_one(run, check, &attempt).await?;
        outcomes.push((attempt.what, outcome));
    }
    compare(run, &outcomes);
    Ok(())
}

fn compare(run: &mut Run<'_>, outcomes: &[(Cow<'static, str>, Outcome)]) {
    let [(_, event), others @ .., (_, last_event)] = outcomes else {
        return;
    };
    if outcomes.iter().any(|(_, outcome)| outcome.is_throttled()) {
        return run.book.not_checked(&PARSED_BEFORE_VERIFIED, THROTTLED);
    }
    if event.is_success() || last_event.is_success() {
        return;
    }
    run.book.passed(&PARSED_BEFORE_VERIFIED);
    let is_stable = event.status() == last_event.status() && event.body() == last_event.body();
    let differs = |outcome: &Outcome| {
        outcome.status() != event.status() || (is_stable && outcome.body() != event.body())
    };
    let details = || vec![format!("an event, signed as wrongly: {}", run.told(event))];
    let found: Vec<_> = others
        .iter()
        .filter(|(_, outcome)| differs(outcome))
        .map(|(what, outcome)| (what, run.told(outcome), details()))
        .collect();
    for (what, told, details) in found {
        run.book.found(&PARSED_BEFORE_VERIFIED, what, told, details);
    }
}

/// Signed with a wrong secret, if at all: a server need not look at any of it.
pub(super) fn garbage(signer: &Signer<'_>) -> Vec<Attempt> {
    let signed = |what: &'static str, body: Vec<u8>| signer.wrongly_signed(what, body.into());
    let headed = |what: &'static str, header: &[u8]| {
        Attempt::new(what, signer.events.fresh_body()).signature(header)
    };
    let now = signer.now();
    let zeros = "0".repeat(64);
    let many = format!(",v1={zeros}").repeat(SIGNATURES);
    let long = format!("t={now},v1={}", "0".repeat(HEADER_BYTES));
    let huge = format!("t={},v1={zeros}", "9".repeat(400));
    let brackets = "[".repeat(BRACKETS).into_bytes();
    let mut not_utf8 = signer.events.fresh_body().to_vec();
    not_utf8.extend_from_slice(b"\xff\xfe\xc3\x28");
    vec![
        signed("a body that is not UTF-8", not_utf8),
        signed("a body that is not JSON", b"<xml>no</xml>".to_vec()),
        signed("an empty body", Vec::new()),
        headed("a header that is not ASCII", b"t=1,v1=\xff\xfe\xc3\x28"),
        headed("a header of nothing but separators", b",=,=,\t,t,v1=,=v1,,"),
        headed("a header whose t is no number", b"t=now,v1=0"),
        headed(
            "a header whose t is too large for any number",
            huge.as_bytes(),
        ),
        headed(
            "a header with 500 signatures",
            format!("t={now}{many}").as_bytes(),
        )
        .may_be_cut_off(),
        headed("a header of 64 KiB", long.as_bytes()).may_be_cut_off(),
        signed("100,000 brackets as a body", brackets).may_be_cut_off(),
    ]
}
