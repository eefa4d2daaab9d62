//! What the crate tells operators: the names of its spans, fields and log lines.
//!
//! All of them have the target [`TARGET`], so `RUST_LOG=axum_stripe_webhook=debug` shows them and nothing
//! else. What an operator must act on is a `warn` or an `error`, once, where it is handled. What a sender
//! can cause at will is `debug`, and no more than [`LINES_PER_SECOND_MAX`] lines of each outcome: a flood
//! does not fill a disk.
//!
//! Ids, types, names, codes and numbers are recorded, and nothing else: no payload, header, secret or text
//! of the database's.
//!
//! # Spans
//!
//! | span | level | is | fields |
//! |---|---|---|---|
//! | `stripe_delivery` | info | a genuine delivery, until it is answered | `endpoint`, `event_id`, `snapshot_event`, `event_type`, `livemode`, `account`, `secret_name` |
//! | `stripe_attempt` | info | a worker's attempt at a stored event | `endpoint`, `attempt`, `event_id`, `snapshot_event`, `event_type`, `livemode`, `account` |
//! | `stripe_operation` | info | what an operator does with an entry | `endpoint`, `event_id` |
//!
//! A delivery runs in a task of its own; its span is the child of whatever span the request came in, such as
//! one of `tower_http::trace` that has the request's id.
//!
//! # Log lines
//!
//! | line | level | means |
//! |---|---|---|
//! | `stripe delivery rejected` | debug | answered before any handler ran |
//! | `stripe event ignored` | debug | a guard has stopped it, and such events are to be ignored |
//! | `stripe event stopped` | warn | a guard has stopped it, and Stripe will try again |
//! | `stripe delivery answered` | debug, warn, error | the end of a genuine delivery: see [`once`](crate::once) for each outcome |
//! | `stripe object does not fit the handler's type` | warn | another API version, or another type's object |
//! | `stripe api version unexpected` | debug, warn | events come in another train than the service expects; the first, and then fewer and fewer, are warnings |
//! | `stripe event unhandled whose thin or snapshot twin has a handler` | debug, warn | two destinations where one is meant, or a type that is missing; likewise |
//! | `stripe event wants an answer: give Inbox::synchronous a service` | warn | an event that decides something was only stored |
//! | `stripe event type unknown at registration` | warn | perhaps a typing error |
//! | `stripe delivery on record` | debug, info | a delivery has ended, and its route has an [`AuditLog`](crate::audit::AuditLog); `info` if it is genuine |
//! | `stripe audit sink panicked` | error | a sink of the service's own; its record is lost |
//! | `stripe deliveries not recorded` | error | the database is away: an `AuditTable` will try again |
//! | `stripe handler misplaced` | error | a handler runs where the layer is missing |
//! | `stripe deliveries stored one by one` | warn | a group of deliveries could not be stored together |
//! | `stripe transaction closed with its connection` | warn | it could not be rolled back by a statement |
//! | `stripe transaction refused a statement` | warn | the database has refused what a handler asked |
//! | `stripe attempt ended` | debug, warn | an attempt has finished its event |
//! | `stripe attempt failed` | warn | and when it is tried again |
//! | `stripe event dead` | error | all attempts have failed: an operator is needed |
//! | `stripe attempt was taken over` | warn | its lease had run out |
//! | `stripe attempt not written down` | error | the database was away until the lease had run out |
//! | `stripe worker cannot take entries` | error | the database is away |
//! | `stripe inbox not counted` | error | the database is away |
//! | `stripe sweep failed` | error | half way; the next one makes it good |
//!
//! # Fields
//!
//! | field | is |
//! |---|---|
//! | `account` | the connected account, or a thin event's context |
//! | `api_version` | the event's |
//! | `attempt` | which one it is, from 1 |
//! | `attempts` | how many there have been |
//! | `body_bytes` | the length of a delivery's body |
//! | `body_sha256` | its SHA-256 in hexadecimal digits |
//! | `cause` | why it was rejected, or what the database did |
//! | `count` | how often, in this process |
//! | `due_in` | the time until the next attempt |
//! | `duration` | seconds from a delivery's head to its answer |
//! | `endpoint` | the label |
//! | `error` | a fixed text, or an attempt's code |
//! | `event_id` | the event's id |
//! | `event_type` | its type |
//! | `fault` | the database's own code |
//! | `group` | how many deliveries were to be stored together |
//! | `header_age` | how many seconds before now a delivery says it was signed |
//! | `left_out` | lines of the same outcome that were not written before this one |
//! | `livemode` | live mode or test mode |
//! | `outcome` | the code of what came of it |
//! | `peer` | the address that a delivery has come from, if [`AuditLayer::peer`](crate::AuditLayer::peer) tells |
//! | `reason` | a guard's or a handler's code for why |
//! | `secret_name` | the name of the secret that matched |
//! | `snapshot_event` | of a thin event, the snapshot event that says the same |
//! | `status` | the answer's |
//! | `unknown` | a name of an event type |
//!
//! # Metrics
//!
//! With the feature `metrics`, through the facade of that name: install any of its exporters.
//!
//! | metric | kind | labels | is |
//! |---|---|---|---|
//! | `stripe_deliveries_total` | counter | `endpoint`, `outcome` | genuine deliveries by what was answered; `unanswered`: the client has left, or the task was lost |
//! | `stripe_deliveries_in_flight` | gauge | `endpoint` | genuine deliveries that are not answered yet |
//! | `stripe_rejections_total` | counter | `rule` | deliveries that were answered before any handler ran, by the rule that failed |
//! | `stripe_signature_matches_total` | counter | `secret_name` | deliveries by the secret that matched, `unnamed` if it has no name: a secret that no longer matches can go |
//! | `stripe_handler_seconds` | histogram | `event_type`, `outcome` | how long handlers ran |
//! | `stripe_receipt_to_commit_seconds` | histogram | `event_type` | from a delivery's first byte to the commit of its effects; not of what was stored first |
//! | `stripe_created_to_commit_seconds` | histogram | `event_type` | from the event's `created`, in whole seconds, to that commit |
//! | `stripe_unhandled_total` | counter | `event_type` | events that a router has no handler for |
//! | `stripe_attempts_total` | counter | `outcome` | attempts of workers by how they ended; `dead`: an operator is needed |
//! | `stripe_inbox_entries` | gauge | `state` | entries when they were last [counted](crate::InboxOperations::counts): `pending`, of which `due`, `dead` and `quarantined` |
//! | `stripe_inbox_oldest_due_seconds` | gauge |  | for how long the oldest entry that is due has been, then |
//! | `stripe_audit_left_out_total` | counter | `reason` | records that an `AuditTable` has not written: `rate`, too many refused deliveries in a second; `queue_full`; `not_written`, the database was away at the end |
//!
//! The label `event_type` is a type that Stripe documents, or `other`: it has as many values and no more.
//! Endpoints and secrets have the names that the service gave them.

