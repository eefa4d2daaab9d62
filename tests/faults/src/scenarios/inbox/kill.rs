//! `kill -9` of those that accept and of those that work, at random moments under load.

use rand::RngExt;
use tokio::time::Instant;

use super::{Ending, PENDING, count, end_worker, is_worked_off, storing};
use crate::{
    database::{Database, Direct},
    report::Run,
    scenarios::{Order, kill::traffic},
    service::{Settings, Worker},
    stage::Stage,
};

const SERVICES: usize = 2;
const WORKERS: usize = 3;

/// Nothing is sent while more are pending: kills must meet work, and not only at the beginning.
const PENDING_MAX: u64 = 1_000;

/// Kills without end would show nothing either.
const KILLS_MAX_FACTOR: u64 = 20;

struct Shift {
    stage: Stage,
    settings: Settings,
    workers: Vec<Worker>,
    direct: Direct,
    killed_workers: u64,
}

pub(crate) async fn killed(order: Order) -> Run {
    let mut shift = Shift::begin(order).await;
    let deliveries = order.pick(4_000, 200_000);
    let kills = order.pick(20, 500);
    while shift.stage.run.kills < kills * KILLS_MAX_FACTOR
        && (shift.stage.run.kills < kills || shift.deliveries() < deliveries)
    {
        shift.stage.run_for(1..300).await;
        shift.kill_one().await;
        shift.hold_back().await;
    }
    if shift.deliveries() < deliveries {
        let untried = format!("{} deliveries", shift.deliveries());
        shift.stage.run.damage.untried.push(untried);
    }
    shift.end().await
}

impl Shift {
    async fn begin(order: Order) -> Self {
        let database = Database::postgres().await;
        let settings = storing(&database, order);
        let direct = Direct::connect(&database.address).await;
        let services = vec![settings.clone(); SERVICES];
        let scenario = "inbox: kill -9 of one of 2 services and 3 workers";
        let mut shift = Self {
            stage: Stage::open(scenario, database, traffic(order), services).await,
            settings,
            workers: Vec::new(),
            direct: direct.expect("a connection"),
            killed_workers: 0,
        };
        for _ in 0..WORKERS {
            shift.start_worker().await;
        }
        shift
    }

    async fn start_worker(&mut self) {
        let settings = self.stage.seeded(self.settings.clone());
        self.workers.push(Worker::start(settings).await);
    }

    fn deliveries(&self) -> u64 {
        self.stage.sender.answers().deliveries()
    }

    async fn kill_one(&mut self) {
        let victim = self.stage.random.random_range(0..SERVICES + WORKERS);
        if victim >= WORKERS {
            return self.stage.kill().await;
        }
        self.workers.swap_remove(victim).kill().await;
        self.stage.run.kills += 1;
        self.killed_workers += 1;
        self.start_worker().await;
    }

    /// The sender goes on when enough has been worked off.
    async fn hold_back(&mut self) {
        match count(&mut self.direct, PENDING).await > PENDING_MAX {
            true => self.stage.sender.pause().await,
            false => self.stage.sender.resume(),
        }
    }

    async fn end(self) -> Run {
        let Self {
            stage,
            mut workers,
            direct,
            killed_workers,
            ..
        } = self;
        direct.close().await;
        let (mut run, database, services, events) = stage.finish().await;
        run.notes.push(format!(
            "{} kills of services, {killed_workers} of workers",
            run.kills - killed_workers
        ));
        let begun_at = Instant::now();
        is_worked_off(&database).await;
        let seconds = begun_at.elapsed().as_secs_f64();
        run.notes
            .push(format!("worked off {seconds:.1} s after the last delivery"));
        let worker = workers.pop().expect("there are some");
        for worker in workers {
            end_worker(&mut run, worker).await;
        }
        let ending = Ending {
            run,
            database,
            services,
            worker,
            events,
            left: Vec::new(),
        };
        ending.close().await
    }
}
