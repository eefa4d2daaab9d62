//! Guards: genuine events that an endpoint is not to process.
//!
//! A signature says that Stripe sent an event, not that it belongs here. A live Connect endpoint
//! gets test events too; a connected account may be none of the service's; an event that is resent
//! when the ledger has forgotten it would be processed again.
//!
//! | guard | stops | reason |
//! |---|---|---|
//! | [`mode`](Guards::mode) | events of the other mode, and those that do not say | `guard_mode` |
//! | [`accounts`](Guards::accounts) | events of accounts that the predicate refuses | `guard_account` |
//! | [`event_age_max`](Guards::event_age_max) | events that are older | `guard_age` |
//! | [`api_train`](Guards::api_train) | nothing: it warns and counts | |
//! | [`only_api_train`](Guards::only_api_train) | events of another API version train | `guard_api_train` |
//!
//! They are checked in this order. Unless set, only the age is. What is stopped is not run; what
//! becomes of it says [`Guards::when_stopped`].
//!
//! [`ProcessOnceLayer::guards`](crate::ProcessOnceLayer::guards) takes them, or
//! [`Provided::guards`](crate::Provided::guards) gives them for a request; for the extractor alone
//! there are none but those.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//!
//! use axum_stripe_webhook::{Event, Guards, Mode, StopReason};
//!
//! let guards = Guards::new()
//!     .mode(Mode::Live)
//!     .accounts(|account| account.is_none_or(|account| account == "acct_ours"))
//!     .api_train("endive");
//!
//! let event = Event::parse(
//!     r#"{"id": "evt_1", "object": "event", "type": "charge.refunded", "livemode": false}"#.into(),
//! )?;
//! assert_eq!(guards.check(&event, SystemTime::now()), Err(StopReason::Mode));
//! # Ok::<(), axum_stripe_webhook::EventError>(())
//! ```

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use crate::{
    event::{Event, Mode},
    telemetry,
};

/// Oldest event that is processed, by its `created`: as long as the ledger remembers what was.
///
/// Stripe retries for three days and resends by hand for thirty.
pub const EVENT_AGE_MAX_DEFAULT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// What an endpoint is to process, and what becomes of the rest. See the [module](crate::guard).
///
/// Cheap to clone; clones share their count of API versions.
#[derive(Clone)]
#[must_use]
pub struct Guards {
    mode: Option<Mode>,
    accounts: Option<Arc<AcceptAccount>>,
    event_age_max: Option<Duration>,
    api_train: Option<ApiTrain>,
    other_api_trains: Arc<AtomicU64>,
    pub(crate) when_stopped: WhenStopped,
}

type AcceptAccount = dyn Fn(Option<&str>) -> bool + Send + Sync;

#[derive(Clone, Debug)]
struct ApiTrain {
    name: Arc<str>,
    required: bool,
}

/// What becomes of an event that a guard has stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenStopped {
    /// It is kept in `stripe_inbox` as `quarantined` and answered with 200. The extractor alone has
    /// no database to keep it in, and rejects it instead.
    #[default]
    Quarantine,
    /// It is answered with 400: Stripe delivers it again for days, and tells the account's owner.
    Reject,
    /// It is answered with 200 and forgotten.
    Ignore,
}

/// Which guard has stopped an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StopReason {
    /// The event is of the other mode, or does not say of which.
    #[error("the event is not of the endpoint's mode")]
    Mode,
    /// The event is of an account that is not accepted.
    #[error("the event is not of an accepted account")]
    Account,
    /// The event is older than what is remembered.
    #[error("the event is too old: the ledger may have forgotten that it was processed")]
    Age,
    /// The event was rendered with an API version of another train.
    #[error("the event is of another API version train")]
    ApiTrain,
}

impl StopReason {
    /// The reason's name, in `stripe_inbox`, logs and counters.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Mode => "guard_mode",
            Self::Account => "guard_account",
            Self::Age => "guard_age",
            Self::ApiTrain => "guard_api_train",
        }
    }
}

impl Guards {
    /// Makes guards that stop events older than [`EVENT_AGE_MAX_DEFAULT`], and no others.
    pub fn new() -> Self {
        Self {
            mode: None,
            accounts: None,
            event_age_max: Some(EVENT_AGE_MAX_DEFAULT),
            api_train: None,
            other_api_trains: Arc::default(),
            when_stopped: WhenStopped::default(),
        }
    }

