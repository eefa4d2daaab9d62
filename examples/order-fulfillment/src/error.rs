use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use axum_stripe_webhook::{
    EventTxError,
    inbox::OperationError,
    once::{ACTOR_CHARS_MAX, REASON_CHARS_MAX},
};
use tracing::error;

/// Why a request could not be served. Nothing of it was committed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppError {
    /// An order that nobody could pay.
    #[error("an order needs an amount of at least 0 and a currency of three letters")]
    Order,
    #[error("no such order")]
    NoSuchOrder,
    /// Nobody would be known to have done it, or why.
    #[error(
        "say who acts and why, as JSON: an \"actor\" of 1 to {ACTOR_CHARS_MAX} characters and a \
         \"reason\" of 1 to {REASON_CHARS_MAX}"
    )]
    Operator,
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    #[error("the event's transaction failed")]
    Event(#[from] EventTxError),
    #[error(transparent)]
    Operation(#[from] OperationError),
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Event(error) => return error.into_response(),
            Self::Order => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NoSuchOrder => StatusCode::NOT_FOUND,
            Self::Operator => StatusCode::BAD_REQUEST,
            Self::Operation(OperationError::NotFound) => StatusCode::NOT_FOUND,
            Self::Operation(OperationError::InHand) => StatusCode::CONFLICT,
            Self::Operation(OperationError::PayloadGone) => StatusCode::GONE,
            Self::Operation(error) => {
                error!(%error, "the inbox could not be reached");
                return try_again();
            }
            Self::Database(ref error) => {
                // Only its code: the text may quote values of the row.
                let code = error.as_database_error().and_then(|error| error.code());
                error!(code = code.as_deref(), "the database failed");
                return try_again();
            }
        };
        (status, format!("{self}\n")).into_response()
    }
}

fn try_again() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "try again\n").into_response()
}
