//! Helpers for the tests of services that receive webhooks (feature `testing`).
#![cfg_attr(feature = "sqlite", doc = "\n", doc = include_str!("../docs/testing.md"))]

mod delivery;
mod fixed_clock;
#[cfg(feature = "_database")]
mod ledger_snapshot;
mod path;
mod sample_event;
mod samples;
mod sign;
pub mod simulator;
#[cfg(feature = "sqlite")]
mod test_ledger;

pub use delivery::SignedDelivery;
#[cfg(feature = "probe")]
pub(crate) use delivery::USER_AGENT;
pub use fixed_clock::FixedClock;
#[cfg(feature = "_database")]
pub use ledger_snapshot::{LedgerSnapshot, LedgerState, SNAPSHOT_EVENTS_MAX};
pub use sample_event::{SAMPLE_API_VERSION, SampleEvent};
#[cfg(feature = "probe")]
pub(crate) use sign::mac;
pub use sign::sign_test_payload;
pub use simulator::{Simulator, SimulatorReport};
#[cfg(feature = "sqlite")]
pub use test_ledger::TestLedger;
