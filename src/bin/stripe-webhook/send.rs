use std::{collections::BTreeMap, time::Duration};

use axum_stripe_webhook::{probe::Target, testing::SignedDelivery};
use clap::{ArgGroup, Args};
use futures_util::{StreamExt, stream};
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    events::{Events, Payload},
    exchange,
    failure::{Exit, Failure},
    output::{Report, progress_bar, table},
    secret::{OldSecret, OneSecret},
};

/// As many as take a minute at a hundred in a second; a test of load is another tool's.
const COPIES_MAX: i64 = 10_000;

/// Fewer than a process may have files open, by default.
const PARALLEL_MAX: i64 = 256;

/// Up to here there is a line for each delivery; beyond it, a summary.
const LINES_MAX: usize = 50;

/// Signs sample events or files, and delivers them as Stripe would
#[derive(Args)]
#[command(after_help = "\
JSON: {\"deliveries\": [{\"event_id\", \"event_type\", \"copy\", \"status\" or null, \"error\" or null, \
\"milliseconds\"}],
       \"statuses\": {\"200\": 1}, \"unreachable\", \"milliseconds\": {\"min\", \"median\", \"max\"} or null, \
\"seed\" or null}
Exit 0 if all were answered 2xx, 1 if some were not, 3 if none was answered.")]
#[command(group = ArgGroup::new("needs_secret").required(true)
    .args(["secret_env", "secret_file", "secret_stdin"]))]
pub(crate) struct SendArgs {
    /// The endpoint: http://127.0.0.1:3000/webhooks/stripe
    url: String,
    #[command(flatten)]
    secret: OneSecret,
    #[command(flatten)]
    old_secret: OldSecret,
    #[command(flatten)]
    events: Events,
    /// The id of the event, instead of one that no other event has; for one --type
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Send the thin events that say the same as the samples
    #[arg(long)]
    thin: bool,
    /// How often each event is delivered, signed anew each time
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=COPIES_MAX))]
    copies: u16,
    /// How many deliveries are under way at once
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=PARALLEL_MAX))]
    parallel: u16,
    /// Mix the order of all deliveries
    #[arg(long)]
    shuffle: bool,
    /// The same order as when this seed was printed
    #[arg(long, value_name = "N", requires = "shuffle")]
    seed: Option<u64>,
    /// The endpoint is your own, though it is not on this machine
    #[arg(long)]
    own: bool,
}

struct Delivered<'a> {
    payload: &'a Payload,
    copy: u16,
    /// The status, or why there is none.
    outcome: Result<StatusCode, String>,
    time: Option<Duration>,
}

pub(crate) async fn run(args: &SendArgs) -> Result<Report, Failure> {
    check(args)?;
    let secret = args.secret.required()?;
    let old_secret = args.old_secret.read()?;
    let payloads = args.events.payloads(args.id.as_deref(), args.thin)?;
    let target = exchange::resolve(&args.url, args.own).await?;
    let seed = args
        .seed
        .or_else(|| args.shuffle.then(|| fastrand::u64(..)));
    let secrets = [Some(&secret), old_secret.as_ref()];
    let deliveries = order(&payloads, args.copies, seed).into_iter().enumerate();
    let target = &target;
    let deliveries = deliveries.map(|(place, (payload, copy))| {
        let delivery = SignedDelivery::of(payload.body.clone());
        let signed = secrets.into_iter().flatten();
        let delivery = signed.fold(delivery, |delivery, secret| {
            delivery.secret(secret.value.as_str())
        });
        async move { (place, deliver(target, delivery, payload, copy).await) }
    });
    // One that is answered late does not keep others from being sent.
    let delivered = stream::iter(deliveries).buffer_unordered(args.parallel.into());
    let bar = progress_bar();
    bar.set_length(payloads.len() as u64 * u64::from(args.copies));
    let delivered = delivered.inspect(|_| bar.inc(1));
    let mut delivered: Vec<_> = delivered.collect().await;
    bar.finish_and_clear();
    delivered.sort_unstable_by_key(|(place, _)| *place);
    let delivered: Vec<_> = delivered.into_iter().map(|(_, each)| each).collect();
    Ok(report(&delivered, seed))
}

fn check(args: &SendArgs) -> Result<(), Failure> {
    if args.events.count() == 0 {
        return Err(Failure::usage("say what to send: --type or --file"));
    }
    if args.events.has_stdin() && args.secret.is_stdin() {
        return Err(Failure::usage(
            "both an event and the secret are to come from standard input: give one of them in a file",
        ));
    }
    if args.id.is_some() && args.events.count() > 1 {
        return Err(Failure::usage("--id is for one --type"));
    }
    if (args.id.is_some() || args.thin) && args.events.has_file() {
        return Err(Failure::usage(
            "--id and --thin are for --type: a file is sent as it is",
        ));
    }
    Ok(())
}

