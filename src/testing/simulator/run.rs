use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::{Duration, SystemTime},
};

use axum_core::body::Body;
use bytes::Bytes;
use fastrand::Rng;
use futures_util::{FutureExt, StreamExt, future::join_all, stream};
use http::{Request, Response};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tower_service::Service;

use super::{
    super::{FixedClock, SampleEvent, SignedDelivery},
    Simulator,
    report::{Cause, SimulatedDelivery, SimulatedOutcome, SimulatorReport},
    schedule::{Flight, Schedule},
};
use crate::EventKind;

/// The soonest that a duplicate follows what was acknowledged.
const DUPLICATE_SOONEST: Duration = Duration::from_secs(60);

/// Most moments at which a client can leave: a delivery under the layer waits for about as many things.
const LEAVES_AFTER_MAX: u32 = 12;

/// Real time that passes before a delivery of an event that may be in hand still: the task that works on
/// it does not know of virtual hours. Doubled with each delivery of the event.
const PAUSE_FIRST: Duration = Duration::from_millis(1);

/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// A simulation on its way.
pub(super) struct Run<'a> {
    settings: &'a Simulator,
    start: SystemTime,
    events: Vec<Delivered>,
    schedule: Schedule,
    report: SimulatorReport,
}

/// An event and what has become of it.
struct Delivered {
    id: String,
    body: Bytes,
    /// Its own, so that what happens to it does not hang on what happens to others.
    rng: Rng,
    first_at: Duration,
    deliveries: u32,
    retries: u32,
    is_acknowledged: bool,
    is_duplicated: bool,
    /// Whether somebody may still work on it.
    is_in_hand: bool,
}

/// One copy, before it is sent: whatever is random about it is drawn in order.
struct Departure {
    request: Request<Body>,
    leaves_after: Option<u32>,
    is_answer_lost: bool,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        settings: &'a Simulator,
        start: SystemTime,
        events: impl IntoIterator<Item = SampleEvent>,
    ) -> Self {
        let mut run = Self {
            settings,
            start,
            events: Vec::new(),
            schedule: Schedule::default(),
            report: SimulatorReport {
                seed: settings.seed,
                events: 0,
                twins: 0,
                deliveries: Vec::new(),
                given_up: Vec::new(),
            },
        };
        let mut twins = Vec::new();
        let mut at = Duration::ZERO;
        for event in events {
            let made_at = start.checked_add(at).unwrap_or(start);
            let event = event.created_unless_set(made_at);
            let index = run.first(&event, at);
            let is_snapshot = event.kind() == EventKind::Snapshot;
            if is_snapshot && run.happens(index, settings.chances.twins) {
                twins.push((event.thin_twin(), at));
            }
            at = at.saturating_add(settings.interval);
        }
        run.report.events = run.events.len();
        run.report.twins = twins.len();
        for (twin, at) in twins {
            run.first(&twin, at);
        }
        run
    }

    /// Plans the first delivery of an event.
    fn first(&mut self, event: &SampleEvent, made_at: Duration) -> usize {
        let index = self.events.len();
        let value = event.to_value();
        let chances = &self.settings.chances;
        // Spread by an odd number, or neighbours of neighbouring seeds would be alike.
        let of_event = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut rng = Rng::with_seed(self.settings.seed ^ of_event);
        let at = made_at.saturating_add(up_to(&mut rng, chances.late));
        let copies = match rng.f64() < chances.copies {
            true => rng.u32(2..=chances.copies_max),
            false => 1,
        };
        self.events.push(Delivered {
            id: value
                .get("id")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            body: format!("{value:#}").into(),
            rng,
            first_at: at,
            deliveries: 0,
            retries: 0,
            is_acknowledged: false,
            is_duplicated: false,
            is_in_hand: false,
        });
        self.schedule.plan(at, index, copies, Cause::First);
        index
    }

    pub(super) async fn finish<S, B>(mut self, endpoint: S) -> SimulatorReport
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone,
    {
        let soonest = self.settings.retry_first.min(DUPLICATE_SOONEST);
        loop {
            let flights = self.schedule.take(self.settings.at_once, soonest);
            if flights.is_empty() {
                break;
            }
            self.fly(&endpoint, flights).await;
        }
        let events = self.events.iter();
        let given_up = events.filter(|event| !event.is_acknowledged);
        self.report.given_up = given_up.map(|event| event.id.clone()).collect();
        self.report
    }

    /// Delivers these at once, and plans what comes of it.
    async fn fly<S, B>(&mut self, endpoint: &S, flights: Vec<Flight>)
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone,
    {
        let mut in_flight = Vec::with_capacity(flights.len());
        for flight in &flights {
            let pause = self.pause(flight.event);
            let time_max = self.settings.answer_time_max;
            let departures: Vec<_> = (0..flight.copies).map(|_| self.depart(flight)).collect();
            in_flight.push(async move {
                if let Some(pause) = pause {
                    sleep(pause).await;
                }
                let copies = departures.into_iter();
                let answers = copies.map(|departure| {
                    let answer = timeout(time_max, deliver(endpoint.clone(), departure));
                    answer.map(|answer| answer.unwrap_or(SimulatedOutcome::TimedOut))
                });
                join_all(answers).await
            });
        }
        let at_once = in_flight.len().max(1);
        let outcomes: Vec<_> = stream::iter(in_flight).buffered(at_once).collect().await;
        for (flight, outcomes) in flights.iter().zip(outcomes) {
            self.arrive(flight, &outcomes);
        }
    }

    /// How long to wait because the event may be in hand still.
    fn pause(&self, event: usize) -> Option<Duration> {
        let event = self.events.get(event)?;
        let doubled = 2_u32.saturating_pow(event.retries.saturating_sub(1));
        let pause = PAUSE_FIRST.saturating_mul(doubled).min(PAUSE_MAX);
        event.is_in_hand.then_some(pause)
    }

    fn depart(&mut self, flight: &Flight) -> Departure {
        let Simulator {
            secret,
            old_secret,
            path,
            chances,
            ..
        } = self.settings;
        let now = self.start.checked_add(flight.at).unwrap_or(self.start);
        let Some(event) = self.events.get_mut(flight.event) else {
            return Departure::nowhere();
        };
        let delivery = SignedDelivery::of(event.body.clone());
        let delivery = match old_secret {
            None => delivery.secret(secret),
            Some(old) if event.rng.bool() => delivery.secret(old).secret(secret),
            Some(old) => delivery.secret(secret).secret(old),
        };
        let delivery = match self.settings.is_time_of_day {
            true => delivery,
            false => delivery.received_at(FixedClock::at(now)),
        };
        let leaves = event.rng.f64() < chances.disconnects;
        Departure {
            request: delivery.request(path),
            leaves_after: leaves.then(|| event.rng.u32(0..LEAVES_AFTER_MAX)),
            is_answer_lost: event.rng.f64() < chances.lost_answers,
        }
    }

    fn arrive(&mut self, flight: &Flight, outcomes: &[SimulatedOutcome]) {
        let Some(event) = self.events.get_mut(flight.event) else {
            return;
        };
        for outcome in outcomes {
            event.deliveries += 1;
            self.report.deliveries.push(SimulatedDelivery {
                at: flight.at,
                event: flight.event,
                number: event.deliveries,
                cause: flight.cause,
                outcome: *outcome,
            });
        }
        event.is_in_hand = outcomes.iter().any(may_be_in_hand);
        if outcomes.iter().any(|outcome| outcome.is_acknowledged()) {
            event.is_acknowledged = true;
            self.duplicate(flight);
        } else {
            self.retry(flight);
        }
    }

    /// An event is delivered again after a 2xx at most once: a second time would show nothing new.
    fn duplicate(&mut self, flight: &Flight) {
        let is_duplicated = self.happens(flight.event, self.settings.chances.duplicates);
        let Some(event) = self.events.get_mut(flight.event) else {
            return;
        };
        if is_duplicated && !event.is_duplicated {
            event.is_duplicated = true;
            let later = DUPLICATE_SOONEST + up_to(&mut event.rng, self.settings.retry_time);
            let at = flight.at.saturating_add(later);
            self.schedule.plan(at, flight.event, 1, Cause::Duplicate);
        }
    }

    fn retry(&mut self, flight: &Flight) {
        let Some(event) = self.events.get_mut(flight.event) else {
            return;
        };
        let doubled = 2_u32.saturating_pow(event.retries);
        let wait = self.settings.retry_first.saturating_mul(doubled);
        let at = flight.at.saturating_add(wait);
        event.retries += 1;
        if at.saturating_sub(event.first_at) <= self.settings.retry_time {
            self.schedule.plan(at, flight.event, 1, Cause::Retry);
        }
    }

    fn happens(&mut self, event: usize, share: f64) -> bool {
        let event = self.events.get_mut(event);
        event.is_some_and(|event| event.rng.f64() < share)
    }
}

