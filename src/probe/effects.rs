use std::{error::Error, fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout};

/// How often a count is looked at within the time it has to settle.
const LOOKS_PER_SETTLE_TIME: u32 = 10;

/// After so many settle times a count that still moves is taken as it is.
const SETTLE_TIMES_MAX: u32 = 5;

/// How long one look may take: it is a query, or a page.
const LOOK_TIME_MAX: Duration = Duration::from_secs(30);

pub(super) type Count =
    Arc<dyn Fn() -> BoxFuture<'static, Result<u64, CountError>> + Send + Sync + 'static>;

/// Effects could not be counted.
#[derive(Debug)]
pub struct CountError(Box<dyn Error + Send + Sync>);

impl CountError {
    /// From whatever went wrong.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for CountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the effects cannot be counted")
    }
}

impl Error for CountError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.0.as_ref())
    }
}

/// The count of effects, as far as it is known.
pub(super) struct Effects {
    count: Result<Count, &'static str>,
    settle_time: Duration,
    seen: u64,
    /// By how much one genuine event has moved it.
    pub(super) per_event: Option<u64>,
}

impl Effects {
    pub(super) async fn new(
        count: Option<Count>,
        settle_time: Duration,
    ) -> Result<Self, CountError> {
        let mut effects = Self {
            count: count.ok_or("no count of effects was given"),
            settle_time,
            seen: 0,
            per_event: None,
        };
        if let Ok(count) = &effects.count {
            effects.seen = looked(count).await?;
            if effects.settled().await.is_ok_and(|moved| moved > 0) {
                effects.count = Err("the count moves by itself, so it shows nothing");
            }
        }
        Ok(effects)
    }

    /// By how much it has moved since it was last asked; or why nobody knows.
    pub(super) async fn moved(&mut self) -> Result<u64, &'static str> {
        let before = self.seen;
        self.seen = self.look().await?;
        Ok(self.seen.saturating_sub(before))
    }

    /// Likewise, once it has stood still for the settle time.
    pub(super) async fn settled(&mut self) -> Result<u64, &'static str> {
        let before = self.seen;
        let begun = Instant::now();
        let mut still_since = begun;
        loop {
            let now = self.look().await?;
            if now != self.seen {
                self.seen = now;
                still_since = Instant::now();
            }
            let is_over = begun.elapsed() >= self.settle_time.saturating_mul(SETTLE_TIMES_MAX);
            if is_over || still_since.elapsed() >= self.settle_time {
                return Ok(now.saturating_sub(before));
            }
            sleep(self.settle_time / LOOKS_PER_SETTLE_TIME).await;
        }
    }

    async fn look(&mut self) -> Result<u64, &'static str> {
        let count = self.count.clone()?;
        let now = looked(&count).await;
        now.map_err(|_| {
            let why = "the effects could no longer be counted";
            self.count = Err(why);
            why
        })
    }
}

async fn looked(count: &Count) -> Result<u64, CountError> {
    let now = timeout(LOOK_TIME_MAX, count()).await;
    now.unwrap_or_else(|elapsed| Err(CountError::new(elapsed)))
}
