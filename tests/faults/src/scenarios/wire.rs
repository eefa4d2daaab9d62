//! The connection to Postgres fails at its n-th message, for every n.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{Form, Order, kill::traffic};
use crate::{
    check,
    client::{Client, Manners},
    database::Database,
    events::CALM,
    proxy::{Fault, Plan, Proxy, Side},
    report::{Damage, Run},
    service::{Service, Settings},
    stage::Stage,
};

/// `STATEMENT_TIME_MAX` of the crate, the wait for a copy, and something for slow machines.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);

/// What a stalled session holds is free after twice the handler's time at the latest.
const CONVERGE_TIME_MAX: Duration = Duration::from_secs(20);

/// Events of the deliveries whose messages are counted.
const COUNTED: [&str; 3] = ["evt_calm_first", "evt_calm_new", "evt_calm_warm"];

const QUICK: [Fault; 6] = [
    Fault::Cut,
    Fault::Delay,
    Fault::Error("40001"),
    Fault::Error("25006"),
    Fault::Fatal("57P01"),
    Fault::Fatal("53300"),
];

/// A service behind a proxy of its own.
struct Lane {
    proxy: Proxy,
    service: Service,
    client: Client,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    /// The service has a connection already, on which its statements are prepared.
    warm: bool,
    plan: Plan,
}

pub(crate) async fn at_every_message(order: Order) -> Vec<Run> {
    let long = order.form == Form::Long;
    let quick = |case: &Case| long || !case.plan.ever || case.plan.fault == Fault::Cut;
    // Each takes as long as a limit of the crate's.
    let stalls = |case: &Case| long || case.plan.ever != case.warm;
    vec![
        swept("n-th message fails", 8, quick, &QUICK).await,
        swept("n-th message stalls", 32, stalls, &[Fault::Stall]).await,
    ]
}

/// Every case of these faults, on so many services at once.
async fn swept(
    scenario: &'static str,
    lanes: usize,
    wanted: impl Fn(&Case) -> bool,
    faults: &[Fault],
) -> Run {
    let database = Database::postgres().await;
    let mut run = Run::begin(scenario, database.address.name());
    let mut first = Lane::open(&database).await;
    let mut cases = VecDeque::new();
    for warm in [true, false] {
        let messages = first.count(warm).await;
        let name = if warm { "warm" } else { "new" };
        run.notes
            .push(format!("{name} connection: {messages:?} messages"));
        cases.extend(all_cases(warm, messages, faults, &wanted));
    }
    let total = cases.len();
    let mut missed = 0;
    let cases = Arc::new(Mutex::new(cases));
    let mut running = JoinSet::new();
    running.spawn(first.run_all(Arc::clone(&cases)));
    for _ in 1..lanes.min(total) {
        running.spawn(Lane::open(&database).await.run_all(Arc::clone(&cases)));
    }
    let mut events = COUNTED.map(str::to_owned).to_vec();
    let mut damage = Damage::default();
    let mut services = Vec::new();
    let mut proxies = Vec::new();
    for swept in running.join_all().await {
        events.extend(swept.events);
        damage.add(swept.damage);
        run.deliveries += swept.deliveries;
        missed += swept.missed;
        run.faults += swept.lane.proxy.faults.hits();
        services.push(swept.lane.service);
        proxies.push(swept.lane.proxy);
    }
    run.notes
        .push(format!("{total} cases, of which {missed} came to nothing"));
    damage
        .leaked
        .extend(check::services(&services, &mut events).await);
    damage.add(check::rows(&database.address, &events).await);
    damage
        .leaked
        .extend(check::sessions(&database.address, 2 * services.len()).await);
    run.events = events.len();
    run.damage = damage;
    run.end()
}

fn all_cases(
    warm: bool,
    (asked, answered): (u64, u64),
    faults: &[Fault],
    wanted: impl Fn(&Case) -> bool,
) -> Vec<Case> {
    let mut cases = Vec::new();
    for (side, messages) in [(Side::Asked, asked), (Side::Answered, answered)] {
        for (nth, &fault) in
            (1..=messages).flat_map(|nth| faults.iter().map(move |fault| (nth, fault)))
        {
            let servers_own = matches!(fault, Fault::Error(_) | Fault::Fatal(_));
            if servers_own && side == Side::Answered {
                continue;
            }
            for ever in [false, true] {
                let plan = Plan {
                    side,
                    nth,
                    fault,
                    ever,
                };
                cases.push(Case { warm, plan });
            }
        }
    }
    cases.retain(wanted);
    cases
}

