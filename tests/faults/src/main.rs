//! Breaks a service in every way it can and checks that nothing is lost and nothing doubled.
//!
//! `faults short`, `faults long` and `faults soak` run the whole programme, `faults <scenario>…` the
//! short form of single scenarios. `--seed n` repeats what was random in a run, as far as the machine
//! does; `--minutes n` sets how long a soak takes; `--long` gives single scenarios their long form.
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

use scenarios::{Form, NAMES, Order};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if let Some((first, rest)) = arguments.split_first()
        && first == "serve"
    {
        service::serve(rest).await;
        return ExitCode::SUCCESS;
    }
    let Some((names, order)) = understand(&arguments) else {
        println!("usage: faults short|long|soak|<scenario>… [--long] [--seed n] [--minutes n]");
        println!("scenarios: {}", NAMES.join(" "));
        return ExitCode::FAILURE;
    };
    match run(&names, order).await {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn understand(arguments: &[String]) -> Option<(Vec<String>, Order)> {
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
            name => names.push(NAMES.iter().find(|known| **known == name)?.to_string()),
        }
    }
    if names.is_empty() {
        names = NAMES.iter().map(ToString::to_string).collect();
        names.retain(|name| name != "soak");
    }
    Some((names, order))
}

async fn run(names: &[String], order: Order) -> bool {
    println!("seed {}\n\n{}", order.seed, report::HEAD);
    let mut sound = true;
    for name in names {
        for run in scenarios::run(name, order).await.unwrap_or_default() {
            println!("{run}");
            sound &= run.damage.is_none();
        }
    }
    if !sound {
        println!("\nDAMAGE; again with: --seed {}", order.seed);
    }
    sound
}
