//! Delivers as Stripe does: at least once, again until a 2xx is heard, more often than needed, in
//! parallel, and in any order.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    client::{Client, Heard, Manners},
    report::Answers,
};

/// Stripe waits for hours; a run has seconds.
const BACKOFF: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_millis(400);

/// Deliveries that wait for their time. New events are not begun while there are more.
const WAITING_MAX: usize = 2_000;

/// How long one that has nothing to do waits before it looks again.
const IDLE: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    pub(crate) connections: usize,
    pub(crate) seed: u64,
    /// Of a thousand deliveries, those whose client leaves early or dawdles.
    pub(crate) rude_per_mille: u32,
    /// Those whose client stops within the body, and takes a second of the service's patience.
    pub(crate) stops_per_mille: u32,
}

pub(crate) struct Sender {
    traffic: Traffic,
    book: Mutex<Book>,
    servers: Mutex<Vec<SocketAddr>>,
}

struct Book {
    /// By their time; the number after it shuffles those of one time.
    waiting: BinaryHeap<Reverse<(Instant, u64, Delivery)>>,
    acknowledged: Vec<bool>,
    /// Acknowledged since somebody last asked.
    fresh: Vec<usize>,
    state: State,
    in_progress: usize,
    /// The last delivery has found a server. Nothing new is begun while there is none.
    is_served: bool,
    answers: Answers,
    /// Deliveries whose client has left early or dawdled.
    rude: u64,
    random: StdRng,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Sending,
    /// Nothing is begun.
    Paused,
    /// Only what was begun is brought to its end.
    Finishing,
    Stopped,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Delivery {
    event: usize,
    attempt: u32,
}

impl Sender {
    pub(crate) fn start(traffic: Traffic) -> (Arc<Self>, JoinSet<()>) {
        let sender = Arc::new(Self {
            traffic,
            book: Mutex::new(Book {
                waiting: BinaryHeap::new(),
                acknowledged: Vec::new(),
                fresh: Vec::new(),
                state: State::Paused,
                in_progress: 0,
                is_served: true,
                answers: Answers::default(),
                rude: 0,
                random: StdRng::seed_from_u64(traffic.seed),
            }),
            servers: Mutex::default(),
        });
        let mut connections = JoinSet::new();
        for _ in 0..traffic.connections {
            let sender = Arc::clone(&sender);
            connections.spawn(async move { sender.deliver_all().await });
        }
        (sender, connections)
    }

    /// Where to deliver from now on.
    pub(crate) fn target(&self, servers: Vec<SocketAddr>) {
        *self.servers.lock().unwrap_or_else(PoisonError::into_inner) = servers;
    }

    pub(crate) fn resume(&self) {
        self.book().state = State::Sending;
    }

    /// Begins nothing more, and waits for what is in progress.
    pub(crate) async fn pause(&self) {
        self.book().state = State::Paused;
        while self.book().in_progress > 0 {
            sleep(IDLE).await;
        }
    }

    /// Makes no more events and waits until all are acknowledged; those that are not in time.
    pub(crate) async fn finish(&self, limit: Duration) -> Vec<String> {
        self.book().state = State::Finishing;
        let end = Instant::now() + limit;
        while Instant::now() < end && !self.book().is_finished() {
            sleep(IDLE).await;
        }
        let mut book = self.book();
        book.state = State::Stopped;
        let numbered = book.acknowledged.iter().enumerate();
        numbered
            .filter(|(_, acknowledged)| !**acknowledged)
            .map(|(event, _)| id(event))
            .collect()
    }

    /// Those acknowledged since this was last asked.
    pub(crate) fn freshly_acknowledged(&self) -> Vec<String> {
        let fresh = std::mem::take(&mut self.book().fresh);
        fresh.into_iter().map(id).collect()
    }

    pub(crate) fn events(&self) -> Vec<String> {
        (0..self.book().acknowledged.len()).map(id).collect()
    }

    pub(crate) fn answers(&self) -> Answers {
        self.book().answers.clone()
    }

    pub(crate) fn rude(&self) -> u64 {
        self.book().rude
    }

