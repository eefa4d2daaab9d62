//! Clients that leave, at every stage, and clients that dawdle.

use std::{collections::BTreeSet, slice, sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{sync::Semaphore, task::JoinSet, time::sleep};

use super::{Order, kill::traffic};
use crate::{
    check,
    client::{Client, Heard, Manners},
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

/// The answers to a body that does not come, and to one delivery too many.
const BODY_TOO_SLOW: u16 = 408;
const OVERLOADED: u16 = 503;

/// More of them leave or dawdle than not; each event is delivered again until one has stayed.
pub(crate) async fn rude(database: Database, order: Order) -> Run {
    let settings = vec![Settings {
        // Slower than these clients on any machine, or none would be refused.
        pause_percent: 50,
        pause_ms_max: 20,
        ..Settings::new(&database.address, order.seed)
    }];
    let traffic = Traffic {
        connections: 64,
        rude_per_mille: 600,
        stops_per_mille: 4,
        ..traffic(order)
    };
    let stage = Stage::open("clients leave or dawdle", database, traffic, settings).await;
    sleep(Duration::from_secs(order.pick(3, 60))).await;
    let mut run = stage.close().await;
    for (status, what) in [(BODY_TOO_SLOW, "too slow"), (OVERLOADED, "refused")] {
        if run.answers.of(status) == 0 {
            run.damage.untried.push(format!("no delivery was {what}"));
        }
    }
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
        // Or one could run out of time behind the others on a slow machine.
        handler_time_max: Duration::from_secs(10),
        ..Settings::new(&database.address, order.seed).calm()
    };
    let service = Service::start(settings).await;
    // Most clients would have left before the first connection was made.
    let mut events = Vec::new();
    check::places(&mut run, slice::from_ref(&service), &mut events).await;
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
    for heard in deliveries.join_all().await {
        run.answers.note(heard);
        run.others += u64::from(heard != Heard::NoServer);
    }

    settle(&service).await;
    let begun = Client::default().get(service.address, "/begun").await;
    let begun = begun.expect("the service answers");
    let begun: BTreeSet<_> = begun.lines().map(str::to_owned).collect();
    run.notes
        .push(format!("{} handlers had begun", begun.len()));
    let begun: Vec<_> = begun.into_iter().collect();
    run.damage.lost = check::not_durable(&database.address, &begun, check::PROCESSED).await;

    converge(&service, &once, &mut run).await;
    events.extend(once);
    check::end(run, &database.address, &[service], events).await
}

/// Idle three times in a row: a delivery may be between two connections.
async fn settle(service: &Service) {
    for _ in 0..3 {
        service.is_idle_within(Duration::from_secs(30)).await;
        sleep(Duration::from_millis(200)).await;
    }
}

async fn converge(service: &Service, events: &[String], run: &mut Run) {
    let mut client = Client::default();
    for id in events {
        let mut heard = Heard::Nothing;
        for _ in 0..ATTEMPTS_MAX {
            heard = client.deliver(service.address, id, Manners::Proper).await;
            run.answers.note(heard);
            if heard == Heard::OK {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        if heard != Heard::OK {
            run.damage.unanswered.push(id.clone());
        }
    }
}
