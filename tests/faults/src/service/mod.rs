//! The service under test: a process of its own, so that it can be killed.

mod books;
mod child;
mod endpoint;
mod fate;
mod sabotage;
mod settings;
mod together;
mod work;
mod worker;

use std::{
    collections::VecDeque,
    io, process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use axum_stripe_webhook::EventTx;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sqlx::{Pool, Postgres, Sqlite};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    time::{sleep, timeout},
};

use crate::{
    database::{Address, SHARDS},
    events::{CALM, SLOW, TOGETHER},
};
use books::Books;
pub(crate) use child::Service;
use endpoint::Endpoint;
use fate::GATE;
use sabotage::SABOTAGE;
pub(crate) use settings::Settings;
use together::Together;
pub(crate) use work::work;
pub(crate) use worker::Worker;

/// Ids of begun events that are remembered: no scenario that asks for them has as many.
const BEGUN_MAX: usize = 100_000;

/// For all connections of the pool to be had; most are open already.
const CONNECTIONS_TIME_MAX: Duration = Duration::from_secs(5);

/// The line on its input that has the process end.
const END: &str = "end";

/// The line that has handlers leave which stay.
const LEAVE: &str = "leave";

struct Shop<DB: Books> {
    pool: Pool<DB>,
    settings: Settings,
    random: Mutex<StdRng>,
    /// As many handlers as there are places.
    together: Together,
    /// Every handler fails.
    fails: AtomicBool,
    begun: Mutex<VecDeque<String>>,
}

/// How a handler ends. Nothing but `Done` may leave a trace, so all others write one; on SQLite
/// `Swallows` may too, whose failed statement is undone while the rest stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Done,
    Fails,
    Redirects,
    Panics,
    /// Answers 200 although a statement has failed.
    Swallows,
    /// Answers 200 although it has rolled back.
    RollsBack,
    /// Writes what the COMMIT will refuse, and answers 200.
    Orphans,
    TakesTooLong,
}

pub(crate) async fn serve(arguments: &[String]) {
    let settings = Settings::from_arguments(arguments);
    match settings.database.clone() {
        Address::Postgres(_) => serve_on::<Postgres>(settings).await,
        Address::Sqlite(_) => serve_on::<Sqlite>(settings).await,
    }
}

/// Serves until it is to end, and lists the events whose handlers have begun when all of them have
/// ended too.
async fn serve_on<DB: Books>(settings: Settings) {
    let pool = DB::pool(&settings);
    let endpoint = Endpoint::new(pool.clone(), &settings);
    let shop = Shop::open(pool, settings);
    let app = Router::new()
        .route("/webhook", endpoint.route())
        .route("/pool", get(pool_state::<DB>))
        .route("/connections", get(connections::<DB>))
        .route("/begun", get(begun::<DB>))
        .route("/fails/{all}", get(fail::<DB>))
        .route("/interrupt/{place}/{times}/{step}", get(interrupt))
        .route("/pages/{max}", get(limit_pages))
        .with_state(Arc::clone(&shop));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    println!("listening on {address}");
    let served = axum::serve(listener, app).with_graceful_shutdown(told_to_end());
    served.await.expect("it serves");
    endpoint.drain().await;
    println!("{}", shop.take_begun());
}

/// As a SIGTERM would tell.
async fn told_to_end() {
    let (end, ended) = oneshot::channel();
    thread::spawn(|| {
        for line in io::stdin().lines().map_while(Result::ok) {
            match line.as_str() {
                END => {
                    let _it_ends_already = end.send(());
                    return;
                }
                LEAVE => GATE.open(),
                _ => break,
            }
        }
        // Whoever started this process is gone.
        process::exit(1);
    });
    let _told = ended.await;
}

async fn book<DB: Books>(State(shop): State<Arc<Shop<DB>>>, mut tx: EventTx<DB>) -> StatusCode {
    let event = tx.event().id().to_owned();
    shop.begin(&event);
    let (mood, pause) = shop.mood(&event);
    if event.starts_with(SLOW) {
        sleep(Duration::from_secs(1)).await;
    }
    if let Some((meeting, _)) = event.rsplit_once('_')
        && event.starts_with(TOGETHER)
    {
        shop.together.meet(meeting).await;
    }
    if write(&mut tx, &event, mood, pause).await.is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    fate::befall(&event, &shop.settings).await;
    end(&mut tx, mood, shop.settings.handler_time_max * 2).await
}

