//! What happens to SQLite: its disk is full, its file is read-only, its COMMIT fails, its statements
//! are interrupted.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Order, kill::traffic};
use crate::{
    check,
    client::{Client, Manners},
    database::{Database, Direct},
    events::CALM,
    report::Run,
    service::{Service, Settings},
    stage::Stage,
};

const CONVERGE_TIME_MAX: Duration = Duration::from_secs(20);

/// By SQLite's own limit: `SQLITE_FULL`, of the statement that wants another page.
pub(crate) async fn full(order: Order) -> Run {
    let mut stage = open("disk full", order, |settings| settings).await;
    for _ in 0..order.pick(5, 60) {
        stage.run_for(20..200).await;
        stage.ask("/pages/1").await;
        stage.run_for(100..300).await;
        stage.ask("/pages/0").await;
        stage.run.faults += 1;
    }
    stage.close().await
}

/// By the system: writes fail, of the log at COMMIT above all.
pub(crate) async fn write_fails(order: Order) -> Run {
    let mut stage = open("writes fail", order, |settings| settings).await;
    for round in 0..order.pick(4, 60) {
        stage.run_for(20..100).await;
        let settings = |settings: Settings| Settings {
            rollback_journal: round % 2 == 1,
            ..settings
        };
        stage.restart(settings, Some(16 + 16 * (round % 10))).await;
        stage.run_for(100..300).await;
        let settings = |settings: Settings| Settings {
            rollback_journal: false,
            ..settings
        };
        stage.restart(settings, None).await;
    }
    stage.close().await
}

pub(crate) async fn read_only(order: Order) -> Run {
    let mut stage = open("read-only", order, |settings| settings).await;
    for _ in 0..order.pick(3, 20) {
        for read_only in [true, false] {
            let settings = |settings: Settings| Settings {
                read_only,
                ..settings
            };
            stage.restart(settings, None).await;
            stage.run_for(50..200).await;
        }
    }
    stage.close().await
}

/// A reader keeps a COMMIT from its lock, where there is no write-ahead log.
pub(crate) async fn commit_refused(order: Order) -> Run {
    let without_log = |settings: Settings| Settings {
        rollback_journal: true,
        claim_wait_max: Duration::from_millis(50),
        ..settings
    };
    let mut stage = open("COMMIT refused", order, without_log).await;
    for _ in 0..order.pick(6, 80) {
        stage.run_for(20..150).await;
        let mut reader = Direct::connect(&stage.database.address)
            .await
            .expect("a connection");
        if reader
            .run("begin; select count(*) from bookings")
            .await
            .is_ok()
        {
            stage.run.faults += 1;
            stage.run_for(60..250).await;
        }
        reader.close().await;
    }
    stage.close().await
}

async fn open(scenario: &'static str, order: Order, with: impl Fn(Settings) -> Settings) -> Stage {
    let database = Database::sqlite().await;
    let settings = vec![with(Settings::new(&database.address))];
    Stage::open(scenario, database, traffic(order), settings).await
}

/// At each step of BEGIN and claim, and at each of the handler's own statements. The others cannot be
/// reached: the crate's hooks are on the connection, or none. A commit hook of the service's is never
/// asked.
///
/// The handler gives up at an error. One that swallows this one can be right in nothing: SQLite may
/// have rolled back, undone the statement, or executed it all the same.
pub(crate) async fn interrupted(_: Order) -> Run {
    let database = Database::sqlite().await;
    let mut run = Run::begin("n-th step interrupted", database.address.name());
    let settings = Settings {
        connections: 2,
        ..Settings::new(&database.address).calm()
    };
    let mut lane = Lane {
        service: Service::start(settings).await,
        client: Client::default(),
        events: Vec::new(),
        deliveries: 0,
        unanswered: Vec::new(),
    };
    for place in ["claim", "handler"] {
        let steps = lane.count(place).await;
        run.notes.push(format!("{place}: {steps} steps"));
        for step in 1..=steps {
            for times in ["once", "ever"] {
                lane.interrupt(place, times, step).await;
                run.faults += 1;
            }
        }
    }
    lane.ask("/interrupt/claim/once/0").await;
    let mut events = lane.events;
    run.deliveries = lane.deliveries;
    run.damage.unanswered = lane.unanswered;
    run.damage.leaked = check::services(&[lane.service], &mut events).await;
    run.damage
        .add(check::rows(&database.address, &events).await);
    run.events = events.len();
    run.end()
}

struct Lane {
    service: Service,
    client: Client,
    events: Vec<String>,
    deliveries: u64,
    unanswered: Vec<String>,
}

impl Lane {
    /// The steps of a delivery to which nothing happens, on a connection that was used before.
    async fn count(&mut self, place: &str) -> i64 {
        self.ask(&format!("/interrupt/{place}/once/0")).await;
        let mut steps = 0;
        for name in ["first", "second", "third"] {
            let id = format!("{CALM}{place}_{name}");
            self.converge(&id).await;
            self.events.push(id);
            let counted = self.ask(&format!("/interrupt/{place}/once/0")).await;
            steps = steps.max(counted.parse().unwrap_or(0));
        }
        steps
    }

    async fn interrupt(&mut self, place: &str, times: &str, step: i64) {
        let id = format!("{CALM}{place}_{step}_{times}");
        self.service.is_idle_within(CONVERGE_TIME_MAX).await;
        self.ask(&format!("/interrupt/{place}/{times}/{step}"))
            .await;
        self.deliver(&id).await;
        self.ask(&format!("/interrupt/{place}/once/0")).await;
        self.converge(&id).await;
        self.events.push(id);
    }

    async fn converge(&mut self, id: &str) {
        let end = Instant::now() + CONVERGE_TIME_MAX;
        while Instant::now() < end {
            if self.deliver(id).await == Some(200) {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        self.unanswered.push(id.to_owned());
    }

    async fn deliver(&mut self, id: &str) -> Option<u16> {
        self.deliveries += 1;
        self.client
            .deliver(self.service.address, id, Manners::Proper)
            .await
    }

    async fn ask(&mut self, path: &str) -> String {
        let answer = self.client.get(self.service.address, path).await;
        answer.expect("the service answers")
    }
}
