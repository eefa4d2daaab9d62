use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::StatusCode;
use zeroize::Zeroizing;

use super::{
    check::Check,
    client::SendError,
    effects::{Count, CountError},
    report::Report,
    run::Run,
    target::Target,
};
use crate::{SecretError, SigningSecret, testing::SampleEvent};

/// How long a count of effects must stand still to be believed, unless set: longer than most queues wait.
pub const SETTLE_TIME_DEFAULT: Duration = Duration::from_secs(2);

/// And at most: a signature is to outlive the wait for what it has caused.
pub const SETTLE_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a body may dawdle, unless set: longer than a slow phone needs, and Stripe is none.
pub const SLOW_TIME_DEFAULT: Duration = Duration::from_secs(30);

/// And at least: an answer takes its time.
pub const SLOW_TIME_MIN: Duration = Duration::from_secs(1);

/// Size of the oversized body, unless set: far larger than any event.
pub const OVERSIZED_BYTES_DEFAULT: u64 = 32 * 1024 * 1024;

/// And at least: of less, the buffers of both systems hold the most.
pub const OVERSIZED_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// How many copies of an event are delivered at once, unless set: more than a pool has connections.
pub const COPIES_DEFAULT: u32 = 50;

/// Most copies: each is a connection, and a process may have some thousand.
pub const COPIES_MAX: u32 = 500;

/// What is to be done to an endpoint. See the [module](super).
#[derive(Clone)]
#[must_use]
pub struct Probe {
    pub(super) target: Target,
    pub(super) secret: Option<Zeroizing<String>>,
    pub(super) sample: SampleEvent,
    pub(super) count: Option<Count>,
    pub(super) settle_time: Duration,
    pub(super) slow_time: Duration,
    pub(super) oversized_bytes: u64,
    pub(super) copies: u32,
    pub(super) skipped: Vec<&'static str>,
}

impl Probe {
    /// Of this endpoint, as a forger who knows its address and no more.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            secret: None,
            sample: SampleEvent::of("checkout.session.completed"),
            count: None,
            settle_time: SETTLE_TIME_DEFAULT,
            slow_time: SLOW_TIME_DEFAULT,
            oversized_bytes: OVERSIZED_BYTES_DEFAULT,
            copies: COPIES_DEFAULT,
            skipped: Vec::new(),
        }
    }

    /// Gives it the endpoint's signing secret: then it also delivers as Stripe would, and forges what
    /// somebody could who has recorded a delivery. The secret is not sent, and wiped on drop.
    ///
    /// # Errors
    ///
    /// A value that [`SigningSecret::new`] refuses.
    pub fn secret(mut self, value: impl Into<String>) -> Result<Self, SecretError> {
        let value = Zeroizing::new(value.into());
        SigningSecret::new(value.as_str())?;
        self.secret = Some(value);
        Ok(self)
    }

    /// Sets what deliveries carry; a Checkout Session that is complete unless set. Each event gets an
    /// id of its own, and so does its object unless that was set.
    pub fn event(mut self, sample: SampleEvent) -> Self {
        self.sample = sample;
        self
    }

    /// Counts the effects of events where HTTP does not show them: orders that are paid, rows, parcels.
    /// The number may start anywhere; nothing else should move it meanwhile.
    pub fn count<F>(mut self, count: F) -> Self
    where
        F: Fn() -> BoxFuture<'static, Result<u64, CountError>> + Send + Sync + 'static,
    {
        self.count = Some(Arc::new(count));
        self
    }

    /// Sets how long the count must stand still to be believed; [`SETTLE_TIME_DEFAULT`] unless set,
    /// at most [`SETTLE_TIME_MAX`].
    pub fn settle_time(mut self, time: Duration) -> Self {
        self.settle_time = time.min(SETTLE_TIME_MAX);
        self
    }

    /// Sets how long a body may dawdle before the server must have given up; [`SLOW_TIME_DEFAULT`]
    /// unless set, at least [`SLOW_TIME_MIN`].
    pub fn slow_time(mut self, time: Duration) -> Self {
        self.slow_time = time.max(SLOW_TIME_MIN);
        self
    }

    /// Sets the size of the oversized body; [`OVERSIZED_BYTES_DEFAULT`] unless set, at least
    /// [`OVERSIZED_BYTES_MIN`].
    pub fn oversized_bytes(mut self, bytes: u64) -> Self {
        self.oversized_bytes = bytes.max(OVERSIZED_BYTES_MIN);
        self
    }

    /// Sets how many copies of an event are delivered at once; [`COPIES_DEFAULT`] unless set, at least
    /// 2 and at most [`COPIES_MAX`].
    pub fn copies(mut self, copies: u32) -> Self {
        self.copies = copies.clamp(2, COPIES_MAX);
        self
    }

    /// Leaves out a check.
    ///
    /// # Errors
    ///
    /// A code that no check has.
    pub fn skip(mut self, code: &str) -> Result<Self, UnknownCheck> {
        let check = Check::find(code).ok_or(UnknownCheck)?;
        self.skipped.push(check.code);
        Ok(self)
    }

    /// Attacks and delivers, one check after the other, and says what is wrong.
    ///
    /// `progress` is told before each step what it looks for, how many steps are done, and how many
    /// there are.
    ///
    /// # Errors
    ///
    /// When the endpoint is not reached, or effects cannot be counted, at the start. A server that
    /// dies on the way is a finding.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any time; what it has delivered by then has been delivered.
    pub async fn run(
        &self,
        mut progress: impl FnMut(&str, usize, usize) + Send,
    ) -> Result<Report, ProbeError> {
        Run::begin(self, &mut progress).await?.finish().await
    }
}

/// Not the secret.
impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("target", &self.target)
            .field("has_secret", &self.secret.is_some())
            .field("has_count", &self.count.is_some())
            .field("settle_time", &self.settle_time)
            .field("slow_time", &self.slow_time)
            .field("oversized_bytes", &self.oversized_bytes)
            .field("copies", &self.copies)
            .field("skipped", &self.skipped)
            .finish_non_exhaustive()
    }
}

/// A code that no check has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no check has this code: see the list of codes")]
pub struct UnknownCheck;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The endpoint could not be reached at the start.
    #[error("the endpoint cannot be reached: is the server running, and the address right?")]
    Unreachable(#[source] SendError),
    /// There is no secret to show what is there, and what is not signed is answered like this.
    #[error(
        "an unsigned delivery is answered with {}, as if no webhook were there: check the path, or give \
         the secret", .0.as_u16()
    )]
    NothingThere(StatusCode),
    /// The effects could not be counted at the start.
    #[error("the effects cannot be counted: make the count work first")]
    Count(#[source] CountError),
}
