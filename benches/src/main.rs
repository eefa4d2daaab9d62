//! Measures what the crate costs, next to what the database can do on the same machine.
//!
//! `benches inbox [--rounds n] [--sqlite]` measures stored-first mode beside inline mode. A run asserts
//! nothing about time: its figures are compared with the yardstick of the same run, a plain `insert`.
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
mod shop;

use std::{env, process::ExitCode};

use database::Home;
use inbox::Size;
use sqlx::{Postgres, Sqlite};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let Some((size, is_sqlite)) = understand(&arguments) else {
        println!("usage: benches inbox [--rounds n] [--sqlite]");
        return ExitCode::FAILURE;
    };
    match is_sqlite {
        true => inbox::run::<Sqlite>(&Home::new().await, size).await,
        false => inbox::run::<Postgres>(&Home::new().await, size).await,
    }
    ExitCode::SUCCESS
}

fn understand(arguments: &[String]) -> Option<(Size, bool)> {
    let (first, rest) = arguments.split_first()?;
    let (mut size, mut is_sqlite) = (Size::FULL, false);
    let mut rest = rest.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--rounds" => size.rounds = rest.next()?.parse().ok().filter(|rounds| *rounds > 0)?,
            "--sqlite" => is_sqlite = true,
            _ => return None,
        }
    }
    (first == "inbox").then_some((size, is_sqlite))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn every_measurement_runs_on_postgres() {
        inbox::run::<Postgres>(&Home::new().await, Size::SMOKE).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_measurement_runs_on_sqlite() {
        inbox::run::<Sqlite>(&Home::new().await, Size::SMOKE).await;
    }
}
