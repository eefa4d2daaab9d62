//! A database, services on it and a sender: what most scenarios break.

use std::{ops::Range, sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    check,
    client::{Client, Manners},
    database::Database,
    events::SLOW,
    report::Run,
    sender::{Sender, Traffic},
    service::{Service, Settings},
};

/// For what was begun to be acknowledged once all faults are lifted.
const FINISH_TIME_MAX: Duration = Duration::from_secs(60);

/// For a handler to begin under load; what has not begun is not missed.
const BEGIN_TIME: Duration = Duration::from_millis(300);

/// For an answer that must come: many times the limits of a delivery.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);

/// The answer of a service whose database cannot be had.
pub(crate) const UNAVAILABLE: &[u16] = &[503];

pub(crate) struct Stage {
    pub(crate) run: Run,
    pub(crate) database: Database,
    pub(crate) sender: Arc<Sender>,
    pub(crate) services: Vec<Service>,
    pub(crate) random: StdRng,
    connections: JoinSet<()>,
    starts: u64,
    /// Where an event is that was acknowledged.
    place: &'static str,
    /// Events that were delivered once, and not by the sender; their handlers had begun.
    left_behind: Vec<String>,
}

impl Stage {
    pub(crate) async fn open(
        scenario: &'static str,
        database: Database,
        traffic: Traffic,
        services: Vec<Settings>,
    ) -> Self {
        let run = Run::begin(scenario, database.address.name());
        let (sender, connections) = Sender::start(traffic);
        let mut stage = Self {
            run,
            database,
            sender,
            services: Vec::new(),
            random: StdRng::seed_from_u64(traffic.seed),
            connections,
            starts: 0,
            place: match services.iter().any(|settings| settings.stores_first) {
                true => check::STORED,
                false => check::PROCESSED,
            },
            left_behind: Vec::new(),
        };
        for settings in services {
            let settings = stage.seeded(settings);
            stage.services.push(Service::start(settings).await);
        }
        stage.target_all();
        stage.sender.resume();
        stage
    }

    /// A service that is started again must not fail in the same way again.
    pub(crate) fn seeded(&mut self, settings: Settings) -> Settings {
        self.starts += 1;
        Settings {
            seed: settings.seed.wrapping_add(self.starts),
            ..settings
        }
    }

    fn target_all(&self) {
        let addresses = self.services.iter().map(|service| service.address);
        self.sender.target(addresses.collect());
    }

    /// Under load, for so many milliseconds.
    pub(crate) async fn run_for(&mut self, milliseconds: Range<u64>) {
        let while_ = self.random.random_range(milliseconds);
        sleep(Duration::from_millis(while_)).await;
    }

    /// Under load, until more deliveries than then were answered with one of these.
    pub(crate) async fn run_until_answered(&mut self, statuses: &[u16], since: u64) {
        let end = Instant::now() + ANSWER_TIME_MAX;
        while self.answered(statuses) <= since {
            if Instant::now() > end {
                let untried = format!("no {statuses:?} in {ANSWER_TIME_MAX:?}");
                self.run.damage.untried.push(untried);
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// How often until now.
    pub(crate) fn answered(&self, statuses: &[u16]) -> u64 {
        let answers = self.sender.answers();
        statuses.iter().map(|status| answers.of(*status)).sum()
    }

    /// Kills a service, looks whether all that was acknowledged is there, and starts it again.
    pub(crate) async fn kill(&mut self) {
        let victim = self.random.random_range(0..self.services.len());
        self.replace(victim, |settings| settings, None).await;
    }

    /// Kills the only service and starts it with other settings, and with files no larger than so
    /// many kibibytes.
    pub(crate) async fn restart(
        &mut self,
        change: impl Fn(Settings) -> Settings,
        kibibytes: Option<u64>,
    ) {
        self.replace(0, change, kibibytes).await;
    }

    async fn replace(
        &mut self,
        victim: usize,
        change: impl Fn(Settings) -> Settings,
        kibibytes: Option<u64>,
    ) {
        let mut service = self.services.swap_remove(victim);
        service.kill().await;
        self.run.kills += 1;
        self.check_acknowledged().await;
        let settings = self.seeded(change(service.settings.clone()));
        let service = match kibibytes {
            Some(kibibytes) => Service::start_with_small_files(settings, kibibytes).await,
            None => Service::start(settings).await,
        };
        self.services.push(service);
        self.target_all();
        self.sender.resume();
    }

    /// Has the only service end as after a SIGTERM, looks whether it has finished what it had begun,
    /// and starts it again.
    pub(crate) async fn end_service(&mut self) {
        let mut service = self.services.swap_remove(0);
        let left_behind = self.leave_behind(&service).await;
        match service.end().await {
            Some(begun) => {
                self.left_behind
                    .extend(begun.contains(&left_behind).then_some(left_behind));
                let lost = check::not_durable(&self.database.address, &begun, self.place).await;
                self.run.damage.lost.extend(lost);
            }
            None => self
                .run
                .damage
                .leaked
                .push("the service does not end".to_owned()),
        }
        self.run.others += 1;
        self.check_acknowledged().await;
        let settings = self.seeded(service.settings.clone());
        self.services.push(Service::start(settings).await);
        self.target_all();
        self.sender.resume();
    }

    /// A delivery whose client has gone and whose handler takes longer than all others.
    async fn leave_behind(&mut self, service: &Service) -> String {
        let id = format!("{SLOW}{}", self.starts);
        let manners = Manners::LeavesBeforeAnswer(BEGIN_TIME);
        let mut client = Client::default();
        let heard = client.deliver(service.address, &id, manners).await;
        self.run.answers.note(heard);
        self.run.others += 1;
        id
    }

    /// Calls a route of every service.
    pub(crate) async fn ask(&self, path: &str) {
        for service in &self.services {
            let answer = Client::default().get(service.address, path).await;
            answer.expect("the service answers");
        }
    }

    /// Nothing is delivered meanwhile, or a copy could put right what was lost.
    pub(crate) async fn check_acknowledged(&mut self) {
        self.sender.pause().await;
        let acknowledged = self.sender.freshly_acknowledged();
        let lost = check::not_durable(&self.database.address, &acknowledged, self.place).await;
        self.run.damage.lost.extend(lost);
    }

    /// Brings every event to its end and checks everything.
    pub(crate) async fn close(self) -> Run {
        let (run, database, services, events) = self.finish().await;
        check::end(run, &database.address, &services, events).await
    }

    /// Has every event acknowledged; they are the last that is given.
    pub(crate) async fn finish(self) -> (Run, Database, Vec<Service>, Vec<String>) {
        let Self {
            mut run,
            database,
            sender,
            services,
            connections,
            left_behind,
            place,
            ..
        } = self;
        run.damage.unanswered = sender.finish(FINISH_TIME_MAX).await;
        connections.join_all().await;
        let acknowledged = sender.freshly_acknowledged();
        let lost = check::not_durable(&database.address, &acknowledged, place);
        run.damage.lost.extend(lost.await);
        run.answers.add(&sender.answers());
        run.others += sender.rude();
        let events = [sender.events(), left_behind].concat();
        (run, database, services, events)
    }
}
