//! Full load for a while, with faults in one delivery of a hundred: nothing may grow.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Order, kill::traffic};
use crate::{
    database::{Address, Database, Direct},
    proxy::Proxy,
    report::Run,
    sender::Traffic,
    service::Settings,
    stage::Stage,
};

/// A delivery takes forty to fifty messages to and fro, a duplicate half as many: so many hit about
/// one delivery in a hundred.
const FAULTS_PER_MILLION: u32 = 450;

const SAMPLES: u32 = 120;

/// Of the samples, those that are left out at the beginning: allocators and caches fill.
const WARM_UP: usize = 12;

/// An open transaction is no leak before it is older than any delivery may be.
const OPEN: &str = "select count(*)::text from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()
        and xact_start < clock_timestamp() - interval '5 s'";
const SESSIONS: &str = "select count(*)::text from pg_stat_activity
    where datname = current_database() and backend_type = 'client backend'
        and pid <> pg_backend_pid()";

#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Zero where the system does not tell.
    resident_kib: u64,
    sessions: u64,
    open: u64,
}

pub(crate) async fn soak(order: Order) -> Run {
    let database = Database::postgres().await;
    let proxy = Proxy::before(&database.address, order.seed).await;
    let settings = Settings {
        failures_per_mille: 10,
        ..Settings::new(&proxy.address, order.seed)
    };
    let traffic = Traffic {
        connections: 48,
        rude_per_mille: 10,
        ..traffic(order)
    };
    let mut stage = Stage::open("soak", database, traffic, vec![settings]).await;
    proxy.faults.at_random(FAULTS_PER_MILLION);
    let samples = sampled(&stage, Duration::from_secs(60) * minutes(order)).await;
    proxy.faults.lift();
    stage.run.note_hits(proxy.faults.hits());
    if samples.iter().any(|sample| sample.resident_kib == 0) {
        let unknown = "the service's memory cannot be read".to_owned();
        stage.run.damage.untried.push(unknown);
    }
    for (what, read, slack) in [
        ("resident KiB", resident as fn(&Sample) -> u64, 4_096),
        // The server does not know of a stall that its session is of no use any more.
        ("sessions", |sample| sample.sessions, 4),
        ("transactions open for long", |sample| sample.open, 1),
    ] {
        let (first, last) = thirds(&samples, read);
        stage.run.notes.push(format!(
            "{what}: {first} in the first third, {last} in the last"
        ));
        // A tenth more, or what a few deliveries in progress make.
        if last > first + first / 10 + slack {
            stage
                .run
                .damage
                .leaked
                .push(format!("{what} grow from {first} to {last}"));
        }
    }
    stage.close().await
}

fn minutes(order: Order) -> u32 {
    u32::try_from(order.minutes).unwrap_or(u32::MAX)
}

fn resident(sample: &Sample) -> u64 {
    sample.resident_kib
}

async fn sampled(stage: &Stage, duration: Duration) -> Vec<Sample> {
    let Address::Postgres(_) = stage.database.address else {
        return Vec::new();
    };
    let mut direct = Direct::connect(&stage.database.address)
        .await
        .expect("a connection");
    let mut samples = Vec::new();
    let begun_at = Instant::now();
    for sample in 1..=SAMPLES {
        let due = begun_at + duration * sample / SAMPLES;
        sleep(due.saturating_duration_since(Instant::now())).await;
        let resident = stage
            .services
            .iter()
            .filter_map(|service| service.resident_kib());
        samples.push(Sample {
            resident_kib: resident.sum(),
            sessions: number(&mut direct, SESSIONS).await,
            open: number(&mut direct, OPEN).await,
        });
    }
    direct.close().await;
    samples
}

async fn number(direct: &mut Direct, sql: &str) -> u64 {
    let texts = direct.texts(sql).await.expect("a number");
    texts
        .first()
        .and_then(|text| text.parse().ok())
        .expect("a number")
}

/// Means of the first third after the warm-up and of the last.
fn thirds(samples: &[Sample], read: fn(&Sample) -> u64) -> (u64, u64) {
    let samples = samples.get(WARM_UP..).unwrap_or(samples);
    let third = samples.len() / 3;
    let mean = |samples: &[Sample]| {
        let sum: u64 = samples.iter().map(read).sum();
        sum.div_ceil((samples.len() as u64).max(1))
    };
    let (first, rest) = samples.split_at(third);
    let (_, last) = rest.split_at(rest.len() - third);
    (mean(first), mean(last))
}
