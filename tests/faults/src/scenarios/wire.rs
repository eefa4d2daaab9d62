//! The connection to Postgres fails at its n-th message, for every n.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{Form, Order, kill::traffic};
use crate::{
    check,
    client::{Client, Heard, Manners},
    database::Database,
    events::CALM,
    proxy::{Fault, Plan, Proxy, Side},
    report::{Answers, Damage, Run},
    service::{Service, Settings},
    stage::Stage,
};

/// What a delivery may take beside its handler, which may wait for a counter that a stalled session
/// holds: `STATEMENT_TIME_MAX` of the crate, the wait for a copy, and something for slow machines.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(14);

/// Beside twice the handler's time, until a lane can deliver again: a place is taken for the handler's
/// time and ten seconds while the server is still at work, and that may wait for a counter which the
/// held session of another lane has for as long.
const CONVERGE_TIME_MAX: Duration = Duration::from_secs(20);

/// A unique violation is no duplicate, and only at the claim a lock that is not to be had means that
/// another has the event in hand.
const QUICK: [Fault; 6] = [
    Fault::Cut,
    Fault::Delay,
    Fault::Error("23505"),
    Fault::Error("55P03"),
    Fault::Fatal("57P01"),
    Fault::Fatal("53300"),
];

/// One in so many of the cases that take as long as a limit of the crate's, in the short form.
const SAMPLED: u32 = 16;

/// Every message of a delivery, hit by each of these faults.
struct Sweep {
    scenario: &'static str,
    /// Services at once.
    lanes: usize,
    faults: &'static [Fault],
    handler_time_max: Duration,
    /// Which cases make the short form.
    is_short: fn(&Case, &mut StdRng) -> bool,
}

/// Deliveries until one is counted to which nothing has happened.
const COUNTS_MAX: u32 = 10;

/// Deliveries until one is hit: on a slow machine one may give up before the message comes.
const TRIES_MAX: u32 = 3;

/// A service behind a proxy of its own.
struct Lane {
    proxy: Proxy,
    service: Service,
    client: Client,
}

/// What the delivery is that is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    /// Of a new event, whose handler succeeds.
    First,
    /// Of an event that is processed.
    Duplicate,
    /// Of a new event, whose handler fails.
    Failing,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    path: Path,
    /// The service has a connection already, on which its statements are prepared.
    warm: bool,
    plan: Plan,
}

pub(crate) async fn at_every_message(order: Order) -> Vec<Run> {
    let fails = Sweep {
        scenario: "n-th message fails",
        lanes: 8,
        faults: &QUICK,
        handler_time_max: Duration::from_secs(1),
        is_short: |Case { path, warm, plan }, _| {
            let usual = *path == Path::First || *warm && plan.fault != Fault::Delay;
            usual && (!plan.ever || plan.fault == Fault::Cut)
        },
    };
    let stalls = Sweep {
        scenario: "n-th message stalls",
        lanes: 48,
        faults: &[Fault::Stall],
        is_short: |case, random| case.is_plain() || random.random_range(0..SAMPLED) == 0,
        ..fails
    };
    let late = Sweep {
        scenario: "n-th message is late",
        lanes: 32,
        faults: &[Fault::Hold],
        // Or the server would end the session before what is late comes: COMMIT must land.
        handler_time_max: Duration::from_secs(8),
        is_short: |case, _| case.is_plain(),
    };
    let (fails, stalls, late) = tokio::join!(fails.run(order), stalls.run(order), late.run(order));
    vec![fails, stalls, late]
}

impl Sweep {
    async fn run(self, order: Order) -> Run {
        let database = Database::postgres().await;
        let mut run = Run::begin(self.scenario, database.address.name());
        let mut first = self.open_lane(&database).await;
        let cases = self.cases(&mut first, &mut run, order).await;
        let planned = cases.len();
        let cases = Arc::new(Mutex::new(cases));
        let mut running = JoinSet::new();
        running.spawn(first.run_all(Arc::clone(&cases)));
        for _ in 1..self.lanes.min(planned) {
            let lane = self.open_lane(&database).await;
            running.spawn(lane.run_all(Arc::clone(&cases)));
        }
        let (mut events, mut missed) = (Vec::new(), Vec::new());
        let (mut services, mut proxies) = (Vec::new(), Vec::new());
        for swept in running.join_all().await {
            events.extend(swept.events);
            missed.extend(swept.missed);
            run.damage.add(swept.damage);
            run.answers.add(&swept.answers);
            run.note_hits(swept.lane.proxy.faults.hits());
            services.push(swept.lane.service);
            // Kept: the services go on through them.
            proxies.push(swept.lane.proxy);
        }
        run.note_missed(&missed, planned);
        check::end(run, &database.address, &services, events).await
    }

