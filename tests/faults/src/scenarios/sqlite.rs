//! What happens to SQLite: its disk is full, its file is read-only, its COMMIT fails, its statements
//! are interrupted.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Order, kill::traffic};
use crate::{
    check,
    client::{Client, Heard, Manners},
    database::{Database, Direct},
    events::CALM,
    report::Run,
    service::{Service, Settings},
    stage::{Stage, UNAVAILABLE},
};

const CONVERGE_TIME_MAX: Duration = Duration::from_secs(20);

/// The answer to a delivery whose COMMIT fails.
const COMMIT_REFUSED: &[u16] = &[500];

/// Likewise, or whose first statement fails, or one of the handler's.
const WRITE_FAILED: &[u16] = &[500, 503];

/// By SQLite's own limit: `SQLITE_FULL`, of the statement that wants another page.
pub(crate) async fn full(order: Order) -> Run {
    let mut stage = open("disk full", order, Settings::calm).await;
    for _ in 0..order.pick(5, 60) {
        stage.run_for(20..200).await;
        let since = stage.answered(WRITE_FAILED);
        stage.ask("/pages/1").await;
        stage.run_until_answered(WRITE_FAILED, since).await;
        stage.run_for(0..200).await;
        stage.ask("/pages/0").await;
        stage.run.others += 1;
    }
    stage.close().await
}

/// By the system: writes fail, of the log at COMMIT above all.
pub(crate) async fn write_fails(order: Order) -> Run {
    let mut stage = open("writes fail", order, Settings::calm).await;
    for round in 0..order.pick(4, 60) {
        stage.run_for(20..100).await;
        let settings = |settings: Settings| Settings {
            rollback_journal: round % 2 == 1,
            ..settings
        };
        let since = stage.answered(WRITE_FAILED);
        stage.restart(settings, Some(16 + 16 * (round % 10))).await;
        stage.run_until_answered(WRITE_FAILED, since).await;
        stage.run_for(0..200).await;
        stage.run.others += 1;
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
            let since = stage.answered(UNAVAILABLE);
            stage.restart(settings, None).await;
            if read_only {
                stage.run_until_answered(UNAVAILABLE, since).await;
                stage.run.others += 1;
            }
            stage.run_for(0..150).await;
        }
    }
    stage.close().await
}

/// A reader keeps a COMMIT from its lock, where there is no write-ahead log.
pub(crate) async fn commit_refused(order: Order) -> Run {
    let without_log = |settings: Settings| Settings {
        rollback_journal: true,
        claim_wait_max: Duration::from_millis(50),
        ..settings.calm()
    };
    let mut stage = open("COMMIT refused", order, without_log).await;
    for _ in 0..order.pick(6, 80) {
        stage.run_for(20..150).await;
        let mut reader = Direct::connect(&stage.database.address)
            .await
            .expect("a connection");
        let since = stage.answered(COMMIT_REFUSED);
        if reader
            .run("begin; select count(*) from bookings")
            .await
            .is_ok()
        {
            stage.run_until_answered(COMMIT_REFUSED, since).await;
            stage.run_for(0..200).await;
            stage.run.others += 1;
        }
        reader.close().await;
    }
    stage.close().await
}

async fn open(scenario: &'static str, order: Order, with: impl Fn(Settings) -> Settings) -> Stage {
    let database = Database::sqlite().await;
    let settings = vec![with(Settings::new(&database.address, order.seed))];
    Stage::open(scenario, database, traffic(order), settings).await
}

/// At each step of BEGIN and claim, and at each of the handler's own statements. The others cannot be
/// reached: the crate's hooks are on the connection, or none. A commit hook of the service's is never
/// asked.
///
/// The handler gives up at an error. One that swallows this one can be right in nothing: SQLite may
/// have rolled back, undone the statement, or executed it all the same.
pub(crate) async fn interrupted(order: Order) -> Run {
    let database = Database::sqlite().await;
    let settings = Settings {
        connections: 2,
        ..Settings::new(&database.address, order.seed).calm()
    };
    let mut lane = Lane {
        run: Run::begin("n-th step interrupted", database.address.name()),
        service: Service::start(settings).await,
        client: Client::default(),
        events: Vec::new(),
        missed: Vec::new(),
    };
    let mut planned = 0;
    for place in ["claim", "handler"] {
        let steps = lane.count(place).await;
        lane.run.notes.push(format!("{place}: {steps} steps"));
        for step in 1..=steps {
            for times in ["once", "ever"] {
                lane.interrupt(place, times, step).await;
                planned += 1;
            }
        }
    }
    lane.arm("claim", "once", 0).await;
    let Lane {
        mut run,
        service,
        events,
        missed,
        ..
    } = lane;
    run.note_missed(&missed, planned);
    check::end(run, &database.address, &[service], events).await
}

struct Lane {
    run: Run,
    service: Service,
    client: Client,
    events: Vec<String>,
    /// Those whose step was not reached.
    missed: Vec<String>,
}

impl Lane {
    /// The steps of a delivery to which nothing happens, on a connection that was used before.
    async fn count(&mut self, place: &str) -> i64 {
        self.arm(place, "once", 0).await;
        let mut steps = 0;
        for name in ["first", "second", "third"] {
            let id = format!("{CALM}{place}_{name}");
            self.converge(&id).await;
            self.events.push(id);
            steps = steps.max(self.arm(place, "once", 0).await);
        }
        steps
    }

    async fn interrupt(&mut self, place: &str, times: &str, step: i64) {
        let id = format!("{CALM}{place}_{step}_{times}");
        self.service.is_idle_within(CONVERGE_TIME_MAX).await;
        self.arm(place, times, step).await;
        self.deliver(&id).await;
        match self.arm(place, "once", 0).await >= step {
            true => self.run.kills += 1,
            false => self.missed.push(id.clone()),
        }
        self.converge(&id).await;
        self.events.push(id);
    }

    async fn converge(&mut self, id: &str) {
        let end = Instant::now() + CONVERGE_TIME_MAX;
        while Instant::now() < end {
            if self.deliver(id).await == Heard::OK {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        self.run.damage.unanswered.push(id.to_owned());
    }

    async fn deliver(&mut self, id: &str) -> Heard {
        let server = self.service.address;
        let heard = self.client.deliver(server, id, Manners::Proper).await;
        self.run.answers.note(heard);
        heard
    }

    /// Has that step interrupted, none if it is zero; the steps since this was last asked.
    async fn arm(&mut self, place: &str, times: &str, step: i64) -> i64 {
        let path = format!("/interrupt/{place}/{times}/{step}");
        let steps = self.client.get(self.service.address, &path).await;
        let steps = steps.expect("the service answers");
        steps.parse().expect("a number")
    }
}
