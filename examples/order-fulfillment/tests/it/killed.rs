//! The program, killed while it is sent a burst, and started again on the same database.

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    body::Body,
    http::{Request, header::CONTENT_TYPE, request::Builder},
};
use http_body_util::BodyExt;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use sqlx::{Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;
use test_postgres::TestDatabase;
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

use crate::{
    bench::{Rows, SECRET, TABLES, id_of, now, sign, visit},
    program::Serving,
};

/// Each round is killed after so many answers and then, for each round before it, a health check.
///
/// The health checks are a clock. SQLite has one writer, so at the moment of an answer the next
/// transaction has always just begun; a while later it can be anywhere.
const KILLED_AFTER: [usize; 12] = [1, 2, 3, 5, 8, 13, 21, 13, 8, 5, 3, 2];

/// More than those rounds can answer: the sum of them, and what the senders have in hand.
pub(crate) const ORDERS: usize = 240;

/// As many as the program has connections to Postgres: some wait inside it for one.
const SENDERS: usize = 10;

/// Ten times what it takes on two slow cores.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(60);

/// Writes down in the event's transaction that its handler ran, because the shop's own tables show
/// no second run: each of its statements can be repeated.
pub(crate) const COUNT_RUNS_ON_SQLITE: &str = "
    create table handler_runs (payment_intent text not null);
    create trigger first_run after insert on payment_intents
        begin insert into handler_runs values (new.id); end;
    create trigger later_run after update on payment_intents
        begin insert into handler_runs values (new.id); end;";

pub(crate) const COUNT_RUNS_ON_POSTGRES: &str = "
    create table handler_runs (payment_intent text not null);
    create function count_run() returns trigger language plpgsql as $$
        begin insert into handler_runs values (new.id); return null; end
    $$;
    create trigger run after insert or update on payment_intents
        for each row execute function count_run();";

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_burst_it_loses_nothing_and_doubles_nothing_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("shop.sqlite").display());
    let story = loses_nothing_and_doubles_nothing::<SqliteConnection>(&url, COUNT_RUNS_ON_SQLITE);
    timeout(TIME_MAX, story).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_burst_it_loses_nothing_and_doubles_nothing_on_postgres() {
    let database = TestDatabase::create().await;
    let url = database.url();
    let story = loses_nothing_and_doubles_nothing::<PgConnection>(url, COUNT_RUNS_ON_POSTGRES);
    timeout(TIME_MAX, story).await.unwrap();
    timeout(TIME_MAX, nobody_is_connected(url)).await.unwrap();
}

async fn loses_nothing_and_doubles_nothing<C: Connection + Rows>(
    url: &str,
    count_runs: &'static str,
) {
    let folder = tempfile::tempdir().unwrap();
    let mut stripe = Stripe::of(place_orders(&serve(&folder, url)).await);
    let mut events: Vec<_> = stripe.unanswered.keys().cloned().collect();
    let mut connection = C::connect(url).await.unwrap();
    connection.run(count_runs).await;
    // Or this connection would keep SQLite from finding a log that nobody has open.
    connection.close().await.unwrap();

    for (checks, answers) in KILLED_AFTER.into_iter().enumerate() {
        let moment = Some((answers, checks));
        stripe.deliver(serve(&folder, url), moment).await;
        assert!(!stripe.unanswered.is_empty());
    }
    while !stripe.unanswered.is_empty() {
        stripe.deliver(serve(&folder, url), None).await;
    }

    let mut connection = C::connect(url).await.unwrap();
    events.sort();
    let processed = "select event_id from processed_stripe_events order by event_id";
    assert_eq!(connection.texts(processed).await, events);
    assert_eq!(wrong_orders(&mut connection).await, [""; 0]);
    for table in TABLES {
        let rows = match table {
            "refunds_due" | "stripe_inbox" | "stripe_actions" => 0,
            _ => ORDERS,
        };
        assert_eq!(connection.count(table).await, rows as i64, "{table}");
    }
    connection.close().await.unwrap();
}

/// Sessions of dead processes end by themselves, and with them their transactions.
pub(crate) async fn nobody_is_connected(url: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let others = "pg_stat_activity
        where datname = current_database() and backend_type = 'client backend'
            and pid <> pg_backend_pid()";
    while connection.count(others).await > 0 {}
}

/// The program on that database.
fn serve(folder: &TempDir, url: &str) -> Serving {
    let variables = [("STRIPE_WEBHOOK_SECRET", SECRET), ("DATABASE_URL", url)];
    Serving::start(folder, &variables)
}

/// The events of the orders' payments.
pub(crate) async fn place_orders(server: &Serving) -> Vec<String> {
    let mut events = Vec::new();
    for _ in 0..ORDERS {
        events.push(place_order(server).await);
    }
    events
}

/// The event of an order's payment.
pub(crate) async fn place_order(server: &Serving) -> String {
    let order = r#"{"amount": 4200, "currency": "eur"}"#.to_owned();
    let shop = Sender::to(server);
    let (status, text) = shop.post("/orders", "x-none", "", order).await.unwrap();
    assert_eq!(status, 201, "{text}");
    visit(&text, 4200).completed()
}

