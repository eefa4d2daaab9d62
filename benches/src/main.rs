//! Measures what the crate costs, next to what the database can do on the same machine.
//!
//! `cargo run --release -p benches -- load` measures the goals: each mode next to the same work by hand and to
//! pgbench; `inbox` stored-first mode beside inline mode; `seen` what log, metrics and audit trail cost; `memory`
//! what idle connections and large deliveries take; `send` delivers to a server of somebody else's. A run asserts
//! nothing about time: its figures are ratios to a yardstick of the same round.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a programme that cannot go on has failed, and its table is its output"
)]

mod by_hand;
mod client;
mod copy;
mod database;
mod deliveries;
mod figures;
mod inbox;
mod load;
mod memory;
mod pgbench;
mod seen;
mod shop;

use std::net::SocketAddr;

use clap::Parser;
use client::Http;
use database::{Backend, Home};
use deliveries::{Sending, deliveries, send};
use figures::Table;
use sqlx::{Postgres, Sqlite};

#[derive(Parser)]
enum Measure {
    /// The goals: each mode next to the same work by hand and to pgbench
    Load(load::Options),
    /// Stored-first mode beside inline mode, and both beside a plain insert
    Inbox(Rounds),
    /// What log, metrics and audit trail cost
    Seen(Rounds),
    /// What idle connections and large deliveries take, on Linux
    Memory(memory::Size),
    /// The server of `memory`, until its input ends
    #[command(hide = true)]
    Serve {
        url: String,
        written: memory::Written,
    },
    /// Deliveries to a server of somebody else's, whose secret is `whsec_of_the_benches`
    Send(Elsewhere),
}

#[derive(Clone, Copy, clap::Args)]
struct Elsewhere {
    /// Where it listens; it is asked for /webhook
    address: SocketAddr,
    #[arg(long, default_value_t = 8000)]
    deliveries: usize,
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Deliveries a second, in an open model
    #[arg(long)]
    rate: Option<f64>,
}

#[derive(Clone, Copy, clap::Args)]
struct Rounds {
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// On SQLite instead of Postgres
    #[arg(long)]
    sqlite: bool,
}

#[tokio::main]
async fn main() {
    match Measure::parse() {
        Measure::Load(options) => load::run(&options.home().await, &options).await,
        Measure::Inbox(rounds) if rounds.sqlite => measure_inbox::<Sqlite>(rounds).await,
        Measure::Inbox(rounds) => measure_inbox::<Postgres>(rounds).await,
        Measure::Seen(rounds) if rounds.sqlite => measure_seen::<Sqlite>(rounds).await,
        Measure::Seen(rounds) => measure_seen::<Postgres>(rounds).await,
        Measure::Memory(size) => memory::run(&Home::new().await, size).await,
        Measure::Serve { url, written } => memory::serve(&url, written).await,
        Measure::Send(elsewhere) => send_elsewhere(elsewhere).await,
    }
}

async fn measure_inbox<DB: Backend>(rounds: Rounds) {
    let mut size = inbox::Size::FULL;
    size.rounds = rounds.rounds.map_or(size.rounds, usize::from);
    inbox::run::<DB>(&Home::new().await, size).await;
}

async fn measure_seen<DB: Backend>(rounds: Rounds) {
    let mut size = seen::Size::FULL;
    size.rounds = rounds.rounds.map_or(size.rounds, usize::from);
    seen::run::<DB>(&Home::new().await, size).await;
}

async fn send_elsewhere(elsewhere: Elsewhere) {
    let sending = Sending {
        clients: elsewhere.clients,
        rate: elsewhere.rate,
    };
    let deliveries = deliveries(elsewhere.deliveries);
    let load = send(&deliveries, sending, || Http::to(elsewhere.address)).await;
    let mut table = Table::default();
    table.add(("send", elsewhere.clients), load, None);
    println!("{table}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn every_measurement_runs_on_postgres() {
        inbox::run::<Postgres>(&Home::new().await, inbox::Size::SMOKE).await;
        seen::run::<Postgres>(&Home::new().await, seen::Size::SMOKE).await;
        let options = load::Options::smoke();
        load::run(&options.home().await, &options).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_measurement_runs_on_sqlite() {
        inbox::run::<Sqlite>(&Home::new().await, inbox::Size::SMOKE).await;
        seen::run::<Sqlite>(&Home::new().await, seen::Size::SMOKE).await;
    }
}
