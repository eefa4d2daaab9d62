//! What a handler can ask of the event's transaction beside its own statements.

use std::{fmt, time::SystemTime};

use axum_core::response::{IntoResponse, Response};
use http::StatusCode;

use super::event_tx::EventTx;
use crate::{
    event::{EffectKeyError, check_effect_key, is_key},
    ledger::{Ledger, LedgerError, ObjectRow, unix_seconds},
    signature::TOLERANCE_DEFAULT,
    telemetry,
};

/// Where an event stands among those of the same object that were processed before it.
///
/// Stripe delivers in any order, and `created` has whole seconds: see
/// [`EventTx::object_order`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectOrder {
    /// It is newer than all of them, or the first: apply it.
    Newer,
    /// A newer one was processed, or the object is deleted: it has nothing to say any more.
    Older,
    /// The newest one was made in the same second, or the event does not say when it was made: which is
    /// the later cannot be told. Fetch the object from Stripe's API.
    SameSecond,
}

impl<DB: Ledger> EventTx<DB> {
    /// Claims an effect: true once, whichever event asks first, and for good when this transaction
    /// commits.
    ///
    /// For effects that more than one event can cause. An order is paid by
    /// `checkout.session.completed` or by `checkout.session.async_payment_succeeded`: both claim
    /// `fulfil:cs_…`, and one of them fulfils. Keys are the service's own, one name space for all its
    /// endpoints, at most 255 bytes without control characters; put ids into them and no personal
    /// data. Whoever asks while another transaction holds the claim waits for its end. To claim again
    /// what this transaction has claimed is false.
    ///
    /// # Errors
    ///
    /// [`EventTxError::EffectKey`] for a key that cannot be one, and [`EventTxError::Database`].
    pub async fn claim_effect(&mut self, effect_key: &str) -> Result<bool, EventTxError> {
        check_effect_key(effect_key)?;
        let event_id = self.event().deduplication_id().to_owned();
        Ok(DB::claim_effect(self.on(), effect_key, &event_id).await?)
    }

    /// Puts this event in order among those of an object: once for each object, before what depends on
    /// it is read or written.
    ///
    /// It locks the object's row of `stripe_objects` until the transaction ends, so two events of one
    /// object are processed one after the other, in whatever process. The row remembers the newest
    /// event of those whose transactions have committed, for this endpoint.
    ///
    /// An event that touches several objects asks for them in the order of their ids: two that ask in
    /// opposite orders wait for each other, and Postgres aborts one of them.
    ///
    /// Whoever waits keeps a place and a connection: where one object has many events at once and its
    /// handler is slow, give the pool's sessions a `lock_timeout`, after which the answer is 503.
    ///
    /// On [`SameSecond`](ObjectOrder::SameSecond) fetch the object now, while the row is locked, under a
    /// time limit of your own: what Stripe's API says then is later than all that was processed.
    ///
    /// # Errors
    ///
    /// [`EventTxError::ObjectId`] when it is empty, longer than 255 bytes or holds a control character, and
    /// [`EventTxError::Database`].
    pub async fn object_order(&mut self, object_id: &str) -> Result<ObjectOrder, EventTxError> {
        let created = self.event().created().and_then(unix_seconds);
        let touched = self.touch(object_id, created.unwrap_or(0), false);
        let (newest_before, is_deleted) = touched.await?;
        Ok(match (created, newest_before) {
            _ if is_deleted => ObjectOrder::Older,
            (None, _) => ObjectOrder::SameSecond,
            (Some(_), None) => ObjectOrder::Newer,
            (Some(created), Some(newest)) if created > newest => ObjectOrder::Newer,
            (Some(created), Some(newest)) if created < newest => ObjectOrder::Older,
            (Some(_), Some(_)) => ObjectOrder::SameSecond,
        })
    }

    /// Says that the object is deleted: from the commit on every event of it is
    /// [`Older`](ObjectOrder::Older), whenever it was made. Stripe's ids are never used again, so the
    /// event of a deletion needs no [`object_order`](Self::object_order).
    ///
    /// # Errors
    ///
    /// As [`object_order`](Self::object_order).
    pub async fn object_deleted(&mut self, object_id: &str) -> Result<(), EventTxError> {
        let created = self.event().created().and_then(unix_seconds);
        self.touch(object_id, created.unwrap_or(0), true)
            .await
            .map(|_| ())
    }

    /// Says that the object was fetched: from the commit on, events that were made
    /// [`TOLERANCE_DEFAULT`](crate::signature::TOLERANCE_DEFAULT) before `asked_at` are
    /// [`Older`](ObjectOrder::Older). Take the time **before** you send the request: what happens while
    /// the answer is on its way may not be in it. The tolerance is for your clock, which may be as fast
    /// as that against Stripe's; events of the time between are applied again, and the last one wins.
    ///
    /// # Errors
    ///
    /// As [`object_order`](Self::object_order).
    pub async fn object_fetched(
        &mut self,
        object_id: &str,
        asked_at: SystemTime,
    ) -> Result<(), EventTxError> {
        let asked_at = asked_at.checked_sub(TOLERANCE_DEFAULT);
        let asked_at = asked_at.and_then(unix_seconds).unwrap_or(0);
        self.touch(object_id, asked_at, false).await.map(|_| ())
    }

    async fn touch(
        &mut self,
        object_id: &str,
        created_unix: i64,
        is_deleted: bool,
    ) -> Result<(Option<i64>, bool), EventTxError> {
        if object_id.is_empty() || !is_key(object_id) {
            return Err(EventTxError::ObjectId);
        }
        let endpoint = self.endpoint().to_owned();
        let object = ObjectRow {
            object_id,
            endpoint: &endpoint,
            created_unix,
            is_deleted,
        };
        Ok(DB::touch_object(self.on(), &object).await?)
    }
}

/// Why an [`EventTx`] could not do what it was asked to. As an answer it is a 500, or a 503 if it is the
/// database's fault: the transaction is rolled back, and Stripe delivers the event again.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum EventTxError {
    /// See [`EffectKeyError`].
    #[error(transparent)]
    EffectKey(#[from] EffectKeyError),
    /// The id of an object is empty, longer than 255 bytes, or holds a control character.
    #[error("no object has this id, which is empty, too long or unprintable: take the event's own")]
    ObjectId,
    /// The database has refused the statement. On Postgres the transaction is aborted by it.
    #[error("the database refused a statement of the event's transaction")]
    Database(#[from] sqlx::Error),
}

/// Without the database's own text, which quotes values of rows.
impl fmt::Debug for EventTxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EffectKey(error) => f.debug_tuple("EffectKey").field(error).finish(),
            Self::ObjectId => f.write_str("ObjectId"),
            Self::Database(error) => {
                let code = error.as_database_error().and_then(|error| error.code());
                f.debug_struct("Database")
                    .field("code", &code)
                    .finish_non_exhaustive()
            }
        }
    }
}

impl IntoResponse for EventTxError {
    fn into_response(self) -> Response {
        match self {
            Self::Database(error) => {
                telemetry::transaction_refused(&LedgerError::from(error));
                (StatusCode::SERVICE_UNAVAILABLE, "try again\n").into_response()
            }
            Self::EffectKey(_) | Self::ObjectId => {
                telemetry::misplaced(&self);
                (StatusCode::INTERNAL_SERVER_ERROR, "failed\n").into_response()
            }
        }
    }
}
