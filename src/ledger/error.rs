use std::borrow::Cow;

/// Why a transaction of the ledger could not be opened, claimed in or committed.
///
/// In the order of a delivery's way through it. `Display` never contains the database's own text,
/// which may quote values; the SQLSTATE is enough to act on.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database, or a connection of the pool, could not be had in time, or failed.
    ///
    /// Likely causes: it is down, read-only or full; the pool is too small; `migrate` was not run.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// A statement of the crate's own took longer than its limit.
    #[error("the database did not answer in time")]
    TimedOut,
    /// Another process has the same event in hand, and had not finished within the limit.
    #[error("the event is being processed elsewhere")]
    InFlight,
    /// A statement of the handler had failed, and the handler answered 2xx all the same.
    #[error("the handler swallowed a database error: its transaction was aborted")]
    Aborted,
    /// The transaction was not the claim's any more.
    #[error("the handler ended the transaction by itself")]
    Ended,
    /// The database refused the COMMIT, by a deferred constraint of the service's say.
    #[error("the database refused the commit")]
    Refused(#[source] sqlx::Error),
}

impl LedgerError {
    /// What the database called its fault: the SQLSTATE, or SQLite's result code.
    pub(crate) fn database_code(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Unavailable(error) | Self::Refused(error) => error.as_database_error()?.code(),
            _ => None,
        }
    }

    /// A failed COMMIT: refused if the database said so, unknown if it said nothing.
    pub(super) fn of_commit(error: sqlx::Error) -> Self {
        match error.as_database_error() {
            Some(_) => Self::Refused(error),
            None => Self::Unavailable(error),
        }
    }
}

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error)
    }
}
