//! The audit trail: every delivery on record, refused ones included, and nothing of its payload.
//!
//! Put [`AuditLayer`] outside whatever may answer for the webhook, and inside what gives requests their
//! ids. It hands a [`DeliveryRecord`] to its [`AuditSink`] for each request, when that is answered or when
//! its client has gone:
//!
//! - [`AuditLog`], the default, writes log lines;
#![cfg_attr(
    feature = "_database",
    doc = "- [`AuditTable`] writes rows of `stripe_deliveries`, in groups, off the request path;"
)]
//! - or a sink of the service's own.
//!
//! ```
//! use std::net::SocketAddr;
//!
//! use axum::{Router, extract::ConnectInfo, routing::post};
//! use axum_stripe_webhook::{AuditLayer, SigningSecret, VerifiedStripeEvent, Verifier};
//!
//! async fn webhook(event: VerifiedStripeEvent) {}
//!
//! let audit = AuditLayer::new()
//!     .peer(|request| Some(request.extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip()));
//! let app: Router = Router::new()
//!     .route("/webhooks/stripe", post(webhook).route_layer(audit))
//!     .with_state(Verifier::new(SigningSecret::new("whsec_example")?));
//! # Ok::<(), axum_stripe_webhook::SecretError>(())
//! ```
//!
//! # Outcomes
//!
//! Those of the layer's own answers (see `once`) and of rejections
//! ([`StripeEventRejection::code`](crate::StripeEventRejection::code)), and besides:
//!
//! | outcome | is |
//! |---|---|
//! | `processed` | the handler has answered with 2xx, and its transaction is committed |
//! | `handler_failed` | it has answered with anything else, which is rolled back |
//! | `prepare_ignored`, `prepare_failed` | the step before the transaction has answered, with 2xx or anything else |
//! | `delayed` | the handler wants it later |
//! | `stored` | the inbox has it |
//! | `succeeded` | without the layer: a handler has answered a genuine delivery with 2xx |
//! | `failed` | likewise with anything else, or a layer in between has answered |
//! | `not_received` | it was answered before anything of this crate had seen it |
//! | `unanswered` | the client has gone, or a handler has panicked, before there was an answer |
//!
//! # A flood
//!
//! Whoever knows the address can cause records of refused deliveries. A sink bounds them and counts what
//! it leaves out: what is genuine is never left out for them.

mod layer;
mod log;
mod record;
#[cfg(feature = "_database")]
mod table;

pub use layer::{Audit, AuditLayer};
pub use log::AuditLog;
pub(crate) use record::Trace;
pub use record::{AuditSink, DeliveryRecord};
#[cfg(feature = "_database")]
pub use table::{AuditTable, GATHER_TIME, QUEUE_MAX, REFUSED_PER_SECOND_MAX};
