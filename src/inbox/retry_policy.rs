use std::time::Duration;

use http::StatusCode;

use crate::disposition::Delay;

/// How often an event is tried before it is dead.
pub const ATTEMPTS_MAX_DEFAULT: u32 = 20;

/// The longest wait before the first retry; it doubles with each further one.
pub const RETRY_TIME_FIRST_DEFAULT: Duration = Duration::from_secs(5);

/// The longest wait between two attempts. With the other defaults, twenty attempts are spread over three
/// days on average, which is how long Stripe itself goes on.
pub const RETRY_TIME_MAX_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);

/// How often "not yet" is believed without counting as an attempt: about two minutes.
pub const NOT_YETS_MAX_DEFAULT: u32 = 10;

/// The longest wait after the first "not yet"; it doubles with each further one.
const NOT_YET_TIME_FIRST: Duration = Duration::from_secs(1);

/// The longest wait after a "not yet".
const NOT_YET_TIME_MAX: Duration = Duration::from_secs(30);

/// Answers of a handler that the same event will get again: it cannot be understood, is gone for good,
/// or nobody has written that part.
const PERMANENT: [StatusCode; 4] = [
    StatusCode::BAD_REQUEST,
    StatusCode::GONE,
    StatusCode::UNPROCESSABLE_ENTITY,
    StatusCode::NOT_IMPLEMENTED,
];

/// When an event that has failed is tried again, and when not any more. Pure: no clock, no randomness.
///
/// The wait is drawn evenly from zero up to a limit that doubles with each attempt ("full jitter"), so
/// that what has failed together does not come back together.
///
/// | the attempt ended with | next |
/// |---|---|
/// | a non-2xx, a panic, out of time, another fault of the database | a retry after such a wait; after the last attempt, `dead` |
/// | no place among the transactions, no connection | a retry within seconds, which does not count as an attempt |
/// | 400, 410, 422 or 501 | `dead` at once |
/// | [`RetryAfter`](crate::Disposition::RetryAfter) | a retry after that time, which counts as an attempt |
/// | [`NotYet`](crate::Disposition::NotYet) | a retry within seconds, which does not, ten times; from then on like a non-2xx |
///
/// ```
/// use std::time::Duration;
///
/// use axum_stripe_webhook::inbox::RetryPolicy;
///
/// let policy = RetryPolicy::new().attempts_max(8).retry_time_max(Duration::from_secs(3600));
/// // The longest wait after each attempt, and none after the last one.
/// let waits: Vec<_> = (1..=8).map_while(|attempt| policy.retry_time(attempt)).collect();
/// assert_eq!(waits.first(), Some(&Duration::from_secs(5)));
/// assert_eq!(waits.last(), Some(&Duration::from_secs(320)));
/// assert_eq!(waits.len(), 7);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct RetryPolicy {
    attempts_max: u32,
    retry_time_first: Duration,
    retry_time_max: Duration,
    not_yets_max: u32,
}

/// How an attempt ended that has not finished its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The handler's own answer.
    Answered(StatusCode),
    /// It was not answered, or could not be committed.
    Broken,
    /// There was no place or connection for it, or somebody else was about the event.
    NotBegun,
    /// Wanted later, says the handler.
    Delayed(Delay),
    /// It can never be run.
    Permanent,
}

/// What is to become of its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// `None`: it is dead.
    pub(crate) due_in: Option<Duration>,
    pub(crate) attempts: u32,
    pub(crate) not_yets: u32,
}

