//! The example that keeps subscriptions, in every order that Stripe could deliver in.

use std::{
    cell::Cell,
    pin::pin,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::Router;
use axum_stripe_webhook::{BODY_BYTES_MAX, ProcessOnceLayer, signature::TOLERANCE_DEFAULT};
use sqlx::{Pool, Sqlite};
use tower::ServiceExt;

use crate::{
    database::{Fresh, TestBackend, open},
    stripe,
    stripe_api::{self, StripeApi},
};

#[path = "../../examples/subscriptions.rs"]
#[expect(dead_code, reason = "its main is not called")]
mod example;

thread_local! {
    /// What the service's clock says. Each test runs on a thread of its own, with all its tasks.
    static CLOCK: Cell<SystemTime> = const { Cell::new(UNIX_EPOCH) };
}

/// The service of the example, and Stripe.
struct Billing {
    app: Router,
    api: StripeApi,
    pool: Pool<Sqlite>,
    /// An hour ago: subscriptions begin here.
    start: u64,
    _fresh: Fresh,
}

impl Billing {
    async fn new() -> Self {
        let (fresh, pool) = open::<Sqlite>().await;
        sqlx::raw_sql(example::TABLE).execute(&pool).await.unwrap();
        let api = StripeApi::serve_within_transactions().await;
        // A proxy of the machine's does not know the stand-in.
        let client = reqwest::Client::builder().no_proxy();
        let key = stripe_api::KEY.to_owned();
        let stripe = example::Stripe::new(client, api.base.clone(), key, || CLOCK.get());
        let once = ProcessOnceLayer::new(pool.clone(), stripe::verifier());
        CLOCK.set(stripe::now());
        Self {
            app: example::app(once, stripe.unwrap()).unwrap(),
            api,
            pool,
            start: stripe::unix_now() - 3600,
            _fresh: fresh,
        }
    }

    async fn deliver(&self, event: &str) -> u16 {
        let answer = self.app.clone().oneshot(stripe::delivery(event)).await;
        answer.unwrap().status().as_u16()
    }

    /// Has Stripe's API say this of a subscription.
    fn is_now(&self, id: &str, status: &str) {
        self.api.answer_with(200, &subscription(id, status));
    }

    /// The status in the table, if the subscription is there.
    async fn status(&self, id: &str) -> Option<String> {
        let status = "select status from subscriptions where id = $1";
        let status = sqlx::query_scalar(status).bind(id);
        status.fetch_optional(&self.pool).await.unwrap()
    }

    async fn ledger(&self) -> i64 {
        Sqlite::count(&self.pool, "processed_stripe_events").await
    }
}

fn subscription(id: &str, status: &str) -> String {
    format!(
        r#"{{"id": "{id}", "object": "subscription", "customer": "cus_1", "status": "{status}"}}"#
    )
}

/// What happens to a subscription: the last words of the event's type, and the status after it.
type Change = (&'static str, &'static str);

const ENDS: [Change; 4] = [
    ("created", "incomplete"),
    ("updated", "active"),
    ("updated", "past_due"),
    ("deleted", "canceled"),
];
const GOES_ON: [Change; 3] = [ENDS[0], ENDS[1], ENDS[2]];
const GOES_ON_AND_ON: [Change; 4] = [ENDS[0], ENDS[1], ENDS[2], ENDS[1]];

/// The event of the `nth` change of a subscription.
fn event(id: &str, nth: usize, (kind, status): Change, created: u64) -> String {
    let subscription = subscription(id, status);
    format!(
        r#"{{"id": "evt_{nth}_of_{id}", "object": "event", "created": {created},
            "type": "customer.subscription.{kind}", "data": {{"object": {subscription}}}}}"#
    )
}

/// All the ways to give each change a second: that of the one before it, or the next.
fn all_seconds(changes: usize) -> Vec<Vec<u64>> {
    let seconds = |steps: u32| {
        let second = |nth: usize| u64::from((steps & ((1 << nth) - 1)).count_ones());
        (0..changes).map(second).collect()
    };
    (0..1 << (changes - 1)).map(seconds).collect()
}

fn permutations(of: usize) -> Vec<Vec<usize>> {
    let Some(last) = of.checked_sub(1) else {
        return vec![Vec::new()];
    };
    let with_last = |shorter: Vec<usize>| {
        (0..of).map(move |place| {
            let mut longer = shorter.clone();
            longer.insert(place, last);
            longer
        })
    };
    permutations(last).into_iter().flat_map(with_last).collect()
}

