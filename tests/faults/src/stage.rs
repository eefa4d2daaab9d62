//! A database, services on it and a sender: what most scenarios break.

use std::{sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    check,
    client::Client,
    database::Database,
    report::Run,
    sender::{Sender, Traffic},
    service::{Service, Settings},
};

/// For what was begun to be acknowledged once all faults are lifted.
const FINISH_TIME_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Stage {
    pub(crate) run: Run,
    pub(crate) database: Database,
    pub(crate) sender: Arc<Sender>,
    pub(crate) services: Vec<Service>,
    pub(crate) random: StdRng,
    connections: JoinSet<()>,
    starts: u64,
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
    fn seeded(&mut self, settings: Settings) -> Settings {
        self.starts += 1;
        Settings {
            seed: settings.seed.wrapping_add(self.starts),
            ..settings
        }
    }

    pub(crate) fn target_all(&self) {
        let addresses = self.services.iter().map(|service| service.address);
        self.sender.target(addresses.collect());
    }

    /// Under load, for so many milliseconds.
    pub(crate) async fn run_for(&mut self, milliseconds: std::ops::Range<u64>) {
        let while_ = self.random.random_range(milliseconds);
        sleep(Duration::from_millis(while_)).await;
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
        self.run.faults += 1;
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
        let lost = check::not_durable(&self.database.address, &acknowledged).await;
        self.run.damage.lost.extend(lost);
    }

    /// Brings every event to its end and checks everything.
    pub(crate) async fn close(self) -> Run {
        let Self {
            mut run,
            database,
            sender,
            services,
            connections,
            ..
        } = self;
        run.damage.unanswered = sender.finish(FINISH_TIME_MAX).await;
        connections.join_all().await;
        let acknowledged = sender.freshly_acknowledged();
        let lost = check::not_durable(&database.address, &acknowledged);
        run.damage.lost.extend(lost.await);

        let mut events = sender.events();
        run.damage
            .leaked
            .extend(check::services(&services, &mut events).await);
        run.damage
            .add(check::rows(&database.address, &events).await);
        let pooled = services.iter().map(|service| service.settings.connections);
        let pooled = usize::try_from(pooled.sum::<u32>()).unwrap_or(usize::MAX);
        let left = check::sessions(&database.address, pooled).await;
        run.damage.leaked.extend(left);
        run.deliveries += sender.deliveries();
        run.events += events.len();
        run.end()
    }
}
