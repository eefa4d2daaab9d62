//! A simulator of how Stripe delivers.

mod report;
mod run;
mod schedule;

use std::time::{Duration, SystemTime};

use axum_core::body::Body;
use http::{Request, Response};
use tower_service::Service;

use super::{SampleEvent, sample_event::random_seed};
use crate::clock;

pub use report::{Cause, SimulatedDelivery, SimulatedOutcome, SimulatorReport};
use run::Run;

/// For how long Stripe retries in live mode, [as documented](https://docs.stripe.com/webhooks).
pub const RETRY_TIME_DEFAULT: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// The wait before the first retry, which each further one doubles. Stripe does not publish its own; so
/// there are a dozen in three days.
pub const RETRY_FIRST_DEFAULT: Duration = Duration::from_secs(60);

/// Real time that an answer is waited for, as a client does that gives up.
pub const ANSWER_TIME_MAX_DEFAULT: Duration = Duration::from_secs(30);

/// For how long retries go on at most: ten times as long as Stripe's.
pub const RETRY_TIME_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Most copies that one event is delivered in at once.
pub const COPIES_MAX: u32 = 1000;

/// Delivers events as Stripe does, over days of a time that takes none.
///
/// 1. Each event is delivered at least once: until the endpoint answers 2xx, after waits that double, for
///    three days. Then it is given up.
/// 2. Each delivery is signed anew, at the time that it is made.
/// 3. What else can happen is up to the settings: copies at the same moment, duplicates after a 2xx, other
///    orders, thin twins, two signatures while a secret is rolled, answers that get lost, clients that
///    leave. [`chaos`](Self::chaos) is all of them.
///
/// The same seed, events and settings make the same deliveries, as long as the endpoint answers them alike:
/// what happens to an event hangs on nothing but the seed, its place among the events, and what was answered
/// to it. If a test fails while it holds the report, the seed is written to standard error.
///
/// The endpoint is any tower service: a router as it is, or, over the network, `probe::Target`. A router
/// takes the time from the requests, which carry a [`FixedClock`](super::FixedClock); what is in another
/// process needs [`time_of_day`](Self::time_of_day). Runs within tokio.
///
/// ```
/// use axum::{Router, routing::post};
/// use axum_stripe_webhook::{
///     SigningSecret, VerifiedStripeEvent, Verifier, testing::{SampleEvent, Simulator},
/// };
///
/// async fn webhook(event: VerifiedStripeEvent) {}
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let app = Router::<Verifier>::new()
///     .route("/webhooks/stripe", post(webhook))
///     .with_state(Verifier::new(SigningSecret::new("whsec_test")?));
///
/// let events = (0..20).map(|_| SampleEvent::of("checkout.session.completed"));
/// let report = Simulator::new("whsec_test").seed(7).chaos().run(app, events).await;
/// report.assert_all_acknowledged();
/// assert!(report.deliveries().len() > 20, "{report}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Simulator {
    secret: String,
    old_secret: Option<String>,
    path: String,
    seed: u64,
    start: Option<SystemTime>,
    is_time_of_day: bool,
    interval: Duration,
    at_once: usize,
    retry_first: Duration,
    retry_time: Duration,
    answer_time_max: Duration,
    chances: Chances,
}

/// How often what happens.
#[derive(Clone, Copy, Debug, Default)]
struct Chances {
    copies: f64,
    copies_max: u32,
    duplicates: f64,
    late: Duration,
    twins: f64,
    lost_answers: f64,
    disconnects: f64,
}

impl Simulator {
    /// Delivers to `/webhooks/stripe` what it signs with this secret: in order, one at a time, each once,
    /// unless it fails.
    pub fn new(secret: impl Into<String>) -> Self {
        Self {
            secret: secret.into(),
            old_secret: None,
            path: "/webhooks/stripe".into(),
            seed: random_seed(),
            start: None,
            is_time_of_day: false,
            interval: Duration::from_secs(1),
            at_once: 1,
            retry_first: RETRY_FIRST_DEFAULT,
            retry_time: RETRY_TIME_DEFAULT,
            answer_time_max: ANSWER_TIME_MAX_DEFAULT,
            chances: Chances::default(),
        }
    }

