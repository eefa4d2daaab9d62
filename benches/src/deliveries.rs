//! What Stripe would send, and how it is sent by so many clients at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum_stripe_webhook::{SigningSecret, Verifier, testing::sign_test_payload};
use tokio::{task::JoinSet, time::Instant};

use crate::figures::Load;

const SECRET: &str = "whsec_of_the_benches";

/// What an object of Stripe's has beside what is read here: bodies are of their usual size.
const BODY_BYTES: usize = 2500;

pub(crate) struct Delivery {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) body: String,
    pub(crate) signature: String,
}

pub(crate) fn verifier() -> Verifier {
    Verifier::new(SigningSecret::new(SECRET).expect("a secret"))
}

impl Delivery {
    /// A delivery of an event that nobody has seen yet, signed now.
    #[expect(
        clippy::disallowed_methods,
        reason = "deliveries are signed with the time of day"
    )]
    pub(crate) fn new() -> Self {
        static EVENTS: AtomicU64 = AtomicU64::new(0);

        let now = SystemTime::now();
        let unix = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let created = i64::try_from(unix.as_secs()).unwrap_or_default();
        let id = format!("evt_{:016}", EVENTS.fetch_add(1, Ordering::Relaxed));
        let filling = "x".repeat(BODY_BYTES - 300);
        let body = format!(
            r#"{{"id": "{id}", "object": "event", "api_version": "2026-10-28.endive",
 "created": {created}, "livemode": false, "type": "checkout.session.completed",
 "data": {{"object": {{"id": "cs_test_1", "object": "checkout.session", "metadata": "{filling}"}}}}}}"#
        );
        let signature = sign_test_payload(&body, SECRET, now);
        Self {
            id,
            created,
            body,
            signature,
        }
    }
}

pub(crate) fn deliveries(count: usize) -> Arc<[Delivery]> {
    (0..count).map(|_| Delivery::new()).collect()
}

/// Has each client, made by `make`, take one delivery after the other until none is left.
pub(crate) async fn send<C, M>(deliveries: &Arc<[Delivery]>, clients: usize, make: M) -> Load
where
    C: Send + 'static + Deliver,
    M: Fn() -> C,
{
    let next = Arc::new(AtomicUsize::new(0));
    let begun_at = Instant::now();
    let mut sending = JoinSet::new();
    for _ in 0..clients {
        let (mut client, deliveries, next) = (make(), Arc::clone(deliveries), Arc::clone(&next));
        sending.spawn(async move {
            let mut times: Vec<Duration> = Vec::new();
            while let Some(delivery) = deliveries.get(next.fetch_add(1, Ordering::Relaxed)) {
                let sent_at = Instant::now();
                client.deliver(delivery).await;
                times.push(sent_at.elapsed());
            }
            times
        });
    }
    let times = sending.join_all().await.concat();
    Load::new(begun_at.elapsed(), times)
}

/// Whoever delivers, and is done when the answer is there.
pub(crate) trait Deliver {
    fn deliver(&mut self, delivery: &Delivery) -> impl Future<Output = ()> + Send;
}
