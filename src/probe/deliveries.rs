use serde_json::json;

use super::{
    check::{
        BODY_RESERIALISED, CLOCK_TOO_STRICT, Check, DOUBLED, DOUBLED_IN_PARALLEL,
        DUPLICATE_REFUSED, FORGERY_HAD_EFFECT, GENUINE_REFUSED, LARGE_REFUSED, NEW_VERSION_REFUSED,
        ROLLED_SECRET_REFUSED, TEST_EVENT_REFUSED, THIN_REFUSED, UNKNOWN_TYPE_REFUSED,
    },
    delivery::Attempt,
    events::Layout,
    run::{Died, Run},
    signer::{Attempts, Signer},
};
use crate::testing::SampleEvent;

/// A minute less than Stripe's libraries tolerate: this machine's clock may be off too.
const WITHIN_TOLERANCE_SECONDS: u64 = 240;

/// Between two deliveries of an event, so that they differ in `t` and signature.
const RETRY_SECONDS: u64 = 20;

/// Lines of 64 bytes in a large event: 200 KiB, as an invoice can have.
const LARGE_LINES: usize = 200 * 1024 / 64;

/// A check and what Stripe would deliver, and every endpoint has to accept.
static DELIVERED: [(&Check, Attempts); 7] = [
    (&UNKNOWN_TYPE_REFUSED, of_an_unknown_type),
    (&ROLLED_SECRET_REFUSED, while_a_secret_is_rolled),
    (&NEW_VERSION_REFUSED, of_a_new_version),
    (&LARGE_REFUSED, large),
    (&CLOCK_TOO_STRICT, signed_some_time_ago),
    (&TEST_EVENT_REFUSED, from_the_dashboard),
    (&THIN_REFUSED, thin),
];

/// The checks that are steps here.
pub(super) fn checks() -> impl Iterator<Item = &'static Check> {
    let delivered = DELIVERED.iter().map(|(check, _)| *check);
    [&GENUINE_REFUSED, &DUPLICATE_REFUSED]
        .into_iter()
        .chain(delivered)
}

/// An event as Stripe lays it out, and if that is refused as others do. Gives back what was accepted.
pub(super) async fn genuine(run: &mut Run<'_>) -> Result<Option<Attempt>, Died> {
    // Made even if it is to be skipped, since all that follows builds on it.
    let _is_reported = run.begins(&GENUINE_REFUSED);
    let event = run.events.fresh();
    let attempt = run.signer().genuine(LAID_OUT, &event);
    let outcome = run.deliver(&attempt).await?;
    let accepted = match outcome.is_success() {
        true => {
            run.book.passed(&GENUINE_REFUSED);
            run.book.passed(&BODY_RESERIALISED);
            attempt
        }
        false => {
            let told = run.told(&outcome);
            let Some(accepted) = rewritten_instead(run, &event, told).await? else {
                return Ok(None);
            };
            accepted
        }
    };
    measure(run).await;
    Ok(Some(accepted))
}

const LAID_OUT: &str = "a genuine delivery, laid out as Stripe does";

/// What a server could write from what it has parsed.
const REWRITTEN: [(&str, Layout); 2] = [
    ("the same event in compact JSON", Layout::Compact),
    (
        "the same event with a space after each comma and colon",
        Layout::Spaced,
    ),
];

async fn rewritten_instead(
    run: &mut Run<'_>,
    event: &SampleEvent,
    told: String,
) -> Result<Option<Attempt>, Died> {
    let mut details = Vec::new();
    for (what, layout) in REWRITTEN {
        let attempt = run.signer().signed(what, layout.of(event));
        let outcome = run.deliver(&attempt).await?;
        details.push(format!("{what}: {}", run.told(&outcome)));
        if !outcome.is_success() {
            continue;
        }
        // Another, since a service that fails now and then would look the same.
        let another = run.signer().genuine(LAID_OUT, &run.events.fresh());
        if run.deliver(&another).await?.is_success() {
            let sent = "a genuine delivery, while others are accepted";
            run.book.found(&GENUINE_REFUSED, sent, told, details);
        } else {
            run.book.found(&BODY_RESERIALISED, LAID_OUT, told, details);
            let reason = "other layouts are accepted: see body_reserialised";
            run.book.not_checked(&GENUINE_REFUSED, reason);
            run.events.lay_out(layout);
        }
        return Ok(Some(attempt));
    }
    run.book.found(&GENUINE_REFUSED, LAID_OUT, told, details);
    Ok(None)
}

/// Learns how far one event moves the count.
async fn measure(run: &mut Run<'_>) {
    let moved = run.effects.settled().await;
    let reason = match moved {
        Ok(0) => "a genuine event has no effect that the count shows in time, so no other does",
        Ok(by) => {
            run.effects.per_event = Some(by);
            return;
        }
        Err(reason) => reason,
    };
    for check in [&FORGERY_HAD_EFFECT, &DOUBLED, &DOUBLED_IN_PARALLEL] {
        run.book.not_checked(check, reason);
    }
}

