//! Events as Stripe writes them: pretty-printed, with more fields than the shop reads.

use std::time::{SystemTime, UNIX_EPOCH};

const CHECKOUT_SESSION: &str = include_str!("checkout_session.json");
const CHECKOUT_SESSION_THIN: &str = include_str!("checkout_session_thin.json");
const CHARGE: &str = include_str!("charge.json");
const DISPUTE: &str = include_str!("dispute.json");
const CUSTOMER: &str = include_str!("customer.json");

/// Now: an event older than the ledger's memory would be quarantined.
#[expect(clippy::disallowed_methods, reason = "Stripe makes events now")]
fn created() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs().to_string()
}

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
        self.event("checkout.session.completed", "complete", "paid")
    }

    /// Completed, but the money is still on its way, as with a bank transfer.
    #[must_use]
    pub fn completed_unpaid(&self) -> String {
        self.event("checkout.session.completed", "complete", "unpaid")
    }

    /// The money has arrived.
    #[must_use]
    pub fn paid_later(&self) -> String {
        self.event(
            "checkout.session.async_payment_succeeded",
            "complete",
            "paid",
        )
    }

    /// Nobody paid.
    #[must_use]
    pub fn expired(&self) -> String {
        self.event("checkout.session.expired", "expired", "unpaid")
    }

    /// The sum of all refunds until now.
    #[must_use]
    pub fn refunded(&self, cents: i64) -> String {
        let event = format!("evt_{}_refunded_{cents}", self.name);
        let refunded = (cents == self.amount).to_string();
        self.fill(
            CHARGE,
            &[
                ("event", &event),
                ("amount_refunded", &cents.to_string()),
                ("refunded", &refunded),
            ],
        )
    }

    /// The customer had the bank take the money back.
    #[must_use]
    pub fn disputed(&self) -> String {
        let event = format!("evt_{}_disputed", self.name);
        self.fill(DISPUTE, &[("event", &event)])
    }

    /// The thin twin of [`completed`](Self::completed).
    #[must_use]
    pub fn completed_thin(&self) -> String {
        self.fill(CHECKOUT_SESSION_THIN, &[])
    }

    fn event(&self, event_type: &str, status: &str, payment_status: &str) -> String {
        let kind = event_type.rsplit('.').next().unwrap_or_default();
        let event = format!("evt_{}_{kind}_{payment_status}", self.name);
        let intent = match status {
            "expired" => "null".to_owned(),
            _ => format!("\"pi_{}\"", self.name),
        };
        self.fill(
            CHECKOUT_SESSION,
            &[
                ("event", &event),
                ("type", event_type),
                ("status", status),
                ("payment_status", payment_status),
                ("intent", &intent),
            ],
        )
    }

    fn fill(&self, template: &str, more: &[(&str, &str)]) -> String {
        let name = &self.name;
        let all = [
            ("name", name.clone()),
            ("session", format!("cs_test_{name}")),
            ("intent", format!("pi_{name}")),
            ("charge", format!("ch_{name}")),
            ("dispute", format!("dp_{name}")),
            ("order", self.order.clone()),
            ("amount", self.amount.to_string()),
            ("currency", self.currency.to_owned()),
            ("created", created()),
        ];
        let special = fill(template, more.iter().copied());
        fill(
            &special,
            all.iter().map(|(key, value)| (*key, value.as_str())),
        )
    }
}

/// An event of a type that the shop does not handle.
#[must_use]
pub fn customer_created() -> String {
    fill(
        CUSTOMER,
        [("event", "evt_customer_created"), ("created", &created())].into_iter(),
    )
}

fn fill<'a>(template: &str, values: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    values.fold(template.to_owned(), |text, (key, value)| {
        text.replace(&format!("{{{{{key}}}}}"), value)
    })
}

#[cfg(test)]
mod tests {
    use axum_stripe_webhook::Event;

    use super::*;

    #[test]
    fn every_template_is_filled_and_is_an_event() {
        let session = Session {
            name: "demo".into(),
            order: "ord_1".into(),
            amount: 4200,
            currency: "eur",
        };
        for event in [
            session.completed(),
            session.completed_thin(),
            session.completed_unpaid(),
            session.paid_later(),
            session.expired(),
            session.refunded(100),
            session.disputed(),
            customer_created(),
        ] {
            assert!(!event.contains("{{"), "{event}");
            Event::parse(event.into()).unwrap();
        }
    }
}
