//! What sample events hold: one JSON file per kind of object, and how it differs per type.
//!
//! The files show each object in its usual end state, with the fields of API version
//! `2026-10-28.endive`. All of one name belong together: the same customer pays the same
//! €42.00, and the ids refer to each other.

mod fill;
mod money;
mod payments;
mod platform;
mod previous;
mod related;
mod subscriptions;

#[cfg(test)]
#[cfg(feature = "_database")]
mod tests;

use serde_json::Value;

use super::path;

pub(super) use fill::Filling;
pub(super) use related::related;

/// Paths into an object, dots between and indices as numbers, each with the JSON to be put there.
type State = &'static [(&'static str, &'static str)];

/// What the events of a type look like.
#[derive(Debug)]
pub(super) struct Sample {
    /// The envelope's `data.object`: JSON once the placeholders are filled.
    pub(super) object: &'static str,
    /// How the object differs for this type.
    pub(super) state: State,
    /// Members of the object that events of this type lack.
    pub(super) without: &'static [&'static str],
    /// The envelope's `data.previous_attributes`, as JSON with placeholders.
    pub(super) previous_attributes: Option<&'static str>,
}

/// The sample of a snapshot type, with a generic object for a type without one of its own.
pub(super) fn sample(event_type: &str) -> Sample {
    Sample {
        object: object(resource(event_type)),
        state: payments::state(event_type)
            .or_else(|| subscriptions::state(event_type))
            .or_else(|| money::state(event_type))
            .or_else(|| platform::state(event_type))
            .unwrap_or_default(),
        // The invoice does not exist yet.
        without: match event_type {
            "invoice.upcoming" => &["id"],
            _ => &[],
        },
        previous_attributes: previous::attributes(event_type),
    }
}

impl Sample {
    /// The envelope's `data.object`.
    ///
    /// # Errors
    /// If a template is not JSON, which the tests rule out.
    pub(super) fn object(&self, filling: &Filling<'_>) -> serde_json::Result<Value> {
        let mut object: Value = serde_json::from_str(&filling.fill(self.object))?;
        for (path, json) in self.state {
            let value = serde_json::from_str(&filling.fill(json))?;
            path::set(&mut object, path, value);
        }
        for path in self.without {
            path::remove(&mut object, path);
        }
        Ok(object)
    }
}

/// What a type is about: all but its last part.
fn resource(event_type: &str) -> &str {
    event_type
        .rsplit_once('.')
        .map_or(event_type, |(resource, _)| resource)
}

fn object(resource: &str) -> &'static str {
    match resource {
        "account" => include_str!("account.json"),
        "account.application" => include_str!("application.json"),
        "charge" => include_str!("charge.json"),
        "charge.dispute" => include_str!("dispute.json"),
        "charge.refund" | "refund" => include_str!("refund.json"),
        "checkout.session" => include_str!("checkout_session.json"),
        "customer" => include_str!("customer.json"),
        "customer.subscription" => include_str!("subscription.json"),
        "invoice" => include_str!("invoice.json"),
        "payment_intent" => include_str!("payment_intent.json"),
        "payout" => include_str!("payout.json"),
        "setup_intent" => include_str!("setup_intent.json"),
        _ => include_str!("other.json"),
    }
}
