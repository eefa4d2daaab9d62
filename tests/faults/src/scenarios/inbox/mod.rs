//! Events that are stored first: what befalls the processes that accept them, and those that run them.

mod kill;
mod poison;
mod stopped;

use std::{slice, time::Duration};

use tokio::time::{Instant, sleep};

use super::Order;
use crate::{
    check,
    client::{Client, Heard, Manners},
    database::{Database, Direct},
    report::Run,
    service::{Service, Settings, Worker},
};

pub(crate) use kill::killed;
pub(crate) use poison::poison;
pub(crate) use stopped::stopped;

/// More than a lease is at the least here, under twenty seconds, and all those that one process has left
/// are run alone, each a second at the most.
const WORK_OFF_TIME_MAX: Duration = Duration::from_secs(180);

const PENDING: &str = "select count(*)::text from stripe_inbox where state = 'pending'";

/// What no worker takes any more, or not in time.
const LEFT: &str = "select concat_ws(' ', event_id, state, last_error, attempts) from stripe_inbox";

/// What most runs end with: the processes, and the events that they were sent.
struct Ending {
    run: Run,
    database: Database,
    services: Vec<Service>,
    worker: Worker,
    events: Vec<String>,
    /// What must be in the inbox at the end, as `LEFT` gives it.
    left: Vec<String>,
}

fn storing(database: &Database, order: Order) -> Settings {
    Settings {
        stores_first: true,
        ..Settings::new(&database.address, order.seed)
    }
}

async fn count(direct: &mut Direct, sql: &str) -> u64 {
    let texts = direct.texts(sql).await.expect("a number");
    let number = texts.first().and_then(|text| text.parse().ok());
    number.expect("a number")
}

/// Waits until nothing is pending: false if something still is.
async fn is_worked_off(database: &Database) -> bool {
    let mut direct = Direct::connect(&database.address)
        .await
        .expect("a connection");
    let end = Instant::now() + WORK_OFF_TIME_MAX;
    let mut pending = count(&mut direct, PENDING).await;
    while pending > 0 && Instant::now() < end {
        sleep(Duration::from_millis(50)).await;
        pending = count(&mut direct, PENDING).await;
    }
    direct.close().await;
    pending == 0
}

/// Has a service store events, each delivered once.
async fn store(run: &mut Run, service: &Service, events: &[String]) {
    let mut client = Client::default();
    for event in events {
        let heard = client
            .deliver(service.address, event, Manners::Proper)
            .await;
        run.answers.note(heard);
        if heard != Heard::OK {
            run.damage.unanswered.push(event.clone());
        }
    }
}

async fn end_worker(run: &mut Run, mut worker: Worker) {
    let leaked = match worker.end().await {
        Some(true) => return,
        Some(false) => "not all connections of a worker can be had",
        None => "a worker does not end",
    };
    run.damage.leaked.push(leaked.to_owned());
}

impl Ending {
    /// Works everything off and checks everything. The only worker left must have all its places.
    async fn close(self) -> Run {
        let Self {
            mut run,
            database,
            services,
            worker,
            mut events,
            left,
        } = self;
        is_worked_off(&database).await;
        for service in &services {
            check::places(&mut run, slice::from_ref(service), &mut events).await;
            // Or the meeting of the next one would end this one's.
            is_worked_off(&database).await;
        }
        end_worker(&mut run, worker).await;
        let mut direct = Direct::connect(&database.address)
            .await
            .expect("a connection");
        let mut found = direct.texts(LEFT).await.expect("rows");
        direct.close().await;
        let missing = left.iter().filter(|entry| !found.contains(entry));
        let missing: Vec<_> = missing.map(|entry| format!("no {entry}")).collect();
        found.retain(|entry| !left.contains(entry));
        run.damage.left.extend(found.into_iter().chain(missing));
        check::finally(run, &database.address, &services, &events).await
    }
}
