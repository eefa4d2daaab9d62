//! Opening the database of a service.

use std::{env, io, path::PathBuf, time::Duration};

use axum_stripe_webhook::{Ledger, inbox::OperationError};
use clap::Args;
use sqlx::{
    Connection, PgPool, Pool, SqlitePool, pool::PoolOptions, postgres::PgConnectOptions,
    sqlite::SqliteConnectOptions,
};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::{failure::Failure, input, secret::looks_like_a_secret};

/// Longest URL of a database: one with every parameter that sqlx knows has less than a kilobyte.
const URL_BYTES_MAX: usize = 4096;

/// For the first connection: longer than two lost packets take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// A command does one thing after the other; a second one is for a connection that is being closed.
const CONNECTIONS: u32 = 2;

/// Where the URL of the database stands. It is no argument: it holds a password.
#[derive(Args)]
#[group(multiple = false)]
pub(crate) struct DatabaseArgs {
    /// The environment variable with the database's URL (postgres://… or sqlite://…)
    #[arg(
        long,
        global = true,
        display_order = 900,
        value_name = "NAME",
        default_value = "DATABASE_URL"
    )]
    database_url_env: String,
    /// The file with the database's URL
    #[arg(
        long,
        global = true,
        display_order = 900,
        value_name = "FILE",
        conflicts_with = "database_url_env"
    )]
    database_url_file: Option<PathBuf>,
}

/// A database of either kind.
pub(crate) enum Database {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

impl DatabaseArgs {
    /// Opens the database, which has to be there.
    pub(crate) async fn open(&self) -> Result<Database, Failure> {
        self.open_or_make(false).await
    }

    /// Opens the database; a SQLite file that is not there is made, if it may be.
    pub(crate) async fn open_or_make(&self, may_make: bool) -> Result<Database, Failure> {
        let url = self.url()?;
        let misunderstood = "the database's URL is not understood: check host, port and parameters";
        let misunderstood = |_| Failure::impossible(misunderstood);
        match url.split_once(':') {
            Some(("postgres" | "postgresql", _)) => {
                let options: PgConnectOptions = url.parse().map_err(misunderstood)?;
                Ok(Database::Postgres(connect(options).await?))
            }
            Some(("sqlite", _)) => {
                let options: SqliteConnectOptions = url.parse().map_err(misunderstood)?;
                let options = match may_make {
                    true => options.create_if_missing(true),
                    false => options,
                };
                if is_in_memory(&url, &options) {
                    let message = "the database's URL is of one in memory, where nobody else is";
                    return Err(Failure::impossible(message));
                }
                Ok(Database::Sqlite(connect(options).await?))
            }
            _ => Err(Failure::impossible(
                "the database's URL is of neither database: use postgres://… or sqlite://…",
            )),
        }
    }

    fn url(&self) -> Result<Zeroizing<String>, Failure> {
        if let Some(path) = &self.database_url_file {
            let name = input::shown(path);
            return input::read_secret(input::open(path)?, &name, URL_BYTES_MAX);
        }
        let name = &self.database_url_env;
        let url = env::var(name).map(Zeroizing::new);
        url.map_err(|_| match name.contains(':') || looks_like_a_secret(name) {
            true => Failure::usage(
                "--database-url-env takes the name of an environment variable, and this looks like the \
                 URL itself: other users of this machine may have seen its password",
            ),
            false => Failure::impossible(format!("{name}: not set; set it to the database's URL")),
        })
    }
}

/// The first connection is made outside the pool, which would keep trying and not say why it fails.
async fn connect<DB: Ledger>(
    options: <DB::Connection as Connection>::Options,
) -> Result<Pool<DB>, Failure> {
    let refused =
        |reason: String| Failure::impossible(format!("the database cannot be reached: {reason}"));
    let first = timeout(CONNECT_TIME_MAX, DB::Connection::connect_with(&options)).await;
    let first = first.unwrap_or(Err(sqlx::Error::PoolTimedOut));
    let first = first.map_err(|error| refused(reason(&error)))?;
    // It was only to be seen that there is one.
    drop(first.close().await);
    let pool = PoolOptions::new().max_connections(CONNECTIONS);
    Ok(pool.connect_lazy_with(options))
}

/// What failed, without the database's own text, which may name users, hosts and values.
pub(crate) fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some("28P01" | "28000") => "it refuses this user or password".to_owned(),
            Some("3D000") => "there is no database of this name".to_owned(),
            Some("14") => "the file is not there, or cannot be opened".to_owned(),
            Some(code) => format!("it answers with code {code}"),
            None => "it refuses".to_owned(),
        },
        sqlx::Error::PoolTimedOut => {
            format!("no answer within {} s", CONNECT_TIME_MAX.as_secs())
        }
        sqlx::Error::Io(error) if error.kind() == io::ErrorKind::Other => "the network".to_owned(),
        sqlx::Error::Io(error) => error.kind().to_string(),
        sqlx::Error::Tls(_) => "TLS".to_owned(),
        _ => "the driver".to_owned(),
    }
}

/// Also a file without a name, which SQLite deletes when its connection ends. sqlx keeps to itself
/// what it has made of `:memory:`, except for the name; and of `mode=memory` not even that.
fn is_in_memory(url: &str, options: &SqliteConnectOptions) -> bool {
    let name = options.get_filename().to_string_lossy();
    let in_name = ["", ":memory:"].contains(&&*name) || name.starts_with("file:sqlx-in-memory-");
    in_name || url.contains("mode=memory")
}

/// Nothing was done, and this is why. The text is the error's own, not that of its cause.
impl From<OperationError> for Failure {
    fn from(error: OperationError) -> Self {
        match error {
            OperationError::Database(_) => Self::impossible(error.to_string()),
            OperationError::NotMigrated => Self::impossible(
                "the database has not this version's tables: `stripe-webhook migrate` makes them",
            ),
            _ => Self::no(error.to_string()),
        }
    }
}
