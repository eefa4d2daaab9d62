//! What an operator does with events that were kept.

use std::{convert::Infallible, sync::Arc};

use axum_core::{
    extract::Request,
    response::{IntoResponse, Response},
};
use http::Method;
use tower_service::Service;

use super::{answer::Answer, layer::ProcessOnceLayer, operator::Operator, service::admit};
use crate::{
    event::is_key,
    extract::VerifiedStripeEvent,
    ledger::{Ledger, LedgerError, LedgerTransaction, quarantined_payload},
    telemetry,
};

impl<DB: Ledger> ProcessOnceLayer<DB> {
    /// Runs an event that was quarantined at this layer's endpoint, as if it had just arrived: through
    /// the step before the transaction, in a transaction of its own, within the same limits. Guards
    /// are not asked again. In the same transaction it leaves `stripe_inbox`, and who has released it
    /// and why goes into `stripe_actions`.
    ///
    /// The handler is what the route serves, as a service: an
    /// [`EventRouter`](crate::EventRouter) or a handler with its state. Its request has the event and
    /// its bytes, and no headers, path or peer. The event has no secret's name and no signing time.
    ///
    /// Gives the answer that Stripe would get. On anything but a 2xx the event stays as it was; of
    /// its own there are
    ///
    /// - 404: nothing is quarantined under this id, or its bytes are gone,
    /// - 409: the event is in flight, or its handler wants it quarantined again.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it runs on.
    pub async fn release<S>(&self, handler: S, event_id: &str, operator: Operator) -> Response
    where
        S: Service<Request, Response: IntoResponse, Error: Into<Infallible>, Future: Send>,
        S: Send + 'static,
    {
        let layer = Arc::new(self.clone());
        let event = match layer.quarantined(event_id).await {
            Ok(event) => event,
            Err(answer) => return telemetry::answered(answer, None),
        };
        let span = telemetry::delivery_span(&event, &layer.endpoint);
        let endpoint = Arc::clone(&layer.endpoint);
        let delivery = match admit(layer, event, endpoint, Some(operator)) {
            Ok(delivery) => delivery,
            Err(answer) => return span.in_scope(|| telemetry::answered(answer, None)),
        };
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = Method::POST;
        super::service::in_task(span, delivery.run(handler, parts)).await
    }

    async fn quarantined(&self, event_id: &str) -> Result<VerifiedStripeEvent, Answer> {
        if !is_key(event_id) {
            return Err(Answer::NotQuarantined);
        }
        let places = Arc::clone(&self.places);
        let stored =
            quarantined_payload(&self.pool, places, self.limits, event_id, &self.endpoint).await;
        match stored {
            Ok(Some(bytes)) => VerifiedStripeEvent::stored(bytes).ok_or(Answer::StillQuarantined),
            Ok(None) => Err(Answer::NotQuarantined),
            Err(error) => Err(Answer::from(&error)),
        }
    }

    /// Gives up an event that was quarantined at this layer's endpoint: it leaves `stripe_inbox` with
    /// its bytes, its row in `processed_stripe_events` stays, so that it is never run, and who has
    /// discarded it and why goes into `stripe_actions`, in one transaction.
    ///
    /// The answer is 200, 404 when nothing is quarantined under this id, or 503.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may have happened or not.
    pub async fn discard(&self, event_id: &str, operator: Operator) -> Response {
        match self.try_discard(event_id, &operator).await {
            Ok(true) => telemetry::answered_because(Answer::Discarded, "operator"),
            Ok(false) => telemetry::answered(Answer::NotQuarantined, None),
            Err(error) => telemetry::answered(Answer::from(&error), Some(&error)),
        }
    }

    async fn try_discard(&self, event_id: &str, operator: &Operator) -> Result<bool, LedgerError> {
        if !is_key(event_id) {
            return Ok(false);
        }
        let places = Arc::clone(&self.places);
        let mut transaction = LedgerTransaction::begin(&self.pool, places, self.limits).await?;
        transaction.skip_claim().await?;
        let action = operator.action("discard");
        let discarded = transaction
            .discard(event_id, &self.endpoint, &action)
            .await?;
        match discarded {
            true => transaction.commit().await?,
            false => transaction.rollback().await?,
        }
        Ok(discarded)
    }
}
