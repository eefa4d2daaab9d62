//! What the service is told on its command line.

use std::{path::PathBuf, time::Duration};

use crate::database::Address;

#[derive(Clone, Debug)]
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
}

impl Settings {
    pub(crate) fn new(database: &Address) -> Self {
        Self {
            database: database.clone(),
            connections: 9,
            seed: 0,
            failures_per_mille: 30,
            pause_percent: 10,
            pause_ms_max: 5,
            acquire_time_max: Duration::from_secs(1),
            claim_wait_max: Duration::from_millis(200),
            handler_time_max: Duration::from_secs(1),
            rollback_journal: false,
            read_only: false,
            remembers_begun: false,
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

    pub(crate) fn arguments(&self) -> Vec<String> {
        let (kind, place) = match &self.database {
            Address::Postgres(url) => ("postgres", url.clone()),
            Address::Sqlite(file) => ("sqlite", file.display().to_string()),
        };
        let milliseconds = |duration: Duration| duration.as_millis().to_string();
        vec![
            kind.to_owned(),
            place,
            self.connections.to_string(),
            self.seed.to_string(),
            self.failures_per_mille.to_string(),
            self.pause_percent.to_string(),
            self.pause_ms_max.to_string(),
            milliseconds(self.acquire_time_max),
            milliseconds(self.claim_wait_max),
            milliseconds(self.handler_time_max),
            self.rollback_journal.to_string(),
            self.read_only.to_string(),
            self.remembers_begun.to_string(),
        ]
    }

    /// The inverse of `arguments`.
    pub(crate) fn from_arguments(arguments: &[String]) -> Self {
        let mut arguments = arguments.iter().cloned();
        let mut next = || arguments.next().expect("an argument");
        let (kind, place) = (next(), next());
        let mut number = || next().parse::<u64>().expect("a number");
        let (connections, seed) = (narrow(number()), number());
        let failures_per_mille = narrow(number());
        let (pause_percent, pause_ms_max) = (narrow(number()), number());
        let mut duration = || Duration::from_millis(number());
        Self {
            database: match kind.as_str() {
                "postgres" => Address::Postgres(place),
                _ => Address::Sqlite(PathBuf::from(place)),
            },
            connections,
            seed,
            failures_per_mille,
            pause_percent,
            pause_ms_max,
            acquire_time_max: duration(),
            claim_wait_max: duration(),
            handler_time_max: duration(),
            rollback_journal: next() == "true",
            read_only: next() == "true",
            remembers_begun: next() == "true",
        }
    }
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).expect("a small number")
}
