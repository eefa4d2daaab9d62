//! What the crate promises, looked at from outside: over HTTP.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

// Support, by noun.
mod stripe;

// Topics.
mod envelope;
mod extractor;
mod vectors;
