//! The settings, from the environment.

use std::{
    env::{self, VarError},
    fmt,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
};

use axum_stripe_webhook::{
    Guards, Mode, SecretError, SigningSecret, Verifier, inbox::CONCURRENCY_DEFAULT,
};
use sqlx::{postgres::PgConnectOptions, sqlite::SqliteConnectOptions};

const SECRET: &str = "STRIPE_WEBHOOK_SECRET";
const OLD_SECRET: &str = "STRIPE_WEBHOOK_SECRET_OLD";
const STRIPE_MODE: &str = "STRIPE_MODE";
const MODE: &str = "MODE";
const CONCURRENCY: &str = "WORKER_CONCURRENCY";
const DATABASE: &str = "DATABASE_URL";
const ADDRESS: &str = "BIND_ADDRESS";

const DATABASE_DEFAULT: &str = "sqlite://orders.sqlite";
/// Only this machine: Stripe comes in through a proxy, which has the certificate.
const ADDRESS_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 3000);

/// Where the server listens, and what it believes.
#[derive(Debug)]
pub struct Config {
    /// Knows the endpoint's signing secrets.
    pub verifier: Verifier,
    /// Which events the endpoint processes.
    pub guards: Guards,
    /// When its events are processed.
    pub processing: Processing,
    /// The shop's database.
    pub database: Database,
    /// Where to listen.
    pub address: SocketAddr,
}

/// When an event is processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processing {
    /// While its sender waits for the answer.
    Inline,
    /// After it was stored and answered, by a worker.
    Inbox {
        /// How many events the server itself works off at once. 0: that is left to other processes.
        concurrency: usize,
    },
}

/// Where the orders are kept.
pub enum Database {
    /// `postgres://…`
    Postgres(PgConnectOptions),
    /// `sqlite://…`, a file
    Sqlite(SqliteConnectOptions),
}

/// Which variable does not hold what it should. The values are not quoted: they hold secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The variable is not set, or its secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Neither of the server's two modes.
    #[error(
        "MODE is neither inline nor inbox: leave it out to process events inline, while Stripe waits"
    )]
    Mode,
    /// Not a number, or too large a one.
    #[error("WORKER_CONCURRENCY is not a number of events at once, such as {CONCURRENCY_DEFAULT}")]
    Concurrency,
    /// A worker that is left out.
    #[error("WORKER_CONCURRENCY is 0, which leaves the worker out: give this one at least 1")]
    NoWorker,
    /// Neither of Stripe's two modes.
    #[error("STRIPE_MODE is neither live nor test: leave it out to take events of both")]
    StripeMode,
    /// Only two databases are spoken.
    #[error("DATABASE_URL is for neither database: use postgres://… or sqlite://…")]
    DatabaseScheme,
    /// What is in memory goes with its connection, and connections come and go.
    #[error("DATABASE_URL is of a database in memory, which would forget orders: name a file")]
    DatabaseInMemory,
    /// The scheme is known, the rest is not understood.
    #[error("DATABASE_URL is not understood: check host, port and parameters")]
    DatabaseUrl,
    /// Not an IP address and a port.
    #[error("BIND_ADDRESS is not an address and a port, such as {ADDRESS_DEFAULT}")]
    Address,
    /// Bytes that are not text.
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
}

impl Config {
    /// Reads the variables that the [crate's docs](crate) list.
    ///
    /// # Errors
    ///
    /// When a variable that is needed is missing, or one does not hold what it should.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            verifier: verifier()?,
            guards: guards()?,
            processing: Processing::from_env()?,
            database: Database::from_env()?,
            address: match variable(ADDRESS)? {
                Some(text) => text.parse().map_err(|_| ConfigError::Address)?,
                None => ADDRESS_DEFAULT,
            },
        })
    }
}

impl Processing {
    fn from_env() -> Result<Self, ConfigError> {
        let concurrency = concurrency()?;
        match variable(MODE)?.as_deref() {
            Some("inline") | None => Ok(Self::Inline),
            Some("inbox") => Ok(Self::Inbox { concurrency }),
            Some(_) => Err(ConfigError::Mode),
        }
    }
}

/// How many events the `worker` subcommand works off at once, by `WORKER_CONCURRENCY`.
///
/// # Errors
///
/// When it is no number, or 0: such a worker would do nothing.
pub fn worker_concurrency() -> Result<NonZeroUsize, ConfigError> {
    NonZeroUsize::new(concurrency()?).ok_or(ConfigError::NoWorker)
}

