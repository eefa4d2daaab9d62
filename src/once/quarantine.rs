//! What an operator does with events that were kept.

use std::{convert::Infallible, sync::Arc};

use axum_core::{
    extract::Request,
    response::{IntoResponse, Response},
};
use tower_service::Service;

use super::{
    answer::Answer,
    delivery::{Outcome, Source, request_parts},
    layer::ProcessOnceLayer,
    operator::Operator,
    service::in_task,
};
use crate::{
    event::is_key,
    extract::VerifiedStripeEvent,
    ledger::{Ledger, LedgerError, Purpose, within_statement},
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
    /// The id is that of the ledger: for a thin event its `snapshot_event`, if it has one. Gives the
    /// answer that Stripe would get. On anything but a 2xx the event stays as it was; of
    /// its own there are
    ///
    /// - 404: nothing is quarantined under this id, or its bytes are gone,
    /// - 409: the event is in flight; or its handler wants it quarantined again, or the router has no
    ///   handler for it, or it is processed already and what is kept of it is left over: discard that.
    ///
    /// # Cancel safety
    ///
    /// Dropped once the handler runs, it runs on; before that, nothing has happened.
    pub async fn release<S>(&self, handler: S, event_id: &str, operator: Operator) -> Response
    where
        S: Service<Request, Response: IntoResponse, Error: Into<Infallible>, Future: Send>,
        S: Send + 'static,
    {
        let event = match self.quarantined(event_id).await {
            Ok(event) => event,
            Err(outcome) => return self.act(event_id, outcome),
        };
        let endpoint = Arc::clone(&self.receiver.endpoint);
        let span = telemetry::delivery_span(&event, &endpoint);
        let source = Source::Released(operator);
        let delivery = match self.processor.clone().deliver(event, endpoint, source) {
            Ok(delivery) => delivery,
            Err(answer) => return self.act(event_id, Outcome::Answer(answer)),
        };
        in_task(span, delivery.run(handler, request_parts())).await
    }

    /// Answers an operator, in the span of what was to be done.
    fn act(&self, event_id: &str, outcome: Outcome) -> Response {
        let span = telemetry::operation_span(event_id, &self.receiver.endpoint);
        span.in_scope(|| outcome.into_response())
    }

    async fn quarantined(&self, event_id: &str) -> Result<VerifiedStripeEvent, Outcome> {
        if !is_key(event_id) {
            return Err(Outcome::Answer(Answer::NotQuarantined));
        }
        let mut idle = self.processor.ledger.idle().await?;
        let stored = DB::quarantined_payload(idle.on(), event_id, &self.receiver.endpoint);
        let stored = within_statement(stored).await;
        let stored = idle.settle(stored).await?;
        let bytes = stored.ok_or(Outcome::Answer(Answer::NotQuarantined))?;
        VerifiedStripeEvent::stored(bytes).ok_or(Outcome::Answer(Answer::StillQuarantined))
    }

    /// Gives up an event that was quarantined at this layer's endpoint: it leaves `stripe_inbox` with
    /// its bytes, its row in `processed_stripe_events` stays, so that it is never run, and who has
    /// discarded it and why goes into `stripe_actions`, in one transaction.
    ///
    /// The answer is 200, 404 when nothing is quarantined under this id, 409 when the event is being
    /// released, or 503.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may have happened or not.
    pub async fn discard(&self, event_id: &str, operator: Operator) -> Response {
        let discarded = self.try_discard(event_id, &operator).await;
        self.act(event_id, discarded.unwrap_or_else(Outcome::Ledger))
    }

    async fn try_discard(
        &self,
        event_id: &str,
        operator: &Operator,
    ) -> Result<Outcome, LedgerError> {
        if !is_key(event_id) {
            return Ok(Outcome::Answer(Answer::NotQuarantined));
        }
        let mut transaction = self.processor.ledger.begin(Purpose::Release).await?;
        let action = operator.action("discard");
        let discarded = transaction
            .discard(event_id, &self.receiver.endpoint, &action)
            .await?;
        if !discarded {
            transaction.rollback().await?;
            return Ok(Outcome::Answer(Answer::NotQuarantined));
        }
        // Last, because it lifts the limit on waiting for locks.
        transaction.skip_claim().await?;
        transaction.commit().await?;
        Ok(Outcome::Because(Answer::Discarded, "operator".into()))
    }
}
