//! Stripe's behaviour, as the simulator has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    future::{pending, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use axum::{
    body::Body,
    http::{Request, Response, StatusCode},
};
use axum_stripe_webhook::{
    Event, EventKind, SigningSecret, VerifiedStripeEvent, Verifier,
    testing::{
        FixedClock, SampleEvent, Simulator, sign_test_payload,
        simulator::{Cause, SimulatedOutcome, SimulatorReport},
    },
};
use http_body_util::BodyExt;
use tokio::sync::Barrier;
use tower::service_fn;

use crate::stripe::SECRET;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

fn samples(events: usize) -> impl Iterator<Item = SampleEvent> {
    (0..events).map(|number| SampleEvent::of("payout.paid").named(format!("{number:06}")))
}

fn simulator() -> Simulator {
    let start = UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    Simulator::new(SECRET).seed(1).start(start)
}

/// An endpoint that answers whatever this says to the how-manieth delivery it gets.
macro_rules! answering {
    ($answer:expr) => {{
        let deliveries = Arc::new(AtomicUsize::new(0));
        service_fn(move |_: Request<Body>| {
            let number = deliveries.fetch_add(1, Ordering::Relaxed);
            let answer: fn(usize) -> u16 = $answer;
            let status = StatusCode::from_u16(answer(number)).unwrap();
            let response = Response::builder().status(status).body(Body::empty());
            ready(Ok::<_, Infallible>(response.unwrap()))
        })
    }};
}

/// What an endpoint that verifies has seen, by the clock that the request carries.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Delivery>>>);

type Delivery = (Request<()>, VerifiedStripeEvent);

impl Seen {
    async fn take(&self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let now = parts.extensions.get::<FixedClock>().unwrap().now();
        let verifier = Verifier::new(SigningSecret::new(SECRET).unwrap());
        let header = parts.headers["stripe-signature"].as_bytes();
        let event = verifier.verify_and_parse(bytes, header, now).unwrap();
        let mut seen = self.0.lock().unwrap();
        seen.push((Request::from_parts(parts, ()), event));
        Ok(Response::new(Body::empty()))
    }

    async fn of(simulator: Simulator, events: impl IntoIterator<Item = SampleEvent>) -> Self {
        let seen = Self::default();
        let taking = seen.clone();
        let endpoint = service_fn(move |request| {
            let taking = taking.clone();
            async move { taking.take(request).await }
        });
        simulator
            .run(endpoint, events)
            .await
            .assert_all_acknowledged();
        seen
    }

    fn ids(&self) -> Vec<String> {
        let seen = self.0.lock().unwrap();
        seen.iter()
            .map(|(_, event)| event.id().to_owned())
            .collect()
    }

    fn headers(&self) -> Vec<String> {
        let seen = self.0.lock().unwrap();
        let header = |request: &Request<()>| request.headers()["stripe-signature"].clone();
        seen.iter()
            .map(|(request, _)| header(request).to_str().unwrap().to_owned())
            .collect()
    }
}

fn outcomes(report: &SimulatorReport) -> Vec<SimulatedOutcome> {
    report
        .deliveries()
        .iter()
        .map(|made| made.outcome)
        .collect()
}

#[tokio::test]
async fn without_settings_each_event_is_delivered_once_and_in_order() {
    let seen = Seen::of(simulator(), samples(3)).await;
    assert_eq!(seen.ids(), ["evt_000000", "evt_000001", "evt_000002"]);
}

async fn some_fail(seed: u64, events: usize) -> SimulatorReport {
    let endpoint = answering!(|number| if number % 10 == 3 { 500 } else { 200 });
    simulator()
        .seed(seed)
        .chaos()
        .run(endpoint, samples(events))
        .await
}

#[tokio::test]
async fn the_same_seed_makes_the_same_100_000_deliveries() {
    let (one, again) = (some_fail(1, 60_000).await, some_fail(1, 60_000).await);
    assert!(one.deliveries().len() >= 100_000, "{one}");
    assert!(one.deliveries() == again.deliveries(), "{one} / {again}");
    one.assert_all_acknowledged();
}

#[tokio::test]
async fn another_seed_makes_other_deliveries() {
    let (one, other) = (some_fail(1, 100).await, some_fail(2, 100).await);
    assert_ne!(one.deliveries(), other.deliveries());
}