fn concurrency() -> Result<usize, ConfigError> {
    match variable(CONCURRENCY)? {
        Some(text) => text.trim().parse().map_err(|_| ConfigError::Concurrency),
        None => Ok(CONCURRENCY_DEFAULT),
    }
}

impl Database {
    /// Reads `DATABASE_URL`.
    ///
    /// # Errors
    ///
    /// When it is set and is not the address of a Postgres or SQLite database.
    pub fn from_env() -> Result<Self, ConfigError> {
        let url = variable(DATABASE)?;
        Self::parse(url.as_deref().unwrap_or(DATABASE_DEFAULT))
    }

    fn parse(url: &str) -> Result<Self, ConfigError> {
        let misunderstood = |_: sqlx::Error| ConfigError::DatabaseUrl;
        match url.split_once(':') {
            Some(("postgres" | "postgresql", _)) => {
                Ok(Self::Postgres(url.parse().map_err(misunderstood)?))
            }
            Some(("sqlite", _)) => {
                let options: SqliteConnectOptions = url.parse().map_err(misunderstood)?;
                match is_in_memory(url, &options) {
                    true => Err(ConfigError::DatabaseInMemory),
                    false => Ok(Self::Sqlite(options)),
                }
            }
            _ => Err(ConfigError::DatabaseScheme),
        }
    }
}

impl fmt::Debug for Database {
    /// The options hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres(_) => "Postgres(..)",
            Self::Sqlite(_) => "Sqlite(..)",
        })
    }
}

/// Also a file without a name, which SQLite deletes when its connection ends. sqlx keeps to itself
/// what it has made of `:memory:`, except for the name; and of `mode=memory` not even that.
fn is_in_memory(url: &str, options: &SqliteConnectOptions) -> bool {
    let name = options.get_filename().to_string_lossy();
    let in_name = ["", ":memory:"].contains(&&*name) || name.starts_with("file:sqlx-in-memory-");
    in_name || url.contains("mode=memory")
}

/// The old secret counts only while it is set: set but blank is a slip, and refused like the other.
fn verifier() -> Result<Verifier, SecretError> {
    let verifier = Verifier::new(SigningSecret::from_env(SECRET)?.named("current"));
    match env::var_os(OLD_SECRET) {
        Some(_) => Ok(verifier.with_secret(SigningSecret::from_env(OLD_SECRET)?.named("old"))),
        None => Ok(verifier),
    }
}

/// A live order is not to be paid with a test card.
fn guards() -> Result<Guards, ConfigError> {
    Ok(match variable(STRIPE_MODE)?.as_deref() {
        Some("live") => Guards::new().mode(Mode::Live),
        Some("test") => Guards::new().mode(Mode::Test),
        Some(_) => return Err(ConfigError::StripeMode),
        None => Guards::new(),
    })
}

/// Set to nothing counts as not set.
fn variable(name: &'static str) -> Result<Option<String>, ConfigError> {
    match env::var(name) {
        Ok(value) if value.trim().is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(ConfigError::NotUtf8(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_chooses_the_database() {
        for (url, expected) in [
            ("postgres://u:p@h:5432/shop", "Ok(Postgres(..))"),
            ("postgresql:///shop?host=/run", "Ok(Postgres(..))"),
            ("sqlite://shop.sqlite", "Ok(Sqlite(..))"),
            ("sqlite:/var/lib/shop.sqlite?mode=rw", "Ok(Sqlite(..))"),
            ("sqlite::memory:", "Err(DatabaseInMemory)"),
            ("sqlite://:memory:", "Err(DatabaseInMemory)"),
            ("sqlite://%3Amemory%3A", "Err(DatabaseInMemory)"),
            ("sqlite://shop?mode=memory", "Err(DatabaseInMemory)"),
            ("sqlite://", "Err(DatabaseInMemory)"),
            ("mysql://u:p@h/shop", "Err(DatabaseScheme)"),
            ("shop.sqlite", "Err(DatabaseScheme)"),
            ("postgres://h:port/shop", "Err(DatabaseUrl)"),
        ] {
            assert_eq!(format!("{:?}", Database::parse(url)), expected, "{url}");
        }
    }
}
