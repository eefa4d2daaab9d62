//! What Stripe would send, and how it is sent by so many clients at once.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum_stripe_webhook::{
    SigningSecret, Verifier,
    testing::{SampleEvent, sign_test_payload},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::figures::Load;

pub(crate) const SECRET: &str = "whsec_of_the_benches";

/// What stands in a body for the event's number.
const PLACE: &str = "{number}";
/// Likewise, for its time.
const CREATED: &str = "{created}";

#[derive(Clone)]
pub(crate) struct Delivery {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) body: String,
    pub(crate) signature: String,
    /// What may be answered.
    pub(crate) statuses: &'static [u16],
}

/// How deliveries are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    pub(crate) clients: usize,
    /// Deliveries each second on average, whenever the answers come; without, each client sends one after
    /// the other.
    pub(crate) rate: Option<f64>,
}

pub(crate) fn verifier() -> Verifier {
    Verifier::new(SigningSecret::new(SECRET).expect("a secret"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "deliveries are signed with the time of day"
)]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

impl Delivery {
    /// A delivery of an event that nobody has seen yet, signed now.
    pub(crate) fn new() -> Self {
        static EVENTS: AtomicU64 = AtomicU64::new(0);

        let now = now();
        let unix = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let created = i64::try_from(unix.as_secs()).unwrap_or_default();
        let number = format!("{:016}", EVENTS.fetch_add(1, Ordering::Relaxed));
        let body = BODY.replace(PLACE, &number);
        let body = body.replace(CREATED, &created.to_string());
        let signature = sign_test_payload(&body, SECRET, now);
        Self {
            id: format!("evt_{number}"),
            created,
            body,
            signature,
            statuses: &[200],
        }
    }

    /// The same by somebody who does not know the secret.
    pub(crate) fn forged(&self) -> Self {
        Self {
            signature: sign_test_payload(&self.body, "whsec_of_a_forger", now()),
            statuses: &[400],
            ..self.clone()
        }
    }

    /// One of several of the same event. Another may be in progress.
    pub(crate) fn or_again(&self) -> Self {
        Self {
            statuses: &[200, 409],
            ..self.clone()
        }
    }

    /// What [`order_of`](crate::shop::order_of) reads, and the order of the order-fulfillment example.
    pub(crate) fn order_id(&self) -> String {
        self.id.replace("evt_", "order_")
    }
}

/// A paid Checkout Session of 3.2 KB.
static BODY: LazyLock<String> = LazyLock::new(|| {
    let text = |prefix: &str| format!("{prefix}_{PLACE}");
    let event = SampleEvent::of("checkout.session.completed").id(text("evt"));
    let event = event
        .object("id", text("cs_test"))
        .object("payment_intent", text("pi"));
    let event = event.object("client_reference_id", text("order"));
    let event = event.object("amount_total", 4200).object("currency", "eur");
    let body = event.set("created", CREATED).to_json();
    body.replace(&format!("\"{CREATED}\""), CREATED)
});

pub(crate) fn deliveries(count: usize) -> Arc<[Delivery]> {
    (0..count).map(|_| Delivery::new()).collect()
}

/// Has each client, made by `make`, take one delivery after the other until none is left.
pub(crate) async fn send<C, M>(
    deliveries: &Arc<[Delivery]>,
    sending: impl Into<Sending>,
    make: M,
) -> Load
where
    C: Send + 'static + Deliver,
    M: Fn() -> C,
{
    let sending = sending.into();
    let next = Arc::new(AtomicUsize::new(0));
    let due = due(deliveries.len(), sending.rate);
    let begun_at = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..sending.clients {
        let (mut client, deliveries) = (make(), Arc::clone(deliveries));
        let (next, due) = (Arc::clone(&next), due.clone());
        clients.spawn(async move {
            let mut times: Vec<Duration> = Vec::new();
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(delivery) = deliveries.get(place) else {
                    return times;
                };
                // What waits for a client is late from when it was due: or a slow server would be asked
                // less, and look quick.
                let mut sent_at = Instant::now();
                if let Some(due) = due.as_ref().and_then(|due| due.get(place)) {
                    sent_at = begun_at + *due;
                    sleep_until(sent_at).await;
                }
                client.deliver(delivery).await;
                times.push(sent_at.elapsed());
            }
        });
    }
    let times = clients.join_all().await.concat();
    Load::new(begun_at.elapsed(), &times)
}

/// When each is to be sent, as independent senders would: the waits between are distributed exponentially.
fn due(count: usize, rate: Option<f64>) -> Option<Arc<[Duration]>> {
    let rate = rate?;
    let mut random = fastrand::Rng::with_seed(20_261_124);
    let mut at = 0.0;
    let due = (0..count).map(|_| {
        at -= (1.0 - random.f64()).ln() / rate;
        Duration::from_secs_f64(at)
    });
    Some(due.collect())
}

impl From<usize> for Sending {
    fn from(clients: usize) -> Self {
        Self {
            clients,
            rate: None,
        }
    }
}

/// Whoever delivers, and is done when the answer is there.
pub(crate) trait Deliver {
    fn deliver(&mut self, delivery: &Delivery) -> impl Future<Output = ()> + Send;
}
