//! Events as Stripe writes them, about one customer's order.

use axum_stripe_webhook::testing::SampleEvent;

/// A customer's visit to Stripe's checkout page, for one order.
#[derive(Clone, Debug)]
pub struct Session {
    /// What its ids are made of.
    pub name: String,
    /// The order's id.
    pub order: String,
    /// What the customer pays, in cents.
    pub amount: i64,
    /// Three lower-case letters.
    pub currency: &'static str,
}

impl Session {
    /// Paid at once, as with a card.
    #[must_use]
    pub fn completed(&self) -> String {
        self.event("checkout.session.completed", "paid").to_json()
    }

    /// Completed, but the money is still on its way, as with a bank transfer.
    #[must_use]
    pub fn completed_unpaid(&self) -> String {
        self.event("checkout.session.completed", "unpaid").to_json()
    }

    /// The money has arrived.
    #[must_use]
    pub fn paid_later(&self) -> String {
        self.event("checkout.session.async_payment_succeeded", "paid")
            .to_json()
    }

    /// Nobody paid.
    #[must_use]
    pub fn expired(&self) -> String {
        self.event("checkout.session.expired", "unpaid").to_json()
    }

    /// The sum of all refunds until now.
    #[must_use]
    pub fn refunded(&self, cents: i64) -> String {
        self.sample("charge.refunded", &format!("refunded_{cents}"))
            .object("amount", self.amount)
            .object("amount_captured", self.amount)
            .object("amount_refunded", cents)
            .object("refunded", cents == self.amount)
            .to_json()
    }

    /// The customer had the bank take the money back.
    #[must_use]
    pub fn disputed(&self) -> String {
        self.sample("charge.dispute.created", "disputed")
            .object("amount", self.amount)
            .to_json()
    }

    /// The thin twin of [`completed`](Self::completed).
    #[must_use]
    pub fn completed_thin(&self) -> String {
        let completed = self.event("checkout.session.completed", "paid");
        completed.thin_twin().to_json()
    }

    fn event(&self, event_type: &str, payment_status: &str) -> SampleEvent {
        let kind = event_type.rsplit('.').next().unwrap_or_default();
        self.sample(event_type, &format!("{kind}_{payment_status}"))
            .object("amount_subtotal", self.amount)
            .object("amount_total", self.amount)
            .object("client_reference_id", self.order.clone())
            .object("metadata.order_id", self.order.clone())
            .object("payment_status", payment_status)
    }

    /// All samples of one name are about the same session, payment and charge.
    fn sample(&self, event_type: &str, what: &str) -> SampleEvent {
        let name = &self.name;
        SampleEvent::of(event_type)
            .named(name)
            .id(format!("evt_{name}_{what}"))
            .object("currency", self.currency)
    }
}

/// An event of a type that the shop does not handle.
#[must_use]
pub fn customer_created() -> String {
    SampleEvent::of("customer.created").to_json()
}
