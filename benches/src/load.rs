//! The goals: each mode next to the same work by hand, next to pgbench with the same statements, and to the
//! other modes, all in the same round.

use std::{
    fmt, fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use axum_stripe_webhook::{Guards, InboxWorker};
use order_fulfillment::{
    config::Processing, database::open_postgres, endpoint::Endpoint, server::serve, webhook::events,
};
use serde_json::{Value, json};
use sqlx::{PgPool, Postgres, query};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, oneshot},
    task::{JoinHandle, block_in_place},
    time::Instant,
};

use crate::{
    by_hand::{self, create_table},
    client::Http,
    database::{Backend, CONNECTIONS, Home, connect_untuned, empty, open, paid},
    deliveries::{Delivery, Sending, deliveries, send, verifier},
    figures::{Load, Table, spread},
    inbox::wait_for,
    pgbench::{Pgbench, Script, Statements},
    shop::{Server, counted, inbox},
};

/// How much is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Rounds; each ratio is of one round, and their median counts.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Deliveries of each measurement.
    #[arg(long, default_value_t = 8000)]
    deliveries: usize,
    /// Clients, each with a connection of its own, of what is compared with hand-written code and pgbench.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Clients of what is stored first.
    #[arg(long, default_value_t = 128)]
    crowd: usize,
    /// Connections of each pool.
    #[arg(long, default_value_t = CONNECTIONS, value_parser = clap::value_parser!(u32).range(2..))]
    connections: u32,
    /// What to measure; everything, unless given.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Share of the deliveries to order-fulfillment that come a second time.
    #[arg(long, default_value_t = 0.1)]
    duplicates: f64,
    /// Share of them that are forged.
    #[arg(long, default_value_t = 0.1)]
    forgeries: f64,
    /// Deliveries a second to order-fulfillment in the open model; half of what it has just reached, unless
    /// given.
    #[arg(long)]
    rate: Option<f64>,
    /// A file for the figures as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// A part of the goals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Inline, first deliveries and duplicates.
    Inline,
    /// Stored first.
    Accept,
    /// A worker.
    Drain,
    /// The order-fulfillment example.
    Example,
}

impl Options {
    /// Where it is measured.
    pub(crate) async fn home(&self) -> Home {
        Home::with_connections(self.connections).await
    }

    fn wants(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }

    #[cfg(test)]
    pub(crate) fn smoke() -> Self {
        Self {
            rounds: 1,
            deliveries: 32,
            clients: 4,
            crowd: 8,
            connections: CONNECTIONS,
            only: None,
            duplicates: 0.2,
            forgeries: 0.2,
            rate: Some(200.0),
            json: None,
        }
    }
}

/// How many stored events the worker runs at once.
const SLOTS: usize = 8;

/// The crate's statements as pgbench has them, each with what stands for `$1` and so on.
const EVENT: &str = "concat('evt_pgbench_', :round::text, '_', :client_id::text, '_', :n::text)";
const PAYMENT: &str = "concat('pi_pgbench_', :round::text, '_', :client_id::text, '_', :n::text)";
const ORDER: &str = "concat('order_pgbench_', :client_id::text, '_', :n::text)";
const SHOP_ORDER: &str = "(:n::int * :clients::int + :client_id::int) % 1024";
const TYPE: &str = "'checkout.session.completed'";
const CLAIM: (&str, &[&str]) = (
    "insert into processed_stripe_events",
    &[
        EVENT,
        "'default'",
        TYPE,
        "null",
        "false",
        "1795000000",
        "null",
        "35000",
        "2000",
    ],
);
const DEQUEUE: (&str, &[&str]) = (
    "with taken as",
    &[
        EVENT,
        "'default'",
        TYPE,
        "null",
        "false",
        "1795000000",
        "1",
        "35000",
        "true",
        EVENT,
        "2000",
    ],
);
const PAY: (&str, &[&str]) = ("update shop_orders", &[SHOP_ORDER]);
const CLOSE: (&str, &[&str]) = ("select pg_current_xact_id_if_assigned", &[]);

/// Of order-fulfillment, for a session that pays its order.
const FULFIL: [(&str, &[&str]); 8] = [
    CLAIM,
    ("insert into payment_intents", &[PAYMENT, "'clear'", "0"]),
    ("insert into stripe_effects", &[PAYMENT, EVENT]),
    ("select exists (select 1 from orders", &[PAYMENT]),
    (
        "update orders set status = status",
        &[ORDER, "4200", "'eur'"],
    ),
    ("update orders set status = $1", &["'paid'", PAYMENT, ORDER]),
    ("insert into shipments", &[ORDER, "'pending'"]),
    CLOSE,
];

