//! Stored-first mode beside inline mode, and both beside a plain insert.

use std::{sync::Arc, time::Duration};

use axum_stripe_webhook::InboxWorker;
use futures_util::future::join_all;
use sqlx::Pool;
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    client::{Direct, Http},
    copy,
    database::{Backend, Home, empty, open, paid},
    deliveries::{deliveries, send},
    figures::{Load, Table},
    shop::{Server, counted, inbox},
};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) rounds: usize,
    /// How many deliveries so many clients make between them.
    deliveries: [(usize, usize); 3],
    /// How many stored events one slot of a worker, and several, work off.
    stored: (usize, usize),
    /// How long a handler holds its transaction.
    hold: Duration,
}

/// How many events a worker runs at once, if it is not one.
const SLOTS: usize = 8;

impl Size {
    pub(crate) const FULL: Self = Self {
        rounds: 5,
        deliveries: [(1, 1000), (8, 4000), (64, 8000)],
        stored: (2000, 20_000),
        hold: Duration::from_secs(2),
    };

    #[cfg(test)]
    pub(crate) const SMOKE: Self = Self {
        rounds: 1,
        deliveries: [(1, 3), (8, 16), (64, 70)],
        stored: (5, 30),
        hold: Duration::from_millis(50),
    };
}

/// Measures everything and prints it.
pub(crate) async fn run<DB: Backend>(home: &Home, size: Size) {
    let pool = open::<DB>(home).await;
    let mut bench = Bench {
        size,
        other: DB::connect(home).await,
        table: Table::default(),
        pool,
    };
    println!(
        "{} {}; {} connections; {} rounds: median (lowest–highest)\n",
        DB::NAME,
        DB::settings(&bench.pool).await,
        home.connections(),
        size.rounds
    );
    for _ in 0..size.rounds {
        bench.round().await;
    }
    println!("{}", bench.table);
    // There, a handler's transaction keeps everybody from writing, whatever comes in.
    if !DB::WRITES_ONE_AT_A_TIME {
        copy::measure::<DB>(home, 4 * size.rounds, size.hold).await;
    }
}

struct Bench<DB: Backend> {
    size: Size,
    pool: Pool<DB>,
    /// Of a second process, as far as the database can tell.
    other: Pool<DB>,
    table: Table,
}

impl<DB: Backend> Bench<DB> {
    async fn round(&mut self) {
        let mut yardsticks = Vec::new();
        for (clients, count) in self.size.deliveries {
            let yardstick = self.yardstick(clients, count).await;
            yardsticks.push(yardstick);
            let inline = self.inline(clients, count).await;
            let accept = self.accept(clients, count).await;
            let beside = self.accept_beside_a_worker(clients, count).await;
            for (what, load) in [
                ("plain insert", yardstick),
                ("inline", inline),
                ("accept", accept),
                ("accept, a worker beside", beside),
            ] {
                self.table.add((what, clients), load, Some(yardstick));
            }
        }
        let (few, many) = self.size.stored;
        let [one, several, _] = yardsticks[..] else {
            return;
        };
        for (what, slots, stored, workers, yardstick) in [
            ("drain", 1, few, &[&self.pool][..], one),
            ("drain", SLOTS, many, &[&self.pool][..], several),
            (
                "drain, two workers",
                SLOTS,
                many,
                &[&self.pool, &self.other][..],
                several,
            ),
        ] {
            let load = self.drain(slots, stored, workers).await;
            self.table.add((what, slots), load, Some(yardstick));
        }
    }

    async fn yardstick(&self, clients: usize, count: usize) -> Load {
        let load = send(&deliveries(count), clients, || Direct(self.pool.clone())).await;
        empty(&self.pool).await;
        load
    }

    async fn inline(&self, clients: usize, count: usize) -> Load {
        let server = Server::inline(&self.pool, None).await;
        let load = send(&deliveries(count), clients, || Http::to(server.address)).await;
        self.check(count).await;
        load
    }

    async fn accept(&self, clients: usize, count: usize) -> Load {
        let load = self.store(clients, count).await;
        empty(&self.pool).await;
        load
    }

    async fn store(&self, clients: usize, count: usize) -> Load {
        let server = Server::stored_first(&inbox(&self.pool)).await;
        send(&deliveries(count), clients, || Http::to(server.address)).await
    }

    async fn accept_beside_a_worker(&self, clients: usize, count: usize) -> Load {
        let inbox = inbox(&self.pool);
        let server = Server::stored_first(&inbox).await;
        let ran = Arc::new(Semaphore::new(0));
        let worker = inbox.worker(counted::<DB>(&ran)).start();
        let load = send(&deliveries(count), clients, || Http::to(server.address)).await;
        wait_for(&ran, count).await;
        worker.stop().await;
        self.check(count).await;
        load
    }

    /// One worker for each of the pools.
    async fn drain(&self, slots: usize, stored: usize, pools: &[&Pool<DB>]) -> Load {
        self.store(64, stored).await;
        let ran = Arc::new(Semaphore::new(0));
        let begun_at = Instant::now();
        let workers = pools.iter().map(|pool| {
            let worker = InboxWorker::new(Pool::clone(pool), counted::<DB>(&ran));
            worker.concurrency(slots).start()
        });
        let workers: Vec<_> = workers.collect();
        wait_for(&ran, stored).await;
        join_all(workers.iter().map(|worker| worker.stop())).await;
        let load = Load::of(stored, begun_at.elapsed());
        self.check(stored).await;
        load
    }

    /// What has measured nothing must not look fast.
    async fn check(&self, count: usize) {
        let paid = paid(&self.pool).await;
        assert_eq!(usize::try_from(paid), Ok(count), "events were run");
        empty(&self.pool).await;
    }
}

pub(crate) async fn wait_for(ran: &Semaphore, count: usize) {
    let count = u32::try_from(count).expect("not that many events");
    ran.acquire_many(count).await.expect("events run").forget();
}
