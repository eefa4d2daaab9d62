use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    future::join_all,
    stream::{self, Stream},
};
use http::header::CONTENT_LENGTH;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::time::sleep;

use super::{
    check::{COPIES_FAIL, Check, DOUBLED_IN_PARALLEL, OVERSIZED_TAKEN, SLOW_BODY_HELD},
    delivery::{Attempt, Outcome},
    run::{Died, Run, exchange},
    target::Target,
};

/// Pieces of the oversized body.
const CHUNK_BYTES: usize = 64 * 1024;

/// How long the end of the oversized body is held back: who has a limit has answered by then.
const END_HELD_BACK: Duration = Duration::from_secs(2);

/// How long the oversized body may take to be sent, at a megabyte each second.
const OVERSIZED_TIME_MAX: Duration = Duration::from_secs(60);

/// Between two bytes of the slow body: often enough that no server sees an idle connection.
const DAWDLE: Duration = Duration::from_millis(200);

/// What the slow body is said to have: an ordinary event, which takes a quarter of an hour.
const SLOW_BYTES: usize = 4096;

/// How often an event is delivered again of which no copy was accepted.
const REDELIVERIES_MAX: u32 = 5;

/// Between two of those: a handler may still be at work.
const REDELIVERY_PAUSE: Duration = Duration::from_millis(500);

/// The checks that are steps here.
pub(super) fn checks() -> impl Iterator<Item = &'static Check> {
    [&COPIES_FAIL, &SLOW_BODY_HELD, &OVERSIZED_TAKEN].into_iter()
}

/// One event, many times at once.
pub(super) async fn copies(run: &mut Run<'_>) -> Result<(), Died> {
    let is_skipped = run.book.is_skipped(&DOUBLED_IN_PARALLEL);
    if !run.begins(&COPIES_FAIL) && is_skipped {
        return Ok(());
    }
    // What came before may still be at work.
    let _moved = run.effects.settled().await;
    let signer = run.signer();
    let what = format!("{} copies of a new event at once", run.probe.copies);
    let attempt = signer.genuine(what, &signer.events.fresh());
    let outcomes = at_once(&run.probe.target, &attempt, run.probe.copies).await;
    let is_one_accepted =
        outcomes.iter().any(Outcome::is_success) || redelivered(run, &attempt).await?;
    judge(run, &attempt, &outcomes, is_one_accepted);
    effects(run, &attempt).await;
    Ok(())
}

/// Each over a connection that is there by then, so that they arrive together.
async fn at_once(target: &Target, attempt: &Attempt, copies: u32) -> Vec<Outcome> {
    let connections = join_all((0..copies).map(|_| target.connect())).await;
    let sent = connections.into_iter().map(async |connection| {
        let limit = target.answer_limit();
        match connection {
            Ok(connection) => Outcome::of(connection, attempt.request(), limit).await,
            Err(error) => Outcome::failed(&error),
        }
    });
    join_all(sent).await
}

/// Whether a redelivery is accepted in the end.
async fn redelivered(run: &mut Run<'_>, attempt: &Attempt) -> Result<bool, Died> {
    for _ in 0..REDELIVERIES_MAX {
        if run.send(attempt).await?.is_success() {
            return Ok(true);
        }
        sleep(REDELIVERY_PAUSE).await;
    }
    Ok(false)
}

fn judge(run: &mut Run<'_>, attempt: &Attempt, outcomes: &[Outcome], is_one_accepted: bool) {
    run.book.passed(&COPIES_FAIL);
    // In flight, and too many requests, are rightly said of a copy; 503 is of a server that is full.
    let is_in_order = |outcome: &Outcome| {
        let status = outcome.status().map(|status| status.as_u16());
        matches!(status, Some(200..=299 | 409 | 429 | 503))
    };
    let tally = tally(outcomes);
    if !is_one_accepted {
        let details = vec!["no redelivery was accepted either".to_owned()];
        run.book.found(&COPIES_FAIL, &attempt.what, tally, details);
    } else if !outcomes.iter().all(is_in_order) {
        run.book
            .found(&COPIES_FAIL, &attempt.what, tally, Vec::new());
    }
}

async fn effects(run: &mut Run<'_>, attempt: &Attempt) {
    let Some(per_event) = run.effects.per_event else {
        return;
    };
    match run.effects.settled().await {
        Ok(0) => {
            let reason = "copies of an event had no effect that the count shows";
            run.book.not_checked(&DOUBLED_IN_PARALLEL, reason);
        }
        Ok(by) if by > per_event => {
            let told = format!("the count of effects moved by {by}, where {per_event} was due");
            run.book
                .found(&DOUBLED_IN_PARALLEL, &attempt.what, told, Vec::new());
        }
        Ok(_) => run.book.passed(&DOUBLED_IN_PARALLEL),
        Err(reason) => run.book.not_checked(&DOUBLED_IN_PARALLEL, reason),
    }
}