async fn write<DB: Books>(
    tx: &mut EventTx<DB>,
    event: &str,
    mood: Mood,
    pause: Duration,
) -> Result<(), sqlx::Error> {
    SABOTAGE.before_statements_of_the_handler(&mut **tx).await?;
    DB::count(tx, shard(event)).await?;
    if mood != Mood::Done && !(mood == Mood::Swallows && DB::KEEPS_REST) {
        DB::leave_trace(tx, event).await?;
    }
    if !pause.is_zero() {
        sleep(pause).await;
    }
    assert!(mood != Mood::Panics, "as the mood is");
    DB::append(tx, event).await
}

async fn end<DB: Books>(tx: &mut EventTx<DB>, mood: Mood, too_long: Duration) -> StatusCode {
    let statement = match mood {
        Mood::Done | Mood::Panics => return StatusCode::OK,
        Mood::Fails => return StatusCode::INTERNAL_SERVER_ERROR,
        Mood::Redirects => return StatusCode::FOUND,
        Mood::TakesTooLong => {
            sleep(too_long).await;
            return StatusCode::OK;
        }
        Mood::Swallows => "insert into bookings (event_id) values (null)",
        Mood::RollsBack => "rollback",
        Mood::Orphans => "insert into orphans (parent) values (7)",
    };
    let _swallowed = DB::run(tx, statement).await;
    StatusCode::OK
}

impl<DB: Books> Shop<DB> {
    fn open(pool: Pool<DB>, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            pool,
            random: Mutex::new(StdRng::seed_from_u64(settings.seed)),
            together: Together::of(settings.places()),
            fails: AtomicBool::new(false),
            begun: Mutex::default(),
            settings,
        })
    }

    /// How many connections of its pool can be had at once.
    async fn connections(&self) -> usize {
        let mut had = Vec::new();
        let all = async {
            for _ in 0..self.settings.connections {
                let connection = self.pool.acquire().await;
                had.extend(connection.ok());
            }
        };
        let _some_are_missing = timeout(CONNECTIONS_TIME_MAX, all).await;
        had.len()
    }

    fn begin(&self, event: &str) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if self.settings.remembers_begun && begun.len() < BEGUN_MAX {
            begun.push_back(event.to_owned());
        }
    }

    fn take_begun(&self) -> String {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        Vec::from(std::mem::take(&mut *begun)).join("\n")
    }

    fn mood(&self, event: &str) -> (Mood, Duration) {
        if event.starts_with(TOGETHER) {
            return (Mood::Done, Duration::ZERO);
        }
        if self.fails.load(SeqCst) {
            return (Mood::Fails, Duration::ZERO);
        }
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = match random.random_range(0..100) < self.settings.pause_percent {
            true => Duration::from_millis(random.random_range(0..self.settings.pause_ms_max)),
            false => Duration::ZERO,
        };
        let fine = random.random_range(0..1000) >= self.settings.failures_per_mille;
        if fine || event.starts_with(CALM) {
            return (Mood::Done, pause);
        }
        let mood = match random.random_range(0..25) {
            0..5 => Mood::Fails,
            5..8 => Mood::Redirects,
            8..12 => Mood::Panics,
            12..16 => Mood::Swallows,
            16..20 => Mood::RollsBack,
            20..24 => Mood::Orphans,
            _ => Mood::TakesTooLong,
        };
        (mood, pause)
    }
}

pub(crate) fn shard(event: &str) -> i32 {
    event.bytes().map(i32::from).sum::<i32>() % SHARDS
}

async fn pool_state<DB: Books>(State(shop): State<Arc<Shop<DB>>>) -> String {
    format!("{} {}", shop.pool.size(), shop.pool.num_idle())
}

async fn begun<DB: Books>(State(shop): State<Arc<Shop<DB>>>) -> String {
    shop.take_begun()
}

async fn connections<DB: Books>(State(shop): State<Arc<Shop<DB>>>) -> String {
    shop.connections().await.to_string()
}

async fn fail<DB: Books>(State(shop): State<Arc<Shop<DB>>>, Path(all): Path<bool>) {
    shop.fails.store(all, SeqCst);
}

async fn interrupt(Path((place, times, step)): Path<(String, String, i64)>) -> String {
    SABOTAGE
        .arm(place == "handler", times == "ever", step)
        .to_string()
}

async fn limit_pages(Path(max): Path<i64>) {
    SABOTAGE.limit_pages(max);
}