    async fn open_lane(&self, database: &Database) -> Swept {
        let proxy = Proxy::before(&database.address, 0).await;
        let settings = Settings {
            connections: 2,
            acquire_time_max: Duration::from_millis(400),
            handler_time_max: self.handler_time_max,
            ..Settings::new(&proxy.address, 0).calm()
        };
        let lane = Lane {
            service: Service::start(settings).await,
            proxy,
            client: Client::default(),
        };
        Swept {
            lane,
            events: Vec::new(),
            answers: Answers::default(),
            missed: Vec::new(),
            damage: Damage::default(),
            answer_time_max: self.handler_time_max + ANSWER_TIME_MAX,
            converge_time_max: 2 * self.handler_time_max + CONVERGE_TIME_MAX,
        }
    }

    async fn cases(&self, lane: &mut Swept, run: &mut Run, order: Order) -> VecDeque<Case> {
        let mut random = StdRng::seed_from_u64(order.seed);
        let mut cases = Vec::new();
        for path in [Path::First, Path::Duplicate, Path::Failing] {
            let mut note = format!("{path:?}:");
            for (warm, connection) in [(true, "warm"), (false, "new")] {
                let (asked, answered) = lane.count(path, warm).await;
                note += &format!(" {asked} and {answered} messages on a {connection} connection,");
                let plans = self.plans(asked, answered);
                cases.extend(plans.into_iter().map(|plan| Case { path, warm, plan }));
            }
            run.notes.push(note.trim_end_matches(',').to_owned());
        }
        if order.form == Form::Short {
            cases.retain(|case| (self.is_short)(case, &mut random));
        }
        cases.into()
    }

    fn plans(&self, asked: u64, answered: u64) -> Vec<Plan> {
        let mut plans = Vec::new();
        for (side, messages) in [(Side::Asked, asked), (Side::Answered, answered)] {
            for nth in 1..=messages {
                for &fault in self.faults.iter().filter(|fault| fault.fits(side)) {
                    let plan = |ever| Plan {
                        side,
                        nth,
                        fault,
                        ever,
                    };
                    plans.extend([false, true].map(plan));
                }
            }
        }
        // Held again and again, a delivery takes as many limits as it has statements.
        plans.retain(|plan| !plan.ever || plan.fault != Fault::Hold);
        plans
    }
}

/// What a lane has found.
struct Swept {
    lane: Lane,
    events: Vec<String>,
    answers: Answers,
    /// Cases whose message never came: the last is the pool's own look at a connection that is given
    /// back, after the answer.
    missed: Vec<String>,
    damage: Damage,
    answer_time_max: Duration,
    converge_time_max: Duration,
}

impl Swept {
    /// The messages of a delivery to which nothing happens, to the server and to the client.
    async fn count(&mut self, path: Path, warm: bool) -> (u64, u64) {
        for attempt in 0..COUNTS_MAX {
            let id = format!("{CALM}counted_{path:?}_{warm}_{attempt}").to_lowercase();
            self.prepare(path, warm, &id).await;
            self.lane.proxy.faults.plan(None);
            let heard = self.deliver(&id).await;
            let counted = self.lane.proxy.faults.counted();
            self.recover(path, &id).await;
            // On a slow machine a connection may not be had in time: its messages are too few.
            if heard == path.answer() {
                return counted;
            }
        }
        let untried = format!("{path:?}: no delivery to count, warm {warm}");
        self.damage.untried.push(untried);
        (0, 0)
    }

    async fn run_all(mut self, cases: Arc<Mutex<VecDeque<Case>>>) -> Self {
        loop {
            let case = cases.lock().await.pop_front();
            let Some(case) = case else { return self };
            let mut is_hit = false;
            for attempt in 1..=TRIES_MAX {
                is_hit = is_hit || self.run(case, attempt).await;
            }
            if !is_hit {
                self.missed.push(case.id());
            }
        }
    }