mod log;
mod metrics;
mod sampler;

pub(crate) use log::*;
pub(crate) use metrics::*;
pub use sampler::LINES_PER_SECOND_MAX;

/// The target of every span and log line of the crate.
pub const TARGET: &str = "axum_stripe_webhook";

macro_rules! names {
    ($($name:ident $text:literal)*) => {
        $(
            #[doc = concat!("`", $text, "`")]
            pub const $name: &str = $text;
        )*

        #[cfg(test)]
        pub(super) const ALL: &[&str] = &[$($name),*];
    };
}

/// Names of metrics.
pub mod metric {
    names! {
        DELIVERIES "stripe_deliveries_total"
        IN_FLIGHT "stripe_deliveries_in_flight"
        REJECTIONS "stripe_rejections_total"
        SIGNATURE_MATCHES "stripe_signature_matches_total"
        HANDLER_SECONDS "stripe_handler_seconds"
        RECEIPT_TO_COMMIT_SECONDS "stripe_receipt_to_commit_seconds"
        CREATED_TO_COMMIT_SECONDS "stripe_created_to_commit_seconds"
        UNHANDLED "stripe_unhandled_total"
        ATTEMPTS "stripe_attempts_total"
        ENTRIES "stripe_inbox_entries"
        OLDEST_DUE_SECONDS "stripe_inbox_oldest_due_seconds"
        AUDIT_LEFT_OUT "stripe_audit_left_out_total"
    }
}

/// Names of the labels of metrics.
pub mod label {
    names! {
        ENDPOINT "endpoint"
        EVENT_TYPE "event_type"
        OUTCOME "outcome"
        REASON "reason"
        RULE "rule"
        SECRET_NAME "secret_name"
        STATE "state"
    }
}

/// Names of spans.
pub mod span {
    names! {
        DELIVERY "stripe_delivery"
        ATTEMPT "stripe_attempt"
        OPERATION "stripe_operation"
    }
}

/// Names of fields, in spans and log lines.
pub mod field {
    names! {
        ACCOUNT "account"
        API_VERSION "api_version"
        ATTEMPT "attempt"
        ATTEMPTS "attempts"
        BODY_BYTES "body_bytes"
        BODY_SHA256 "body_sha256"
        CAUSE "cause"
        COUNT "count"
        DUE_IN "due_in"
        DURATION "duration"
        ENDPOINT "endpoint"
        ERROR "error"
        EVENT_ID "event_id"
        EVENT_TYPE "event_type"
        FAULT "fault"
        GROUP "group"
        HEADER_AGE "header_age"
        LEFT_OUT "left_out"
        LIVEMODE "livemode"
        OUTCOME "outcome"
        PEER "peer"
        REASON "reason"
        SECRET_NAME "secret_name"
        SNAPSHOT_EVENT "snapshot_event"
        STATUS "status"
        UNKNOWN "unknown"
    }
}

#[cfg(test)]
mod tests;