/// Every order that is not as it must be.
pub(crate) async fn wrong_orders(rows: &mut impl Rows) -> Vec<String> {
    let orders = "select o.id || ': ' || o.status || ', '
            || (select count(*) from shipments where order_id = o.id) || ' shipped, '
            || (select count(*) from stripe_effects
                where effect_key = 'fulfil:cs_test_' || replace(o.id, 'ord_', ''))
            || ' fulfilled, '
            || (select count(*) from handler_runs where payment_intent = o.payment_intent)
            || ' runs'
        from orders o
        order by o.id";
    let mut orders = rows.texts(orders).await;
    orders.retain(|order| !order.ends_with(": paid, 1 shipped, 1 fulfilled, 1 runs"));
    orders
}

/// Delivers every event again until it is answered 200.
struct Stripe {
    /// Bodies, by the id of the event.
    unanswered: BTreeMap<String, String>,
    random: StdRng,
}

impl Stripe {
    fn of(events: Vec<String>) -> Self {
        Self {
            unanswered: events
                .into_iter()
                .map(|body| (id_of(&body), body))
                .collect(),
            random: StdRng::seed_from_u64(0),
        }
    }

    /// Delivers two copies of every event, in any order, and kills the server after so many answers
    /// and health checks.
    async fn deliver(&mut self, mut server: Serving, killed_after: Option<(usize, usize)>) {
        let mut copies: Vec<_> = self.unanswered.values().cloned().collect();
        copies.extend_from_within(..);
        copies.shuffle(&mut self.random);
        let copies = Arc::new(Mutex::new(copies));
        // Bounded, so that no sender runs ahead of the count.
        let (answer, mut answered) = mpsc::channel(1);
        let mut senders = JoinSet::new();
        for _ in 0..SENDERS {
            let (sender, copies, answer) =
                (Sender::to(&server), Arc::clone(&copies), answer.clone());
            senders.spawn(async move { sender.deliver_all(&copies, &answer).await });
        }
        drop(answer);

        let mut answers = 0;
        while let Some((event, status)) = answered.recv().await {
            answers += 1;
            if let Some((last, checks)) = killed_after
                && answers == last
            {
                Sender::to(&server).check_health(checks).await;
                server.kill();
            }
            if status == 200 {
                self.unanswered.remove(&event);
            }
        }
        senders.join_all().await;
        // Or it was not killed.
        assert!(killed_after.is_none_or(|(last, _)| answers >= last));
    }
}

/// Status and text, unless the server was gone before it had said all of it.
pub(crate) type Answer = Result<(u16, String), Box<dyn Error + Send + Sync>>;

/// One connection to the server.
pub(crate) struct Sender {
    http: Client<HttpConnector, Body>,
    address: String,
}

impl Sender {
    pub(crate) fn to(server: &Serving) -> Self {
        Self {
            http: Client::builder(TokioExecutor::new()).build_http(),
            address: server.address.clone(),
        }
    }

    /// Tells the event and the status of each answer, until nothing is left or the server is gone.
    pub(crate) async fn deliver_all(
        &self,
        copies: &Mutex<Vec<String>>,
        answer: &mpsc::Sender<(String, u16)>,
    ) {
        loop {
            let copy = copies.lock().unwrap().pop();
            let Some(body) = copy else { return };
            let event = id_of(&body);
            let signature = sign(&body, SECRET, now());
            let answered = self.post("/webhooks/stripe", "stripe-signature", &signature, body);
            let Ok((status, _)) = answered.await else {
                return;
            };
            answer.send((event, status)).await.unwrap();
        }
    }

    async fn check_health(&self, times: usize) {
        for _ in 0..times {
            let request = self.request("GET", "/healthz").body(Body::empty());
            self.answer(request.unwrap()).await.unwrap();
        }
    }

    pub(crate) async fn post(&self, path: &str, header: &str, value: &str, body: String) -> Answer {
        let request = self
            .request("POST", path)
            .header(CONTENT_TYPE, "application/json")
            .header(header, value)
            .body(Body::from(body));
        self.answer(request.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = self.request("GET", path).body(Body::empty());
        self.answer(request.unwrap()).await
    }

    /// Delivers nothing under this id, and gives back the id of the answer.
    pub(crate) async fn request_id(&self, id: &str) -> String {
        let request = self.request("POST", "/webhooks/stripe");
        let request = request.header("x-request-id", id).body(Body::empty());
        let response = self.http.request(request.unwrap()).await.unwrap();
        response.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned()
    }

    fn request(&self, method: &str, path: &str) -> Builder {
        let uri = format!("http://{}{path}", self.address);
        Request::builder().method(method).uri(uri)
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let response = self.http.request(request).await?;
        let status = response.status().as_u16();
        let text = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8(text.to_vec())?))
    }
}