/// Each event in turn, all its copies, unless they are mixed.
fn order(payloads: &[Payload], copies: u16, seed: Option<u64>) -> Vec<(&Payload, u16)> {
    let of_one = |payload| (1..=copies).map(move |copy| (payload, copy));
    let mut order: Vec<_> = payloads.iter().flat_map(of_one).collect();
    if let Some(seed) = seed {
        fastrand::Rng::with_seed(seed).shuffle(&mut order);
    }
    order
}

async fn deliver<'a>(
    target: &Target,
    delivery: SignedDelivery,
    payload: &'a Payload,
    copy: u16,
) -> Delivered<'a> {
    // Here and not before: what waits for its turn would be signed too early.
    let request = delivery.request("/");
    let answer = exchange::exchange(target, request).await;
    Delivered {
        payload,
        copy,
        time: answer.as_ref().ok().map(|answer| answer.time),
        outcome: answer.map(|answer| answer.status),
    }
}

fn report(delivered: &[Delivered<'_>], seed: Option<u64>) -> Report {
    let mut statuses: BTreeMap<String, usize> = BTreeMap::new();
    for status in delivered.iter().flat_map(|each| &each.outcome) {
        *statuses.entry(status.as_u16().to_string()).or_default() += 1;
    }
    let unreachable = delivered.len() - statuses.values().sum::<usize>();
    let times = times(delivered);
    let mut text = match delivered.len() > LINES_MAX {
        true => String::new(),
        false => lines(delivered),
    };
    if delivered.len() > 1 {
        text.push_str(&summary(&statuses, unreachable, times));
    }
    if let Some(seed) = seed {
        text.push_str(&format!("seed {seed}\n"));
    }
    let milliseconds = times
        .map(|(min, median, max)| json!({"min": ms(min), "median": ms(median), "max": ms(max)}));
    let json = json!({
        "deliveries": delivered.iter().map(Delivered::json).collect::<Vec<_>>(),
        "statuses": statuses,
        "unreachable": unreachable,
        "milliseconds": milliseconds,
        "seed": seed,
    });
    Report::with(exit(delivered), text, json)
}

fn exit(delivered: &[Delivered<'_>]) -> Exit {
    let mut outcomes = delivered.iter().map(|each| &each.outcome);
    if outcomes.clone().all(Result::is_err) {
        return Exit::Impossible;
    }
    let is_taken =
        |outcome: &Result<StatusCode, _>| matches!(outcome, Ok(status) if status.is_success());
    match outcomes.all(is_taken) {
        true => Exit::Done,
        false => Exit::No,
    }
}

impl Delivered<'_> {
    fn json(&self) -> Value {
        json!({
            "event_id": self.payload.id,
            "event_type": self.payload.event_type,
            "copy": self.copy,
            "status": self.outcome.as_ref().ok().map(StatusCode::as_u16),
            "error": self.outcome.as_ref().err(),
            "milliseconds": self.time.map(ms),
        })
    }
}

fn lines(delivered: &[Delivered<'_>]) -> String {
    let rows = delivered.iter().map(|delivered| {
        let answer = match &delivered.outcome {
            Ok(status) => status.as_u16().to_string(),
            Err(reason) => reason.clone(),
        };
        let time = delivered.time.map(|time| format!("{:.1} ms", ms(time)));
        vec![
            delivered.payload.id.clone(),
            answer,
            time.unwrap_or_default(),
            delivered.payload.event_type.clone(),
        ]
    });
    table(&[], rows, 4)
}

fn summary(
    statuses: &BTreeMap<String, usize>,
    unreachable: usize,
    times: Option<(Duration, Duration, Duration)>,
) -> String {
    let counts = statuses.iter();
    let counts = counts.map(|(status, count)| format!("{count} answered {status}"));
    let missing = (unreachable > 0).then(|| format!("{unreachable} not answered"));
    let counts: Vec<_> = counts.chain(missing).collect();
    let mut text = format!("{}\n", counts.join(", "));
    if let Some((min, median, max)) = times {
        let (min, median, max) = (ms(min), ms(median), ms(max));
        text.push_str(&format!(
            "min {min:.1} ms, median {median:.1} ms, max {max:.1} ms\n"
        ));
    }
    text
}

/// The shortest, the one in the middle and the longest.
fn times(delivered: &[Delivered<'_>]) -> Option<(Duration, Duration, Duration)> {
    let mut times: Vec<_> = delivered.iter().filter_map(|each| each.time).collect();
    times.sort_unstable();
    let median = times.get(times.len() / 2)?;
    Some((*times.first()?, *median, *times.last()?))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