struct Swept {
    lane: Lane,
    events: Vec<String>,
    deliveries: u64,
    /// Cases whose message never came: the last is the pool's own look at a connection that is given
    /// back, after the answer.
    missed: u64,
    damage: Damage,
}

impl Lane {
    async fn open(database: &Database) -> Self {
        let proxy = Proxy::before(&database.address, 0).await;
        let settings = Settings {
            connections: 2,
            acquire_time_max: Duration::from_millis(400),
            ..Settings::new(&proxy.address).calm()
        };
        Self {
            service: Service::start(settings).await,
            proxy,
            client: Client::default(),
        }
    }

    /// The messages of a delivery to which nothing happens.
    async fn count(&mut self, warm: bool) -> (u64, u64) {
        let [first, new, warmed] = COUNTED;
        if warm {
            self.deliver(first).await;
            // Or the pool would open another connection.
            self.service.is_idle_within(CONVERGE_TIME_MAX).await;
        } else {
            self.proxy.cut_all().await;
        }
        self.proxy.faults.plan(None);
        // Each time another one: a duplicate takes fewer messages.
        self.deliver(if warm { warmed } else { new }).await;
        self.proxy.faults.counted()
    }

    async fn deliver(&mut self, id: &str) -> Option<u16> {
        let server = self.service.address;
        self.client.deliver(server, id, Manners::Proper).await
    }

    async fn run_all(self, cases: Arc<Mutex<VecDeque<Case>>>) -> Swept {
        let mut swept = Swept {
            lane: self,
            events: Vec::new(),
            deliveries: 0,
            missed: 0,
            damage: Damage::default(),
        };
        loop {
            let case = cases.lock().await.pop_front();
            let Some(case) = case else { return swept };
            swept.run(case).await;
        }
    }
}

impl Swept {
    async fn run(&mut self, case: Case) {
        let id = case.id();
        self.events.push(id.clone());
        if !self.lane.service.is_idle_within(CONVERGE_TIME_MAX).await {
            self.damage
                .leaked
                .push(format!("before {id}: a connection stays in use"));
        }
        if case.warm {
            let warm_up = format!("{id}_warm_up");
            self.converge(&warm_up).await;
            self.events.push(warm_up);
            self.lane.service.is_idle_within(CONVERGE_TIME_MAX).await;
        } else {
            self.lane.proxy.cut_all().await;
        }
        let hits = self.lane.proxy.faults.hits();
        self.lane.proxy.faults.plan(Some(case.plan));
        let begun_at = Instant::now();
        let status = self.deliver(&id).await;
        if status.is_none() || begun_at.elapsed() > ANSWER_TIME_MAX {
            self.damage
                .leaked
                .push(format!("{id}: no answer in {:?}", begun_at.elapsed()));
        }
        self.lane.proxy.faults.lift();
        self.missed += u64::from(self.lane.proxy.faults.hits() == hits);
        if status == Some(200) {
            return;
        }
        self.converge(&id).await;
        self.deliver(&id).await;
    }

    async fn converge(&mut self, id: &str) {
        let end = Instant::now() + CONVERGE_TIME_MAX;
        while Instant::now() < end {
            if self.deliver(id).await == Some(200) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        self.damage.unanswered.push(id.to_owned());
    }

    async fn deliver(&mut self, id: &str) -> Option<u16> {
        self.deliveries += 1;
        self.lane.deliver(id).await
    }
}

impl Case {
    /// Says what was done to it.
    fn id(&self) -> String {
        let Plan {
            side,
            nth,
            fault,
            ever,
        } = self.plan;
        let connection = if self.warm { "warm" } else { "new" };
        let times = if ever { "ever" } else { "once" };
        let id = format!("{CALM}{connection}_{side:?}_{nth}_{fault:?}_{times}");
        id.replace(['(', ')', '"'], "_").to_lowercase()
    }
}

/// Faults of all kinds at random messages, while many deliveries are on their way.
pub(crate) async fn under_load(order: Order) -> Run {
    let database = Database::postgres().await;
    let proxy = Proxy::before(&database.address, order.seed).await;
    let settings = vec![Settings::new(&proxy.address)];
    let mut stage = Stage::open("any message fails", database, traffic(order), settings).await;
    proxy.faults.at_random(2_000);
    let seconds = order.pick(4, 180);
    stage.run_for(seconds * 1000..seconds * 1000 + 1).await;
    proxy.faults.lift();
    stage.run.faults += proxy.faults.hits();
    stage.close().await
}