/// As in `1 × 200, 49 × 409`.
fn tally(outcomes: &[Outcome]) -> String {
    let mut numbers = BTreeMap::new();
    for outcome in outcomes {
        let status = outcome.status().map(|status| status.as_u16());
        *numbers.entry(status).or_insert(0) += 1;
    }
    let told = numbers.into_iter().map(|(status, number)| match status {
        Some(status) => format!("{number} × {status}"),
        None => format!("{number} × no answer"),
    });
    told.collect::<Vec<_>>().join(", ")
}

/// A forgery whose body comes byte by byte, and never ends.
pub(super) async fn slow_body(run: &mut Run<'_>) -> Result<(), Died> {
    if !run.begins(&SLOW_BODY_HELD) {
        return Ok(());
    }
    let what = "a forgery whose body comes byte by byte";
    let attempt = wrongly_signed(run, what).header(CONTENT_LENGTH, SLOW_BYTES.to_string());
    let drip = stream::unfold((), |()| async {
        sleep(DAWDLE).await;
        Some((frame(Bytes::from_static(b" ")), ()))
    });
    let request = attempt.request_of(StreamBody::new(Box::pin(drip)));
    let outcome = exchange(&run.probe.target, request, run.probe.slow_time).await;
    let outcome = run.still_alive(what, outcome).await?;
    run.book.passed(&SLOW_BODY_HELD);
    if matches!(outcome, Outcome::Late(_)) {
        let told = run.told(&outcome);
        run.book.found(&SLOW_BODY_HELD, what, told, Vec::new());
    }
    Ok(())
}

/// A forgery that is larger than any event, and says so; and one that does not say how large it is.
pub(super) async fn oversized_body(run: &mut Run<'_>) -> Result<(), Died> {
    if !run.begins(&OVERSIZED_TAKEN) {
        return Ok(());
    }
    let pieces = run
        .probe
        .oversized_bytes
        .div_ceil(CHUNK_BYTES as u64)
        .max(1);
    let bytes = pieces.saturating_mul(CHUNK_BYTES as u64);
    let what = format!("a forgery of {bytes} bytes");
    let said = wrongly_signed(run, &what).header(CONTENT_LENGTH, bytes.to_string());
    let what = format!("a forgery of {bytes} bytes without Content-Length");
    let unsaid = wrongly_signed(run, &what);
    run.book.passed(&OVERSIZED_TAKEN);
    for attempt in [said, unsaid] {
        if send_oversized(run, &attempt, pieces).await? {
            break;
        }
    }
    Ok(())
}

/// Whether that has settled it.
async fn send_oversized(run: &mut Run<'_>, attempt: &Attempt, pieces: u64) -> Result<bool, Died> {
    let is_taken = Arc::new(AtomicBool::new(false));
    let body = oversized(pieces, Arc::clone(&is_taken));
    let request = attempt.request_of(StreamBody::new(Box::pin(body)));
    let outcome = exchange(&run.probe.target, request, OVERSIZED_TIME_MAX).await;
    let outcome = run.still_alive(&attempt.what, outcome).await?;
    if is_taken.load(Ordering::Relaxed) {
        let told = run.told(&outcome);
        run.book
            .found(&OVERSIZED_TAKEN, &attempt.what, told, Vec::new());
        return Ok(true);
    }
    let is_late = matches!(outcome, Outcome::Late(_));
    if is_late {
        let reason = "the oversized body was neither taken nor refused in time";
        run.book.not_checked(&OVERSIZED_TAKEN, reason);
    }
    Ok(is_late)
}

/// What is in the buffers of two systems nobody has taken: so the last piece is held back, and whether
/// it is asked for tells.
fn oversized(
    pieces: u64,
    is_taken: Arc<AtomicBool>,
) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send {
    let piece = Bytes::from(vec![b' '; CHUNK_BYTES]);
    stream::unfold(0, move |sent| {
        let (piece, is_taken) = (piece.clone(), Arc::clone(&is_taken));
        async move {
            if sent >= pieces {
                return None;
            }
            if sent + 1 == pieces {
                sleep(END_HELD_BACK).await;
                is_taken.store(true, Ordering::Relaxed);
            }
            Some((frame(piece), sent + 1))
        }
    })
}

fn frame(bytes: Bytes) -> Result<Frame<Bytes>, Infallible> {
    Ok(Frame::data(bytes))
}

fn wrongly_signed(run: &Run<'_>, what: &str) -> Attempt {
    let signer = run.signer();
    let header = signer.wrong_header(&signer.events.fresh_body());
    Attempt::new(what.to_owned(), Bytes::new()).signature(header)
}
