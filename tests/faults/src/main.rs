//! Breaks a service in every way it can and checks that nothing is lost and nothing doubled.
//!
//! `faults short` and `faults long` run the whole programme but for the soak, `faults <scenario>…` the
//! short form of single scenarios, `soak` among them, and `faults long <scenario>…` their long form. `--seed n` repeats what was random in a run, as
//! far as the machine does; `--minutes n` sets how long a soak takes.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a programme that cannot go on has failed, and its table is its output"
)]

mod check;
mod client;
mod database;
mod events;
mod proxy;
mod report;
mod scenarios;
mod sender;
mod service;
mod stage;

use std::{env, process::ExitCode};

use report::Figures;
use scenarios::{Form, NAMES, Order};

/// What the long form must show, at the least.
const KILLS_MIN: u64 = 1_000;
const DELIVERIES_MIN: u64 = 500_000;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if let Some((first, rest)) = arguments.split_first()
        && let "serve" | "work" = first.as_str()
    {
        match first == "serve" {
            true => service::serve(rest).await,
            false => service::work(rest).await,
        }
        return ExitCode::SUCCESS;
    }
    let Some((names, order)) = understand(&arguments) else {
        println!("usage: faults short|long|[long] <scenario>… [--seed n] [--minutes n]");
        println!("scenarios: {}", NAMES.join(" "));
        return ExitCode::FAILURE;
    };
    match run(&names, order).await {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// The names of scenarios; none for the whole programme.
fn understand(arguments: &[String]) -> Option<(Vec<&'static str>, Order)> {
    let mut order = Order {
        seed: rand::random_range(0..1 << 32),
        form: Form::Short,
        minutes: 15,
    };
    let mut names = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seed" => order.seed = arguments.next()?.parse().ok()?,
            "--minutes" => order.minutes = arguments.next()?.parse().ok()?,
            "--long" | "long" => order.form = Form::Long,
            "short" => {}
            name => names.push(NAMES.iter().copied().find(|known| *known == name)?),
        }
    }
    Some((names, order))
}

async fn run(names: &[&'static str], order: Order) -> bool {
    println!("seed {}\n\n{}", order.seed, report::HEAD);
    let whole: Vec<_> = NAMES.iter().filter(|name| **name != "soak").collect();
    let is_whole = names.is_empty();
    let names = match is_whole {
        true => whole,
        false => names.iter().collect(),
    };
    let long = order.form == Form::Long;
    let mut totals = Figures::default();
    let mut sound = true;
    for name in names {
        let runs = scenarios::run(name, order).await;
        for run in runs.expect("every name has its scenario") {
            println!("{run}");
            totals += run.figures();
            sound &= run.damage.is_none() && (run.is_run || !long);
        }
    }
    println!("| total | | {totals}");
    if is_whole && long && (totals.kills < KILLS_MIN || totals.deliveries < DELIVERIES_MIN) {
        println!(
            "\ntoo little: {KILLS_MIN} kills and cuts and {DELIVERIES_MIN} deliveries at least"
        );
        sound = false;
    }
    if !sound {
        println!("\nDAMAGE; again with: --seed {}", order.seed);
    }
    sound
}
