//! The shop's rows as values.

use crate::states::{OrderStatus, ShipmentState};

/// An order as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The shop's own id of it.
    pub id: String,
    /// What is to be paid, in the currency's smallest unit.
    pub amount: i64,
    /// Three lower-case letters.
    pub currency: String,
    /// What has become of it.
    pub status: OrderStatus,
    /// How much of its payment went back.
    pub amount_refunded: i64,
    /// Its parcel, if it ever had one.
    pub shipment: Option<ShipmentState>,
}

/// A Checkout Session that took money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Stripe's id of the session.
    pub session_id: String,
    /// The order, as the session named it.
    pub order_id: String,
    /// Stripe's id of the payment. A session over nothing has none.
    pub payment_intent: Option<String>,
    /// What was paid, in the currency's smallest unit.
    pub amount: i64,
    /// Three letters, in lower case.
    pub currency: Option<String>,
}

pub(crate) type OrderRow = (String, i64, String, String, i64, Option<String>);
pub(crate) type PaymentRow = (String, String, Option<String>, i64, Option<String>);

impl Order {
    pub(crate) fn read(row: OrderRow) -> sqlx::Result<Self> {
        let (id, amount, currency, status, amount_refunded, shipment) = row;
        Ok(Self {
            id,
            amount,
            currency,
            status: OrderStatus::read(&status)?,
            amount_refunded,
            shipment: shipment.as_deref().map(ShipmentState::read).transpose()?,
        })
    }
}

impl From<PaymentRow> for Payment {
    fn from(row: PaymentRow) -> Self {
        let (session_id, order_id, payment_intent, amount, currency) = row;
        Self {
            session_id,
            order_id,
            payment_intent,
            amount,
            currency,
        }
    }
}
