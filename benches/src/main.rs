//! Measures what the crate costs, next to what the database can do on the same machine.
//!
//! `benches inbox [--rounds n] [--sqlite]` measures stored-first mode beside inline mode; `benches seen`, with
//! the same arguments, what log, metrics and audit trail cost. A run asserts nothing about time: its figures
//! are compared with the yardstick of the same run, a plain `insert` or the same server unseen.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a programme that cannot go on has failed, and its table is its output"
)]

mod client;
mod copy;
mod database;
mod deliveries;
mod figures;
mod inbox;
mod seen;
mod shop;

use std::{env, process::ExitCode};

use database::{Backend, Home};
use sqlx::{Postgres, Sqlite};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let done = match understand(&arguments) {
        Some(run) if run.is_sqlite => measure::<Sqlite>(&run).await,
        Some(run) => measure::<Postgres>(&run).await,
        None => false,
    };
    match done {
        true => ExitCode::SUCCESS,
        false => {
            println!("usage: benches inbox|seen [--rounds n] [--sqlite]");
            ExitCode::FAILURE
        }
    }
}

struct Run {
    what: String,
    rounds: Option<usize>,
    is_sqlite: bool,
}

/// False: nothing of this name is measured.
async fn measure<DB: Backend>(run: &Run) -> bool {
    match run.what.as_str() {
        "inbox" => {
            let mut size = inbox::Size::FULL;
            size.rounds = run.rounds.unwrap_or(size.rounds);
            inbox::run::<DB>(&Home::new().await, size).await;
        }
        "seen" => {
            let mut size = seen::Size::FULL;
            size.rounds = run.rounds.unwrap_or(size.rounds);
            seen::run::<DB>(&Home::new().await, size).await;
        }
        _ => return false,
    }
    true
}

fn understand(arguments: &[String]) -> Option<Run> {
    let (what, rest) = arguments.split_first()?;
    let mut run = Run {
        what: what.clone(),
        rounds: None,
        is_sqlite: false,
    };
    let mut rest = rest.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--rounds" => {
                let rounds = rest.next()?.parse().ok();
                run.rounds = Some(rounds.filter(|rounds| *rounds > 0)?);
            }
            "--sqlite" => run.is_sqlite = true,
            _ => return None,
        }
    }
    Some(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn every_measurement_runs_on_postgres() {
        inbox::run::<Postgres>(&Home::new().await, inbox::Size::SMOKE).await;
        seen::run::<Postgres>(&Home::new().await, seen::Size::SMOKE).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_measurement_runs_on_sqlite() {
        inbox::run::<Sqlite>(&Home::new().await, inbox::Size::SMOKE).await;
        seen::run::<Sqlite>(&Home::new().await, seen::Size::SMOKE).await;
    }
}
