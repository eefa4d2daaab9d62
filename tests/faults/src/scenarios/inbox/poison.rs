//! An event whose handler takes its process along, whoever runs it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Ending, PENDING, WORK_OFF_TIME_MAX, count, store, storing};
use crate::{
    database::{Database, Direct},
    events::{CALM, POISON},
    report::Run,
    scenarios::Order,
    service::{Service, Settings, Worker},
};

const ORDINARY: usize = 50;

/// One that has died while others were in their handlers has left them in their attempt.
const IN_ATTEMPT: &str = "select count(*)::text from stripe_inbox where in_attempt";

pub(crate) async fn poison(order: Order) -> Run {
    let database = Database::postgres().await;
    // Each takes a lease's time.
    let attempts_max = order.pick(3, 4);
    let mut run = Run::begin("inbox: a handler ends its process", database.address.name());
    let settings = Settings {
        attempts_max,
        // An attempt must not fail because the machine is slow: there are few.
        acquire_time_max: Duration::from_secs(2),
        handler_time_max: Duration::from_secs(2),
        // The first ones are still in their handlers when it dies.
        pause_percent: 100,
        pause_ms_max: 250,
        ..storing(&database, order).calm()
    };
    let service = Service::start(settings.clone()).await;
    let ordinary: Vec<_> = (0..ORDINARY).map(|n| format!("{CALM}{n}")).collect();
    let poison = format!("{POISON}{}", order.seed);
    let mut events = ordinary.clone();
    events.insert(settings.places() / 2, poison.clone());
    store(&mut run, &service, &events).await;
    let worker = supervised(&mut run, &database, &settings).await;
    if run.kills != u64::from(attempts_max) {
        let torn = format!("{} deaths in {attempts_max} attempts", run.kills);
        run.damage.torn.push(torn);
    }
    let ending = Ending {
        run,
        database,
        services: vec![service],
        worker,
        events: ordinary,
        left: vec![format!("{poison} dead process_died {attempts_max}")],
    };
    ending.close().await
}

/// Starts the worker again whenever it has died, until there is nothing to do; the last one.
async fn supervised(run: &mut Run, database: &Database, settings: &Settings) -> Worker {
    let mut direct = Direct::connect(&database.address)
        .await
        .expect("a connection");
    let mut worker = Worker::start(settings.clone()).await;
    // Between two attempts there is a lease.
    let end = Instant::now() + WORK_OFF_TIME_MAX * settings.attempts_max;
    while count(&mut direct, PENDING).await > 0 && Instant::now() < end {
        if worker.has_ended() {
            run.kills += 1;
            if run.kills == 1 {
                taken_along(run, &mut direct).await;
            }
            worker = Worker::start(settings.clone()).await;
        }
        sleep(Duration::from_millis(20)).await;
    }
    direct.close().await;
    worker
}

async fn taken_along(run: &mut Run, direct: &mut Direct) {
    let others = count(direct, IN_ATTEMPT).await.saturating_sub(1);
    run.notes.push(format!(
        "{others} others were taken along by the first death"
    ));
    if others == 0 {
        run.damage.untried.push("it has died alone".to_owned());
    }
}
