//! The commands on what is stored.

mod act;
mod entry;
mod filter;
mod look;

use axum_stripe_webhook::{InboxOperations, Ledger};
use clap::{Args, Subcommand};
use sqlx::Pool;

use crate::{
    database::{Database, DatabaseArgs},
    failure::Failure,
    output::{Report, print},
};

/// Looks after what is stored: counts, lists, shows, retries, releases, discards
#[derive(Args)]
pub(crate) struct InboxArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(subcommand)]
    command: InboxCommand,
}

#[derive(Subcommand)]
enum InboxCommand {
    Status(look::StatusArgs),
    List(look::ListArgs),
    Show(look::ShowArgs),
    Retry(act::RetryArgs),
    Release(act::ReleaseArgs),
    Discard(act::DiscardArgs),
}

/// Nothing, if what was asked for is on standard output already.
pub(crate) async fn run(args: &InboxArgs) -> Result<Option<Report>, Failure> {
    match args.database.open().await? {
        Database::Postgres(pool) => on(pool, &args.command).await,
        Database::Sqlite(pool) => on(pool, &args.command).await,
    }
}

async fn on<DB: Ledger>(pool: Pool<DB>, command: &InboxCommand) -> Result<Option<Report>, Failure> {
    // Behind an old PgBouncer they would fail; and of one command nothing is said twice.
    let inbox = InboxOperations::new(pool.clone()).persistent_statements(false);
    let done = match command {
        InboxCommand::Status(_) => look::status(&inbox).await.map(Some),
        InboxCommand::List(args) => look::list(&inbox, args).await.map(Some),
        InboxCommand::Show(args) if args.payload => {
            let payload = look::payload(&inbox, args).await;
            payload.and_then(|payload| match print(&payload) {
                Ok(()) => Ok(None),
                Err(error) => Err(Failure::impossible(error.kind().to_string())),
            })
        }
        InboxCommand::Show(args) => look::show(&inbox, args).await.map(Some),
        InboxCommand::Retry(args) => act::retry(&inbox, args).await.map(Some),
        InboxCommand::Release(args) => act::release(&inbox, args).await.map(Some),
        InboxCommand::Discard(args) => act::discard(&inbox, args).await.map(Some),
    };
    pool.close().await;
    done
}
