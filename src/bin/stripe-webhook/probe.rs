use axum_stripe_webhook::probe::{
    CHECKS, COPIES_DEFAULT, COPIES_MAX, CountError, Probe, ProbeError, SETTLE_TIME_DEFAULT,
    SLOW_TIME_DEFAULT, Severity,
};
use clap::Args;
use futures_util::FutureExt;
use serde_json::json;

use crate::{
    count::{CountArgs, Counter},
    events::Events,
    exchange,
    failure::{Exit, Failure},
    output::{Report, progress_bar},
    secret::OneSecret,
};

/// Attacks an endpoint of your own as a forger would, delivers as Stripe would, and says what is wrong
#[derive(Args)]
#[command(after_help = "\
It sends genuine events too, if it has the secret: what your endpoint does for a paid order, it does.
Without the secret it forges as somebody who knows the address and no more.
JSON: {\"target\", \"findings\": [{\"code\", \"severity\", \"title\", \"sent\", \"answered\", \"why\", \"remedy\", \
\"details\"}],
       \"passed\": [code], \"not_checked\": [{\"code\", \"reason\"}]}
Exit 1 if there is a finding of the severity of --fail-on or above, 3 if the endpoint is not reached.")]
pub(crate) struct ProbeArgs {
    /// The endpoint: http://127.0.0.1:3000/webhooks/stripe
    url: String,
    #[command(flatten)]
    secret: OneSecret,
    /// The endpoint is your own and meant for tests, though it is not on this machine
    #[arg(long)]
    own: bool,
    #[command(flatten)]
    event: Events,
    #[command(flatten)]
    count: CountArgs,
    /// The severity from which on a finding counts: low, medium, high or critical
    #[arg(long, value_name = "SEVERITY", default_value_t = Severity::Low)]
    fail_on: Severity,
    /// A check to leave out, by its code
    #[arg(long, value_name = "CODE")]
    skip: Vec<String>,
    /// How many copies of one event are delivered at once
    #[arg(long, value_name = "N", default_value_t = COPIES_DEFAULT,
        value_parser = clap::value_parser!(u32).range(2..=COPIES_MAX.into()))]
    copies: u32,
    /// How long a body may dawdle before the server must have given up
    #[arg(long, value_name = "TIME", default_value_t = SLOW_TIME_DEFAULT.into())]
    slow_time: humantime::Duration,
    /// How long the count of effects must stand still to be believed
    #[arg(long, value_name = "TIME", default_value_t = SETTLE_TIME_DEFAULT.into())]
    settle_time: humantime::Duration,
}

pub(crate) async fn run(args: &ProbeArgs) -> Result<Report, Failure> {
    let probe = settings(args).await?;
    let bar = progress_bar();
    let report = probe.run(|title, done, steps| {
        bar.set_length(steps as u64);
        bar.set_position(done as u64);
        bar.set_message(title.to_owned());
    });
    let report = report.await;
    bar.finish_and_clear();
    let report = report.map_err(|error| not_run(&error))?;
    let has_failed = report.worst().is_some_and(|worst| worst >= args.fail_on);
    let exit = if has_failed { Exit::No } else { Exit::Done };
    let text = format!("{report}\n");
    Ok(Report::with(exit, text, json!(report)))
}

async fn settings(args: &ProbeArgs) -> Result<Probe, Failure> {
    if args.event.has_stdin() && args.secret.is_stdin() {
        return Err(Failure::usage(
            "both the event and the secret are to come from standard input: give one of them in a file",
        ));
    }
    let sample = args.event.sample()?;
    let target = exchange::resolve(&args.url, args.own).await?;
    let mut probe = Probe::new(target)
        .copies(args.copies)
        .slow_time(args.slow_time.into())
        .settle_time(args.settle_time.into());
    for code in &args.skip {
        probe = probe.skip(code).map_err(|_| unknown(code))?;
    }
    if let Some(secret) = args.secret.read()? {
        let refused = |error| Failure::impossible(format!("{}: {error}", secret.name));
        probe = probe.secret(secret.value.as_str()).map_err(refused)?;
    }
    if let Some(sample) = sample {
        probe = probe.event(sample);
    }
    Ok(match args.count.counter().await? {
        Some(counter) => probe.count(move || counted(counter.clone()).boxed()),
        None => probe,
    })
}

async fn counted(counter: Counter) -> Result<u64, CountError> {
    let count = counter.count().await;
    count.map_err(|error| CountError::new(error.to_string()))
}

/// The codes are there to be found: no other page of the program's lists them.
fn unknown(code: &str) -> Failure {
    let codes: Vec<_> = CHECKS.iter().map(|check| check.code).collect();
    Failure::usage(format!(
        "no check has the code {code}; these there are: {}",
        codes.join(", ")
    ))
}

fn not_run(error: &ProbeError) -> Failure {
    match std::error::Error::source(error).and_then(std::error::Error::source) {
        // What a count of the user's own had to say.
        Some(cause) if matches!(error, ProbeError::Count(_)) => {
            Failure::impossible(format!("{error}: {cause}"))
        }
        _ => Failure::impossible(error.to_string()),
    }
}
