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
    client::{Client, Manners},
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
const ANSWERS: [Option<u16>; 2] = [Some(200), Some(409)];

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
        ..Settings::new(&database.address).calm()
    };
    let mut services = Vec::new();
    for _ in 0..processes {
        services.push(Service::start(settings.clone()).await);
    }
    let mut events = Vec::new();
    run.damage.leaked = check::services(&services, &mut events).await;
    let copies = Copies::connect(&services).await;
    let mut ratios = Vec::new();
    let mut percentiles = Vec::new();
    for round in 0..order.pick(2, 8) {
        let quiet = others(&services, &format!("{round}_quiet"), &mut run, &mut events).await;
        let slow = format!("{SLOW}{round}");
        let name = format!("{round}_burst");
        let (busy, wrong) = tokio::join!(
            others(&services, &name, &mut run, &mut events),
            copies.deliver(&slow)
        );
        run.faults += 1;
        run.deliveries += COPIES as u64;
        run.damage.unanswered.extend(wrong);
        events.push(slow);
        // In the first round code and caches are cold.
        if round > 0 {
            ratios.push(busy.as_secs_f64() / quiet.as_secs_f64());
            percentiles.push((quiet, busy));
        }
    }
    ratios.sort_by(f64::total_cmp);
    let (least, most) = (ratios.first().copied(), ratios.last().copied());
    let median = ratios.get(ratios.len() / 2).copied();
    run.notes.push(format!(
        "p99 of other events with the copies, over p99 without: {:.2} {:.2} {:.2} (min, median, max)",
        least.unwrap_or_default(),
        median.unwrap_or_default(),
        most.unwrap_or_default()
    ));
    run.notes
        .push(format!("p99 without and with: {percentiles:.1?}"));
    run.damage
        .leaked
        .extend(check::services(&services, &mut events).await);
    run.damage
        .add(check::rows(&database.address, &events).await);
    run.events = events.len();
    run.end()
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
                let status = client.deliver(server, &id, Manners::Proper).await;
                took.push((due.elapsed(), (status != Some(200)).then_some(id)));
                due += OTHERS_EVERY;
            }
            took
        });
    }
    let (mut took, wrong): (Vec<_>, Vec<_>) =
        connections.join_all().await.into_iter().flatten().unzip();
    run.deliveries += took.len() as u64;
    run.damage.unanswered.extend(wrong.into_iter().flatten());
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

    /// All at once, a while after this is called; those that were answered wrongly.
    async fn deliver(&self, event: &str) -> Vec<String> {
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
        let answers = deliveries.join_all().await;
        let mut wrong: Vec<_> = answers
            .iter()
            .filter(|answer| !ANSWERS.contains(answer))
            .map(|answer| format!("{event}: {answer:?}"))
            .collect();
        if !answers.contains(&Some(200)) {
            wrong.push(event.to_owned());
        }
        wrong
    }
}
