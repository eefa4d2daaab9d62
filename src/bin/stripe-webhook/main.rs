//! `stripe-webhook`: what the crate can do for an endpoint, from a terminal.
//!
//! ```sh
//! cargo install axum-stripe-webhook --features cli
//! stripe-webhook send http://127.0.0.1:3000/webhooks/stripe \
//!     --secret-env STRIPE_WEBHOOK_SECRET --type checkout.session.completed
//! ```
//!
//! | command | does |
//! |---|---|
//! | `probe` | attacks an endpoint of your own as a forger would, delivers as Stripe would, and says what is wrong |
//! | `send` | signs sample events or files, and delivers them as Stripe would |
//! | `verify` | says whether a recorded delivery verifies, and why not |
//! | `coverage` | reads a service's coverage report, and says which critical types of event it handles |
//! | `migrate` | creates the crate's tables, or brings them up to date |
//! | `inbox` | counts, lists and shows stored entries, retries, releases and discards them |
//! | `sweep` | deletes rows that have grown old, and old payloads |
//!
//! `stripe-webhook help send` says more of each.
//!
//! # Answers
//!
//! A table for people, or one JSON document with `--json`, on standard output; messages on standard
//! error. Without an answer standard output stays empty. Instants are in RFC 3339, in UTC.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done, and nothing is wrong |
//! | 1 | the answer is no: it does not verify, something was found or is missing, a delivery was not answered with 2xx, there is no such entry |
//! | 2 | the command line is not understood |
//! | 3 | it could not be done: no server, no file, no database, no variable of that name |
//!
//! # Secrets
//!
//! No argument takes one: what stands on a command line can be read by every user of the machine. Give the
//! name of an environment variable (`--secret-env`), of a file (`--secret-file`), or standard input
//! (`--secret-stdin`). The database's URL, which holds a password, comes from `DATABASE_URL`, from the
//! variable that `--database-url-env` names, or from a file. None of them is ever printed.
//!
//! # Other people's endpoints
//!
//! `send` and `probe` take endpoints on this machine alone, unless `--own` says that it is yours. Both have
//! real effects there: a paid order is shipped.

mod count;
mod coverage;
mod database;
mod events;
mod exchange;
mod failure;
mod inbox;
mod input;
mod instant;
mod migrate;
mod output;
mod probe;
mod secret;
mod send;
mod sweep;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{
    failure::{Exit, Failure},
    output::{Report, say},
};

/// Probes, feeds and looks after endpoints for Stripe's webhooks
#[derive(Parser)]
#[command(
    name = "stripe-webhook",
    version,
    after_help = "\
Exit codes:
  0  done, and nothing is wrong
  1  the answer is no: it does not verify, something was found or is missing, a delivery was not
     answered with 2xx, there is no such entry
  2  the command line is not understood
  3  it could not be done: no server, no file, no database, no variable of that name

No argument takes a secret: give the name of a variable or file that holds it."
)]
struct Cli {
    /// Answer with one JSON document on standard output; the command's own help says what is in it
    #[arg(long, global = true, display_order = 1000)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Probe(probe::ProbeArgs),
    Send(send::SendArgs),
    Verify(verify::VerifyArgs),
    Coverage(coverage::CoverageArgs),
    Migrate(migrate::MigrateArgs),
    Inbox(inbox::InboxArgs),
    Sweep(sweep::SweepArgs),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_run(&error),
    };
    let exit = run(&cli).unwrap_or_else(|failure| {
        say(&format!("error: {failure}"));
        failure.exit
    });
    ExitCode::from(exit as u8)
}

/// Help is an answer. An error says what clap does not understand, and must not repeat a secret.
fn not_run(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    if error.use_stderr() {
        say(&text);
        return ExitCode::from(Exit::Usage as u8);
    }
    match output::print(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(Exit::Impossible as u8),
    }
}

#[tokio::main]
async fn run(cli: &Cli) -> Result<Exit, Failure> {
    let Some(report) = answer(&cli.command).await? else {
        return Ok(Exit::Done);
    };
    let printed = report.print(cli.json);
    printed.map_err(|error| Failure::impossible(format!("standard output: {}", error.kind())))?;
    Ok(report.exit)
}

async fn answer(command: &Command) -> Result<Option<Report>, Failure> {
    match command {
        Command::Probe(args) => probe::run(args).await.map(Some),
        Command::Send(args) => send::run(args).await.map(Some),
        Command::Verify(args) => verify::run(args).map(Some),
        Command::Coverage(args) => coverage::run(args).await.map(Some),
        Command::Migrate(args) => migrate::run(args).await.map(Some),
        Command::Inbox(args) => inbox::run(args).await,
        Command::Sweep(args) => sweep::run(args).await.map(Some),
    }
}
