use axum_stripe_webhook::{Ledger, MigrateError, migrate};
use clap::Args;
use serde_json::json;
use sqlx::Pool;

use crate::{
    database::{Database, DatabaseArgs, reason},
    failure::Failure,
    output::Report,
};

/// Creates the crate's tables, or brings them up to date
#[derive(Args)]
#[command(after_help = "\
A SQLite file that is not there is made. Postgres behind PgBouncer: give a direct connection.
JSON: {\"is_migrated\": true}")]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    database: DatabaseArgs,
}

pub(crate) async fn run(args: &MigrateArgs) -> Result<Report, Failure> {
    match args.database.open_or_make(true).await? {
        Database::Postgres(pool) => on(&pool).await,
        Database::Sqlite(pool) => on(&pool).await,
    }
}

async fn on<DB: Ledger>(pool: &Pool<DB>) -> Result<Report, Failure> {
    let migrated = migrate(pool).await;
    pool.close().await;
    migrated.map_err(|error| Failure::impossible(refused(&error)))?;
    let text = "the tables are up to date\n".to_owned();
    Ok(Report::done(text, json!({"is_migrated": true})))
}

/// Without the database's own text.
fn refused(error: &MigrateError) -> String {
    let what = "the tables cannot be brought up to date";
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            format!("{what}: {}", reason(error))
        }
        MigrateError::VersionMissing(_) => {
            format!("{what}: a newer version of the crate has been here")
        }
        _ => what.to_owned(),
    }
}