impl Departure {
    fn nowhere() -> Self {
        Self {
            request: Request::new(Body::empty()),
            leaves_after: Some(0),
            is_answer_lost: true,
        }
    }
}

async fn deliver<S, B>(mut endpoint: S, departure: Departure) -> SimulatedOutcome
where
    S: Service<Request<Body>, Response = Response<B>>,
{
    let answer = async {
        let ready = poll_fn(|context| endpoint.poll_ready(context)).await;
        ready.ok()?;
        endpoint.call(departure.request).await.ok()
    };
    let answer = match departure.leaves_after {
        None => Some(answer.await),
        Some(polls) => polled(answer, polls).await,
    };
    match answer {
        None => SimulatedOutcome::Disconnected,
        Some(None) => SimulatedOutcome::Failed,
        Some(Some(answer)) if departure.is_answer_lost => {
            SimulatedOutcome::AnswerLost(answer.status())
        }
        Some(Some(answer)) => SimulatedOutcome::Answered(answer.status()),
    }
}

/// Polls a future at most so many times, and drops it.
async fn polled<F: Future>(future: F, mut polls: u32) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| {
        if polls == 0 {
            return Poll::Ready(None);
        }
        polls -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// Whether a task may go on working on it.
fn may_be_in_hand(outcome: &SimulatedOutcome) -> bool {
    match outcome {
        SimulatedOutcome::Answered(status) | SimulatedOutcome::AnswerLost(status) => {
            *status == http::StatusCode::CONFLICT
        }
        SimulatedOutcome::Disconnected | SimulatedOutcome::TimedOut | SimulatedOutcome::Failed => {
            true
        }
    }
}

/// A time from zero to this, in whole seconds: what is signed knows no parts of them.
fn up_to(rng: &mut Rng, most: Duration) -> Duration {
    Duration::from_secs(rng.u64(0..=most.as_secs()))
}
