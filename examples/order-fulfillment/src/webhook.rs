//! The webhook: one function for each type of event that the shop handles.

use axum_stripe_webhook::{
    Disposition, EventRouter, EventTx, StripeObject,
    router::{Flow, RouterError},
};
use tracing::{info, warn};

use crate::{
    error::AppError,
    orders::{OrderBook, Shop},
    states::{IntentStatus, OrderStatus},
    stripe::{Charge, CheckoutSession, Dispute},
};

/// What the shop does with Stripe: it sells through Checkout, and ships goods that can be refunded,
/// disputed and suspected.
pub const FLOWS: [Flow; 4] = [Flow::Checkout, Flow::Refunds, Flow::Disputes, Flow::Fraud];

/// Whose consequences the shop's staff draws by hand, in Stripe's Dashboard.
const BY_HAND: [&str; 10] = [
    "checkout.session.async_payment_failed",
    "refund.failed",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "radar.early_fraud_warning.created",
    "radar.early_fraud_warning.updated",
    "review.opened",
    "review.closed",
];

/// Which function handles which type of event.
///
/// # Errors
///
/// When a type stands there twice, which a test rules out.
pub fn events<DB: Shop>() -> Result<EventRouter, RouterError> {
    EventRouter::new()
        .on("checkout.session.completed", fulfil::<DB>)
        .on("checkout.session.async_payment_succeeded", fulfil::<DB>)
        .on("checkout.session.expired", expire::<DB>)
        .on("charge.refunded", note_refund::<DB>)
        .on("charge.dispute.created", note_dispute::<DB>)
        // Their sums are told by `charge.refunded`.
        .ignore(["refund.created", "refund.updated"])
        .ignore(BY_HAND)
        .build()
}

/// The customer is through with Checkout, or the money that was on its way then has arrived.
async fn fulfil<DB: Shop>(
    mut tx: EventTx<DB>,
    StripeObject(session): StripeObject<CheckoutSession>,
) -> Result<Disposition, AppError> {
    let payment = match session.into_payment() {
        Ok(payment) => payment,
        Err(no_payment) => return Ok(no_payment),
    };
    // Before anything else, so that every event about this payment locks in the same order.
    let intent = match &payment.payment_intent {
        Some(id) => tx.note(id, IntentStatus::Clear, 0).await?,
        None => IntentStatus::Clear,
    };
    let fulfilment = format!("fulfil:{}", payment.session_id);
    if !tx.claim_effect(&fulfilment).await? {
        return Ok(Disposition::Done);
    }
    // To pay it back would pay back what has paid another order.
    if let Some(id) = &payment.payment_intent
        && tx.is_spent(id).await?
    {
        return Ok(kept("payment_spent"));
    }
    match tx.lock(&payment).await? {
        None => return Ok(kept("unknown_order")),
        Some((OrderStatus::Pending | OrderStatus::Expired, false)) => {
            return Ok(kept("amount_mismatch"));
        }
        Some((OrderStatus::Pending | OrderStatus::Expired, true)) => {
            tx.settle(&payment, intent.order()).await?;
            tx.ship(&payment.order_id, intent.shipment()).await?;
            info!(order_id = payment.order_id, "order paid");
        }
        // No money came, so there is none to go back.
        Some(_) if payment.amount == 0 => {}
        Some(_) => {
            tx.owe(&payment).await?;
            warn!(order_id = payment.order_id, "order paid twice: refund due");
        }
    }
    Ok(Disposition::Done)
}

/// For somebody to look at, and to release when the order is there or was put right.
fn kept(reason: &'static str) -> Disposition {
    Disposition::Quarantine { reason }
}

async fn expire<DB: Shop>(
    mut tx: EventTx<DB>,
    StripeObject(session): StripeObject<CheckoutSession>,
) -> Result<Disposition, AppError> {
    let Some(order_id) = session.order_id().filter(|_| session.is_payment()) else {
        return Ok(Disposition::Ignore);
    };
    tx.expire(order_id).await?;
    Ok(Disposition::Done)
}

/// Comes once for each refund, with the sum of all until then.
async fn note_refund<DB: Shop>(
    tx: EventTx<DB>,
    StripeObject(charge): StripeObject<Charge>,
) -> Result<Disposition, AppError> {
    let status = match charge.refunded {
        true => IntentStatus::Refunded,
        false => IntentStatus::Clear,
    };
    note(tx, charge.payment_intent, status, charge.amount_refunded).await
}

async fn note_dispute<DB: Shop>(
    tx: EventTx<DB>,
    StripeObject(dispute): StripeObject<Dispute>,
) -> Result<Disposition, AppError> {
    note(tx, dispute.payment_intent, IntentStatus::Disputed, 0).await
}

async fn note<DB: Shop>(
    mut tx: EventTx<DB>,
    payment_intent: Option<String>,
    status: IntentStatus,
    amount_refunded: i64,
) -> Result<Disposition, AppError> {
    // A payment without one was not made by a Checkout Session, so no order of ours hangs on it.
    let Some(id) = payment_intent else {
        return Ok(Disposition::Ignore);
    };
    let intent = tx.note(&id, status, amount_refunded).await?;
    if intent != IntentStatus::Clear {
        tx.restate(&id, intent.order()).await?;
        tx.hold(&id).await?;
        let status = intent.as_str();
        info!(payment_intent = id, status, "payment noted");
    }
    Ok(Disposition::Done)
}

#[cfg(test)]
mod tests {
    use axum_stripe_webhook::router::Handling;
    use sqlx::Sqlite;

    use super::*;

    #[test]
    fn no_type_that_the_shop_needs_is_missing_or_misspelt() {
        let events = events::<Sqlite>().unwrap();
        assert_eq!(events.unknown_types(), []);
        let coverage = events.coverage(&FLOWS);
        let of = |handling| {
            let rows = coverage.rows().iter();
            let rows = rows.filter(move |row| row.handling == handling);
            rows.map(|row| row.event_type).collect::<Vec<_>>()
        };
        assert_eq!(of(Handling::Missing), [""; 0]);
        assert_eq!(
            of(Handling::Handled),
            [
                "checkout.session.completed",
                "checkout.session.async_payment_succeeded",
                "checkout.session.expired",
                "charge.dispute.created",
            ]
        );
        let ignored = of(Handling::Ignored);
        assert_eq!(ignored.len(), BY_HAND.len() + 2);
        assert!(BY_HAND.iter().all(|by_hand| ignored.contains(by_hand)));
    }
}