/// Measures everything and prints it.
pub(crate) async fn run(home: &Home, options: &Options) {
    let pool = open::<Postgres>(home).await;
    create_table(&pool).await;
    let mut bench = Bench {
        home,
        options,
        pool,
        pgbench: Pgbench::find(),
        figures: Figures::default(),
        round: 0,
    };
    println!(
        "{}; {} connections; {} rounds: median (lowest–highest)\n",
        Postgres::settings(&bench.pool).await,
        home.connections(),
        options.rounds
    );
    if bench.pgbench.is_none() {
        println!("pgbench is not installed: what is compared with it is left out.\n");
    }
    for round in 0..options.rounds {
        bench.round = usize::from(round);
        bench.round().await;
    }
    println!("{}", bench.figures);
    if let Some(path) = &options.json {
        fs::write(path, bench.figures.json().to_string()).expect("the figures are written");
    }
}

struct Bench<'a> {
    home: &'a Home,
    options: &'a Options,
    pool: PgPool,
    pgbench: Option<Pgbench>,
    figures: Figures,
    round: usize,
}

impl Bench<'_> {
    async fn round(&mut self) {
        if self.options.wants(Part::Inline) {
            self.one_by_one().await;
        }
        if self.options.wants(Part::Accept) {
            self.crowd().await;
        }
        if self.options.wants(Part::Drain) {
            self.drain().await;
        }
        if self.options.wants(Part::Example) {
            self.order_fulfillment().await;
        }
    }

    async fn one_by_one(&mut self) {
        let clients = self.options.clients;
        // Whoever comes second finds a warmer machine, or a fuller one.
        let (by_hand, (inline, duplicates)) = match self.round % 2 {
            0 => (self.by_hand(&self.pool).await, self.inline(clients).await),
            _ => {
                let inline = self.inline(clients).await;
                (self.by_hand(&self.pool).await, inline)
            }
        };
        let untuned = connect_untuned(self.home).await;
        let by_hand_untuned = self.by_hand(&untuned).await;
        untuned.close().await;
        let note = &mut self.figures;
        note.load("by hand", clients, by_hand);
        note.load(
            "by hand, sqlx's own pool settings",
            clients,
            by_hand_untuned,
        );
        note.load("inline", clients, inline);
        note.load("duplicates", clients, duplicates);
        note.ratio("inline to by hand", Some(0.95), inline, by_hand);
        let untuned = "inline to by hand, sqlx's own pool settings";
        note.ratio(untuned, None, inline, by_hand_untuned);
        note.ratio("duplicates to inline", Some(1.5), duplicates, inline);
        if let Some(pgbench) = self
            .pgbench(&self.pool, &[CLAIM, PAY, CLOSE], clients)
            .await
        {
            self.figures.load("pgbench, inline", clients, pgbench);
            self.figures
                .ratio("inline to pgbench", Some(0.8), inline, pgbench);
            empty(&self.pool).await;
        }
    }

    async fn by_hand(&self, pool: &PgPool) -> Load {
        let server = by_hand::inline(pool).await;
        let load = self.send(&server, self.options.clients).await;
        self.check().await;
        Postgres::run(&self.pool, "truncate processed_by_hand").await;
        load
    }

    /// The first deliveries, and the same again.
    async fn inline(&self, clients: usize) -> (Load, Load) {
        let server = Server::inline(&self.pool, None).await;
        let deliveries = deliveries(self.options.deliveries);
        let first = send(&deliveries, clients, || Http::to(server.address)).await;
        let again = send(&deliveries, clients, || Http::to(server.address)).await;
        self.check().await;
        (first, again)
    }

    /// Stored first, beside inline and beside one insert for each delivery.
    async fn crowd(&mut self) {
        let crowd = self.options.crowd;
        let (inline, _) = self.inline(crowd).await;
        let one_each = by_hand::store(&self.pool).await;
        let one_each = self.send(&one_each, crowd).await;
        empty(&self.pool).await;
        let accept = Server::stored_first(&inbox(&self.pool)).await;
        let accept = self.send(&accept, crowd).await;
        empty(&self.pool).await;
        let note = &mut self.figures;
        note.load("inline", crowd, inline);
        note.load("one insert each, by hand", crowd, one_each);
        note.load("accept", crowd, accept);
        note.ratio("accept to inline", Some(3.0), accept, inline);
        note.ratio("accept to one insert each", Some(2.5), accept, one_each);
    }

    async fn drain(&mut self) {
        let server = Server::stored_first(&inbox(&self.pool)).await;
        self.send(&server, self.options.crowd).await;
        let ran = Arc::new(Semaphore::new(0));
        let begun_at = Instant::now();
        let worker = InboxWorker::new(self.pool.clone(), counted::<Postgres>(&ran));
        let worker = worker.concurrency(SLOTS).start();
        wait_for(&ran, self.options.deliveries).await;
        worker.stop().await;
        let drain = Load::of(self.options.deliveries, begun_at.elapsed());
        self.check().await;
        self.figures.load("drain", SLOTS, drain);
        let stored = self.to_dequeue();
        Postgres::run(&self.pool, stored).await;
        if let Some(pgbench) = self
            .pgbench(&self.pool, &[DEQUEUE, PAY, CLOSE], SLOTS)
            .await
        {
            self.figures.load("pgbench, drain", SLOTS, pgbench);
            self.figures
                .ratio("drain to pgbench", Some(1.0), drain, pgbench);
        }
        empty(&self.pool).await;
    }

    /// What pgbench is to take out of the inbox, as large as what the worker takes.
    fn to_dequeue(&self) -> String {
        let body = Delivery::new().body.replace('\'', "''");
        let last = self.options.deliveries.div_ceil(SLOTS) - 1;
        let (clients, round) = (SLOTS - 1, self.round);
        format!(
            "insert into stripe_inbox (event_id, endpoint, event_type, livemode, fence, attempts, in_attempt,
                payload)
             select concat('evt_pgbench_', {round}, '_', client, '_', n), 'default', {TYPE}, false, 1, 1, true,
                convert_to('{body}', 'utf8')
             from generate_series(0, {clients}) as client, generate_series(0, {last}) as n"
        )
    }

    /// As somebody would run it: metrics and audit trail included.
    async fn order_fulfillment(&mut self) {
        let (options, clients) = (self.options, self.options.clients);
        let shop = Shop::open(self.home, Processing::Inline).await;
        let inline = shop.send(options, clients).await;
        let open_model = Sending {
            clients: options.crowd,
            rate: Some(options.rate.unwrap_or(inline.per_second / 2.0)),
        };
        let open_model = shop.send(options, open_model).await;
        let last = options.deliveries.div_ceil(clients) - 1;
        let orders = format!(
            "insert into orders (id, amount, currency, status)
             select concat('order_pgbench_', client, '_', n), 4200, 'eur', 'pending'
             from generate_series(0, {}) as client, generate_series(0, {last}) as n",
            clients - 1
        );
        Postgres::run(&self.pool, orders).await;
        let scripted = self.pgbench(&shop.pool, &FULFIL, clients).await;
        shop.close().await;
        empty(&self.pool).await;
        let shop = Shop::open(self.home, Processing::Inbox { concurrency: SLOTS }).await;
        let accept = shop.send(options, clients).await;
        shop.close().await;
        let note = &mut self.figures;
        note.load("order-fulfillment, inline", clients, inline);
        note.load("order-fulfillment, open model", options.crowd, open_model);
        note.load("order-fulfillment, inbox", clients, accept);
        if let Some(scripted) = scripted {
            note.load("pgbench, order-fulfillment", clients, scripted);
            note.ratio("order-fulfillment to pgbench", None, inline, scripted);
        }
        let tables = "truncate shipments, refunds_due, orders, payment_intents, stripe_effects,
            stripe_deliveries";
        Postgres::run(&self.pool, tables).await;
        empty(&self.pool).await;
    }

    async fn send(&self, server: &Server, clients: usize) -> Load {
        let deliveries = deliveries(self.options.deliveries);
        send(&deliveries, clients, || Http::to(server.address)).await
    }

    /// What the crate has prepared on the connections of this pool.
    async fn pgbench(
        &self,
        pool: &PgPool,
        statements: Statements<'_>,
        clients: usize,
    ) -> Option<Load> {
        let pgbench = self.pgbench.as_ref()?;
        let script = Script::of(pool, statements).await;
        let size = (clients, self.options.deliveries);
        let (url, folder) = (self.home.url(), self.home.folder());
        let load = block_in_place(|| pgbench.run(url, &script, size, self.round, folder));
        Some(load)
    }

    /// What has measured nothing must not look fast.
    async fn check(&self) {
        let paid = paid(&self.pool).await;
        assert_eq!(
            usize::try_from(paid),
            Ok(self.options.deliveries),
            "events were run"
        );
        empty(&self.pool).await;
    }
}