/// Delivers a life that is over by now: in each timing and each order, and then all of it again.
async fn ends_as<const CHANGES: usize>(life: [Change; CHANGES], end: &str) {
    let billing = Billing::new().await;
    for (timing, seconds) in all_seconds(CHANGES).iter().enumerate() {
        for (number, order) in permutations(CHANGES).iter().enumerate() {
            let case = format!("seconds {seconds:?}, order {order:?}");
            let id = format!("sub_{timing}_{number}");
            billing.is_now(&id, end);
            let deliver = async |nth: usize| {
                let event = event(&id, nth, life[nth], billing.start + seconds[nth]);
                assert_eq!(billing.deliver(&event).await, 200, "{case}");
            };
            for nth in order {
                deliver(*nth).await;
            }
            assert_eq!(billing.status(&id).await.as_deref(), Some(end), "{case}");
            for duplicate in 0..CHANGES {
                deliver(duplicate).await;
            }
            assert_eq!(billing.status(&id).await.as_deref(), Some(end), "{case}");
            let each_has_its_own = seconds.is_sorted_by(|one, next| one < next);
            let asked = billing.api.asked().len();
            assert!(!each_has_its_own || asked == 0, "{case}: asked {asked}");
        }
    }
}

#[tokio::test]
async fn all_permutations_of_a_subscriptions_life_end_as_it_ended() {
    ends_as(ENDS, "canceled").await;
}

#[tokio::test]
async fn all_permutations_of_a_life_that_goes_on_end_as_stripe_says() {
    ends_as(GOES_ON, "past_due").await;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Happens(usize),
    Arrives(usize),
}

/// All the ways in which changes happen one after the other, and their events arrive some time after
/// each.
fn interleavings(changes: usize) -> Vec<Vec<Step>> {
    fn go_on(story: &[Step], changes: usize, told: &mut Vec<Vec<Step>>) {
        if story.len() == 2 * changes {
            return told.push(story.to_vec());
        }
        let happened = (0..changes).take_while(|nth| story.contains(&Step::Happens(*nth)));
        let happened = happened.count();
        let arrivals = (0..happened).map(Step::Arrives);
        let next = (happened < changes).then_some(Step::Happens(happened));
        for step in arrivals.filter(|step| !story.contains(step)).chain(next) {
            go_on(&[story, &[step]].concat(), changes, told);
        }
    }
    let mut told = Vec::new();
    go_on(&[], changes, &mut told);
    told
}

