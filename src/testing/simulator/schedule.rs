use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use super::report::Cause;

/// Copies of an event that are delivered at the same moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flight {
    /// Since the start.
    pub(super) at: Duration,
    /// Of two at the same time, the one that was planned first goes first.
    planned: u64,
    pub(super) event: usize,
    pub(super) copies: u32,
    pub(super) cause: Cause,
}

/// What is to be delivered when. Nothing depends on the order of anything but this.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    flights: BinaryHeap<Reverse<Flight>>,
    planned: u64,
}

impl Schedule {
    pub(super) fn plan(&mut self, at: Duration, event: usize, copies: u32, cause: Cause) {
        self.planned += 1;
        self.flights.push(Reverse(Flight {
            at,
            planned: self.planned,
            event,
            copies,
            cause,
        }));
    }

    /// Takes the next flights, of as many different events at most, before anything that they could cause:
    /// whatever comes of one comes later than `soonest` after it.
    pub(super) fn take(&mut self, most: usize, soonest: Duration) -> Vec<Flight> {
        let mut taken: BTreeMap<usize, Flight> = BTreeMap::new();
        let mut end = Duration::MAX;
        while let Some(Reverse(next)) = self.flights.peek() {
            let is_next = next.at < end && !taken.contains_key(&next.event);
            if taken.len() >= most || !is_next {
                break;
            }
            end = end.min(next.at.saturating_add(soonest));
            if let Some(Reverse(next)) = self.flights.pop() {
                taken.insert(next.event, next);
            }
        }
        let mut taken: Vec<_> = taken.into_values().collect();
        taken.sort_unstable();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn events(flights: &[Flight]) -> Vec<usize> {
        flights.iter().map(|flight| flight.event).collect()
    }

    #[test]
    fn what_comes_first_goes_first_and_of_two_at_once_the_one_planned_first() {
        let mut schedule = Schedule::default();
        for (at, event) in [(2, 0), (1, 1), (1, 2)] {
            schedule.plan(at * SECOND, event, 1, Cause::First);
        }
        assert_eq!(events(&schedule.take(9, 60 * SECOND)), [1, 2, 0]);
    }

    #[test]
    fn nothing_is_taken_that_what_is_taken_could_precede() {
        let mut schedule = Schedule::default();
        for (at, event) in [(0, 0), (59, 1), (60, 2)] {
            schedule.plan(at * SECOND, event, 1, Cause::First);
        }
        assert_eq!(events(&schedule.take(9, 60 * SECOND)), [0, 1]);
        assert_eq!(events(&schedule.take(9, 60 * SECOND)), [2]);
    }

    #[test]
    fn an_event_is_not_taken_twice_at_once() {
        let mut schedule = Schedule::default();
        schedule.plan(SECOND, 0, 1, Cause::First);
        schedule.plan(SECOND, 0, 1, Cause::Duplicate);
        assert_eq!(schedule.take(9, 60 * SECOND).len(), 1);
    }
}
