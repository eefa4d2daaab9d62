//! Arguments and exit codes: 0 done, 1 failed, 2 not understood.

use std::{
    env,
    error::Error,
    io::{self, Write},
    iter,
    process::ExitCode,
};

use order_fulfillment::{
    config::{self, Config, Database},
    database::{open_postgres, open_sqlite},
    demo,
    endpoint::Endpoint,
    metrics,
    orders::Shop,
    server, webhook, worker,
};
use sqlx::{Pool, Postgres, Sqlite};
use tokio::net::TcpListener;
use tracing::info;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

const USAGE: &str = "usage: order-fulfillment [worker | demo]";

/// sqlx logs at `info` what Postgres said, word for word.
const LOG: &str = "info,sqlx=warn,sqlx_core=warn";

type Failed = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let arguments: Vec<_> = arguments
        .iter()
        .map(|argument| argument.to_string_lossy())
        .collect();
    let words: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
    let done = match words.as_slice() {
        [] => run().await,
        ["worker"] => work().await,
        ["demo"] => show().await,
        _ => {
            say(USAGE);
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {}", in_one_line(&*error)));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<ExitCode, Failed> {
    log(LOG)?;
    metrics::install()?;
    let config = Config::from_env()?;
    let listener = TcpListener::bind(config.address).await.map_err(|error| {
        format!(
            "BIND_ADDRESS {} cannot be listened on: {error}",
            config.address
        )
    })?;
    let (processing, verifier, guards) = (config.processing, config.verifier, config.guards);
    match config.database {
        Database::Postgres(options) => {
            let pool = open_postgres(options).await?;
            let endpoint = Endpoint::new(processing, pool.clone(), verifier, guards);
            serve(pool, listener, endpoint).await
        }
        Database::Sqlite(options) => {
            let pool = open_sqlite(options).await?;
            let endpoint = Endpoint::new(processing, pool.clone(), verifier, guards);
            serve(pool, listener, endpoint).await
        }
    }
}

async fn serve<DB: Shop>(
    pool: Pool<DB>,
    listener: TcpListener,
    endpoint: Endpoint<DB>,
) -> Result<ExitCode, Failed> {
    let events = webhook::events::<DB>()?;
    let coverage = events.coverage(&webhook::FLOWS);
    let _nobody_has_to_read_it = writeln!(io::stdout().lock(), "{coverage}");
    info!(address = %listener.local_addr()?, "serving");
    let stop = server::stop_signal();
    unless_told_twice(server::serve(listener, pool, endpoint, events, stop)).await
}

/// Works off what servers have stored. It needs no secret: what is stored was verified.
async fn work() -> Result<ExitCode, Failed> {
    log(LOG)?;
    let concurrency = config::worker_concurrency()?;
    let stop = server::stop_signal();
    match Database::from_env()? {
        Database::Postgres(options) => {
            let pool = open_postgres(options).await?;
            let events = webhook::events::<Postgres>()?;
            unless_told_twice(worker::work(pool, events, concurrency, stop)).await
        }
        Database::Sqlite(options) => {
            let pool = open_sqlite(options).await?;
            let events = webhook::events::<Sqlite>()?;
            unless_told_twice(worker::work(pool, events, concurrency, stop)).await
        }
    }
}

async fn unless_told_twice(work: impl Future<Output = ()>) -> Result<ExitCode, Failed> {
    let told_twice = async {
        let mut signals = server::StopSignals::listen();
        signals.next().await;
        signals.next().await;
    };
    tokio::select! {
        () = work => Ok(ExitCode::SUCCESS),
        () = told_twice => Err("told to end a second time: what was in progress was cut off".into()),
    }
}

async fn show() -> Result<ExitCode, Failed> {
    // The demo breaks things on purpose; its table says what came of it.
    log("off")?;
    let report = demo::run(&Database::from_env()?).await?;
    write!(io::stdout().lock(), "{report}")?;
    Ok(match report.is_as_it_must_be() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Logs to standard error what `RUST_LOG` asks for, or else the default.
fn log(default: &str) -> Result<(), Failed> {
    let filter = env::var("RUST_LOG")
        .ok()
        .filter(|filter| !filter.trim().is_empty());
    let filter: Targets = filter
        .as_deref()
        .unwrap_or(default)
        .parse()
        .map_err(|error| format!("RUST_LOG is not understood: {error}"))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    tracing_subscriber::registry()
        .with(lines)
        .with(filter)
        .init();
    Ok(())
}

/// An error and its causes, which a library may have spread over lines, or said twice.
fn in_one_line(error: &(dyn Error + 'static)) -> String {
    let causes = iter::successors(Some(error), |&error| error.source());
    causes.fold(String::new(), |line, cause| {
        let cause = cause.to_string().replace('\n', " ");
        match line.as_str() {
            "" => cause,
            said if said.ends_with(&cause) => line,
            said => format!("{said}: {cause}"),
        }
    })
}

/// Nobody is left to tell if standard error is closed.
fn say(line: &str) {
    drop(writeln!(io::stderr(), "{line}"));
}
