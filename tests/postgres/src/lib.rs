//! A Postgres for the tests of this workspace, which find one by themselves.
//!
//! All tests of a process share one server. It is, in this order:
//!
//! 1. the one that `TEST_DATABASE_URL` names: any database of a server where databases may be
//!    created. If the variable is set, nothing else is tried;
//! 2. a container of the image `postgres`, if a Docker engine answers. `TEST_POSTGRES_TAG` chooses
//!    the image's tag, `15` if unset;
//! 3. the Postgres binaries of the machine: of `PATH`, or else the highest version under
//!    `/usr/lib/postgresql`. They run as the user `postgres` if the tests run as root.
//!
//! With none of them a test panics and says why each one failed; no test is skipped.
//!
//! A server of 2 or 3 is gone after the run, also when the run was killed:
//! `watchdog.rs` says how.
//! Runners that give each test a process of its own (`cargo nextest`) start a server for each test;
//! set `TEST_DATABASE_URL` there.

mod database;
mod docker;
mod given;
mod native;
mod own;
mod server;
mod watchdog;

pub use database::TestDatabase;
pub use own::OwnServer;

/// The URL of a server's maintenance database, for tests that need the server itself.
///
/// The first use in a process starts or finds the server, which may take seconds and blocks.
///
/// # Panics
///
/// If there is no server; the message says what was tried and what to install or set.
#[must_use]
pub fn server_url() -> &'static str {
    &server::shared().url
}
