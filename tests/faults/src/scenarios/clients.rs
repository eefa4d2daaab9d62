//! Clients that leave, at every stage, and clients that dawdle.

use std::{collections::BTreeSet, slice, sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{sync::Semaphore, task::JoinSet, time::sleep};

use super::{Order, kill::traffic};
use crate::{
    check,
    client::{Client, Manners},
    database::Database,
    events::CALM,
    report::Run,
    sender::Traffic,
    service::{Service, Settings},
    stage::Stage,
};

/// Some wait for a place, and most have one.
const AT_ONCE: usize = 16;

/// As often as the client will not have died of it.
const ATTEMPTS_MAX: usize = 50;

/// More of them leave or dawdle than not; each event is delivered again until one has stayed.
pub(crate) async fn rude(database: Database, order: Order) -> Run {
    let settings = vec![Settings::new(&database.address)];
    let traffic = Traffic {
        connections: 64,
        rude_per_mille: 600,
        ..traffic(order)
    };
    let mut stage = Stage::open("clients leave or dawdle", database, traffic, settings).await;
    let seconds = order.pick(3, 60);
    stage.run_for(seconds * 1000..seconds * 1000 + 1).await;
    let mut run = stage.close().await;
    run.faults = run.deliveries * 6 / 10;
    run
}

/// Each event is delivered once, by a client that leaves while its handler may be running. What a
/// handler has begun must be finished, although nobody hears of it and nobody delivers it again.
pub(crate) async fn gone(database: Database, order: Order) -> Run {
    let mut run = Run::begin("clients leave for good", database.address.name());
    let settings = Settings {
        pause_percent: 80,
        pause_ms_max: 20,
        remembers_begun: true,
        acquire_time_max: Duration::from_secs(5),
        ..Settings::new(&database.address).calm()
    };
    let service = Service::start(settings).await;
    // Most clients would have left before the first connection was made.
    let mut events = Vec::new();
    run.damage.leaked = check::services(slice::from_ref(&service), &mut events).await;
    let mut random = StdRng::seed_from_u64(order.seed);
    let once: Vec<_> = (0..order.pick(400, 4000))
        .map(|event| format!("{CALM}{event}"))
        .collect();
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut deliveries = JoinSet::new();
    for id in once.clone() {
        let after = Duration::from_millis(random.random_range(0..60));
        let (address, turns) = (service.address, Arc::clone(&turns));
        deliveries.spawn(async move {
            let _turn = turns.acquire().await;
            let manners = Manners::LeavesBeforeAnswer(after);
            Client::default().deliver(address, &id, manners).await
        });
    }
    run.deliveries += deliveries.join_all().await.len() as u64;
    run.faults = run.deliveries;

    settle(&service).await;
    let begun = Client::default().get(service.address, "/begun").await;
    let begun = begun.expect("the service answers");
    let begun: BTreeSet<_> = begun.lines().map(str::to_owned).collect();
    run.notes
        .push(format!("{} handlers had begun", begun.len()));
    let begun: Vec<_> = begun.into_iter().collect();
    run.damage.lost = check::not_durable(&database.address, &begun).await;

    run.deliveries += converge(&service, &once, &mut run.damage.unanswered).await;
    events.extend(once);
    let leaked = check::services(&[service], &mut events).await;
    run.damage.leaked.extend(leaked);
    run.damage
        .add(check::rows(&database.address, &events).await);
    run.events = events.len();
    run.end()
}

/// Idle twice in a row: a delivery may be between two connections.
async fn settle(service: &Service) {
    for _ in 0..3 {
        service.is_idle_within(Duration::from_secs(30)).await;
        sleep(Duration::from_millis(200)).await;
    }
}

async fn converge(service: &Service, events: &[String], unanswered: &mut Vec<String>) -> u64 {
    let mut client = Client::default();
    let mut deliveries = 0;
    for id in events {
        let mut status = None;
        for _ in 0..ATTEMPTS_MAX {
            deliveries += 1;
            status = client.deliver(service.address, id, Manners::Proper).await;
            if status == Some(200) {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        if status != Some(200) {
            unanswered.push(id.clone());
        }
    }
    deliveries
}
