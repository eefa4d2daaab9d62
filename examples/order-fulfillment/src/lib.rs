//! A shop's webhook server on [`axum_stripe_webhook`]: every paid order is sent once, whatever is
//! delivered, in whatever order, by however many senders.
//!
//! `cargo run -p order-fulfillment -- demo` shows it without an account at Stripe,
//! `cargo run -p order-fulfillment` serves, and `cargo run -p order-fulfillment -- worker` works off
//! what a server has stored. An axum router, sqlx on Postgres or an embedded SQLite file, and the
//! layer or the inbox between them are all there is.
//!
//! # How a delivery pays an order
//!
//! 1. The shop places an order, `POST /orders` with `{"amount": 4200, "currency": "eur"}`, and
//!    makes a Checkout Session at Stripe whose `client_reference_id` (or `metadata.order_id`) is
//!    the order's id. The customer pays there.
//! 2. Stripe delivers `checkout.session.completed` to `POST /webhooks/stripe`. The
//!    [`ProcessOnceLayer`](axum_stripe_webhook::ProcessOnceLayer) verifies the signature, opens a
//!    transaction and claims the event in it. A copy ends here.
//! 3. The [`EventRouter`](axum_stripe_webhook::EventRouter) hands it to the function of its type,
//!    in [`webhook`]. That locks the row of the payment intent, which can pay no other order
//!    meanwhile, and claims the effect `fulfil:{session}`, which no other event of the session can
//!    have then.
//! 4. It locks the order, which must be open, and whose amount and currency must be those of the
//!    payment. Of two sessions that pay at the same moment, one finds it open.
//! 5. The order is paid, and handed to the warehouse: a row of `shipments`, whose key is the order.
//!    That is the fulfilment lock.
//! 6. The layer commits all of it together with the claim, and Stripe gets its 200. Whatever fails
//!    before that undoes everything, and Stripe delivers again.
//!
//! That is `MODE=inline`. So the writes happen once per event. Deliveries are at-least-once, and so is whatever the
//! warehouse does with a row of `shipments`.
//!
//! # Stored first
//!
//! With `MODE=inbox` an [`Inbox`](axum_stripe_webhook::Inbox) takes step 2: it verifies the signature,
//! stores the event in `stripe_inbox` and answers 200. A worker does the rest, with the same
//! functions, in the same kind of transaction: one in the server's own process, unless
//! `WORKER_CONCURRENCY=0` leaves it out, and any number of processes of their own, which need
//! `DATABASE_URL` alone:
//!
//! ```sh
//! MODE=inbox WORKER_CONCURRENCY=0 order-fulfillment   # takes the events
//! order-fulfillment worker                            # processes them: here, and on other machines
//! ```
//!
//! Stripe does not learn what comes of an event. What fails is tried again by a worker, twenty times
//! in about three days, and is `dead` then: whoever looks at `GET /events` finds it, and has it
//! retried when the cause is gone. Before a server goes back to `MODE=inline`, let the workers finish:
//! what is pending is not run by it.
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
//! | any other | none, 200: it leaves no row |
//!
//! | `payment_status` | effect |
//! |---|---|
//! | `paid` | a payment |
//! | `no_payment_required` | a payment over nothing, if `amount_total` is 0 or null; else none |
//! | `unpaid` | none: the money is on its way, or never comes |
//! | any other, or `paid` without an amount | kept as `unknown_payment`: words to come do not pay |
//!
//! | a payment whose order | effect | parcel |
//! |---|---|---|
//! | is open and fits | the order is paid | yes |
//! | was paid by another session (a customer who clicked twice) | a row of `refunds_due`, and a warning | no second one |
//! | is unknown, or not named | kept as `unknown_order` | no |
//! | is open, and over another amount or currency | kept as `amount_mismatch` | no |
//! | is not the one that its payment intent has paid, or is due back for | kept as `payment_spent` | no |
//!
//! A payment over nothing pays an order over nothing, in whatever currency; for an order that was
//! paid already nothing is due back. A session whose event has paid or is due back has had its
//! effect: whatever further events say of it, they are answered with 200 and do nothing.
//!
//! What is still to be refunded are the rows of `refunds_due` whose payment intent is `clear`: the
//! bank takes back what was disputed.
//!
//! # What is kept
//!
//! An event that cannot take effect as it is: see the tables above. So is one whose object has
//! another shape than the shop reads (`object_misfit`), and what the guards stop (`guard_…`). It is
//! answered with 200, because a retry would bring nothing new, and logged as a warning with its id
//! and the reason, on which to raise an alarm. Its bytes stay in `stripe_inbox` until somebody
//! decides:
//!
//! ```sh
//! curl -H 'content-type: application/json' -d '{"actor": "jo", "reason": "order imported"}' \
//!     http://127.0.0.1:3000/events/evt_1.../release   # or discard
//! ```
//!
//! Released, it runs as if it had just arrived: if the order is there by now, or was put right, it
//! is paid, once, even if another event of the session comes at the same moment. If nothing has
//! changed, the answer is 409 and it stays kept. Discarded, it never runs. Who has done it and why
//! is in `stripe_actions`. With `MODE=inbox` the answer to a release is 202: a worker runs the event,
//! and keeps it again if nothing has changed.
//!
//! An order is committed before its session is made. So one that is unknown is not late: it was
//! imported, restored or mistyped, or is no order of this shop, and an hour more of Stripe's
//! retries would not help.
//!
//! # Events come in any order
//!
//! A refund or a dispute can be delivered before the payment. So all three are first noted in the
//! row of the payment intent, where `disputed` wins over `refunded` and that over `clear`,
//! whichever comes first: a dispute has to be answered even if the money went back already. The
//! order takes its status from there. The row is locked meanwhile, so of two events about one
//! payment the later one sees what the earlier one has written. Nothing leads back to `pending`,
//! and a late `expired` finds a paid order and leaves it alone.
//!
//! # Not handled
//!
//! **Thin events**: they leave no row, so they are not in the way of their snapshot twins,
//! whichever comes first. Have the destination at Stripe send snapshot events: of thin ones alone
//! no order would be paid, and the log would tell so only at `debug`.
//!
//! **Sessions of a mode other than `payment`** (`subscription`, `setup`): they pay no order and
//! leave no row, 200. The session of a subscription names no payment intent, so a refund or dispute
//! would never reach the order. A session without a mode, as in older payloads, is taken for one of
//! `payment`.
//!
//! **Events older than 90 days**, by `created`: they are kept in `stripe_inbox` and do nothing,
//! because nobody remembers any more whether they were processed.
//!
//! Nor: a transfer that never arrives, a refund that fails after all, what becomes of a dispute,
//! suspicions of fraud. Their types are ignored by name, see [`webhook::events`], and the shop's
//! staff puts those right by hand. At its start the server prints which types its flows need
//! ([`webhook::FLOWS`]) and what is done with each.
//!
//! # Routes
//!
//! | route | for | answers |
//! |---|---|---|
//! | `POST /webhooks/stripe` | Stripe | as [`axum_stripe_webhook::once`] says; 503 when the database fails |
//! | `POST /orders` | the shop | 201 with the order's id; 422 |
//! | `GET /orders/{id}` | the shop | 200; 404 |
//! | `GET /events` | the shop's staff | 200: how many events are pending, dead and quarantined, and a hundred of the dead and of the quarantined |
//! | `GET /events/coverage` | the shop's staff | 200: which types of event the shop's flows need and what is done with each, for `stripe-webhook coverage` |
//! | `POST /events/{id}/release` | the shop's staff | as the webhook would, or 202 with `MODE=inbox`; 400 without actor and reason, 404 if it is not kept, 409 if it is to be kept again |
//! | `POST /events/{id}/discard` | the shop's staff | 200; 400, 404, 409 while a worker has it |
//! | `POST /events/{id}/retry` | the shop's staff, with `MODE=inbox` | 202; 400, 404 if it is neither dead nor pending, 409 while a worker has it, 410 if its bytes are gone |
//! | `GET /healthz` | the load balancer | 200 if the database answers within two seconds, else 503 |
//! | `GET /metrics` | Prometheus | 200: every metric of [`axum_stripe_webhook::telemetry`] |
//!
//! Any route: 503 at once beyond 256 requests in progress.
//!
//! **Only the webhook may be reached from outside.** The other routes carry no authentication: put
//! them behind the shop's own. Whoever reaches them can place an order over nothing, or release what
//! a guard has stopped, such as a payment with a test card: guards are not asked again. The actor is
//! whoever the request says.
//!
//! # What can be seen
//!
//! - **The log.** Each request has a span with its `request_id`: that of the proxy, in `x-request-id`, or one
//!   of its own, which the answer has too. What is said of a delivery stands within it.
//! - **Metrics**, at `GET /metrics`; `alerts.yml` has the rules by which somebody should be woken up.
//! - **The audit trail**, in `stripe_deliveries`: every request to the webhook, refused ones included, for 90
//!   days. `peer` is whoever has opened the connection; behind a proxy, have it read the proxy's header.
//!
//! None of them holds anything of a payload, a secret or a signature.
//!
//! # Settings
//!
//! | variable | default | meaning |
//! |---|---|---|
//! | `STRIPE_WEBHOOK_SECRET` | none: it does not start | the endpoint's signing secret, `whsec_…` |
//! | `STRIPE_WEBHOOK_SECRET_OLD` | not set | the secret before, while a rolled one is still in use |
//! | `STRIPE_MODE` | not set: both | `live` or `test`: events of the other mode are kept in `stripe_inbox` and pay nothing |
//! | `MODE` | `inline` | `inbox`: events are stored and answered, and processed afterwards |
//! | `WORKER_CONCURRENCY` | `8` | how many stored events a worker processes at once; 0 leaves the worker out of a server with `MODE=inbox` |
//! | `DATABASE_URL` | `sqlite://orders.sqlite` | `postgres://…`, or the path of a SQLite file; one in memory is refused |
//! | `BIND_ADDRESS` | `127.0.0.1:3000` | where to listen |
//! | `RUST_LOG` | `info`, of sqlx `warn`; in the demo `off` | what to log, such as `warn,axum_stripe_webhook=debug` |
//!
//! The `worker` subcommand reads `DATABASE_URL`, `WORKER_CONCURRENCY` and `RUST_LOG` alone.
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
//! | a handler | 8 s | 503; in a worker, tried again |
//! | a row of the ledger, and the bytes of what is dead or kept | 90 days | swept, each hour |
//! | the end | 25 s | what is in progress is cut off |
//!
//! A body is read whole before its signature can be verified, so strangers can have the server hold
//! 256 bodies of 1 MiB: 256 MiB, and for moments twice that.
//!
//! # Ends
//!
//! SIGINT and SIGTERM end it: no new request is taken, connections without one are closed, requests
//! in progress are finished, then the deliveries whose client has gone, within 25 seconds all
//! together. Meanwhile a worker takes nothing more and finishes what it has in hand. What is cut off
//! then was not committed, and comes again: from Stripe, or, if it was stored, from the inbox after
//! a minute. A second signal ends it at once, with exit code 1.

pub mod config;
pub mod database;
pub mod demo;
pub mod endpoint;
mod error;
pub mod listen;
pub mod metrics;
pub mod orders;
mod rows;
pub mod server;
mod shop;
mod staff;
pub mod states;
mod stripe;
pub mod webhook;
pub mod worker;
