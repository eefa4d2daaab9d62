//! `order-fulfillment demo`: starts the server on a fresh database, sends it everything that a
//! webhook meets in its life, and compares every answer and every row with what they must be.

mod books;
mod client;
pub mod events;
mod fresh;
mod report;
mod running;
mod script;
mod stage;
mod stored_first;

use std::io;

use axum_stripe_webhook::{SecretError, inbox::OperationError, router::RouterError};
use sqlx::{Pool, sqlite::SqliteConnectOptions};
use tokio::task::JoinError;

use self::{books::Backstage, fresh::FreshDatabase, running::Running, stage::Stage};
use crate::{
    config::{Database, Processing},
    database::{OpenError, open_postgres, open_sqlite},
    orders::Shop,
    server,
};

pub use report::Report;

/// Why the demo could not be played to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// A folder or a port could not be had.
    #[error("the demo cannot be set up")]
    SetUp(#[from] io::Error),
    /// The demo's database could not be opened.
    #[error("the demo has no database")]
    Open(#[from] OpenError),
    /// The demo makes a database of its own on the server of `DATABASE_URL`.
    #[error("the server of DATABASE_URL refused the demo a database of its own")]
    Fresh(#[source] sqlx::Error),
    /// The rows could not be looked at.
    #[error("the demo's database failed")]
    Database(#[from] sqlx::Error),
    /// The inbox could not be looked at.
    #[error("the demo's inbox failed")]
    Inbox(#[from] OperationError),
    /// The handlers were refused.
    #[error("the demo has no handlers")]
    Router(#[from] RouterError),
    /// The demo's own secret was refused.
    #[error("the demo has no secret")]
    Secret(#[from] SecretError),
    /// A request could not be made.
    #[error("the demo made a request that is none")]
    Request(#[from] axum::http::Error),
    /// The server did not answer.
    #[error("the demo's server did not answer")]
    Http(#[from] hyper_util::client::legacy::Error),
    /// The server's answer broke off.
    #[error("the demo's server broke off")]
    Body(#[from] axum::Error),
    /// The shop did not take an order.
    #[error("the shop answered {0} to an order")]
    Order(u16),
    /// The server has panicked.
    #[error("the demo's server has died")]
    Server(#[from] JoinError),
    /// Ctrl-C.
    #[error("the demo was interrupted")]
    Interrupted,
}

/// Plays the demo on a database of its own, which is gone afterwards: on the server of a Postgres
/// URL, or else in a SQLite file in a temporary folder.
///
/// # Errors
///
/// When it could not be played to its end. That an answer or row was wrong is no error: the report
/// says so.
pub async fn run(database: &Database) -> Result<Report, DemoError> {
    match database {
        Database::Postgres(options) => {
            let fresh = FreshDatabase::create(options)
                .await
                .map_err(DemoError::Fresh)?;
            let report = unless_interrupted(async {
                play(async || open_postgres(fresh.options().clone()).await).await
            })
            .await;
            fresh.drop().await?;
            report
        }
        Database::Sqlite(_) => {
            let folder = tempfile::tempdir()?;
            let file = SqliteConnectOptions::new().filename(folder.path().join("demo.sqlite"));
            let report =
                unless_interrupted(async { play(async || open_sqlite(file.clone()).await).await })
                    .await;
            folder.close()?;
            report
        }
    }
}

async fn unless_interrupted(
    play: impl Future<Output = Result<Report, DemoError>>,
) -> Result<Report, DemoError> {
    tokio::select! {
        report = play => report,
        () = server::stop_signal() => Err(DemoError::Interrupted),
    }
}

/// Plays one part after the other on the same database, each with a server of its own.
async fn play<DB: Shop<Connection: Backstage>>(
    open: impl AsyncFn() -> Result<Pool<DB>, OpenError>,
) -> Result<Report, DemoError> {
    let inline = Running::start(open().await?, Processing::Inline).await?;
    let mut stage = Stage::new(script::PART, inline);
    script::play(&mut stage).await?;
    // As in a deployment: the next server is there before this one ends.
    let inbox = Running::start(open().await?, Processing::Inbox { concurrency: 0 }).await?;
    stage.move_to(stored_first::PART, inbox).await?;
    stored_first::play(&mut stage).await?;
    stage.end().await
}