/// The order-fulfillment example, on a pool of its own.
struct Shop {
    pool: PgPool,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Shop {
    async fn open(home: &Home, processing: Processing) -> Self {
        let options = home.url().parse().expect("the server's own URL");
        let pool = open_postgres(options).await.expect("the shop's database");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
        let endpoint = Endpoint::new(processing, pool.clone(), verifier(), Guards::new());
        let events = events::<Postgres>().expect("no type stands there twice");
        let (stop, stopped) = oneshot::channel();
        let stopped = async { drop(stopped.await) };
        let serving = tokio::spawn(serve(listener, pool.clone(), endpoint, events, stopped));
        Self {
            pool,
            address,
            stop,
            serving,
        }
    }

    async fn send(&self, options: &Options, sending: impl Into<Sending>) -> Load {
        let deliveries = self.mixed(options).await;
        let to = || Http::to_path(self.address, "/webhooks/stripe");
        send(&deliveries, sending, to).await
    }

    /// Deliveries whose orders are there, some of them twice, and forgeries of others.
    async fn mixed(&self, options: &Options) -> Arc<[Delivery]> {
        let mut random = fastrand::Rng::with_seed(20_261_124);
        let mut genuine: Vec<Delivery> = Vec::new();
        let mixed = (0..options.deliveries).map(|_| {
            let fresh = Delivery::new();
            match random.f64() {
                share if share < options.forgeries => fresh.forged(),
                share if share < options.forgeries + options.duplicates && !genuine.is_empty() => {
                    let earlier = genuine.get(random.usize(..genuine.len()));
                    earlier.unwrap_or(&fresh).or_again()
                }
                _ => {
                    genuine.push(fresh.clone());
                    fresh.or_again()
                }
            }
        });
        let mixed = mixed.collect();
        let ids: Vec<_> = genuine.iter().map(Delivery::order_id).collect();
        let placed = query(
            "insert into orders (id, amount, currency, status)
             select id, 4200, 'eur', 'pending' from unnest($1::text[]) as id",
        );
        placed
            .bind(ids)
            .execute(&self.pool)
            .await
            .expect("orders are placed");
        mixed
    }

    async fn close(self) {
        drop(self.stop);
        self.serving.await.expect("the server ends");
    }
}

/// What a run has found.
#[derive(Default)]
struct Figures {
    loads: Table,
    ratios: Vec<Ratio>,
}

struct Ratio {
    what: &'static str,
    goal: Option<f64>,
    of_rounds: Vec<f64>,
}

impl Figures {
    fn load(&mut self, what: &'static str, at_once: usize, load: Load) {
        self.loads.add((what, at_once), load, None);
    }

    fn ratio(&mut self, what: &'static str, goal: Option<f64>, load: Load, yardstick: Load) {
        let ratio = load.per_second / yardstick.per_second;
        match self.ratios.iter_mut().find(|ratio| ratio.what == what) {
            Some(known) => known.of_rounds.push(ratio),
            None => self.ratios.push(Ratio {
                what,
                goal,
                of_rounds: vec![ratio],
            }),
        }
    }

    fn json(&self) -> Value {
        let ratios = self.ratios.iter().map(
            |ratio| json!({"what": ratio.what, "goal": ratio.goal, "of_rounds": ratio.of_rounds}),
        );
        json!({"loads": self.loads.json(), "ratios": ratios.collect::<Vec<_>>()})
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.loads)?;
        writeln!(f, "| ratio | goal, at least | median (lowest–highest) |")?;
        writeln!(f, "| --- | --- | --- |")?;
        for Ratio {
            what,
            goal,
            of_rounds,
        } in &self.ratios
        {
            let goal = goal.map(|goal| goal.to_string()).unwrap_or_default();
            writeln!(f, "| {what} | {goal} | {} |", spread(of_rounds, 2))?;
        }
        Ok(())
    }
}
