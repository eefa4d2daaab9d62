//! What must hold at the end of every run.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    client::{Client, Heard, Manners},
    database::{Address, Direct},
    events::TOGETHER,
    report::{Answers, Damage, Run},
    service::{Service, shard},
};

/// Longer than any limit of a delivery's.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(30);

/// Sessions of clients beside this one.
const OTHERS: &str = "from pg_stat_activity where datname = current_database()
    and backend_type = 'client backend' and pid <> pg_backend_pid()";

/// Where an event is that was acknowledged inline.
pub(crate) const PROCESSED: &str = "bookings";

/// Where one is that was stored first: one snapshot of both, or it could be missed on its way.
pub(crate) const STORED: &str = "(select event_id from bookings
    union all select event_id from stripe_inbox where payload is not null) stored";

/// Those of the acknowledged events that are not in the database: nothing else may run meanwhile
/// that could write them.
pub(crate) async fn not_durable(
    address: &Address,
    acknowledged: &[String],
    place: &str,
) -> Vec<String> {
    if acknowledged.is_empty() {
        return Vec::new();
    }
    let mut direct = Direct::connect(address).await.expect("a connection");
    let ids = acknowledged.join("','");
    let there = format!("select event_id from {place} where event_id in ('{ids}')");
    let there = direct.texts(&there).await.expect("rows");
    direct.close().await;
    let there: BTreeSet<_> = there.into_iter().collect();
    let missing = acknowledged.iter().filter(|id| !there.contains(*id));
    missing.cloned().collect()
}

/// The end of every run, in this order: a transaction that ends late must be seen by what comes after.
pub(crate) async fn end(
    mut run: Run,
    address: &Address,
    services: &[Service],
    mut events: Vec<String>,
) -> Run {
    places(&mut run, services, &mut events).await;
    finally(run, address, services, &events).await
}

/// The end of every run whose places were looked at.
pub(crate) async fn finally(
    mut run: Run,
    address: &Address,
    services: &[Service],
    events: &[String],
) -> Run {
    run.damage.leaked.extend(sessions(address, services).await);
    run.damage.add(rows(address, events).await);
    run.events = events.len();
    run.end()
}

/// Whether connections and places of the services are all there.
///
/// As many events as there are places must be in their transactions at once; they are added to
/// `events`.
pub(crate) async fn places(run: &mut Run, services: &[Service], events: &mut Vec<String>) {
    for (number, service) in services.iter().enumerate() {
        let mut leaked = |what: &str| run.damage.leaked.push(format!("service {number}: {what}"));
        if !service.is_idle_within(SETTLE_TIME_MAX).await {
            leaked("connections stay in use");
        }
        if !service.has_all_connections_within(SETTLE_TIME_MAX).await {
            leaked("not all connections can be had");
        }
        let mut deliveries = JoinSet::new();
        let meeting = format!("{TOGETHER}{}", events.len());
        for place in 0..service.settings.places() {
            deliveries.spawn(acknowledged(service.address, format!("{meeting}_{place}")));
        }
        let had = deliveries.join_all().await;
        let places = had.iter().filter(|(id, _)| id.is_some()).count();
        if places < had.len() {
            leaked("not all places can be had");
        }
        for (id, answers) in had {
            // What was not acknowledged is not lost: there was no place for it.
            events.extend(id);
            run.answers.add(&answers);
        }
    }
}

/// The first attempts may meet connections that were broken while they were idle.
async fn acknowledged(address: SocketAddr, event: String) -> (Option<String>, Answers) {
    let mut client = Client::default();
    let mut answers = Answers::default();
    let end = Instant::now() + SETTLE_TIME_MAX;
    while Instant::now() < end {
        let heard = client.deliver(address, &event, Manners::Proper).await;
        answers.note(heard);
        if heard == Heard::OK {
            return (Some(event), answers);
        }
        sleep(Duration::from_millis(100)).await;
    }
    (None, answers)
}

/// Compares the rows with the events that were sent, in both directions.
async fn rows(address: &Address, events: &[String]) -> Damage {
    let mut direct = Direct::connect(address).await.expect("a connection");
    let sent: BTreeSet<_> = events.iter().cloned().collect();
    let booked = counted(
        direct
            .texts("select event_id from bookings")
            .await
            .expect("rows"),
    );
    let ledger = "select event_id from processed_stripe_events";
    let ledger = counted(direct.texts(ledger).await.expect("rows"));
    let counters = "select cast(shard as text) || ' ' || cast(booked as text) from counters";
    let counters = direct.texts(counters).await.expect("rows");
    let orphans = "select cast(parent as text) from orphans";
    let mut torn = direct.texts(orphans).await.expect("rows");
    let traces = "select 'trace of ' || event_id from traces";
    torn.extend(direct.texts(traces).await.expect("rows"));
    direct.close().await;

    let once = |rows: &BTreeMap<String, usize>, id: &String| rows.get(id) == Some(&1);
    torn.extend(wrong_counters(&counters, &sent));
    torn.extend(
        sent.iter()
            .filter(|id| booked.contains_key(*id) && !once(&ledger, id))
            .chain(booked.keys().filter(|id| !sent.contains(*id)))
            .chain(ledger.keys().filter(|id| !once(&booked, id)))
            .cloned(),
    );
    let doubled = booked.iter().filter(|(_, times)| **times > 1);
    Damage {
        doubled: doubled.map(|(id, _)| id.clone()).collect(),
        lost: sent
            .into_iter()
            .filter(|id| !booked.contains_key(id))
            .collect(),
        torn,
        ..Damage::default()
    }
}

fn counted(ids: Vec<String>) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for id in ids {
        *counted.entry(id).or_default() += 1;
    }
    counted
}

fn wrong_counters(counters: &[String], sent: &BTreeSet<String>) -> Vec<String> {
    let mut expected = BTreeMap::new();
    for id in sent {
        *expected.entry(shard(id)).or_insert(0_u64) += 1;
    }
    let right = |counter: &&String| {
        let (shard, booked) = counter.split_once(' ')?;
        let expected = expected.get(&shard.parse::<i32>().ok()?);
        Some(booked.parse::<u64>().ok()? == expected.copied().unwrap_or(0))
    };
    let wrong = counters
        .iter()
        .filter(|counter| right(counter) != Some(true));
    wrong.map(|counter| format!("counter {counter}")).collect()
}

/// Waits until no transaction is open and there are no sessions but those of the pools.
async fn sessions(address: &Address, services: &[Service]) -> Vec<String> {
    let mut direct = Direct::connect(address).await.expect("a connection");
    let end = Instant::now() + SETTLE_TIME_MAX;
    loop {
        let left = match address {
            Address::Postgres(_) => sessions_left(&mut direct, services).await,
            Address::Sqlite(_) => direct.lock_alone().await.err().into_iter().collect(),
        };
        if left.is_empty() || Instant::now() > end {
            direct.close().await;
            return left;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn sessions_left(direct: &mut Direct, services: &[Service]) -> Vec<String> {
    let open = format!("select state || ': ' || left(query, 60) {OTHERS} and state <> 'idle'");
    let mut left = direct.texts(&open).await.expect("rows");
    let all = format!("select pid::text {OTHERS}");
    let sessions = direct.texts(&all).await.expect("rows").len();
    let mut pooled = 0;
    for service in services {
        pooled += service.pool().await.map_or(0, |(size, _)| size);
    }
    if sessions > pooled {
        left.push(format!("{sessions} sessions, and {pooled} in pools"));
    }
    left
}
