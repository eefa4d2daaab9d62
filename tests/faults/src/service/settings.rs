//! What the service is told on its command line.

use std::time::Duration;

use axum_stripe_webhook::inbox::ATTEMPTS_MAX_DEFAULT;
use serde::{Deserialize, Serialize};

use crate::database::Address;

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Settings {
    pub(crate) database: Address,
    pub(crate) connections: u32,
    pub(crate) seed: u64,
    /// Of a thousand attempts, those whose handler fails in one of its ways.
    pub(crate) failures_per_mille: u32,
    /// Of a hundred attempts, those whose handler pauses between its writes.
    pub(crate) pause_percent: u32,
    pub(crate) pause_ms_max: u64,
    pub(crate) acquire_time_max: Duration,
    pub(crate) claim_wait_max: Duration,
    pub(crate) handler_time_max: Duration,
    /// SQLite: the rollback journal instead of the write-ahead log.
    pub(crate) rollback_journal: bool,
    pub(crate) read_only: bool,
    /// Which events have got to their handler.
    pub(crate) remembers_begun: bool,
    /// Events are stored, and run by workers.
    pub(crate) stores_first: bool,
    /// A worker's: after how many an event is dead.
    pub(crate) attempts_max: u32,
    /// Handlers of some events stay, to have their process stopped meanwhile.
    pub(crate) stays: bool,
}

impl Settings {
    pub(crate) fn new(database: &Address, seed: u64) -> Self {
        Self {
            database: database.clone(),
            connections: 9,
            seed,
            failures_per_mille: 30,
            pause_percent: 10,
            pause_ms_max: 5,
            acquire_time_max: Duration::from_secs(1),
            claim_wait_max: Duration::from_millis(200),
            handler_time_max: Duration::from_secs(1),
            rollback_journal: false,
            read_only: false,
            remembers_begun: false,
            stores_first: false,
            attempts_max: ATTEMPTS_MAX_DEFAULT,
            stays: false,
        }
    }

    /// Nothing goes wrong by chance.
    pub(crate) fn calm(self) -> Self {
        Self {
            failures_per_mille: 0,
            pause_percent: 0,
            ..self
        }
    }

    /// How many transactions the layer lets run at once.
    pub(crate) fn places(&self) -> usize {
        match self.database {
            Address::Postgres(_) => self.connections as usize - 1,
            Address::Sqlite(_) => 1,
        }
    }

    pub(crate) fn argument(&self) -> String {
        serde_json::to_string(self).expect("they are written")
    }

    /// The inverse of `argument`.
    pub(crate) fn from_arguments(arguments: &[String]) -> Self {
        let argument = arguments.first().map(String::as_str);
        serde_json::from_str(argument.unwrap_or_default()).expect("settings")
    }
}