impl RetryPolicy {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            attempts_max: ATTEMPTS_MAX_DEFAULT,
            retry_time_first: RETRY_TIME_FIRST_DEFAULT,
            retry_time_max: RETRY_TIME_MAX_DEFAULT,
            not_yets_max: NOT_YETS_MAX_DEFAULT,
        }
    }

    /// See [`ATTEMPTS_MAX_DEFAULT`]. At least one.
    pub fn attempts_max(mut self, attempts: u32) -> Self {
        self.attempts_max = attempts.max(1);
        self
    }

    /// See [`RETRY_TIME_FIRST_DEFAULT`].
    pub fn retry_time_first(mut self, time: Duration) -> Self {
        self.retry_time_first = time;
        self
    }

    /// See [`RETRY_TIME_MAX_DEFAULT`]. It limits what `RetryAfter` asks for, too.
    pub fn retry_time_max(mut self, time: Duration) -> Self {
        self.retry_time_max = time;
        self
    }

    /// See [`NOT_YETS_MAX_DEFAULT`].
    pub fn not_yets_max(mut self, not_yets: u32) -> Self {
        self.not_yets_max = not_yets;
        self
    }

    /// The longest wait after this attempt, counted from one; `None` after the last.
    #[must_use]
    pub fn retry_time(&self, attempt: u32) -> Option<Duration> {
        let retries = (attempt < self.attempts_max).then_some(attempt.saturating_sub(1))?;
        Some(doubled(self.retry_time_first, retries).min(self.retry_time_max))
    }

    /// The attempts that were made of an entry which was taken for this one, because the process of the
    /// one before has died, if it is not to be run any more.
    pub(crate) fn exhausted(&self, attempt: u32) -> Option<u32> {
        (attempt > self.attempts_max).then_some(self.attempts_max)
    }

    /// Decides about an entry after an attempt. `random` is at least 0 and below 1.
    pub(crate) fn decide(
        &self,
        failure: Failure,
        attempts: u32,
        not_yets: u32,
        random: f64,
    ) -> Verdict {
        let verdict = |due_in| Verdict {
            due_in,
            attempts,
            not_yets,
        };
        let retry = || verdict(self.retry_time(attempts).map(|time| time.mul_f64(random)));
        match failure {
            Failure::Permanent => verdict(None),
            Failure::Answered(status) if PERMANENT.contains(&status) => verdict(None),
            Failure::Answered(_) | Failure::Broken => retry(),
            Failure::NotBegun => Verdict {
                due_in: Some(self.retry_time_first.mul_f64(random)),
                attempts: attempts.saturating_sub(1),
                not_yets,
            },
            Failure::Delayed(Delay::After(wait)) => {
                let wait = wait.min(self.retry_time_max);
                verdict(self.retry_time(attempts).map(|_| wait))
            }
            Failure::Delayed(Delay::NotYet) if not_yets >= self.not_yets_max => retry(),
            Failure::Delayed(Delay::NotYet) => {
                let time = doubled(NOT_YET_TIME_FIRST, not_yets).min(NOT_YET_TIME_MAX);
                Verdict {
                    due_in: Some(time.mul_f64(random)),
                    attempts: attempts.saturating_sub(1),
                    not_yets: not_yets.saturating_add(1),
                }
            }
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new()
    }
}

