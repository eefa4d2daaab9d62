use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use axum_stripe_webhook::ObjectError;
use tracing::error;

/// Why a request could not be served. Nothing of it was committed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppError {
    /// The event's object has another shape than the shop reads.
    #[error("the event's object is not as expected")]
    Object(#[from] ObjectError),
    /// An event that the shop handles, but without its object.
    #[error("the event is a thin one")]
    Thin,
    /// An order that nobody could pay.
    #[error("an order needs an amount of at least 0 and a currency of three letters")]
    Order,
    #[error("there is no such order")]
    NoSuchOrder,
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        match self {
            Self::Object(error) => error.into_response(),
            Self::Thin => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "this endpoint takes snapshot events\n",
            )
                .into_response(),
            Self::Order => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "an order needs an amount of at least 0 and a currency of three letters\n",
            )
                .into_response(),
            Self::NoSuchOrder => (StatusCode::NOT_FOUND, "no such order\n").into_response(),
            Self::Database(error) => {
                // Only its code: the text may quote values of the row.
                let code = error.as_database_error().and_then(|error| error.code());
                error!(code = code.as_deref(), "the database failed");
                (StatusCode::SERVICE_UNAVAILABLE, "try again\n").into_response()
            }
        }
    }
}
