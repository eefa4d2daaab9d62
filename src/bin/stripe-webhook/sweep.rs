use std::time::Duration;

use axum_stripe_webhook::{
    Ledger,
    inbox::{
        DELIVERY_AGE_MAX_DEFAULT, LEDGER_AGE_MAX_DEFAULT, LEDGER_AGE_MAX_MIN,
        PAYLOAD_AGE_MAX_DEFAULT, Retention,
    },
};
use clap::Args;
use serde_json::json;
use sqlx::Pool;

use crate::{
    database::{Database, DatabaseArgs},
    failure::Failure,
    output::{Report, fields},
};

/// Deletes rows that have grown old, and the payloads of entries that nobody has looked after
#[derive(Args)]
#[command(after_help = "\
An event that is older than the ledger's memory is processed again if it is sent again.
JSON: {\"events\", \"objects\", \"payloads\", \"deliveries\", \"is_partial\": bool}; partial: sweep again for the rest.")]
pub(crate) struct SweepArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// How long the ledger remembers an event, 35d at least; 90d, unless given
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    ledger_age: Option<Duration>,
    /// How long a dead or quarantined entry keeps its payload; 90d, unless given
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    payload_age: Option<Duration>,
    /// How long the audit trail remembers a delivery; 90d, unless given
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    delivery_age: Option<Duration>,
}

pub(crate) async fn run(args: &SweepArgs) -> Result<Report, Failure> {
    if args.ledger_age.is_some_and(|age| age < LEDGER_AGE_MAX_MIN) {
        return Err(Failure::usage(
            "--ledger-age is 35d at least: Stripe can be asked to send an event again for 30 days",
        ));
    }
    match args.database.open().await? {
        Database::Postgres(pool) => on(pool, args).await,
        Database::Sqlite(pool) => on(pool, args).await,
    }
}

async fn on<DB: Ledger>(pool: Pool<DB>, args: &SweepArgs) -> Result<Report, Failure> {
    let retention = Retention::new(pool.clone())
        // Behind an old PgBouncer they would fail.
        .persistent_statements(false)
        .ledger_age_max(args.ledger_age.unwrap_or(LEDGER_AGE_MAX_DEFAULT))
        .payload_age_max(args.payload_age.unwrap_or(PAYLOAD_AGE_MAX_DEFAULT))
        .delivery_age_max(args.delivery_age.unwrap_or(DELIVERY_AGE_MAX_DEFAULT));
    let swept = retention.sweep().await;
    pool.close().await;
    let swept = swept?;
    let mut text = fields([
        ("events", swept.events.to_string()),
        ("objects", swept.objects.to_string()),
        ("payloads", swept.payloads.to_string()),
        ("deliveries", swept.deliveries.to_string()),
    ]);
    if swept.is_partial {
        text.push_str("there is more: sweep again\n");
    }
    let json = json!({
        "events": swept.events,
        "objects": swept.objects,
        "payloads": swept.payloads,
        "deliveries": swept.deliveries,
        "is_partial": swept.is_partial,
    });
    Ok(Report::done(text, json))
}
