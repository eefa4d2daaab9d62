use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write},
    thread,
    time::Duration,
};

use http::StatusCode;

/// What a simulation came to.
///
/// If a test panics while it holds this, the seed is written to standard error.
#[must_use]
pub struct SimulatorReport {
    pub(super) seed: u64,
    pub(super) events: usize,
    pub(super) twins: usize,
    pub(super) deliveries: Vec<SimulatedDelivery>,
    /// Ids of events that were never acknowledged.
    pub(super) given_up: Vec<String>,
}

/// One delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SimulatedDelivery {
    /// When it was made, after the start.
    pub at: Duration,
    /// The place of its event among those that were given, from 0; twins come after all of them.
    pub event: usize,
    /// The how-manieth delivery of its event it is, from 1.
    pub number: u32,
    /// Why it was made.
    pub cause: Cause,
    /// What came of it.
    pub outcome: SimulatedOutcome,
}

/// Why a delivery is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The event is new.
    First,
    /// The one before it was not acknowledged.
    Retry,
    /// Although the one before it was.
    Duplicate,
}

/// What came of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SimulatedOutcome {
    /// The endpoint's answer arrived.
    Answered(StatusCode),
    /// The endpoint's answer was lost on its way.
    AnswerLost(StatusCode),
    /// The client has left before there was an answer.
    Disconnected,
    /// There was no answer in time: see
    /// [`Simulator::answer_time_max`](super::Simulator::answer_time_max).
    TimedOut,
    /// There was no answer: the service itself has failed.
    Failed,
}

impl SimulatedOutcome {
    /// Whether Stripe has heard a 2xx.
    #[must_use]
    pub fn is_acknowledged(self) -> bool {
        matches!(self, Self::Answered(status) if status.is_success())
    }
}

impl fmt::Display for SimulatedOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(status) => write!(f, "answered {}", status.as_u16()),
            Self::AnswerLost(status) => write!(f, "answered {} unheard", status.as_u16()),
            Self::Disconnected => f.write_str("disconnected"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Failed => f.write_str("failed"),
        }
    }
}

impl SimulatorReport {
    /// The seed that makes it happen again.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How many events there were, a twin and its snapshot event counted as one.
    #[must_use]
    pub fn events(&self) -> usize {
        self.events
    }

    /// Every delivery, in the order in which they were made.
    #[must_use]
    pub fn deliveries(&self) -> &[SimulatedDelivery] {
        &self.deliveries
    }

    /// The ids of events that were never acknowledged.
    #[must_use]
    pub fn given_up(&self) -> &[String] {
        &self.given_up
    }

    /// How many deliveries were made for this reason.
    #[must_use]
    pub fn caused_by(&self, cause: Cause) -> usize {
        let deliveries = self.deliveries.iter();
        deliveries
            .filter(|delivery| delivery.cause == cause)
            .count()
    }

    /// # Panics
    ///
    /// If an event was never acknowledged.
    #[track_caller]
    pub fn assert_all_acknowledged(&self) {
        const SHOWN: usize = 20;
        let shown: Vec<_> = self.given_up.iter().take(SHOWN).collect();
        assert!(shown.is_empty(), "given up: {shown:?} and so on; {self}");
    }

    /// As in `7 answered 200, 1 timed out`.
    fn tally(&self) -> String {
        let mut numbers = BTreeMap::new();
        for delivery in &self.deliveries {
            *numbers.entry(delivery.outcome.to_string()).or_insert(0) += 1;
        }
        let told = numbers
            .iter()
            .map(|(outcome, number)| format!("{number} {outcome}"));
        told.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for SimulatorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} deliveries of {} events and {} twins ({} first, {} retries, {} duplicates), \
             of which ended {}; {} events given up",
            self.seed,
            self.deliveries.len(),
            self.events,
            self.twins,
            self.caused_by(Cause::First),
            self.caused_by(Cause::Retry),
            self.caused_by(Cause::Duplicate),
            self.tally(),
            self.given_up.len(),
        )
    }
}

impl fmt::Debug for SimulatorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// To standard error itself, since the test harness shows only what the macros print in a test that it
/// captures, and another thread may be the one that fails.
impl Drop for SimulatorReport {
    fn drop(&mut self) {
        if thread::panicking() {
            let seed = self.seed;
            let _nobody_is_left_to_tell = writeln!(io::stderr(), "the simulator's seed was {seed}");
        }
    }
}
