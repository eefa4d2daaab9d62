//! Processing an event once: [`ProcessOnceLayer`] and [`EventTx`].
//!
//! Put the layer on the webhook's route (`route_layer`), not on the whole `Router`: other routes
//! are not webhooks, and every request that reaches the layer without a valid signature is refused.
//!
//! # How a delivery runs
//!
//! 1. The body is read within its limits, verified, and its envelope parsed. A client that goes
//!    away until here has cost nothing.
//! 2. The [guards](crate::guard) are asked. What they stop is not run: it goes through steps 3 to 7
//!    without being prepared, is kept in `stripe_inbox` as `quarantined` in the claim's transaction,
//!    and answered with 200; or it is rejected or ignored, if the service says so.
//! 3. The same event already in flight in this process: 409, without touching the database.
//! 4. More deliveries in progress than the cap: 503, at once.
//! 5. A task of its own takes over, so that a client that disconnects cannot stop what follows half
//!    way. Its span is the delivery's; task-locals of outer layers do not come along. If the service
//!    has given a step for it, that fetches what the handler will need
//!    ([`prepare`](ProcessOnceLayer::prepare)), for events that are not processed already.
//! 6. The task waits for a place among the transactions, of which there are fewer than the pool has
//!    connections, and opens one (READ COMMITTED).
//! 7. It claims the event: `insert … on conflict do nothing` into `processed_stripe_events`. No row
//!    written: a duplicate, 200, unless a guard has stopped the event and this delivery of it has
//!    passed, or its object did not fit before: then what was kept of it is deleted, and it is claimed after all. Another process has
//!    the event in hand: 409 after a limited wait.
//! 8. The handler runs, within its time limit. A panic is caught.
//! 9. The transaction is taken back from the handler. Not there any more: 500.
//! 10. On a 2xx, the last statement makes sure that it is still the same transaction and that
//!     nothing in it has failed; then COMMIT. On anything else, 3xx included, it is rolled back and
//!     the handler's answer is passed on; a [`Disposition`](crate::Disposition) says more.
//!
//! So the handler's writes and the event's row commit together or not at all, and at most once.
//! Deliveries, and whatever a handler does outside the database, are at-least-once.
//!
//! # Side effects belong after the commit
//!
//! An e-mail that a handler sends cannot be rolled back. Sent, and the COMMIT fails: the customer has a
//! mail about an order that is not paid, and another with the redelivery. A carrier that is asked within
//! the handler keeps a transaction, its locks and a connection waiting for a network; when it is slow,
//! Stripe gives up and delivers again. So a handler writes down what is to be done, in the event's
//! transaction: a row of its own, or a job of a queue that lives in the same database. It is there
//! exactly if the event is processed, and whoever does it can take its time and try again.
//!
//! Whatever is done outside the database is at-least-once all the same: give it a key by which the other
//! side knows it again. [`Event::effect_key`](crate::Event::effect_key) makes one of the event, for an
//! `Idempotency-Key` or the key of a job; [`EventTx::claim_effect`] decides between several events that
//! would cause the same. `examples/ship-after-commit` shows it whole: the job is enqueued in the
//! transaction, and a worker asks the carrier with the key, again and again if need be.
//!
//! # Round trips
//!
//! On Postgres, and so on SQLite as statements: four beside the handler's own (BEGIN, the claim,
//! the last statement, COMMIT), and four for a duplicate (BEGIN, the claim, the question
//! whether it is held, ROLLBACK). When a handler does not answer 2xx, and with a step before the
//! transaction, one more. A pool adds one to each delivery while its `test_before_acquire` is on, as it
//! is by default; without it, a connection that broke while it was idle costs one 503, which Stripe's
//! retry makes good.
//!
//! Where deliveries wait for a place, whoever ends a transaction begins the next in the same round trip, on
//! Postgres, and hands its connection on: three then, for either. The pool's hooks `before_acquire` and
//! `after_release` do not run in between; they do after ten transactions, and as soon as anybody
//! else waits for a connection. `now()` is then the time at which the transaction was handed on.
//!
//! # Not deduplicated
//!
//! `evt_00000000000000`, the id of every test event sent from the Dashboard, and
//! `issuing_authorization.request`, whose duplicate must be answered with the decision again. Their
//! handlers run for each delivery, in a transaction that writes no row to
//! `processed_stripe_events`.
//!
//! # Answers
//!
//! Of the layer itself; before it, those of [`StripeEventRejection`](crate::StripeEventRejection)
//! apply, and after it the handler's own. Bodies are one fixed line.
//!
//! | outcome | status | Stripe retries |
//! |---|---|---|
//! | `duplicate` | 200 | no |
//! | `ignored` | 200 | no |
//! | `unhandled` | 200 | no |
//! | `quarantined` | 200 | no |
//! | `discarded` | 200 | no |
//! | `in_flight` | 409 | yes |
//! | `prepare_panicked` | 500 | yes |
//! | `handler_panicked` | 500 | yes |
//! | `transaction_kept` | 500 | yes |
//! | `transaction_ended` | 500 | yes |
//! | `transaction_aborted` | 500 | yes |
//! | `commit_refused` | 500 | yes |
//! | `overloaded` | 503 | yes |
//! | `database_unavailable` | 503 | yes |
//! | `prepare_timed_out` | 503 | yes |
//! | `handler_timed_out` | 503 | yes |
//! | `task_lost` | 503 | yes |
//!
//! [`release`](ProcessOnceLayer::release) and [`discard`](ProcessOnceLayer::discard) answer an operator,
//! besides, with 404 (`not_quarantined`) and 409 (`still_quarantined`).
//!
//! # Logs
//!
//! Every span, line and field stands in [`telemetry`](crate::telemetry). Each answer to a genuine delivery
//! is one line, with its `outcome`, in the span `stripe_delivery`:
//!
//! - `debug`: what is processed, and what a sender can cause at will (duplicates, what is ignored or
//!   unhandled).
//! - `warn`: what a handler or the step before it does (a non-2xx answer, out of time), too many
//!   deliveries, and each event that is kept or given up, with the `reason`.
//! - `error`: what an operator has to mend, with the SQLSTATE or the kind of the fault as `fault`.
//!
//! Endless 400s and nothing in the log: set the target `axum_stripe_webhook` to `debug`, and read which
//! rule failed.

mod answer;
mod delivery;
mod event_tx;
mod in_flight;
mod layer;
mod object_order;
mod operator;
mod prepare;
mod processor;
mod quarantine;
mod receiver;
mod service;

pub(crate) use answer::Answer;
pub(crate) use delivery::{Delivery, Outcome, request_parts};
pub use event_tx::{EventTx, EventTxRejection};
pub use layer::{
    ACQUIRE_TIME_MAX_DEFAULT, BODY_TIME_MAX_DEFAULT, CLAIM_WAIT_MAX_DEFAULT,
    DELIVERIES_MAX_DEFAULT, ENDPOINT_DEFAULT, HANDLER_TIME_MAX_DEFAULT, PREPARE_TIME_MAX_DEFAULT,
    ProcessOnceLayer,
};
pub use object_order::{EventTxError, ObjectOrder};
pub use operator::{ACTOR_CHARS_MAX, Operator, OperatorError, REASON_CHARS_MAX};
pub(crate) use processor::Processor;
pub(crate) use receiver::{Genuine, Guarded, Receiver, label_or_default};
pub use service::ProcessOnce;
pub(crate) use service::{keep_stopped, process};