/// What is drawn for one event does not hang on what is answered to another.
#[tokio::test]
async fn an_answer_changes_the_deliveries_of_its_own_event_alone() {
    async fn run(failing: &'static str) -> BTreeMap<usize, Vec<(Cause, SimulatedOutcome)>> {
        let endpoint = service_fn(move |request: Request<Body>| async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let event = Event::parse(body).unwrap();
            let status = match event.deduplication_id() == failing {
                true => StatusCode::INTERNAL_SERVER_ERROR,
                false => StatusCode::OK,
            };
            let response = Response::builder().status(status).body(Body::empty());
            Ok::<_, Infallible>(response.unwrap())
        });
        let report = simulator().chaos().run(endpoint, samples(300)).await;
        let mut by_event = BTreeMap::<_, Vec<_>>::new();
        for made in report.deliveries() {
            let of_event = by_event.entry(made.event).or_default();
            of_event.push((made.cause, made.outcome));
        }
        by_event
    }
    let (sound, failing) = (run("none").await, run("evt_000007").await);
    let changed = sound
        .iter()
        .filter(|(event, made)| failing[event] != **made);
    let changed: Vec<_> = changed.map(|(event, _)| *event).collect();
    // Its twin, if it has one, comes after all the others.
    assert!(changed.contains(&7), "{changed:?}");
    assert!(
        changed.iter().all(|event| *event == 7 || *event >= 300),
        "{changed:?}"
    );
}

#[tokio::test]
async fn what_is_not_acknowledged_is_retried_for_three_days_with_waits_that_double() {
    for status in [100_u16, 302, 400, 409, 500, 503] {
        let endpoint = service_fn(move |_: Request<Body>| {
            let response = Response::builder().status(status).body(Body::empty());
            ready(Ok::<_, Infallible>(response.unwrap()))
        });
        let report = simulator().run(endpoint, samples(1)).await;
        let at: Vec<_> = report.deliveries().iter().map(|made| made.at).collect();
        let waits: Vec<_> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(waits[..3], [MINUTE, 2 * MINUTE, 4 * MINUTE]);
        assert!(waits.windows(2).all(|pair| pair[1] == 2 * pair[0]));
        assert_eq!(at.len(), 13);
        assert!((30 * HOUR..=72 * HOUR).contains(at.last().unwrap()));
        assert_eq!(report.given_up(), ["evt_000000"]);
    }
}

#[tokio::test]
async fn a_retry_ends_with_the_first_2xx() {
    let endpoint = answering!(|number| if number < 2 { 503 } else { 204 });
    let report = simulator().run(endpoint, samples(1)).await;
    report.assert_all_acknowledged();
    assert_eq!(report.deliveries().len(), 3);
    assert_eq!(report.caused_by(Cause::Retry), 2);
}