    /// Whether the fault has happened.
    async fn run(&mut self, case: Case, attempt: u32) -> bool {
        let id = format!("{}_{attempt}", case.id());
        self.prepare(case.path, case.warm, &id).await;
        let hits = self.lane.proxy.faults.hits();
        self.lane.proxy.faults.plan(Some(case.plan));
        let begun_at = Instant::now();
        let heard = self.deliver(&id).await;
        let took = begun_at.elapsed();
        if !matches!(heard, Heard::Status(_)) || took > self.answer_time_max {
            let late = format!("{id}: {heard:?} after {took:?}");
            self.damage.leaked.push(late);
        }
        self.lane.proxy.faults.lift();
        let is_hit = self.lane.proxy.faults.hits() != hits;
        match heard.is_success() {
            // Delivered again, it would be there although it was not when this was answered.
            true => self.lane.fail_all(false).await,
            false => self.recover(case.path, &id).await,
        }
        is_hit
    }

    /// Everything up to the delivery that is hit.
    async fn prepare(&mut self, path: Path, warm: bool, id: &str) {
        self.settle(id).await;
        if warm {
            let warm_up = format!("{id}_warm_up");
            self.converge(&warm_up).await;
            if path == Path::Duplicate {
                self.deliver(&warm_up).await;
            }
            self.events.push(warm_up);
        }
        if path == Path::Duplicate {
            self.converge(id).await;
        }
        self.lane.fail_all(path == Path::Failing).await;
        self.events.push(id.to_owned());
        // Or the pool would open another connection.
        self.settle(id).await;
        if !warm {
            self.lane.proxy.cut_all().await;
        }
    }

    async fn settle(&mut self, id: &str) {
        if !self
            .lane
            .service
            .is_idle_within(self.converge_time_max)
            .await
        {
            let leaked = format!("before {id}: a connection stays in use");
            self.damage.leaked.push(leaked);
        }
    }

    /// Delivers until it is processed, and once more.
    async fn recover(&mut self, path: Path, id: &str) {
        if path == Path::Failing {
            self.lane.fail_all(false).await;
        }
        self.converge(id).await;
        self.deliver(id).await;
    }

    async fn converge(&mut self, id: &str) {
        let end = Instant::now() + self.converge_time_max;
        while Instant::now() < end {
            if self.deliver(id).await == Heard::OK {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        self.damage.unanswered.push(id.to_owned());
    }

    async fn deliver(&mut self, id: &str) -> Heard {
        let Lane {
            service, client, ..
        } = &mut self.lane;
        let heard = client.deliver(service.address, id, Manners::Proper).await;
        self.answers.note(heard);
        heard
    }
}

impl Lane {
    /// Whether the handler fails from now on.
    async fn fail_all(&mut self, all: bool) {
        let path = format!("/fails/{all}");
        let told = self.client.get(self.service.address, &path).await;
        told.expect("the service answers");
    }
}

impl Path {
    /// The answer if nothing fails beside the handler.
    fn answer(self) -> Heard {
        match self {
            Self::First | Self::Duplicate => Heard::OK,
            Self::Failing => Heard::Status(500),
        }
    }
}

impl Case {
    /// The most usual delivery, hit once.
    fn is_plain(&self) -> bool {
        self.path == Path::First && self.warm && !self.plan.ever
    }

    /// Says what was done to it.
    fn id(&self) -> String {
        let Plan {
            side,
            nth,
            fault,
            ever,
        } = self.plan;
        let path = self.path;
        let connection = if self.warm { "warm" } else { "new" };
        let times = if ever { "ever" } else { "once" };
        let id = format!("{CALM}{path:?}_{connection}_{side:?}_{nth}_{fault:?}_{times}");
        id.replace(['(', ')', '"'], "_").to_lowercase()
    }
}

/// Faults of all kinds at random messages, while many deliveries are on their way.
pub(crate) async fn under_load(order: Order) -> Run {
    let database = Database::postgres().await;
    let proxy = Proxy::before(&database.address, order.seed).await;
    let settings = vec![Settings::new(&proxy.address, order.seed)];
    let mut stage = Stage::open("any message fails", database, traffic(order), settings).await;
    proxy.faults.at_random(2_000);
    sleep(Duration::from_secs(order.pick(4, 180))).await;
    proxy.faults.lift();
    stage.run.note_hits(proxy.faults.hits());
    stage.close().await
}