/// The same request again, and a retry, which Stripe signs anew.
pub(super) async fn duplicate(run: &mut Run<'_>, accepted: &Attempt) -> Result<(), Died> {
    let is_skipped = run.book.is_skipped(&DOUBLED);
    if !run.begins(&DUPLICATE_REFUSED) && is_skipped {
        return Ok(());
    }
    let mut again = accepted.clone();
    again.what = "the same delivery again".into();
    let signer = run.signer();
    let header = signer.header(signer.before(RETRY_SECONDS), &accepted.body);
    let what = "the same event again, with another signature";
    let retry = Attempt::new(what, accepted.body.clone()).signature(header);
    let mut attempts = vec![again, retry];
    // Stripe counts the endpoints that have not answered yet.
    if let Ok(event) = serde_json::from_slice(&accepted.body) {
        let event = SampleEvent::from_value(event).set("pending_webhooks", 2);
        let what = "the same event again, with another pending_webhooks";
        attempts.push(signer.genuine(what, &event));
    }
    all_of(run, &DUPLICATE_REFUSED, attempts).await?;
    if run.effects.per_event.is_none() {
        return Ok(());
    }
    match run.effects.settled().await {
        Ok(0) => run.book.passed(&DOUBLED),
        Ok(by) => {
            let told = format!("the count of effects moved by {by}, where 0 was due");
            run.book
                .found(&DOUBLED, "the same event again and again", told, Vec::new());
        }
        Err(reason) => run.book.not_checked(&DOUBLED, reason),
    }
    Ok(())
}

/// Everything else that an endpoint has to accept.
pub(super) async fn all(run: &mut Run<'_>) -> Result<(), Died> {
    for (check, attempts) in DELIVERED {
        if run.begins(check) {
            let attempts = attempts(&run.signer());
            all_of(run, check, attempts).await?;
        }
    }
    Ok(())
}

async fn all_of(
    run: &mut Run<'_>,
    check: &'static Check,
    attempts: Vec<Attempt>,
) -> Result<(), Died> {
    run.book.passed(check);
    for attempt in attempts {
        let outcome = run.deliver(&attempt).await?;
        if !outcome.is_success() {
            let told = run.told(&outcome);
            run.book.found(check, &attempt.what, told, Vec::new());
        }
    }
    Ok(())
}

fn of_an_unknown_type(signer: &Signer<'_>) -> Vec<Attempt> {
    let event = signer.events.of_type("probe.unknown_type.happened");
    vec![signer.genuine("an event of a type that Stripe does not have", &event)]
}

fn while_a_secret_is_rolled(signer: &Signer<'_>) -> Vec<Attempt> {
    let now = signer.now();
    let two = |what: &'static str, is_right_first: bool| {
        let body = signer.events.fresh_body();
        let right = signer.mac(now, &body);
        let wrong = signer.wrong_header(&body);
        let wrong = wrong.rsplit('=').next().unwrap_or_default();
        let header = match is_right_first {
            true => format!("t={now},v1={right},v1={wrong}"),
            false => format!("t={now},v1={wrong},v1={right}"),
        };
        Attempt::new(what, body).signature(header)
    };
    vec![
        two("a delivery with two v1, of which the last is right", false),
        two("a delivery with two v1, of which the first is right", true),
    ]
}

fn of_a_new_version(signer: &Signer<'_>) -> Vec<Attempt> {
    let new = signer
        .events
        .fresh()
        .set("api_version", "2031-01-01.unknown");
    let field = json!({"of": ["a", "later"], "version": 1});
    let fields = signer.events.fresh();
    let fields = fields
        .set("unknown_field", field.clone())
        .object("unknown_field", field);
    vec![
        signer.genuine("an event of API version 2031-01-01.unknown", &new),
        signer.genuine("an event with fields that nobody knows yet", &fields),
    ]
}

fn large(signer: &Signer<'_>) -> Vec<Attempt> {
    let event = signer.events.fresh();
    let event = event.object("unknown_lines", vec!["x".repeat(64); LARGE_LINES]);
    vec![signer.genuine("an event of 200 KiB", &event)]
}

fn signed_some_time_ago(signer: &Signer<'_>) -> Vec<Attempt> {
    let at = signer.before(WITHIN_TOLERANCE_SECONDS);
    vec![signer.signed_at("a delivery signed four minutes ago", at)]
}

fn from_the_dashboard(signer: &Signer<'_>) -> Vec<Attempt> {
    let event = signer.events.fresh().id("evt_00000000000000");
    vec![signer.genuine(
        "an event with the id of the Dashboard's test events",
        &event,
    )]
}

fn thin(signer: &Signer<'_>) -> Vec<Attempt> {
    let event = signer.events.of_type("v1.checkout.session.completed");
    vec![signer.genuine("a thin event", &event)]
}
