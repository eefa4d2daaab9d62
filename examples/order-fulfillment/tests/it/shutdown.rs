//! Postgres alone: a lock held from outside keeps a delivery in progress.

use std::time::Duration;

use order_fulfillment::{config::Processing, demo::events::Session, server, webhook::events};
use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction, query_scalar};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

use crate::bench::{SECRET, endpoint, now, on_postgres, sign};

/// So that what never happens is a failure.
const WAIT_MAX: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_in_progress_is_answered_before_the_server_ends() {
    let bench = on_postgres().await;
    let session = bench.order().await;
    let lock = lock_orders(&bench.pool).await;
    let server = Running::start(&bench.pool, Processing::Inline).await;
    let mut client = server.deliver(&session, &bench.pool).await;

    let ended = server.stop().await;
    lock.rollback().await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    ended.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(status_of(&session, &bench.pool).await, "paid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_whose_client_has_gone_is_finished_before_the_server_ends() {
    let bench = on_postgres().await;
    let session = bench.order().await;
    let lock = lock_orders(&bench.pool).await;
    let server = Running::start(&bench.pool, Processing::Inline).await;
    drop(server.deliver(&session, &bench.pool).await);

    let ended = server.stop().await;
    lock.rollback().await.unwrap();
    ended.await.unwrap();
    assert_eq!(status_of(&session, &bench.pool).await, "paid");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_servers_worker_has_in_hand_is_finished_before_the_server_ends() {
    let bench = on_postgres().await;
    let session = bench.order().await;
    let lock = lock_orders(&bench.pool).await;
    let inbox = Processing::Inbox { concurrency: 1 };
    let server = Running::start(&bench.pool, inbox).await;
    let mut client = server.deliver(&session, &bench.pool).await;
    // It was answered, though the order is locked.
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let ended = server.stop().await;
    lock.rollback().await.unwrap();
    ended.await.unwrap();
    assert_eq!(status_of(&session, &bench.pool).await, "paid");
}

struct Running {
    address: std::net::SocketAddr,
    server: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Running {
    async fn start(pool: &PgPool, processing: Processing) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let pool = pool.clone();
        let server = tokio::spawn(async move {
            let stop = async { drop(stopped.await) };
            let endpoint = endpoint(&pool, processing);
            let events = events::<Postgres>().unwrap();
            server::serve(listener, pool, endpoint, events, stop).await;
        });
        Self {
            address,
            server,
            stop,
        }
    }

    /// Sends a delivery, and returns once it waits for the lock.
    async fn deliver(&self, session: &Session, pool: &PgPool) -> TcpStream {
        let body = session.completed();
        let request = format!(
            "POST /webhooks/stripe HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\
             content-length: {}\r\nstripe-signature: {}\r\n\r\n{body}",
            body.len(),
            sign(&body, SECRET, now()),
        );
        let mut client = TcpStream::connect(self.address).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let waits = async {
            while !somebody_waits(pool).await {
                tokio::task::yield_now().await;
            }
        };
        timeout(WAIT_MAX, waits).await.unwrap();
        client
    }

    /// Tells the server to end, and returns once it takes no more connections.
    async fn stop(self) -> JoinHandle<()> {
        drop(self.stop);
        let closed = async {
            while TcpStream::connect(self.address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        timeout(WAIT_MAX, closed).await.unwrap();
        self.server
    }
}

async fn lock_orders(pool: &PgPool) -> Transaction<'static, Postgres> {
    let mut lock = pool.begin().await.unwrap();
    sqlx::query("select id from orders for update")
        .execute(&mut *lock)
        .await
        .unwrap();
    lock
}

async fn somebody_waits(pool: &PgPool) -> bool {
    query_scalar(
        "select exists (select from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock')",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

/// On a connection of its own: the server has closed the pool.
async fn status_of(session: &Session, pool: &PgPool) -> String {
    assert!(pool.is_closed());
    let options = pool.connect_options();
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    query_scalar("select status from orders where id = $1")
        .bind(&session.order)
        .fetch_one(&mut connection)
        .await
        .unwrap()
}