    /// A bit of everything that can go wrong on the way, all at a rate that no endpoint should mind, eight
    /// deliveries at once.
    pub fn chaos(self) -> Self {
        self.at_once(8)
            .copies(0.1, 5)
            .duplicates(0.1)
            .shuffled(Duration::from_secs(60))
            .thin_twins(0.1)
            .lost_answers(0.1)
            .disconnects(0.05)
    }

    /// Sets the seed; a new one each time unless set.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the path that is delivered to.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Signs with this secret too, as while it is being rolled; which `v1` comes first differs.
    pub fn old_secret(mut self, secret: impl Into<String>) -> Self {
        self.old_secret = Some(secret.into());
        self
    }

    /// Sets when the first event is made; now unless set.
    pub fn start(mut self, start: SystemTime) -> Self {
        self.start = Some(start);
        self
    }

    /// Signs with the time of day, for an endpoint that has its own clock. Waits still take no time.
    pub fn time_of_day(mut self) -> Self {
        self.is_time_of_day = true;
        self
    }

    /// Sets the time between one event and the next; a second unless set.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Has so many deliveries run at once, copies aside, which always do; one unless set.
    pub fn at_once(mut self, deliveries: usize) -> Self {
        self.at_once = deliveries.max(1);
        self
    }

    /// Sets the wait before the first retry, and for how long there are any: see
    /// [`RETRY_FIRST_DEFAULT`] and [`RETRY_TIME_DEFAULT`]. A second is the least that is waited, and
    /// [`RETRY_TIME_MAX`] the longest.
    pub fn retries(mut self, first: Duration, within: Duration) -> Self {
        self.retry_first = first.max(Duration::from_secs(1));
        self.retry_time = within.min(RETRY_TIME_MAX);
        self
    }

    /// Sets how long an answer is waited for, in real time: see [`ANSWER_TIME_MAX_DEFAULT`].
    pub fn answer_time_max(mut self, limit: Duration) -> Self {
        self.answer_time_max = limit;
        self
    }

    /// Delivers this share of the events, from 0 to 1, in two to `most` copies at the same moment; at most
    /// [`COPIES_MAX`].
    pub fn copies(mut self, share: f64, most: u32) -> Self {
        self.chances.copies = share;
        self.chances.copies_max = most.clamp(2, COPIES_MAX);
        self
    }

    /// Delivers this share of the events again, some time after they were acknowledged.
    pub fn duplicates(mut self, share: f64) -> Self {
        self.chances.duplicates = share;
        self
    }

    /// Delivers each event up to so much later than it was made, so that others overtake it.
    pub fn shuffled(mut self, late: Duration) -> Self {
        self.chances.late = late;
        self
    }

    /// Delivers the thin twin of this share of the snapshot events as well, as a second destination does.
    pub fn thin_twins(mut self, share: f64) -> Self {
        self.chances.twins = share;
        self
    }

    /// Loses this share of the answers on their way back.
    pub fn lost_answers(mut self, share: f64) -> Self {
        self.chances.lost_answers = share;
        self
    }

    /// Leaves in the middle of this share of the deliveries: at one of the first moments at which the
    /// endpoint has to wait for something.
    pub fn disconnects(mut self, share: f64) -> Self {
        self.chances.disconnects = share;
        self
    }

    /// Delivers these events, until each is acknowledged or given up.
    ///
    /// An event that has no `created` of its own is made when the simulator first knows of it.
    pub async fn run<S, B>(
        &self,
        endpoint: S,
        events: impl IntoIterator<Item = SampleEvent>,
    ) -> SimulatorReport
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone,
    {
        let start = self.start.unwrap_or_else(clock::now);
        Run::new(self, start, events).finish(endpoint).await
    }
}

/// Not the secrets.
impl std::fmt::Debug for Simulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulator")
            .field("seed", &self.seed)
            .field("path", &self.path)
            .field("start", &self.start)
            .field("at_once", &self.at_once)
            .field("chances", &self.chances)
            .finish_non_exhaustive()
    }
}