/// Delivers a life while it goes on: Stripe's API says what has happened until it is asked. The
/// service's clock is that much faster than Stripe's.
async fn ends_as_it_is<const CHANGES: usize>(life: [Change; CHANGES], fast: Duration) {
    let billing = Billing::new().await;
    let start = UNIX_EPOCH + Duration::from_secs(billing.start);
    let (_, end) = life[CHANGES - 1];
    for (timing, seconds) in all_seconds(CHANGES).iter().enumerate() {
        for (number, story) in interleavings(CHANGES).iter().enumerate() {
            let id = format!("sub_{timing}_{number}");
            for step in story {
                match *step {
                    Step::Happens(nth) => {
                        billing.is_now(&id, life[nth].1);
                        CLOCK.set(start + Duration::from_secs(seconds[nth]) + fast);
                    }
                    Step::Arrives(nth) => {
                        let event = event(&id, nth, life[nth], billing.start + seconds[nth]);
                        assert_eq!(billing.deliver(&event).await, 200);
                    }
                }
            }
            let status = billing.status(&id).await;
            assert_eq!(
                status.as_deref(),
                Some(end),
                "seconds {seconds:?}, {story:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_life_that_goes_on_while_its_events_arrive_ends_as_it_is() {
    ends_as_it_is(GOES_ON, Duration::ZERO).await;
}

/// No delivery is verified by a clock that is faster still.
#[tokio::test]
async fn a_fast_clock_makes_no_event_older_than_it_is() {
    assert_eq!(interleavings(4).len(), 105);
    ends_as_it_is(GOES_ON_AND_ON, TOLERANCE_DEFAULT).await;
}

#[tokio::test]
async fn a_life_that_ends_while_its_events_arrive_ends_for_good() {
    ends_as_it_is(ENDS, TOLERANCE_DEFAULT).await;
}

/// Two events of one second: the first is applied, and for the second Stripe's API is asked.
struct SameSecond {
    billing: Billing,
    second: String,
}

impl SameSecond {
    async fn new() -> Self {
        let billing = Billing::new().await;
        let [first, second] = [0, 1].map(|nth| event("sub_1", nth, ENDS[nth], billing.start));
        assert_eq!(billing.deliver(&first).await, 200);
        assert_eq!(billing.status("sub_1").await.unwrap(), "incomplete");
        assert!(billing.api.asked().is_empty());
        Self { billing, second }
    }
}

#[tokio::test]
async fn stripe_is_asked_about_the_second_of_two_events_of_one_second() {
    let SameSecond { billing, second } = SameSecond::new().await;
    billing.is_now("sub_1", "past_due");
    for asked in [&["/v1/subscriptions/sub_1 of none"][..], &[]] {
        assert_eq!(billing.deliver(&second).await, 200);
        assert_eq!(billing.status("sub_1").await.unwrap(), "past_due");
        assert_eq!(billing.api.asked(), asked);
    }
}

#[tokio::test]
async fn stripe_is_asked_on_behalf_of_the_events_account() {
    let SameSecond { billing, second } = SameSecond::new().await;
    billing.is_now("sub_1", "active");
    let connect = second.replace(r#""type""#, r#""account": "acct_1", "type""#);
    assert_eq!(billing.deliver(&connect).await, 200);
    assert_eq!(billing.api.asked(), ["/v1/subscriptions/sub_1 of acct_1"]);
}

#[tokio::test]
async fn an_answer_that_does_not_come_leaves_the_row_and_the_redelivery_succeeds() {
    let SameSecond { billing, second } = SameSecond::new().await;
    let active = subscription("sub_1", "active");
    let too_long = " ".repeat(BODY_BYTES_MAX) + &active;
    for (status, body) in [
        (500, ""),
        (429, ""),
        (401, &active),
        (307, &active),
        (200, "{}"),
        (200, "null"),
        (200, &too_long),
    ] {
        billing.api.answer_with(status, body);
        assert_eq!(billing.deliver(&second).await, 503, "{status}");
        assert_eq!(billing.status("sub_1").await.unwrap(), "incomplete");
        assert_eq!(billing.ledger().await, 1, "{status}");
        // Of a redirect there would be more.
        assert_eq!(billing.api.asked().len(), 1, "{status}");
    }
    billing.is_now("sub_1", "active");
    assert_eq!(billing.deliver(&second).await, 200);
    assert_eq!(billing.status("sub_1").await.unwrap(), "active");
    assert_eq!(billing.ledger().await, 2);
}

#[tokio::test]
async fn stripe_is_not_waited_for_longer_than_a_lock_may_be_held() {
    let SameSecond { billing, second } = SameSecond::new().await;
    billing.api.answer_never();
    let asked = async {
        while billing.api.asked().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    let mut delivery = pin!(billing.deliver(&second));
    tokio::select! {
        answer = &mut delivery => panic!("answered {answer} without an answer"),
        () = asked => {}
    }
    tokio::time::pause();
    tokio::time::advance(example::ASKING_TIME_MAX).await;
    tokio::time::resume();
    assert_eq!(delivery.await, 503);
    assert_eq!(billing.status("sub_1").await.unwrap(), "incomplete");
    billing.is_now("sub_1", "active");
    assert_eq!(billing.deliver(&second).await, 200);
    assert_eq!(billing.status("sub_1").await.unwrap(), "active");
}

#[tokio::test]
async fn a_subscription_that_stripe_does_not_know_is_looked_at_and_not_ended() {
    let SameSecond { billing, second } = SameSecond::new().await;
    billing.api.answer_with(404, "{}");
    for asked in [1, 0] {
        assert_eq!(billing.deliver(&second).await, 200);
        assert_eq!(billing.status("sub_1").await.unwrap(), "incomplete");
        assert_eq!(billing.api.asked().len(), asked);
    }
    let kept = "select event_id || ' ' || state || ' ' || last_error from stripe_inbox";
    let expected = "evt_1_of_sub_1 quarantined handler_subscription_not_found";
    assert_eq!(Sqlite::texts(&billing.pool, kept).await, [expected]);
    let deleted = event("sub_1", 3, ENDS[3], billing.start);
    assert_eq!(billing.deliver(&deleted).await, 200);
    assert_eq!(billing.status("sub_1").await.unwrap(), "canceled");
}

#[tokio::test]
async fn an_event_older_than_what_was_fetched_changes_nothing() {
    let SameSecond { billing, second } = SameSecond::new().await;
    billing.is_now("sub_1", "past_due");
    assert_eq!(billing.deliver(&second).await, 200);
    assert_eq!(billing.api.asked().len(), 1);
    // Newer than both events, and older than the answer.
    for minutes in [0, 1, 54] {
        let nth = 10 + usize::try_from(minutes).unwrap();
        let between = event("sub_1", nth, ENDS[1], billing.start + 60 * minutes);
        let expected = billing.ledger().await + 1;
        assert_eq!(billing.deliver(&between).await, 200);
        assert_eq!(billing.status("sub_1").await.unwrap(), "past_due");
        assert_eq!(billing.ledger().await, expected);
    }
    assert!(billing.api.asked().is_empty());
    let newer = event("sub_1", 2, ENDS[1], stripe::unix_now());
    assert_eq!(billing.deliver(&newer).await, 200);
    assert_eq!(billing.status("sub_1").await.unwrap(), "active");
}

/// Its `deleted` is still on its way, and so is an event from before it.
#[tokio::test]
async fn a_subscription_that_was_fetched_as_ended_is_not_resurrected() {
    let SameSecond { billing, second } = SameSecond::new().await;
    billing.is_now("sub_1", "canceled");
    assert_eq!(billing.deliver(&second).await, 200);
    let late = event("sub_1", 2, ENDS[2], stripe::unix_now());
    assert_eq!(billing.deliver(&late).await, 200);
    assert_eq!(billing.status("sub_1").await.unwrap(), "canceled");
}
