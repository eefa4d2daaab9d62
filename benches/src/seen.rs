//! What it costs to be seen: log, metrics and audit trail, on against off.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use axum_stripe_webhook::{AuditLayer, audit::AuditTable};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use sqlx::Pool;
use tracing_subscriber::{
    filter::LevelFilter,
    layer::SubscriberExt,
    registry::Registry,
    reload::{self, Handle},
    util::SubscriberInitExt,
};

use crate::{
    client::Http,
    database::{Backend, Home, empty, open},
    deliveries::{deliveries, send},
    figures::{Load, Table},
    shop::Server,
};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) rounds: usize,
    clients: usize,
    deliveries: usize,
}

impl Size {
    pub(crate) const FULL: Self = Self {
        rounds: 11,
        clients: 16,
        deliveries: 6000,
    };

    #[cfg(test)]
    pub(crate) const SMOKE: Self = Self {
        rounds: 1,
        clients: 2,
        deliveries: 6,
    };
}

/// Measures everything and prints it.
pub(crate) async fn run<DB: Backend>(home: &Home, size: Size) {
    let pool = open::<DB>(home).await;
    let eyes = Eyes::new();
    let mut table = Table::default();
    println!(
        "{} {}; {} connections; {} rounds: median (lowest–highest)\n",
        DB::NAME,
        DB::settings(&pool).await,
        home.connections(),
        size.rounds
    );
    for round in 0..size.rounds {
        // Whoever comes second finds a warmer machine, or a fuller one.
        let (off, on) = match round % 2 {
            0 => {
                let off = unseen(&pool, size).await;
                (off, seen(&pool, size, &eyes).await)
            }
            _ => {
                let on = seen(&pool, size, &eyes).await;
                (unseen(&pool, size).await, on)
            }
        };
        table.add(("inline, unseen", size.clients), off, Some(off));
        table.add(("inline, seen", size.clients), on, Some(off));
    }
    println!("{table}");
}

async fn unseen<DB: Backend>(pool: &Pool<DB>, size: Size) -> Load {
    let server = Server::inline(pool, None).await;
    measure(pool, size, &server).await
}

async fn seen<DB: Backend>(pool: &Pool<DB>, size: Size, eyes: &Eyes) -> Load {
    let trail = AuditTable::start(pool.clone());
    let server = Server::inline(pool, Some(AuditLayer::to(trail.clone()))).await;
    eyes.open(true);
    let load = measure(pool, size, &server).await;
    eyes.open(false);
    trail.drain().await;
    let rows = DB::count(pool, "select count(*) from stripe_deliveries").await;
    assert_eq!(
        usize::try_from(rows),
        Ok(size.deliveries),
        "all are on record"
    );
    DB::run(pool, "delete from stripe_deliveries").await;
    load
}

async fn measure<DB: Backend>(pool: &Pool<DB>, size: Size, server: &Server) -> Load {
    let deliveries = deliveries(size.deliveries);
    let load = send(&deliveries, size.clients, || Http::to(server.address)).await;
    empty(pool).await;
    load
}

/// Who looks, and can be told not to: a log at `info` in a file, and Prometheus.
struct Eyes(Handle<LevelFilter, Registry>);

static COUNTS: AtomicBool = AtomicBool::new(false);

impl Eyes {
    fn new() -> Self {
        let (filter, handle) = reload::Layer::new(LevelFilter::OFF);
        let log = tempfile::tempfile().expect("a temporary file");
        let lines = tracing_subscriber::fmt::layer().with_writer(Mutex::new(log));
        // A run measures one database; the tests of both share the process.
        let _installed_already = tracing_subscriber::registry()
            .with(filter)
            .with(lines)
            .try_init();
        let recorder = PrometheusBuilder::new().build_recorder();
        let _likewise = metrics::set_global_recorder(Sometimes(recorder));
        Self(handle)
    }

    fn open(&self, is_open: bool) {
        let level = match is_open {
            true => LevelFilter::INFO,
            false => LevelFilter::OFF,
        };
        let _nobody_has_installed_it = self.0.reload(level);
        COUNTS.store(is_open, Ordering::SeqCst);
    }
}

struct Sometimes(PrometheusRecorder);

impl Recorder for Sometimes {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        match COUNTS.load(Ordering::Relaxed) {
            true => self.0.register_counter(key, metadata),
            false => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        match COUNTS.load(Ordering::Relaxed) {
            true => self.0.register_gauge(key, metadata),
            false => Gauge::noop(),
        }
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        match COUNTS.load(Ordering::Relaxed) {
            true => self.0.register_histogram(key, metadata),
            false => Histogram::noop(),
        }
    }
}
