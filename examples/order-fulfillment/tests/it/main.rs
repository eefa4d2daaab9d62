//! The example server, over its routes and as a program, on both databases.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod bench;
// Linux tells what a process has.
#[cfg(target_os = "linux")]
mod flood;
mod forgeries;
mod inbox;
mod kept;
mod killed;
mod limits;
mod modes;
mod out_of_order;
mod payments;
mod probed;
mod program;
mod routes;
mod seen;
mod sessions;
mod shutdown;
mod twins;
mod workers;