#[tokio::test]
async fn each_delivery_is_signed_anew_when_it_is_made() {
    let endpoint = Seen::default();
    let failing = endpoint.clone();
    let service = service_fn(move |request| {
        let failing = failing.clone();
        async move {
            let mut response = failing.take(request).await?;
            if failing.ids().len() < 4 {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            Ok::<_, Infallible>(response)
        }
    });
    simulator()
        .run(service, samples(1))
        .await
        .assert_all_acknowledged();
    let headers: BTreeSet<_> = endpoint.headers().into_iter().collect();
    assert_eq!(headers.len(), 4);
    let signed = |header: &str| header[2..12].parse::<u64>().unwrap() - 1_767_225_600;
    let at: Vec<_> = headers.iter().map(|header| signed(header)).collect();
    assert_eq!(at, [0, 60, 180, 420]);
}

#[tokio::test]
async fn a_duplicate_comes_after_the_event_was_acknowledged() {
    let report = simulator().duplicates(1.0);
    let report = report.run(answering!(|_| 200), samples(50)).await;
    assert_eq!(report.caused_by(Cause::Duplicate), 50);
    for made in report.deliveries() {
        let is_duplicate = made.cause == Cause::Duplicate;
        assert_eq!(made.number, if is_duplicate { 2 } else { 1 });
    }
    report.assert_all_acknowledged();
}

/// An endpoint at which each delivery waits for so many others: it would never answer them in turn.
macro_rules! together {
    ($deliveries:literal) => {{
        let barrier = Arc::new(Barrier::new($deliveries));
        service_fn(move |_: Request<Body>| {
            let barrier = Arc::clone(&barrier);
            async move {
                barrier.wait().await;
                Ok::<_, Infallible>(Response::new(Body::empty()))
            }
        })
    }};
}

#[tokio::test]
async fn copies_are_delivered_at_the_same_moment() {
    let report = simulator().copies(1.0, 2);
    let report = report.run(together!(2), samples(5)).await;
    assert_eq!(report.deliveries().len(), 10);
    report.assert_all_acknowledged();
}

#[tokio::test]
async fn so_many_events_are_delivered_at_once_as_are_asked_for() {
    let report = simulator().at_once(3);
    let report = report.run(together!(3), samples(9)).await;
    report.assert_all_acknowledged();
}

#[tokio::test]
async fn events_overtake_each_other_if_shuffled() {
    let seen = Seen::of(simulator().shuffled(HOUR), samples(100)).await;
    let mut sorted = seen.ids();
    sorted.sort_unstable();
    assert_ne!(seen.ids(), sorted);
    assert_eq!(sorted.len(), 100);
}

#[tokio::test]
async fn a_secret_that_is_rolled_signs_too_first_or_last() {
    let rolled = simulator().old_secret("whsec_old");
    let seen = Seen::of(rolled, samples(50)).await;
    let seen = seen.0.lock().unwrap();
    let mut is_first = Vec::new();
    for (request, event) in seen.iter() {
        let header = request.headers()["stripe-signature"].to_str().unwrap();
        let at = UNIX_EPOCH + Duration::from_secs(event.signed_at().unwrap());
        let of_old = sign_test_payload(event.bytes(), "whsec_old", at);
        let of_new = sign_test_payload(event.bytes(), SECRET, at);
        let (_, old) = of_old.split_once(',').unwrap();
        let (_, new) = of_new.split_once(',').unwrap();
        assert!(header.contains(old) && header.contains(new) && old != new);
        is_first.push(header.starts_with(&of_old));
    }
    assert!(is_first.contains(&true) && is_first.contains(&false));
}

#[tokio::test]
async fn a_twin_says_which_event_it_is_the_twin_of() {
    let seen = Seen::of(simulator().thin_twins(1.0), samples(10)).await;
    let seen = seen.0.lock().unwrap();
    let thin = seen
        .iter()
        .filter(|(_, event)| event.kind() == EventKind::Thin);
    let thin: Vec<_> = thin.map(|(_, event)| event.deduplication_id()).collect();
    assert_eq!(thin.len(), 10);
    for (_, event) in seen.iter() {
        assert!(thin.contains(&event.deduplication_id()));
        assert!(event.kind() == EventKind::Snapshot || event.id() != event.deduplication_id());
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_was_given_and_is_retried() {
    let report = simulator().lost_answers(1.0).retries(MINUTE, 10 * MINUTE);
    let report = report.run(answering!(|_| 200), samples(1)).await;
    let lost = SimulatedOutcome::AnswerLost(StatusCode::OK);
    assert_eq!(outcomes(&report), [lost; 4]);
    assert_eq!(report.given_up().len(), 1);
}

/// The future is dropped: what the endpoint had begun without a task of its own is not finished.
#[tokio::test]
async fn a_client_that_leaves_cancels_its_request() {
    let (begun, finished) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (Arc::clone(&begun), Arc::clone(&finished));
    let endpoint = service_fn(move |_: Request<Body>| {
        let (begun, finished) = counts.clone();
        async move {
            begun.fetch_add(1, Ordering::Relaxed);
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            finished.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }
    });
    let report = simulator().disconnects(1.0).retries(MINUTE, 10 * MINUTE);
    let report = report.run(endpoint, samples(20)).await;
    assert!(
        outcomes(&report)
            .iter()
            .all(|outcome| *outcome == SimulatedOutcome::Disconnected)
    );
    assert!(begun.load(Ordering::Relaxed) > 0);
    assert_eq!(finished.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn retries_end_however_long_they_are_to_go_on() {
    let endless = simulator().retries(Duration::ZERO, Duration::MAX);
    let report = endless.run(answering!(|_| 500), samples(2)).await;
    assert_eq!(report.given_up().len(), 2);
    assert!(report.deliveries().len() < 50, "{report}");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_never_answers_is_given_up() {
    let silent =
        tower::service_fn(|_: Request<Body>| pending::<Result<Response<Body>, Infallible>>());
    let report = simulator().run(silent, samples(1)).await;
    let outcomes = report.deliveries().iter().map(|delivery| delivery.outcome);
    assert!(
        outcomes
            .clone()
            .all(|outcome| outcome == SimulatedOutcome::TimedOut)
    );
    assert!(report.deliveries().len() > 5, "{report}");
    assert!(
        report.to_string().contains(" timed out; 1 events given up"),
        "{report}"
    );
}

#[tokio::test]
async fn the_seed_is_in_the_message_of_a_failed_assertion() {
    let report = simulator().seed(4711);
    let report = report.run(answering!(|_| 500), samples(1)).await;
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        report.assert_all_acknowledged();
    }));
    let message = *failed.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("seed 4711"), "{message}");
}

#[test]
fn neither_debug_shows_a_secret() {
    let simulator = Simulator::new("whsec_marker").old_secret("whsec_marker_old");
    assert!(!format!("{simulator:?}").contains("marker"));
}
