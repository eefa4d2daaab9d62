//! What the crate promises, looked at from outside: over HTTP and in the tables.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

// Support, by noun.
mod broken;
mod database;
mod endpoint;
mod log;
mod metrics;
mod proxy;
mod stored;
mod stripe;
mod stripe_api;

// Topics.
mod cli;
mod conformance;
mod effect_key;
mod envelope;
mod examples;
mod extractor;
mod flood;
mod handed_on;
mod kit;
mod locks;
mod migrations;
mod on_postgres;
mod on_sqlite;
mod probe;
mod properties;
mod rolling;
mod router;
mod simulator;
mod stored_on_postgres;
mod subscriptions;
mod telemetry;
mod tidy;
mod transitions;
mod vectors;
