//! What the shop reads of Stripe's objects: the fields it uses and no more, because every further
//! one is one that a new API version can change.

use axum_stripe_webhook::Disposition;
use serde::Deserialize;

use crate::orders::Payment;

/// Of a [Checkout Session](https://docs.stripe.com/api/checkout/sessions/object).
#[derive(Deserialize)]
pub(crate) struct CheckoutSession {
    id: String,
    /// Not there in older payloads.
    mode: Option<String>,
    client_reference_id: Option<String>,
    metadata: Option<Metadata>,
    payment_intent: Option<String>,
    payment_status: String,
    amount_total: Option<i64>,
    currency: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    order_id: Option<String>,
}

/// Of a [Charge](https://docs.stripe.com/api/charges/object).
#[derive(Deserialize)]
pub(crate) struct Charge {
    /// Null for a charge that no Checkout Session made.
    pub(crate) payment_intent: Option<String>,
    pub(crate) amount_refunded: i64,
    /// Whether all of it went back.
    pub(crate) refunded: bool,
}

/// Of a [Dispute](https://docs.stripe.com/api/disputes/object).
#[derive(Deserialize)]
pub(crate) struct Dispute {
    pub(crate) payment_intent: Option<String>,
}

impl CheckoutSession {
    /// Whether it is about one payment. A subscription has no payment intent, so nobody could tell
    /// its refund or dispute from another order's; a set-up takes no money.
    pub(crate) fn is_payment(&self) -> bool {
        self.mode.as_deref().is_none_or(|mode| mode == "payment")
    }

    /// What it pays with, or else what is to become of its event. It pays only on the words that say
    /// so: words to come do not pay, and somebody has to look at them.
    pub(crate) fn into_payment(self) -> Result<Payment, Disposition> {
        if !self.is_payment() {
            return Err(Disposition::Ignore);
        }
        let kept = |reason| Err(Disposition::Quarantine { reason });
        let amount = match (self.payment_status.as_str(), self.amount_total) {
            ("paid", Some(amount)) => amount,
            ("no_payment_required", None | Some(0)) => 0,
            ("unpaid", _) => return Err(Disposition::Done),
            _ => return kept("unknown_payment"),
        };
        let Some(order_id) = self.order_id().map(str::to_owned) else {
            return kept("unknown_order");
        };
        Ok(Payment {
            order_id,
            session_id: self.id,
            payment_intent: self.payment_intent,
            amount,
            currency: self.currency.map(|code| code.to_ascii_lowercase()),
        })
    }

    /// What the shop gave when it made the session. On a Payment Link the customer can write it
    /// into the address, so it may be anything, except what Postgres' `text` cannot hold.
    pub(crate) fn order_id(&self) -> Option<&str> {
        let metadata = || self.metadata.as_ref()?.order_id.as_deref();
        self.client_reference_id
            .as_deref()
            .filter(|id| !id.is_empty())
            .or_else(metadata)
            .filter(|id| !id.contains('\0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order_id(reference: &str, metadata: &str) -> Option<String> {
        let json = format!(
            r#"{{"id": "cs_1", "payment_status": "paid", "currency": "EUR",
                "client_reference_id": {reference}, "metadata": {metadata}}}"#
        );
        serde_json::from_str::<CheckoutSession>(&json)
            .unwrap()
            .order_id()
            .map(str::to_owned)
    }

    #[test]
    fn the_order_is_named_by_the_reference_or_else_by_the_metadata() {
        let one = Some("ord_1".to_owned());
        assert_eq!(order_id(r#""ord_1""#, r#"{"order_id": "ord_2"}"#), one);
        assert_eq!(order_id("null", r#"{"order_id": "ord_1"}"#), one);
        assert_eq!(order_id(r#""""#, r#"{"order_id": "ord_1"}"#), one);
        assert_eq!(order_id("null", "{}"), None);
        assert_eq!(order_id("null", "null"), None);
        assert_eq!(order_id(r#""ord\u0000""#, "{}"), None);
    }
}
