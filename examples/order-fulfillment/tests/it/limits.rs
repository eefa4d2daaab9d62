//! What must not starve everybody else: half a header, too many requests, a locked order.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    http::Request,
    routing::get,
};
use axum_stripe_webhook::AuditLayer;
use http_body::Frame;
use order_fulfillment::{
    config::Processing,
    listen::{Limits, take_connections},
    server::{self, REQUESTS_MAX},
};
use sqlx::{Connection, PgConnection, query_scalar};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, oneshot},
    task::JoinSet,
    time::timeout,
};
use tower::ServiceExt;

use crate::bench::{again, endpoint, on_postgres, on_sqlite};

const PROMPTLY: Duration = Duration::from_secs(5);
const NEVER: Duration = Duration::from_secs(3600);
const HALF_A_HEADER: &[u8] = b"GET / HTTP/1.1\r\nhost: shop\r\nx-hal";

#[tokio::test]
async fn a_client_with_half_a_header_is_dropped_after_the_limit() {
    let server = Server::start(1, Duration::from_millis(100)).await;
    let mut client = server.connect(HALF_A_HEADER).await;
    // It takes the only place.
    let mut next = server.connect(b"GET / HTTP/1.0\r\n\r\n").await;
    timeout(PROMPTLY, end_of(&mut client)).await.unwrap();
    let answer = timeout(PROMPTLY, end_of(&mut next)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}

#[tokio::test]
async fn half_a_header_does_not_hold_up_the_end() {
    let server = Server::start(3, NEVER).await;
    let mut fresh = server.connect(HALF_A_HEADER).await;
    let mut idle = server
        .connect(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n")
        .await;
    let mut half = server
        .connect(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n")
        .await;
    for client in [&mut idle, &mut half] {
        let mut answer = [0; 15];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }
    half.write_all(HALF_A_HEADER).await.unwrap();
    drop(server.stop);
    for client in [&mut fresh, &mut idle, &mut half] {
        timeout(PROMPTLY, end_of(client)).await.unwrap();
    }
    timeout(PROMPTLY, server.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn one_request_too_many_is_refused_at_once() {
    let bench = on_sqlite().await;
    let app = server::app(
        bench.pool.clone(),
        endpoint(&bench.pool, Processing::Inline),
        order_fulfillment::webhook::events::<sqlx::Sqlite>().unwrap(),
        AuditLayer::new(),
    );
    let read = Arc::new(Semaphore::new(0));
    let mut requests = JoinSet::new();
    for _ in 0..REQUESTS_MAX {
        let body = Body::new(Endless(Some(Arc::clone(&read))));
        requests.spawn(app.clone().oneshot(webhook(body)));
    }
    let all = read.acquire_many(REQUESTS_MAX as u32).await.unwrap();
    let refused = app.clone().oneshot(webhook(Body::empty())).await.unwrap();
    assert_eq!(refused.status(), 503);
    drop(all);
    requests.shutdown().await;
    let taken = app.oneshot(webhook(Body::empty())).await.unwrap();
    assert_eq!(taken.status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_order_does_not_hold_up_the_others() {
    let bench = on_postgres().await;
    let (locked, other) = (bench.order().await, bench.order().await);
    // Connections of their own: the pool's are those to be starved. Two, because a transaction sees
    // who waits only as it was at its first look.
    let options = bench.pool.connect_options();
    let mut outside = PgConnection::connect_with(&options).await.unwrap();
    let mut watch = PgConnection::connect_with(&options).await.unwrap();
    let mut lock = outside.begin().await.unwrap();
    sqlx::query("select id from orders where id = $1 for update")
        .bind(&locked.order)
        .execute(&mut *lock)
        .await
        .unwrap();
    let mut sessions = vec![locked.clone()];
    for place in 0..11 {
        sessions.push(again(&sessions[place]));
    }
    let events = sessions.iter().map(|session| session.completed()).collect();
    let meanwhile = async {
        // Every transaction that the webhook may have, one less than there are connections.
        while waiting(&mut watch).await < 9 {}
        bench.deliver(other.completed()).await
    };
    let (blocked, answer) = tokio::join!(bench.deliver_at_once(events), meanwhile);
    assert_eq!(blocked, [503; 12]);
    assert_eq!(answer, 200);
    lock.rollback().await.unwrap();
    assert_eq!(bench.state_of(&other).await, "paid 0 pending");
    assert_eq!(bench.deliver(locked.completed()).await, 200);
    assert_eq!(bench.state_of(&locked).await, "paid 0 pending");
}

/// How many statements wait for a lock.
async fn waiting(connection: &mut PgConnection) -> i64 {
    query_scalar(
        "select count(*) from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock'",
    )
    .fetch_one(connection)
    .await
    .unwrap()
}

struct Server {
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(connections_max: usize, header_time_max: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Limits {
            connections_max,
            header_time_max,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(async move {
            let app = Router::new().route("/", get("ok"));
            let stop = async { drop(stopped.await) };
            let mut connections = take_connections(listener, app, limits, stop).await;
            connections.finish().await;
        });
        Self {
            address,
            stop,
            ended,
        }
    }

    async fn connect(&self, sent: &[u8]) -> TcpStream {
        let mut client = TcpStream::connect(self.address).await.unwrap();
        client.write_all(sent).await.unwrap();
        client
    }
}

/// What came until the server hung up, by whatever means.
async fn end_of(client: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    drop(client.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

fn webhook(body: Body) -> Request<Body> {
    Request::post("/webhooks/stripe").body(body).unwrap()
}

/// A body that never comes. It tells when it is waited for.
struct Endless(Option<Arc<Semaphore>>);

impl HttpBody for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(read) = self.0.take() {
            read.add_permits(1);
        }
        Poll::Pending
    }
}
