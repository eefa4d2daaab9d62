//! A worker that is stopped within a transaction until its lease has ended, and goes on then.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Ending, WORK_OFF_TIME_MAX, count, end_worker, is_worked_off, store, storing};
use crate::{
    database::{Database, Direct},
    events::{CALM, HANGS, STAYS},
    report::Run,
    scenarios::Order,
    service::{Service, Settings, Worker},
};

/// For a process to be stopped, on whatever machine, before its handler is out of time. What the server
/// waits for is twice that.
const HANDLER_TIME_MAX: Duration = Duration::from_secs(5);

const OPEN: &str = "select count(*)::text from pg_stat_activity
    where datname = current_database() and state like 'idle in transaction%'";
const IN_ATTEMPT: &str = "select count(*)::text from stripe_inbox where in_attempt";

/// Two handlers have written and wait. One of them answers when its worker goes on; the other is out of
/// time then. Meanwhile another worker has run both events.
pub(crate) async fn stopped(order: Order) -> Run {
    let database = Database::postgres().await;
    let mut run = Run::begin("inbox: SIGSTOP of a worker", database.address.name());
    let settings = Settings {
        handler_time_max: HANDLER_TIME_MAX,
        ..storing(&database, order).calm()
    };
    let service = Service::start(settings.clone()).await;
    let mut worker = Worker::start(Settings {
        stays: true,
        ..settings.clone()
    })
    .await;
    let mut events = vec![format!("{STAYS}1"), format!("{HANGS}1")];
    store(&mut run, &service, &events).await;
    stop_inside(&mut run, &mut worker, &database).await;
    let other = Worker::start(settings).await;
    if !is_worked_off(&database).await {
        let lost = "a stopped worker keeps its events".to_owned();
        run.damage.lost.push(lost);
    }
    end_worker(&mut run, other).await;
    worker.signal("CONT").await;
    if worker.leave().await.as_ref() != events.first() {
        run.damage.untried.push("no late answer".to_owned());
    }
    let further = [format!("{CALM}further")];
    store(&mut run, &service, &further).await;
    events.extend(further);
    let ending = Ending {
        run,
        database,
        services: vec![service],
        worker,
        events,
        left: Vec::new(),
    };
    ending.close().await
}

/// Stops it when both handlers have written, and waits until the server has ended their transactions.
async fn stop_inside(run: &mut Run, worker: &mut Worker, database: &Database) {
    let inside = [worker.inside().await, worker.inside().await];
    worker.signal("STOP").await;
    run.others += 1;
    let mut direct = Direct::connect(&database.address)
        .await
        .expect("a connection");
    let open = count(&mut direct, OPEN).await;
    // A third may be the worker's own look for more.
    if inside.iter().any(Option::is_none) || !(2..=3).contains(&open) {
        let untried = format!("inside: {inside:?}, {open} transactions");
        run.damage.untried.push(untried);
    }
    let begun_at = Instant::now();
    while count(&mut direct, OPEN).await > 0 && begun_at.elapsed() < WORK_OFF_TIME_MAX {
        sleep(Duration::from_millis(50)).await;
    }
    let seconds = begun_at.elapsed().as_secs_f64();
    run.notes
        .push(format!("the server has freed all after {seconds:.1} s"));
    // Had it gone on, it would have written how its attempts ended.
    if count(&mut direct, OPEN).await > 0 || count(&mut direct, IN_ATTEMPT).await != 2 {
        let leaked = "transactions of a stopped worker".to_owned();
        run.damage.leaked.push(leaked);
    }
    direct.close().await;
}
