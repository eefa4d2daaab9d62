use axum_core::response::{IntoResponse, Response};
use http::StatusCode;

use crate::ledger::LedgerError;

/// What the layer itself answers. The status is a contract, because Stripe retries on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Stored,
    Duplicate,
    Ignored,
    Unhandled,
    Quarantined,
    Discarded,
    NotQuarantined,
    InFlight,
    StillQuarantined,
    LeaseLost,
    PreparePanicked,
    HandlerPanicked,
    TransactionKept,
    TransactionEnded,
    TransactionAborted,
    CommitRefused,
    Overloaded,
    DatabaseUnavailable,
    PrepareTimedOut,
    HandlerTimedOut,
    TaskLost,
}

impl Answer {
    /// Those that Stripe gets of the layer.
    #[cfg(test)]
    const TO_STRIPE: [Self; 17] = [
        Self::Duplicate,
        Self::Ignored,
        Self::Unhandled,
        Self::Quarantined,
        Self::Discarded,
        Self::InFlight,
        Self::PreparePanicked,
        Self::HandlerPanicked,
        Self::TransactionKept,
        Self::TransactionEnded,
        Self::TransactionAborted,
        Self::CommitRefused,
        Self::Overloaded,
        Self::DatabaseUnavailable,
        Self::PrepareTimedOut,
        Self::HandlerTimedOut,
        Self::TaskLost,
    ];

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Stored => StatusCode::OK,      // durably: a worker will run it
            Self::Duplicate => StatusCode::OK,   // its effects are committed: nothing left to do
            Self::Ignored => StatusCode::OK,     // the handler's own word
            Self::Unhandled => StatusCode::OK,   // a retry finds no handler either
            Self::Quarantined => StatusCode::OK, // it is kept: a retry brings nothing new
            Self::Discarded => StatusCode::OK,   // the handler's own word, and remembered
            Self::NotQuarantined => StatusCode::NOT_FOUND, // to an operator, never to Stripe
            Self::StillQuarantined => StatusCode::CONFLICT, // to an operator, never to Stripe
            Self::InFlight => StatusCode::CONFLICT, // its outcome is open: the retry learns it
            Self::LeaseLost => StatusCode::CONFLICT, // to a worker, never to Stripe
            Self::PreparePanicked => StatusCode::INTERNAL_SERVER_ERROR, // nothing was begun
            Self::HandlerPanicked => StatusCode::INTERNAL_SERVER_ERROR, // rolled back
            Self::TransactionKept => StatusCode::INTERNAL_SERVER_ERROR, // can never be committed
            Self::TransactionEnded => StatusCode::INTERNAL_SERVER_ERROR, // no longer the claim's
            Self::TransactionAborted => StatusCode::INTERNAL_SERVER_ERROR, // would commit nothing
            Self::CommitRefused => StatusCode::INTERNAL_SERVER_ERROR, // the database rolled back
            Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE, // nothing was begun
            Self::DatabaseUnavailable => StatusCode::SERVICE_UNAVAILABLE, // unknown or rolled back
            Self::PrepareTimedOut => StatusCode::SERVICE_UNAVAILABLE, // nothing was begun
            Self::HandlerTimedOut => StatusCode::SERVICE_UNAVAILABLE, // rolled back
            Self::TaskLost => StatusCode::SERVICE_UNAVAILABLE, // shutting down: rolled back
        }
    }

    /// The name of the outcome, for logs and counters.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Duplicate => "duplicate",
            Self::Ignored => "ignored",
            Self::Unhandled => "unhandled",
            Self::Quarantined => "quarantined",
            Self::Discarded => "discarded",
            Self::NotQuarantined => "not_quarantined",
            Self::StillQuarantined => "still_quarantined",
            Self::InFlight => "in_flight",
            Self::LeaseLost => "lease_lost",
            Self::PreparePanicked => "prepare_panicked",
            Self::HandlerPanicked => "handler_panicked",
            Self::TransactionKept => "transaction_kept",
            Self::TransactionEnded => "transaction_ended",
            Self::TransactionAborted => "transaction_aborted",
            Self::CommitRefused => "commit_refused",
            Self::Overloaded => "overloaded",
            Self::DatabaseUnavailable => "database_unavailable",
            Self::PrepareTimedOut => "prepare_timed_out",
            Self::HandlerTimedOut => "handler_timed_out",
            Self::TaskLost => "task_lost",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Stored => "stored\n",
            Self::Duplicate => "already processed\n",
            Self::Ignored => "ignored\n",
            Self::Unhandled => "unhandled\n",
            Self::Quarantined => "kept\n",
            Self::Discarded => "discarded\n",
            Self::NotQuarantined => "nothing is quarantined under this id\n",
            Self::StillQuarantined => "still quarantined\n",
            Self::InFlight | Self::LeaseLost => "in flight\n",
            Self::Overloaded
            | Self::DatabaseUnavailable
            | Self::PrepareTimedOut
            | Self::HandlerTimedOut
            | Self::TaskLost => "try again\n",
            Self::PreparePanicked
            | Self::HandlerPanicked
            | Self::TransactionKept
            | Self::TransactionEnded
            | Self::TransactionAborted
            | Self::CommitRefused => "failed\n",
        }
    }
}

impl From<&LedgerError> for Answer {
    fn from(error: &LedgerError) -> Self {
        match error {
            LedgerError::Unavailable(_)
            | LedgerError::NotMigrated
            | LedgerError::NotWritten
            | LedgerError::TimedOut => Self::DatabaseUnavailable,
            LedgerError::InFlight => Self::InFlight,
            LedgerError::Aborted => Self::TransactionAborted,
            LedgerError::Ended => Self::TransactionEnded,
            LedgerError::CommitRefused(_) => Self::CommitRefused,
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        (self.status(), self.text()).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_the_docs_says_what_the_code_does() {
        let rows: Vec<_> = include_str!("mod.rs")
            .lines()
            .filter(|line| line.starts_with("//! | `"))
            .map(str::to_owned)
            .collect();
        let expected: Vec<_> = Answer::TO_STRIPE
            .iter()
            .map(|answer| {
                let status = answer.status();
                let retries = if status.is_success() { "no" } else { "yes" };
                format!(
                    "//! | `{}` | {} | {retries} |",
                    answer.code(),
                    status.as_u16()
                )
            })
            .collect();
        assert_eq!(rows, expected);
    }
}
