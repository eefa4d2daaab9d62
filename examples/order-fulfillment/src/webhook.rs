//! The webhook: one function for each type of event.

use axum_stripe_webhook::{Event, EventKind, EventTx};
use tracing::{error, info, warn};

use crate::{
    error::AppError,
    orders::{OrderBook, Payment, Shop},
    states::{IntentStatus, OrderStatus, Outcome},
    stripe::{Charge, CheckoutSession, Dispute},
};

/// What the shop handles.
enum Handled {
    SessionPaid,
    SessionExpired,
    ChargeRefunded,
    ChargeDisputed,
}

impl Handled {
    fn by(event_type: &str) -> Option<Self> {
        Some(match event_type {
            "checkout.session.completed" | "checkout.session.async_payment_succeeded" => {
                Self::SessionPaid
            }
            "checkout.session.expired" => Self::SessionExpired,
            "charge.refunded" => Self::ChargeRefunded,
            "charge.dispute.created" => Self::ChargeDisputed,
            _ => return None,
        })
    }
}

/// Processes an event in its transaction. An error rolls all of it back, and Stripe delivers the
/// event again.
pub(crate) async fn receive<DB: Shop>(mut tx: EventTx<DB>) -> Result<(), AppError> {
    let event = tx.event().clone();
    let book = &mut *tx;
    if event.kind() == EventKind::Thin {
        return thin(&event);
    }
    match Handled::by(event.event_type()) {
        Some(Handled::SessionPaid) => session_paid(book, event.object()?).await,
        Some(Handled::SessionExpired) => session_expired(book, event.object()?).await,
        Some(Handled::ChargeRefunded) => charge_refunded(book, event.object()?).await,
        Some(Handled::ChargeDisputed) => charge_disputed(book, event.object()?).await,
        // Not a fault: on anything but 2xx Stripe would deliver it for days.
        None => Ok(()),
    }
}

/// A thin event has the same claim as its snapshot twin. So a 200 for one that the shop should have
/// handled would make the twin a duplicate, and the payment be lost.
fn thin(event: &Event) -> Result<(), AppError> {
    let event_type = event.event_type();
    let twin = event_type.strip_prefix("v1.").unwrap_or(event_type);
    if Handled::by(twin).is_none() {
        return Ok(());
    }
    error!(
        event_id = event.id(),
        event_type, "a destination of thin events points here: make it a snapshot destination"
    );
    Err(AppError::Thin)
}

/// The customer is through with Checkout, or the money that was on its way then has arrived.
async fn session_paid(book: &mut impl OrderBook, session: CheckoutSession) -> Result<(), AppError> {
    if !session.is_payment() {
        return Ok(());
    }
    let Some(payment) = session.into_payment() else {
        return Ok(());
    };
    // Before anything else, so that every event about this payment locks in the same order.
    let intent = match &payment.payment_intent {
        Some(id) => book.note(id, IntentStatus::Clear, 0).await?,
        None => IntentStatus::Clear,
    };
    if book.take_down(&payment).await? == Outcome::Accepted {
        return Ok(());
    }
    if book.settle(&payment, intent.order()).await? {
        return accept(book, &payment, intent).await;
    }
    // No money came, so there is none to look after.
    if payment.amount == Some(0) {
        return Ok(book.forget(&payment.session_id).await?);
    }
    let outcome = outcome_of_unsettled(book, &payment).await?;
    book.conclude(&payment, outcome).await?;
    warn!(
        session_id = payment.session_id,
        outcome = outcome.as_str(),
        "payment not accepted"
    );
    Ok(())
}

async fn accept(
    book: &mut impl OrderBook,
    payment: &Payment,
    intent: IntentStatus,
) -> Result<(), AppError> {
    book.conclude(payment, Outcome::Accepted).await?;
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
    // To pay it back would pay back what has paid another order.
    if let Some(id) = &payment.payment_intent
        && book.has_paid(id).await?
    {
        return Ok(Outcome::ToReview);
    }
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
    if let Some(order_id) = session.order_id().filter(|_| session.is_payment()) {
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