fn doubled(time: Duration, times: u32) -> Duration {
    let factor = 1_u32.checked_shl(times).unwrap_or(u32::MAX);
    time.checked_mul(factor).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: f64 = 0.5;

    fn seconds(verdict: Verdict) -> Option<f64> {
        verdict.due_in.map(|due_in| due_in.as_secs_f64())
    }

    /// The longest, the shortest and the mean sum of all waits of an event that always fails.
    fn spread(random: f64) -> (u32, Duration) {
        let policy = RetryPolicy::new();
        let (mut attempt, mut sum) = (1, Duration::ZERO);
        while let Some(wait) = policy.decide(Failure::Broken, attempt, 0, random).due_in {
            sum += wait;
            attempt += 1;
        }
        (attempt, sum)
    }

    #[test]
    fn an_event_that_always_fails_is_tried_twenty_times_over_about_three_days() {
        const DAY: f64 = 24.0 * 60.0 * 60.0;
        let (attempts, mean) = spread(HALF);
        assert_eq!(attempts, 20);
        let days = mean.as_secs_f64() / DAY;
        assert!((2.5..3.5).contains(&days), "{days}");
        let (attempts, longest) = spread(1.0);
        assert_eq!(attempts, 20);
        assert!(longest.as_secs_f64() / DAY < 6.0);
    }

    #[test]
    fn the_wait_doubles_up_to_its_limit_and_is_drawn_evenly() {
        let policy = RetryPolicy::new();
        let wait = |attempt, random| seconds(policy.decide(Failure::Broken, attempt, 0, random));
        assert_eq!(wait(1, 0.0), Some(0.0));
        assert_eq!(wait(1, HALF), Some(2.5));
        assert_eq!(wait(2, HALF), Some(5.0));
        assert_eq!(wait(15, 1.0), Some(5.0 * f64::from(1 << 14)));
        assert_eq!(wait(16, 1.0), Some(86_400.0));
        assert_eq!(wait(19, 1.0), Some(86_400.0));
        assert_eq!(wait(20, 1.0), None);
        assert_eq!(wait(u32::MAX, 1.0), None);
    }

    #[test]
    fn no_setting_overflows() {
        let policy = RetryPolicy::new().attempts_max(u32::MAX);
        let policy = policy
            .retry_time_first(Duration::MAX)
            .retry_time_max(Duration::MAX);
        for attempt in [0, 1, 31, 32, 33, u32::MAX - 1] {
            assert_eq!(policy.retry_time(attempt), Some(Duration::MAX));
            // Drawn of the longest time there is.
            let verdict = policy.decide(Failure::Broken, attempt, u32::MAX, HALF);
            assert!(verdict.due_in.is_some());
        }
        assert_eq!(RetryPolicy::new().attempts_max(0).retry_time(1), None);
    }

    #[test]
    fn answers_that_will_not_change_are_dead_at_once() {
        let policy = RetryPolicy::new();
        for (status, is_dead) in [
            (400, true),
            (410, true),
            (422, true),
            (501, true),
            (404, false),
        ] {
            let failure = Failure::Answered(StatusCode::from_u16(status).unwrap());
            let verdict = policy.decide(failure, 1, 0, HALF);
            assert_eq!(verdict.due_in.is_none(), is_dead, "{status}");
        }
        assert_eq!(policy.decide(Failure::Permanent, 1, 0, HALF).due_in, None);
    }

    #[test]
    fn retry_after_is_that_time_and_counts() {
        let policy = RetryPolicy::new();
        let after = |seconds| Failure::Delayed(Delay::After(Duration::from_secs(seconds)));
        assert_eq!(seconds(policy.decide(after(7), 3, 0, HALF)), Some(7.0));
        assert_eq!(
            seconds(policy.decide(after(u64::MAX), 3, 0, HALF)),
            Some(86_400.0)
        );
        assert_eq!(policy.decide(after(7), 3, 0, HALF).attempts, 3);
        assert_eq!(seconds(policy.decide(after(7), 20, 0, HALF)), None);
    }

    #[test]
    fn not_yet_is_short_and_does_not_count_until_its_limit() {
        let policy = RetryPolicy::new();
        let not_yet = Failure::Delayed(Delay::NotYet);
        let mut sum = Duration::ZERO;
        for before in 0..10 {
            let verdict = policy.decide(not_yet, 3, before, 1.0);
            assert_eq!((verdict.attempts, verdict.not_yets), (2, before + 1));
            sum += verdict.due_in.unwrap();
        }
        assert!(sum < Duration::from_secs(240), "{sum:?}");
        let verdict = policy.decide(not_yet, 3, 10, HALF);
        assert_eq!((verdict.attempts, verdict.not_yets), (3, 10));
        assert_eq!(seconds(verdict), Some(10.0));
        assert_eq!(policy.decide(not_yet, 20, 10, HALF).due_in, None);
    }
}