    /// Expects events of this mode; of both, unless set.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Expects events of those accounts for which the predicate says true. It is asked with the event's
    /// `account`, or else its `context`, which names the account of a thin event; with `None` for an
    /// event of one's own account. It must not wait, and a panic in it breaks the connection off.
    pub fn accounts(
        mut self,
        accepted: impl Fn(Option<&str>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.accounts = Some(Arc::new(accepted));
        self
    }

    /// Expects events that were made no longer ago than this; see [`EVENT_AGE_MAX_DEFAULT`]. No more
    /// than what the ledger remembers: an older event, resent, would be processed again.
    ///
    /// Events that have no time, and those that are [not
    /// deduplicated](crate::once#not-deduplicated), have no age.
    pub fn event_age_max(mut self, age: Duration) -> Self {
        self.event_age_max = Some(age);
        self
    }

    /// Switches the check of the event's age off, for a ledger that is never swept.
    pub fn without_event_age_max(mut self) -> Self {
        self.event_age_max = None;
        self
    }

    /// Warns of events, and counts them, whose `api_version` is of another train than this version
    /// (`2026-10-28.endive`) or train (`endive`). They are processed all the same.
    ///
    /// Versions of one train are compatible. Versions before `2024-09-30.acacia` have no train and
    /// are compared as a whole. Thin events have no version.
    pub fn api_train(mut self, version: &str) -> Self {
        self.api_train = Some(ApiTrain::new(version, false));
        self
    }

    /// Like [`api_train`](Self::api_train), and stops them. Mind that the endpoint's version is
    /// changed in Stripe's Dashboard, by people who do not know of this setting.
    pub fn only_api_train(mut self, version: &str) -> Self {
        self.api_train = Some(ApiTrain::new(version, true));
        self
    }

    /// Says what becomes of events that a guard has stopped; [`WhenStopped::Quarantine`] unless set.
    pub fn when_stopped(mut self, when_stopped: WhenStopped) -> Self {
        self.when_stopped = when_stopped;
        self
    }

    /// Checks an event, as the layer and the extractor do. Of another API version train it warns, and
    /// counts it.
    ///
    /// # Errors
    ///
    /// The first guard, in the order of the [module](crate::guard), that stops it.
    pub fn check(&self, event: &Event, now: SystemTime) -> Result<(), StopReason> {
        if self.mode.is_some_and(|mode| !mode.is_of(event.livemode())) {
            return Err(StopReason::Mode);
        }
        let account = event.account_or_context();
        if self
            .accounts
            .as_ref()
            .is_some_and(|accept| !accept(account))
        {
            return Err(StopReason::Account);
        }
        if event.is_deduplicated() && self.is_too_old(event, now) {
            return Err(StopReason::Age);
        }
        match &self.api_train {
            Some(train) if !train.is_of(event) => {
                let before = self.other_api_trains.fetch_add(1, Ordering::Relaxed);
                telemetry::other_api_train(event, before.saturating_add(1));
                match train.required {
                    true => Err(StopReason::ApiTrain),
                    false => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// How many events of another API version train there were in this process.
    #[must_use]
    pub fn other_api_trains(&self) -> u64 {
        self.other_api_trains.load(Ordering::Relaxed)
    }

    /// Also if its age cannot be told, though it gives one.
    fn is_too_old(&self, event: &Event, now: SystemTime) -> bool {
        let age = event.created().and_then(|at| now.duration_since(at).ok());
        self.event_age_max.is_some_and(|limit| {
            event.has_unreadable_created() || age.is_some_and(|age| age > limit)
        })
    }
}

impl ApiTrain {
    fn new(version: &str, required: bool) -> Self {
        let name = train(version).into();
        Self { name, required }
    }

    fn is_of(&self, event: &Event) -> bool {
        let version = event.api_version();
        let fits = version.is_none_or(|version| train(version) == &*self.name);
        fits && !event.has_unreadable_api_version()
    }
}

/// `endive` of `2026-10-28.endive`.
fn train(version: &str) -> &str {
    version.rsplit_once('.').map_or(version, |(_, train)| train)
}

impl Default for Guards {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Guards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guards")
            .field("mode", &self.mode)
            .field("accounts", &self.accounts.as_ref().map(|_| ".."))
            .field("event_age_max", &self.event_age_max)
            .field("api_train", &self.api_train)
            .field("when_stopped", &self.when_stopped)
            .finish_non_exhaustive()
    }
}
