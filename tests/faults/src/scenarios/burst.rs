//! Many copies of one event at once, on a small pool: other events must get through as before.
//!
//! It measures, and holds nothing against a slow machine: what is damage is an answer that should not
//! be, never a latency.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Barrier, Mutex},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::Order;
use crate::{
    check,
    client::{Client, Heard, Manners},
    database::Database,
    events::{CALM, SLOW},
    report::Run,
    service::{Service, Settings},
};

const COPIES: usize = 500;

const CONNECTIONS: u32 = 5;

/// Connections on which other events come, each as often as this: two hundred in a second.
const OTHERS: u32 = 16;
const OTHERS_EVERY: Duration = Duration::from_millis(80);

/// An answer to a copy that says nothing false.
const ANSWERS: [Heard; 2] = [Heard::OK, Heard::Status(409)];

pub(crate) async fn burst(processes: usize, order: Order) -> Run {
    let scenario = match processes {
        1 => "500 copies at once, one service",
        _ => "500 copies at once, three services",
    };
    let database = Database::postgres().await;
    let mut run = Run::begin(scenario, database.address.name());
    let settings = Settings {
        connections: CONNECTIONS,
        acquire_time_max: Duration::from_secs(5),
        claim_wait_max: Duration::from_secs(2),
        handler_time_max: Duration::from_secs(10),
        ..Settings::new(&database.address, order.seed).calm()
    };
    let mut services = Vec::new();
    for _ in 0..processes {
        services.push(Service::start(settings.clone()).await);
    }
    let mut events = Vec::new();
    check::places(&mut run, &services, &mut events).await;
    let copies = Copies::connect(&services).await;
    let mut ratios = Vec::new();
    let mut percentiles = Vec::new();
    for round in 0..order.pick(2, 8) {
        let quiet = others(&services, &format!("{round}_quiet"), &mut run, &mut events).await;
        let slow = format!("{SLOW}{round}");
        let name = format!("{round}_burst");
        let (busy, heard) = tokio::join!(
            others(&services, &name, &mut run, &mut events),
            copies.deliver(&slow)
        );
        run.others += 1;
        heard.iter().for_each(|heard| run.answers.note(*heard));
        run.damage.unanswered.extend(wrong(&slow, &heard));
        events.push(slow);
        // In the first round code and caches are cold.
        if round > 0 {
            ratios.push(busy.as_secs_f64() / quiet.as_secs_f64());
            percentiles.push((quiet, busy));
        }
    }
    run.notes.push(format!(
        "p99 of other events with the copies, over p99 without: {}",
        spread(ratios)
    ));
    run.notes
        .push(format!("p99 without and with: {percentiles:.1?}"));
    check::end(run, &database.address, &services, events).await
}

fn spread(mut ratios: Vec<f64>) -> String {
    ratios.sort_by(f64::total_cmp);
    let places = [0, ratios.len() / 2, ratios.len().saturating_sub(1)];
    let [least, median, most] = places.map(|place| ratios.get(place).copied().unwrap_or(f64::NAN));
    format!("{least:.2} {median:.2} {most:.2} (min, median, max)")
}

/// Those of the answers to copies that should not be.
fn wrong(event: &str, heard: &[Heard]) -> Vec<String> {
    let mut wrong: Vec<_> = heard
        .iter()
        .filter(|heard| !ANSWERS.contains(heard))
        .map(|heard| format!("{event}: {heard:?}"))
        .collect();
    if !heard.contains(&Heard::OK) {
        wrong.push(event.to_owned());
    }
    wrong
}

/// The 99th percentile of what other events take, from the time at which they are due, for five
/// seconds.
async fn others(
    services: &[Service],
    round: &str,
    run: &mut Run,
    events: &mut Vec<String>,
) -> Duration {
    let begun_at = Instant::now();
    let mut connections = JoinSet::new();
    for (connection, service) in (0..OTHERS).zip(services.iter().cycle()) {
        let server = service.address;
        let first = begun_at + OTHERS_EVERY * connection / OTHERS;
        let ids = (0..62).map(|n| format!("{CALM}{round}_{connection}_{n}"));
        let ids: Vec<_> = ids.collect();
        events.extend(ids.iter().cloned());
        connections.spawn(async move {
            let mut client = Client::default();
            let mut took = Vec::new();
            let mut due = first;
            for id in ids {
                sleep_until(due).await;
                let heard = client.deliver(server, &id, Manners::Proper).await;
                took.push((due.elapsed(), (id, heard)));
                due += OTHERS_EVERY;
            }
            took
        });
    }
    let (mut took, answers): (Vec<_>, Vec<_>) =
        connections.join_all().await.into_iter().flatten().unzip();
    for (id, heard) in answers {
        run.answers.note(heard);
        if heard != Heard::OK {
            run.damage.unanswered.push(id);
        }
    }
    took.sort();
    took.get(took.len() * 99 / 100).copied().unwrap_or_default()
}

/// One client for each copy, connected before there is anything to deliver.
struct Copies(Vec<(std::net::SocketAddr, Arc<Mutex<Client>>)>);

impl Copies {
    async fn connect(services: &[Service]) -> Self {
        let mut clients = Vec::new();
        for service in services.iter().cycle().take(COPIES) {
            let server = service.address;
            let mut client = Client::default();
            client
                .get(server, "/pool")
                .await
                .expect("the service answers");
            clients.push((server, Arc::new(Mutex::new(client))));
        }
        Self(clients)
    }

    /// All at once, as soon as every client is ready; what they have heard.
    async fn deliver(&self, event: &str) -> Vec<Heard> {
        let together = Arc::new(Barrier::new(COPIES));
        let mut deliveries = JoinSet::new();
        for (server, client) in &self.0 {
            let (server, client, event) = (*server, Arc::clone(client), event.to_owned());
            let together = Arc::clone(&together);
            deliveries.spawn(async move {
                let mut client = client.lock().await;
                together.wait().await;
                client.deliver(server, &event, Manners::Proper).await
            });
        }
        deliveries.join_all().await
    }
}
