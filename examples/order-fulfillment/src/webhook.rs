//! The webhook: one function for each type of event.

use axum_stripe_webhook::EventTx;
use tracing::{info, warn};

use crate::{
    error::AppError,
    orders::{OrderBook, Payment, Shop},
    states::{IntentStatus, OrderStatus, Outcome},
    stripe::{Charge, CheckoutSession, Dispute},
};

/// Processes an event in its transaction. An error rolls all of it back, and Stripe delivers the
/// event again.
pub(crate) async fn receive<DB: Shop>(mut tx: EventTx<DB>) -> Result<(), AppError> {
    let event = tx.event().clone();
    let book = &mut *tx;
    match event.event_type() {
        "checkout.session.completed" => session_completed(book, event.object()?).await,
        "checkout.session.async_payment_succeeded" => session_paid(book, event.object()?).await,
        "checkout.session.expired" => session_expired(book, event.object()?).await,
        "charge.refunded" => charge_refunded(book, event.object()?).await,
        "charge.dispute.created" => charge_disputed(book, event.object()?).await,
        // Not a fault: on anything but 2xx Stripe would deliver it for days.
        _ => Ok(()),
    }
}

/// The customer is through with Checkout. A bank transfer or the like is still on its way then.
async fn session_completed(
    book: &mut impl OrderBook,
    session: CheckoutSession,
) -> Result<(), AppError> {
    match session.is_unpaid() {
        true => Ok(()),
        false => session_paid(book, session).await,
    }
}

async fn session_paid(book: &mut impl OrderBook, session: CheckoutSession) -> Result<(), AppError> {
    let payment = session.into_payment();
    // Before anything else, so that every event about this payment locks in the same order.
    let intent = match &payment.payment_intent {
        Some(id) => book.note(id, IntentStatus::Clear, 0).await?,
        None => IntentStatus::Clear,
    };
    if book.settle(&payment, intent.order()).await? {
        return accept(book, &payment, intent).await;
    }
    let outcome = outcome_of_unsettled(book, &payment).await?;
    if book.record(&payment, outcome).await? {
        warn!(
            session_id = payment.session_id,
            outcome = outcome.as_str(),
            "payment not accepted"
        );
    }
    Ok(())
}

async fn accept(
    book: &mut impl OrderBook,
    payment: &Payment,
    intent: IntentStatus,
) -> Result<(), AppError> {
    book.record(payment, Outcome::Accepted).await?;
    if let Some(order_id) = &payment.order_id {
        book.ship(order_id, intent.shipment()).await?;
        info!(order_id, status = intent.order().as_str(), "order paid");
    }
    Ok(())
}

/// Looked up after `settle`, whose result stands: an order that is settled stays settled.
async fn outcome_of_unsettled(
    book: &mut impl OrderBook,
    payment: &Payment,
) -> Result<Outcome, AppError> {
    let order = match &payment.order_id {
        Some(id) => book.status(id).await?,
        None => None,
    };
    Ok(match order {
        Some(OrderStatus::Paid | OrderStatus::Refunded | OrderStatus::Disputed) => {
            Outcome::ToRefund
        }
        Some(OrderStatus::Pending | OrderStatus::Expired) | None => Outcome::ToReview,
    })
}

async fn session_expired(
    book: &mut impl OrderBook,
    session: CheckoutSession,
) -> Result<(), AppError> {
    if let Some(order_id) = session.order_id() {
        book.expire(order_id).await?;
    }
    Ok(())
}

/// Comes once for each refund, with the sum of all until then.
async fn charge_refunded(book: &mut impl OrderBook, charge: Charge) -> Result<(), AppError> {
    let status = match charge.refunded {
        true => IntentStatus::Refunded,
        false => IntentStatus::Clear,
    };
    note(book, charge.payment_intent, status, charge.amount_refunded).await
}

async fn charge_disputed(book: &mut impl OrderBook, dispute: Dispute) -> Result<(), AppError> {
    note(book, dispute.payment_intent, IntentStatus::Disputed, 0).await
}

async fn note(
    book: &mut impl OrderBook,
    payment_intent: Option<String>,
    status: IntentStatus,
    amount_refunded: i64,
) -> Result<(), AppError> {
    // A payment without one was not made by a Checkout Session, so no order of ours hangs on it.
    let Some(id) = payment_intent else {
        return Ok(());
    };
    let intent = book.note(&id, status, amount_refunded).await?;
    if intent == IntentStatus::Clear {
        return Ok(());
    }
    book.restate(&id, intent.order()).await?;
    book.hold(&id).await?;
    info!(
        payment_intent = id,
        status = intent.as_str(),
        "payment noted"
    );
    Ok(())
}
