//! Whether a copy that is accepted while its event's handler runs delays those it came with.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, http::Request};
use axum_stripe_webhook::{EventTx, Inbox};
use futures_util::future::join_all;
use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, sleep},
};
use tower::ServiceExt;

use crate::{
    database::{Backend, Home, empty, open},
    deliveries::{Delivery, deliveries},
    figures::{milliseconds, spread},
    shop::{Worked, inbox, service},
};

/// The first one begins a group by itself, so the others are the next group.
const TOGETHER: usize = 9;

/// A handler that has begun, and holds its transaction until its door is opened.
struct Held {
    door: Arc<Semaphore>,
    opener: JoinHandle<()>,
}

impl Held {
    /// The door opens after a while by itself, so that a group which waits for it comes to an end.
    fn open_after(door: &Arc<Semaphore>, hold: Duration) -> Self {
        let opened = Arc::clone(door);
        let opener = tokio::spawn(async move {
            sleep(hold).await;
            opened.add_permits(1);
        });
        Self {
            door: Arc::clone(door),
            opener,
        }
    }

    async fn end(self) {
        self.opener.abort();
        // If it was too late to stop it, the door is open already.
        if self.opener.await.is_err() {
            self.door.add_permits(1);
        }
    }
}

/// Prints how long a group takes without and with such a copy, over several rounds.
pub(crate) async fn measure<DB: Backend>(home: &Home, rounds: usize, hold: Duration) {
    let pool = open::<DB>(home).await;
    let inbox = inbox(&pool);
    // The worker takes what is to be held, and leaves what comes with the copy.
    let to_hold = inbox.clone().endpoint("held");
    let (entered, door) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let handler = holding::<DB>(&entered, &door);
    let worker = inbox.worker(handler).endpoint("held").start();
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let first = Delivery::new();
        accept(&to_hold, &first).await;
        entered.acquire().await.expect("a handler runs").forget();
        let held = Held::open_after(&door, hold);
        // Whichever comes second finds everything warm.
        for is_copied in [round % 2 == 0, round % 2 != 0] {
            let times = if is_copied { &mut with } else { &mut without };
            let copied = is_copied.then_some((&to_hold, &first));
            times.push(group(&inbox, copied).await);
        }
        held.end().await;
    }
    worker.stop().await;
    empty(&pool).await;
    println!(
        "A group of {} while a handler holds its transaction, {hold:?} at most: {} ms without a copy \
         of the handler's event, {} ms with one.",
        TOGETHER - 1,
        spread(&without, 1),
        spread(&with, 1)
    );
}

fn holding<DB: Backend>(entered: &Arc<Semaphore>, door: &Arc<Semaphore>) -> impl Worked + use<DB> {
    let (entered, door) = (Arc::clone(entered), Arc::clone(door));
    service(async move |_tx: EventTx<DB>| {
        entered.add_permits(1);
        door.acquire().await.expect("a door").forget();
    })
}

/// How long it takes, in milliseconds, until all of a group are answered, the copy among them.
async fn group<DB: Backend>(inbox: &Inbox<DB>, copied: Option<(&Inbox<DB>, &Delivery)>) -> f64 {
    let others = deliveries(TOGETHER - usize::from(copied.is_some()));
    let together = others.iter().map(|other| (inbox, other)).chain(copied);
    let begun_at = Instant::now();
    join_all(together.map(|(inbox, delivery)| accept(inbox, delivery))).await;
    milliseconds(begun_at.elapsed())
}

async fn accept<DB: Backend>(inbox: &Inbox<DB>, delivery: &Delivery) {
    let request = Request::post("/webhook").header("stripe-signature", &delivery.signature);
    let request = request.body(Body::from(delivery.body.clone()));
    let request = request.expect("a request");
    let Ok(response) = inbox.clone().oneshot(request).await;
    assert!(response.status().is_success(), "{}", response.status());
}