    async fn deliver_all(&self) {
        let mut client = Client::default();
        loop {
            let (begun, state) = {
                let mut book = self.book();
                (book.begin(self.traffic), book.state)
            };
            let Some((delivery, manners, pick)) = begun else {
                if state == State::Stopped {
                    return;
                }
                sleep(IDLE).await;
                continue;
            };
            let heard = match self.server(pick) {
                Some(server) => client.deliver(server, &id(delivery.event), manners).await,
                None => Heard::NoServer,
            };
            self.book().end(delivery, manners, heard);
        }
    }

    fn server(&self, pick: usize) -> Option<SocketAddr> {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.get(pick % servers.len().max(1)).copied()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn is_finished(&self) -> bool {
        self.waiting.is_empty() && self.in_progress == 0
    }

    /// What is due, or else a new event; with its client's manners and a number to pick a server by.
    fn begin(&mut self, traffic: Traffic) -> Option<(Delivery, Manners, usize)> {
        if matches!(self.state, State::Paused | State::Stopped) {
            return None;
        }
        let delivery = self.due().or_else(|| self.new_event())?;
        self.in_progress += 1;
        let drawn = self.random.random_range(0..1000);
        let manners = if drawn < traffic.stops_per_mille {
            Manners::StopsWithinBody
        } else if drawn < traffic.stops_per_mille + traffic.rude_per_mille {
            rude(&mut self.random)
        } else {
            Manners::Proper
        };
        Some((delivery, manners, self.random.random_range(0..1 << 16)))
    }

    fn due(&mut self) -> Option<Delivery> {
        let Reverse((at, ..)) = self.waiting.peek()?;
        match *at <= Instant::now() {
            true => self.waiting.pop().map(|Reverse((_, _, delivery))| delivery),
            false => None,
        }
    }

    fn new_event(&mut self) -> Option<Delivery> {
        let full = self.waiting.len() >= WAITING_MAX;
        if self.state != State::Sending || full || !self.is_served {
            return None;
        }
        let event = self.acknowledged.len();
        self.acknowledged.push(false);
        // A copy in parallel, a duplicate later; seldom a burst.
        match self.random.random_range(0..20) {
            0..3 => self.put(Delivery { event, attempt: 0 }, Duration::ZERO),
            3..6 => {
                let later = Duration::from_millis(self.random.random_range(20..800));
                self.put(Delivery { event, attempt: 0 }, later);
            }
            6 => (0..4).for_each(|_| self.put(Delivery { event, attempt: 0 }, Duration::ZERO)),
            _ => {}
        }
        Some(Delivery { event, attempt: 0 })
    }

    fn end(&mut self, delivery: Delivery, manners: Manners, heard: Heard) {
        self.in_progress -= 1;
        self.is_served = heard != Heard::NoServer;
        self.answers.note(heard);
        self.rude += u64::from(manners != Manners::Proper && heard != Heard::NoServer);
        if !heard.is_success() {
            let backoff = BACKOFF * 2_u32.saturating_pow(delivery.attempt.min(8));
            let jitter = self.random.random_range(0.5..1.5);
            let attempt = delivery.attempt + 1;
            let delivery = Delivery {
                attempt,
                ..delivery
            };
            self.put(delivery, backoff.min(BACKOFF_MAX).mul_f64(jitter));
            return;
        }
        if let Some(acknowledged) = self.acknowledged.get_mut(delivery.event) {
            *acknowledged = true;
        }
        self.fresh.push(delivery.event);
    }

    fn put(&mut self, delivery: Delivery, after: Duration) {
        let at = Instant::now() + after;
        let shuffled = self.random.random();
        self.waiting.push(Reverse((at, shuffled, delivery)));
    }
}

fn id(event: usize) -> String {
    format!("evt_{event}")
}

fn rude(random: &mut StdRng) -> Manners {
    let pause = Duration::from_millis(random.random_range(0..30));
    match random.random_range(0..5) {
        0 => Manners::LeavesBeforeBody,
        1 => Manners::LeavesWithinBody,
        2 => Manners::LeavesAfterBody,
        3 => Manners::LeavesBeforeAnswer(pause),
        _ => Manners::Slow(pause),
    }
}
