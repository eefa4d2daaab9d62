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
//! 3. The rows of the payment intent and of the session are locked: neither can pay another order
//!    meanwhile. Then one statement has the session pay the order: it must be open, and amount and
//!    currency must be the order's. Of two sessions that pay at the same moment, one finds it open.
//! 4. The payment is recorded as accepted, and the order handed to the warehouse: a row of `shipments`, whose
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
//! | `checkout.session.completed` | a payment, by its `payment_status` |
//! | `checkout.session.async_payment_succeeded` | likewise: the money that was on its way has arrived |
//! | `checkout.session.expired` | the order expires if nobody has paid it. A later session can still pay it |
//! | `charge.refunded` | the sum is kept; wholly refunded: the order is `refunded`, a parcel that has not left is held |
//! | `charge.dispute.created` | the order is `disputed`, a parcel that has not left is held |
//! | any other | none, 200 |
//!
//! | `payment_status` | effect |
//! |---|---|
//! | `paid` | a payment |
//! | `no_payment_required` | a payment over nothing, if `amount_total` is 0 or null; else none |
//! | `unpaid` | none: the money is on its way, or never comes |
//! | any other | none, and a warning: words to come do not pay |
//!
//! | a payment whose order | becomes | parcel |
//! |---|---|---|
//! | is open and fits | `accepted`: the order is paid | yes |
//! | was paid by another session (a customer who clicked twice) | `to_refund` | no second one |
//! | is unknown, or is over another amount or currency | `to_review`, and a warning | no |
//! | is not the one that its payment intent has paid already | `to_review`, and a warning | no |
//!
//! A payment over nothing pays an order over nothing, in whatever currency; one that pays none is
//! not recorded, because it took no money. A session that was accepted pays no further order. One
//! that was not can still be, by a later event: then its row says what it was accepted with.
//!
//! What is still to be refunded are the payments `to_refund` whose row in `payment_intents` is not `refunded`.
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
//! # Not handled
//!
//! **Thin events.** Such an event and its snapshot twin are one to the layer, so a 200 for the thin
//! one would make the other a duplicate and lose the payment. A thin event of a type above, with
//! `v1.` or without, is answered with 422 and an error in the log, until its destination at Stripe
//! is made one of snapshot events; the twin is processed. Other thin events do nothing, 200.
//!
//! **Sessions of a mode other than `payment`** (`subscription`, `setup`): they pay no order, nothing
//! of them is recorded, 200. The session of a subscription names no payment intent, so a refund or
//! dispute would never reach the order. A session without a mode, as in older payloads, is taken for
//! one of `payment`.
//!
//! **Events older than 90 days**, by `created`: they are kept in `stripe_inbox` and do nothing, because
//! nobody remembers any more whether they were processed.
//!
//! Nor: a refund that fails after all (`refund.failed`), a dispute that is won
//! (`charge.dispute.closed`), a transfer that never arrives
//! (`checkout.session.async_payment_failed`). The shop's staff puts those right by hand.
//!
//! # Routes
//!
//! | route | for | answers |
//! |---|---|---|
//! | `POST /webhooks/stripe` | Stripe | as [`axum_stripe_webhook::once`] says; 422 for an object of another shape or a thin event, 503 when the database fails |
//! | `POST /orders` | the shop | 201 with the order's id; 422 |
//! | `GET /orders/{id}` | the shop | 200; 404 |
//! | `GET /healthz` | the load balancer | 200 if the database answers within two seconds, else 503 |
//!
//! Any route: 503 at once beyond 256 requests in progress.
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
//! | `STRIPE_MODE` | not set: both | `live` or `test`: events of the other mode are kept in `stripe_inbox` and pay nothing |
//! | `DATABASE_URL` | `sqlite://orders.sqlite` | `postgres://…`, or the path of a SQLite file; one in memory is refused |
//! | `BIND_ADDRESS` | `127.0.0.1:3000` | where to listen |
//! | `RUST_LOG` | `info`, of sqlx `warn`; in the demo `off` | what to log, such as `warn,axum_stripe_webhook=debug` |
//!
//! **No TLS to Postgres.** This example enables none of sqlx's `tls-*` features, so it refuses
//! `sslmode=require` and stricter. Where the database is not on the same machine or network, enable
//! one in `Cargo.toml`, such as `tls-rustls`, and say `?sslmode=verify-full` in `DATABASE_URL`.
//!
//! # Limits
//!
//! | of | limit | beyond it |
//! |---|---|---|
//! | open connections | 960 | they wait |
//! | a request's header | 10 s, in which an idle connection is closed too | the connection is closed |
//! | requests in progress | 256 | 503 at once |
//! | a body | 1 MiB, 10 s | 413, 408 |
//! | a lock of Postgres | 2 s | 503: events that wait for one order give way to the others |
//! | a handler | 8 s | 503 |
//! | the end | 25 s | what is in progress is cut off |
//!
//! A body is read whole before its signature can be verified, so strangers can have the server hold
//! 256 bodies of 1 MiB: 256 MiB, and for moments twice that.
//!
//! # Ends
//!
//! SIGINT and SIGTERM end it: no new request is taken, connections without one are closed, requests
//! in progress are finished, then the deliveries whose client has gone, within 25 seconds all
//! together. What is cut off then was not committed, and comes again. A second signal ends it at
//! once, with exit code 1.

pub mod config;
pub mod database;
pub mod demo;
mod error;
pub mod listen;
pub mod orders;
mod rows;
pub mod server;
mod shop;
pub mod states;
mod stripe;
mod webhook;
