//! A shop's webhook server on [`axum_stripe_webhook`]: every paid order is sent once, whatever is
//! delivered, in whatever order, by however many senders.
//!
//! `cargo run -p order-fulfillment -- demo` shows it without an account at Stripe, and
//! `cargo run -p order-fulfillment` serves. An axum router, sqlx on Postgres or an embedded SQLite
//! file, and the layer between them are all there is.
//!
//! # How a delivery pays an order
//!
//! 1. The shop places an order, `POST /orders` with `{"amount": 4200, "currency": "eur"}`, and makes
//!    a Checkout Session at Stripe whose `client_reference_id` (or `metadata.order_id`) is the
//!    order's id. The customer pays there.
//! 2. Stripe delivers `checkout.session.completed` to `POST /webhooks/stripe`. The
//!    [`ProcessOnceLayer`](axum_stripe_webhook::ProcessOnceLayer) verifies the signature, opens a
//!    transaction and claims the event in it. A copy ends here.
//! 3. One statement has the session pay the order: it must be open, and amount and currency must be
//!    the order's. Of two sessions that pay at the same moment, one finds it open.
//! 4. The payment is recorded, and the order handed to the warehouse: a row of `shipments`, whose
//!    key is the order. That is the fulfilment lock.
//! 5. The layer commits all of it together with the claim, and Stripe gets its 200. Whatever fails
//!    before that undoes everything, and Stripe delivers again.
//!
//! So the writes happen once per event. Deliveries are at-least-once, and so is whatever the
//! warehouse does with a row of `shipments`.
//!
//! # What each event does
//!
//! | event | effect |
//! |---|---|
//! | `checkout.session.completed` | `payment_status` is `unpaid`: none, the money is on its way. Else a payment |
//! | `checkout.session.async_payment_succeeded` | a payment |
//! | `checkout.session.expired` | the order expires if nobody has paid it. A later session can still pay it |
//! | `charge.refunded` | the sum is kept; wholly refunded: the order is `refunded`, a parcel that has not left is held |
//! | `charge.dispute.created` | the order is `disputed`, a parcel that has not left is held |
//! | any other | none, 200 |
//!
//! | a payment whose order | becomes | parcel |
//! |---|---|---|
//! | is open and fits | `accepted`: the order is paid | yes |
//! | was paid by another session (a customer who clicked twice) | `to_refund` | no second one |
//! | is unknown, or is over another amount or currency | `to_review`, and a warning | no |
//!
//! An order over nothing is paid by a session with `no_payment_required`. What is still to be
//! refunded are the payments `to_refund` whose row in `payment_intents` is not `refunded`.
//!
//! # Events come in any order
//!
//! A refund or a dispute can be delivered before the payment. So all three are first noted in the
//! row of the payment intent, where `disputed` wins over `refunded` and that over `clear`, whichever
//! comes first: a dispute has to be answered even if the money went back already. The order takes
//! its status from there. The row is locked meanwhile, so of two events about one payment the later
//! one sees what the earlier one has written. Nothing leads back to `pending`, and a late `expired`
//! finds a paid order and leaves it alone.
//!
//! Not handled: a refund that fails after all (`refund.failed`), a dispute that is won
//! (`charge.dispute.closed`), a transfer that never arrives
//! (`checkout.session.async_payment_failed`). The shop's staff puts those right by hand.
//!
//! # Routes
//!
//! | route | for | answers |
//! |---|---|---|
//! | `POST /webhooks/stripe` | Stripe | as [`axum_stripe_webhook::once`] says; 422 for an object of another shape, 503 when the database fails |
//! | `POST /orders` | the shop | 201 with the order's id; 422 |
//! | `GET /orders/{id}` | the shop | 200; 404 |
//! | `GET /healthz` | the load balancer | 200 if the database answers within two seconds, else 503 |
//!
//! **Only the webhook may be reached from outside.** The other routes carry no authentication: put
//! them behind the shop's own.
//!
//! # Settings
//!
//! | variable | default | meaning |
//! |---|---|---|
//! | `STRIPE_WEBHOOK_SECRET` | none: it does not start | the endpoint's signing secret, `whsec_…` |
//! | `STRIPE_WEBHOOK_SECRET_OLD` | not set | the secret before, while a rolled one is still in use |
//! | `DATABASE_URL` | `sqlite://orders.sqlite` | `postgres://…`, or the path of a SQLite file |
//! | `BIND_ADDRESS` | `127.0.0.1:3000` | where to listen |
//! | `RUST_LOG` | `info`, of sqlx `warn`; in the demo `off` | what to log, such as `warn,axum_stripe_webhook=debug` |
//!
//! # Ends
//!
//! SIGINT and SIGTERM end it: no new request is taken, those in progress are finished, then the
//! deliveries whose client has gone, within 25 seconds all together. What is cut off then was not
//! committed, and comes again.

pub mod config;
pub mod database;
pub mod demo;
mod error;
pub mod orders;
pub mod server;
mod shop;
pub mod states;
mod stripe;
mod webhook;
