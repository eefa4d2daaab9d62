//! What happens to Postgres itself: it crashes, is full, refuses to write, or ends sessions.

use std::time::Duration;

use test_postgres::OwnServer;
use tokio::time::{Instant, sleep};

use super::{Order, kill::traffic};
use crate::{
    database::{Address, Database, Direct},
    report::Run,
    service::Settings,
    stage::{Stage, UNAVAILABLE},
};

/// Recovery included, ten times what it takes on two slow cores.
const RESTART_TIME_MAX: Duration = Duration::from_secs(60);

/// Few, so that they are soon taken; durable, because what is committed must survive a crash.
const SETTINGS: [&str; 3] = [
    "alter system set max_connections = 40",
    "alter system set synchronous_commit = on",
    "alter system set authentication_timeout = '2s'",
];

const READ_ONLY: [&str; 2] = [
    "alter system set default_transaction_read_only = on",
    "select pg_reload_conf()",
];
const WRITABLE: [&str; 2] = [
    "alter system reset default_transaction_read_only",
    "select pg_reload_conf()",
];

/// Some of the service's sessions, whatever they are at.
const TERMINATE: &str = "select pg_terminate_backend(pid) from (
    select pid from pg_stat_activity
    where datname = current_database() and backend_type = 'client backend'
        and pid <> pg_backend_pid()
    order by random() limit 2) session";
const TERMINATE_ALL: &str = "select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and backend_type = 'client backend'
        and pid <> pg_backend_pid()";

/// The scenarios that need a Postgres of their own, on one.
pub(crate) async fn of_its_own(order: Order) -> Vec<Run> {
    let server = tokio::task::spawn_blocking(OwnServer::start);
    match server.await.expect("no panic") {
        Ok(server) => {
            let mut own = Own::prepare(server).await;
            vec![
                own.crashed(order).await,
                own.without_connections(order).await,
                own.read_only(order).await,
            ]
        }
        Err(why) => ["immediate shutdown", "no connection left", "read-only"]
            .map(|scenario| Run::begin(scenario, "Postgres").not_run(&why))
            .into(),
    }
}

/// Sessions are ended while they are idle, in a transaction, or executing.
pub(crate) async fn terminated(order: Order) -> Run {
    let database = Database::postgres().await;
    let settings = vec![Settings::new(&database.address, order.seed)];
    let mut stage = Stage::open("sessions terminated", database, traffic(order), settings).await;
    let mut direct = connect(&stage.database.address).await;
    for _ in 0..order.pick(40, 600) {
        stage.run_for(1..100).await;
        stage.run.kills += terminate(&mut direct, TERMINATE).await;
    }
    direct.close().await;
    stage.close().await
}

struct Own {
    server: OwnServer,
    databases: usize,
}

impl Own {
    async fn prepare(server: OwnServer) -> Self {
        let mut own = Self {
            server,
            databases: 0,
        };
        let address = Address::Postgres(own.server.url().to_owned());
        run_all(&address, &SETTINGS).await;
        own.crash_and_wait(&address).await;
        own
    }

    async fn open(&mut self, scenario: &'static str, order: Order) -> Stage {
        self.databases += 1;
        let name = format!("run_{}", self.databases);
        let address = Address::Postgres(self.server.url().to_owned());
        run_all(&address, &[&format!("create database {name}")]).await;
        let url = self
            .server
            .url()
            .replace("/postgres?", &format!("/{name}?"));
        let database = Database::on_own(&url).await;
        let settings = Settings {
            // Where no connection is left, it is waited for as long.
            acquire_time_max: Duration::from_millis(300),
            ..Settings::new(&database.address, order.seed)
        };
        let settings = vec![settings];
        Stage::open(scenario, database, traffic(order), settings).await
    }

    /// Without a word to anybody, and without writing anything more, at whatever instant this is.
    async fn crashed(&mut self, order: Order) -> Run {
        let mut stage = self.open("immediate shutdown", order).await;
        let address = stage.database.address.clone();
        for _ in 0..order.pick(5, 100) {
            stage.run_for(50..600).await;
            self.crash_and_wait_while(&address, stage.sender.pause())
                .await;
            stage.check_acknowledged().await;
            stage.sender.resume();
            stage.run.kills += 1;
        }
        stage.close().await
    }

    async fn without_connections(&mut self, order: Order) -> Run {
        let mut stage = self.open("no connection left", order).await;
        for _ in 0..order.pick(2, 15) {
            stage.run_for(100..400).await;
            let mut direct = connect(&stage.database.address).await;
            // Under load the service would be quicker to have its connections again.
            stage.sender.pause().await;
            stage.run.kills += terminate(&mut direct, TERMINATE_ALL).await;
            let taken = take_all(&stage.database.address).await;
            let since = stage.answered(UNAVAILABLE);
            stage.sender.resume();
            stage.run_until_answered(UNAVAILABLE, since).await;
            stage.run_for(0..300).await;
            for connection in taken {
                connection.close().await;
            }
            stage.run.others += 1;
            direct.close().await;
        }
        stage.close().await
    }

    /// As a service sees a primary that has become a standby.
    async fn read_only(&mut self, order: Order) -> Run {
        let mut stage = self.open("read-only", order).await;
        for _ in 0..order.pick(3, 20) {
            stage.run_for(50..300).await;
            let since = stage.answered(UNAVAILABLE);
            run_all(&stage.database.address, &READ_ONLY).await;
            stage.run_until_answered(UNAVAILABLE, since).await;
            stage.run_for(0..300).await;
            run_all(&stage.database.address, &WRITABLE).await;
            stage.run.others += 1;
        }
        stage.close().await
    }

    async fn crash_and_wait(&mut self, address: &Address) {
        self.crash_and_wait_while(address, std::future::ready(()))
            .await;
    }

    async fn crash_and_wait_while(
        &mut self,
        address: &Address,
        meanwhile: impl Future<Output = ()>,
    ) {
        let before = started_at(address).await.expect("it is up");
        self.server.crash().expect("its watchdog listens");
        meanwhile.await;
        let end = Instant::now() + RESTART_TIME_MAX;
        while started_at(address).await.is_none_or(|at| at == before) {
            assert!(Instant::now() < end, "Postgres does not come back");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// How many sessions were ended.
async fn terminate(direct: &mut Direct, sql: &str) -> u64 {
    let ended = format!("select 'ended' from ({sql}) session");
    let ended = direct.texts(&ended).await.expect("they are ended");
    ended.len() as u64
}

/// Whatever sessions the server still has room for.
async fn take_all(address: &Address) -> Vec<Direct> {
    let mut taken = Vec::new();
    while let Ok(connection) = Direct::connect(address).await {
        taken.push(connection);
    }
    taken
}

async fn started_at(address: &Address) -> Option<String> {
    let mut direct = Direct::connect(address).await.ok()?;
    let started = direct
        .texts("select pg_postmaster_start_time()::text")
        .await;
    direct.close().await;
    started.ok()?.pop()
}

async fn connect(address: &Address) -> Direct {
    Direct::connect(address).await.expect("a connection")
}

async fn run_all(address: &Address, statements: &[&str]) {
    let mut direct = connect(address).await;
    for statement in statements {
        direct.run(statement).await.expect("it is set");
    }
    direct.close().await;
}
