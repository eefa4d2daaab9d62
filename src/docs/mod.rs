//! Guides, from the first delivery to operation. They exist in the documentation alone.
//!
//! 1. [Getting started](getting_started): a service that processes each event once, on SQLite.
//! 2. [Testing](crate::testing): the first test, days of deliveries in a moment, an attack on a service that runs.
//! 3. [Going to production](production): pool, time-outs, proxies, TLS, migrations, shutting down.
//! 4. [Operating the inbox](operating): what is dead or quarantined, and what to do about it.
//! 5. [Security](security): what verification proves, and what it does not.
//! 6. [Migrating](migrating) from a handler written by hand, or from async-stripe's example.
//! 7. [Connect and thin events](connect): accounts of others, and events without an object.
//! 8. [Side effects](side_effects): what belongs after the commit.

#![cfg(all(feature = "sqlite", feature = "testing"))]

#[doc = include_str!("connect.md")]
pub mod connect {}
#[doc = include_str!("getting_started.md")]
pub mod getting_started {}
#[doc = include_str!("migrating.md")]
pub mod migrating {}
#[doc = include_str!("operating.md")]
pub mod operating {}
#[doc = include_str!("production.md")]
pub mod production {}
#[doc = include_str!("security.md")]
pub mod security {}
#[doc = include_str!("side_effects.md")]
pub mod side_effects {}
