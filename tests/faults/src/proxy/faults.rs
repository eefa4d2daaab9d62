//! Which message is hit by which fault.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{sync::watch, time::timeout};

/// A stall that nobody lifts ends: longer than any limit of a delivery's.
const STALL_TIME_MAX: Duration = Duration::from_secs(20);

/// A message that nobody asks for any longer comes all the same: `STATEMENT_TIME_MAX` of the crate,
/// and a little more.
const HOLD_TIME_MAX: Duration = Duration::from_secs(11);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// To the server: a message that is cut has not arrived.
    Asked,
    /// To the client: what is cut has happened, and nobody hears of it.
    Answered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Cut,
    /// Nothing is passed on any more, in neither direction, and nobody learns that anybody has left.
    Stall,
    /// The message comes when whoever waits for it has given up; until then nothing else passes on
    /// that side.
    Hold,
    Delay,
    /// The server's own failure, under that code.
    Error(&'static str),
    /// The server ends the session, with that code.
    Fatal(&'static str),
}

/// How often faults have happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hits {
    /// Connections cut or stalled, errors.
    pub(crate) cuts: u64,
    /// Messages that came later.
    pub(crate) delays: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) side: Side,
    /// Hits that message, counted from one since the plan was made.
    pub(crate) nth: u64,
    pub(crate) fault: Fault,
    /// Hits every later one too, until it is lifted.
    pub(crate) ever: bool,
}

pub(crate) struct Faults {
    state: Mutex<State>,
    /// How often faults were lifted.
    lifted: watch::Sender<u64>,
}

struct State {
    asked: u64,
    answered: u64,
    plan: Option<Plan>,
    /// Of a million messages, those that are hit by a fault of any kind.
    per_million: u32,
    random: StdRng,
    hits: Hits,
}

impl Fault {
    /// Errors are the server's own, at what it is asked.
    pub(crate) fn fits(self, side: Side) -> bool {
        side == Side::Asked || !matches!(self, Self::Error(_) | Self::Fatal(_))
    }
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            state: Mutex::new(State {
                asked: 0,
                answered: 0,
                plan: None,
                per_million: 0,
                random: StdRng::seed_from_u64(seed),
                hits: Hits::default(),
            }),
            lifted: watch::Sender::new(0),
        }
    }

    /// Counts from one again.
    pub(crate) fn plan(&self, plan: Option<Plan>) {
        let mut state = self.state();
        (state.asked, state.answered, state.plan) = (0, 0, plan);
    }

    pub(crate) fn at_random(&self, per_million: u32) {
        self.state().per_million = per_million;
    }

    /// Ends all faults, and every connection that is stalled; what is held comes now.
    pub(crate) fn lift(&self) {
        let mut state = self.state();
        state.plan = None;
        state.per_million = 0;
        self.lifted.send_modify(|times| *times += 1);
    }

    /// Messages since the plan was made: to the server, to the client.
    pub(crate) fn counted(&self) -> (u64, u64) {
        let state = self.state();
        (state.asked, state.answered)
    }

    pub(crate) fn hits(&self) -> Hits {
        self.state().hits
    }

    /// What happens to the message that has come.
    pub(super) fn of_next(&self, side: Side) -> Option<Fault> {
        let mut state = self.state();
        let count = match side {
            Side::Asked => &mut state.asked,
            Side::Answered => &mut state.answered,
        };
        *count += 1;
        let count = *count;
        let planned = state.plan.filter(|plan| {
            plan.side == side && (count == plan.nth || plan.ever && count > plan.nth)
        });
        let fault = planned
            .map(|plan| plan.fault)
            .or_else(|| state.chance(side));
        match fault {
            None => {}
            Some(Fault::Delay | Fault::Hold) => state.hits.delays += 1,
            Some(_) => state.hits.cuts += 1,
        }
        fault
    }

    pub(super) async fn stalled(&self) {
        self.lifted_within(STALL_TIME_MAX).await;
    }

    pub(super) async fn held(&self) {
        self.lifted_within(HOLD_TIME_MAX).await;
    }

    async fn lifted_within(&self, limit: Duration) {
        let mut lifted = self.lifted.subscribe();
        let _lifted_or_long_enough = timeout(limit, lifted.changed()).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn chance(&mut self, side: Side) -> Option<Fault> {
        if self.per_million == 0 || self.random.random_range(0..1_000_000) >= self.per_million {
            return None;
        }
        Some(match (self.random.random_range(0..100), side) {
            // Each holds a place, and a counter that others wait for, for seconds.
            (0, _) => Fault::Stall,
            (1, _) => Fault::Hold,
            (2..20, _) => Fault::Delay,
            (20..35, Side::Asked) => Fault::Error("40001"),
            (35..45, Side::Asked) => Fault::Error("25006"),
            (45..55, Side::Asked) => Fault::Fatal("57P01"),
            _ => Fault::Cut,
        })
    }
}
