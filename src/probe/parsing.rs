use std::borrow::Cow;

use super::{
    check::PARSED_BEFORE_VERIFIED,
    delivery::{Attempt, Outcome},
    forgeries::try_one,
    run::{Died, Run},
    signer::Signer,
};

/// So many brackets overflow the stack of a parser that recurses without a limit.
const BRACKETS: usize = 100_000;

/// Longer than any server takes a header to be.
const HEADER_BYTES: usize = 64 * 1024;

/// As many signatures as nobody rolls secrets.
const SIGNATURES: usize = 500;

/// Three forgeries that differ in what a parser makes of them have to be answered alike.
pub(super) async fn parsed_before_verified<P: FnMut(&str, usize, usize)>(
    run: &mut Run<'_, P>,
) -> Result<(), Died> {
    if !run.begins(&PARSED_BEFORE_VERIFIED) {
        return Ok(());
    }
    let signer = run.signer();
    let wrongly_signed = |what: &'static str, body: Vec<u8>| {
        let header = signer.wrong_header(&body);
        Attempt::new(what, body).signature(header)
    };
    let marker = signer.events.marker();
    let event = || signer.events.fresh_body().to_vec();
    let no_event = format!(r#"{{"object": "list", "url": "{marker}"}}"#).into_bytes();
    let no_json = format!("{marker} is no JSON").into_bytes();
    let attempts = [
        wrongly_signed("an event signed with a wrong secret", event()),
        wrongly_signed("another event signed with a wrong secret", event()),
        wrongly_signed(
            "JSON that is no event, signed with a wrong secret",
            no_event,
        ),
        wrongly_signed("no JSON, signed with a wrong secret", no_json),
    ];
    let mut outcomes = Vec::new();
    for attempt in attempts {
        let outcome = try_one(run, &PARSED_BEFORE_VERIFIED, &attempt).await?;
        outcomes.push((attempt.what, outcome));
    }
    compare(run, &outcomes);
    Ok(())
}

fn compare<P: FnMut(&str, usize, usize)>(
    run: &mut Run<'_, P>,
    outcomes: &[(Cow<'static, str>, Outcome)],
) {
    let [(_, event), (_, other_event), others @ ..] = outcomes else {
        return;
    };
    let is_throttled = |outcome: &Outcome| {
        let status = outcome.status().map(|status| status.as_u16());
        status == Some(429)
    };
    if outcomes.iter().any(|(_, outcome)| is_throttled(outcome)) {
        let reason = "the endpoint throttles, so answers cannot be compared";
        return run.book.not_checked(&PARSED_BEFORE_VERIFIED, reason);
    }
    if event.is_success() {
        return;
    }
    run.book.passed(&PARSED_BEFORE_VERIFIED);
    // A text that differs between two events, as one with a time in it, shows nothing.
    let is_stable = event.status() == other_event.status() && event.body() == other_event.body();
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
    let signed = |what: &'static str, body: Vec<u8>| {
        let header = signer.wrong_header(&body);
        Attempt::new(what, body).signature(header)
    };
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
        signed("100,000 brackets as a body", brackets),
    ]
}
