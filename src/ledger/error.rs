use std::{borrow::Cow, fmt};

/// Why a transaction of the ledger could not be opened, claimed in or committed.
///
/// In the order of a delivery's way through it. `Display` never contains the database's own text,
/// which may quote values; [`fault`](Self::fault) is enough to act on.
#[derive(thiserror::Error)]
pub enum LedgerError {
    /// The database, or a connection of the pool, could not be had in time, or failed.
    ///
    /// Likely causes: it is down, read-only or full; the pool is too small or closed.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// The tables of the crate are missing.
    #[error("the tables are not there: call `axum_stripe_webhook::migrate` at start")]
    NotMigrated,
    /// A statement of the crate's own took longer than its limit.
    #[error("the database did not answer in time")]
    TimedOut,
    /// Another process has the same event in hand, and had not finished within the limit.
    #[error("the event is being processed elsewhere")]
    InFlight,
    /// The event's entry was not there, and could not be written all the same.
    #[error("the event's row was not written: does a trigger or rule of the service's prevent it?")]
    NotWritten,
    /// A statement of the handler had failed, and the handler answered 2xx all the same.
    #[error("the handler swallowed a database error: its transaction was aborted")]
    Aborted,
    /// The transaction was not the claim's any more.
    #[error("the handler ended the transaction by itself, or left a savepoint open")]
    Ended,
    /// The database refused the COMMIT, for example by a deferred constraint of the service.
    #[error("the database refused the commit")]
    CommitRefused(#[source] sqlx::Error),
}

impl LedgerError {
    /// Whether the database has refused what a statement was to write, and would take other rows.
    pub(crate) fn is_about_a_row(&self) -> bool {
        /// Of SQLSTATE: data exception, and integrity constraint violation.
        const OF_ROWS: [&str; 2] = ["22", "23"];
        match self {
            Self::Unavailable(error) | Self::CommitRefused(error) => {
                let error = error.as_database_error();
                let is_of_row = |code: &str| OF_ROWS.iter().any(|class| code.starts_with(class));
                error.is_some_and(|error| {
                    error.is_check_violation() || error.code().as_deref().is_some_and(is_of_row)
                })
            }
            Self::NotWritten => true,
            _ => false,
        }
    }

    /// Whether it is as good to try again at once.
    pub(crate) fn is_serialization(&self) -> bool {
        let (Self::Unavailable(error) | Self::CommitRefused(error)) = self else {
            return false;
        };
        let code = error.as_database_error().and_then(|error| error.code());
        code.as_deref() == Some("40001")
    }

    /// Whether there will be no connection any more.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Unavailable(sqlx::Error::PoolClosed))
    }

    /// Whether neither a place nor a connection was to be had, or somebody else had the row.
    pub(crate) fn is_of_others(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(sqlx::Error::PoolTimedOut) | Self::InFlight
        )
    }

    /// What failed, without any text of the database's: its SQLSTATE (SQLite: result code), or the
    /// kind of the fault.
    pub(crate) fn fault(&self) -> Cow<'_, str> {
        let (Self::Unavailable(error) | Self::CommitRefused(error)) = self else {
            return "".into();
        };
        match error {
            sqlx::Error::Database(error) => error.code().unwrap_or_default(),
            // sqlx goes on trying to connect for as long: a database that is down looks like this.
            sqlx::Error::PoolTimedOut => "no connection in time".into(),
            sqlx::Error::PoolClosed => "pool closed".into(),
            sqlx::Error::Io(error) => error.kind().to_string().into(),
            sqlx::Error::Tls(_) => "tls".into(),
            _ => "driver".into(),
        }
    }

    /// A failed COMMIT: refused if the database said so; unknown if it said nothing, or that it is
    /// going away.
    pub(super) fn of_commit(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code());
        // Connection exception; shutdown; idle in transaction for too long.
        let gone =
            |code: &str| code.starts_with("08") || code.starts_with("57P") || code == "25P03";
        match code.as_deref() {
            Some(code) if !gone(code) => Self::CommitRefused(error),
            _ => Self::Unavailable(error),
        }
    }
}

/// Without the database's text, as `Display`.
impl fmt::Debug for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LedgerError({self}; {:?})", self.fault())
    }
}

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn neither_text_nor_fault_holds_the_text_of_the_cause() {
        let cause = || sqlx::Error::Io(io::Error::new(io::ErrorKind::BrokenPipe, "marker"));
        for error in [
            LedgerError::Unavailable(cause()),
            LedgerError::CommitRefused(cause()),
        ] {
            let shown = format!("{error} {}", error.fault());
            assert!(
                shown.contains("broken pipe") && !shown.contains("marker"),
                "{shown}"
            );
        }
    }
}
