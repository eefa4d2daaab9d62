//! What idle connections and large deliveries take, in a process that does nothing else.

use std::{
    env, fs,
    io::{self, BufRead, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use axum_stripe_webhook::testing::{SampleEvent, sign_test_payload};
use sqlx::{PgPool, Postgres};
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::TcpStream,
    task::{JoinSet, block_in_place},
};

use crate::{
    by_hand::{self, create_table},
    client::{Http, connect, receive, status_of},
    database::{CONNECTIONS, Home, connect_to, open},
    deliveries::{Deliver, Delivery, SECRET, now},
    shop::Server,
};

/// To the server.
type Connection = BufReader<TcpStream>;

/// How much is held at once.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Size {
    /// Connections that each had a delivery answered and are kept open
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Deliveries of which the last byte comes when all the others are there
    #[arg(long, default_value_t = 1000)]
    large: usize,
    /// Bytes of each of them
    #[arg(long, default_value_t = 1_000_000)]
    bytes: usize,
}

/// A server in a process of its own, whose memory is that of the server alone.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(home: &Home, written: Written) -> Self {
        let programme = env::current_exe().expect("this programme");
        let mut child = Command::new(programme)
            .args(["serve", home.url(), written.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a server of its own");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output");
        let read = io::BufReader::new(output).read_line(&mut line);
        read.expect("the server's address");
        let address = line.trim().parse().expect("an address");
        Self { child, address }
    }

    /// A line of `/proc/<id>/status`, in KiB.
    fn kib(&self, name: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("what the kernel says of the server");
        let value = status.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key == name).then(|| value.trim().trim_end_matches(" kB").parse().ok())?
        });
        value.expect("a number of KiB")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It serves as long as somebody might write to it.
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// Who has written what is served.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Written {
    Crate,
    ByHand,
}

impl Written {
    fn name(self) -> &'static str {
        match self {
            Self::Crate => "crate",
            Self::ByHand => "by-hand",
        }
    }
}

/// The server of such a process.
pub(crate) async fn serve(url: &str, written: Written) {
    let pool: PgPool = connect_to(url, CONNECTIONS).await;
    let server = match written {
        Written::Crate => Server::inline::<Postgres>(&pool, None).await,
        Written::ByHand => by_hand::inline(&pool).await,
    };
    println!("{}", server.address);
    io::stdout().flush().expect("the address is told");
    block_in_place(|| io::stdin().lines().for_each(drop));
}

pub(crate) async fn run(home: &Home, size: Size) {
    let pool = open::<Postgres>(home).await;
    create_table(&pool).await;
    for written in [Written::ByHand, Written::Crate] {
        idle(home, size, written).await;
    }
    large(home, size).await;
    pool.close().await;
}

#[expect(
    clippy::cast_precision_loss,
    reason = "there are not that many connections"
)]
async fn idle(home: &Home, size: Size, written: Written) {
    let server = Process::start(home, written);
    let delivery = Delivery::new();
    Http::to(server.address).deliver(&delivery).await;
    let before = server.kib("VmRSS");
    let mut clients = Vec::new();
    for _ in 0..size.connections {
        let mut client = Http::to(server.address);
        client.deliver(&delivery).await;
        clients.push(client);
    }
    let after = server.kib("VmRSS");
    println!(
        "{}, {} idle connections: {before} KiB, then {after} KiB: {:.1} KiB each",
        written.name(),
        clients.len(),
        (after - before) / clients.len() as f64
    );
}

#[expect(clippy::cast_precision_loss, reason = "there are not that many bytes")]
async fn large(home: &Home, size: Size) {
    let server = Process::start(home, Written::Crate);
    Http::to(server.address).deliver(&Delivery::new()).await;
    let before = server.kib("VmRSS");
    let mut beginnings = JoinSet::new();
    for number in 0..size.large {
        beginnings.spawn(begin(server.address, number, size.bytes));
    }
    let begun = beginnings.join_all().await;
    let waiting = server.kib("VmRSS");
    let mut ends = JoinSet::new();
    for (stream, last) in begun {
        ends.spawn(end(stream, last));
    }
    let statuses = ends.join_all().await;
    let of = |status| statuses.iter().filter(|&&is| is == Some(status)).count();
    let bodies = (size.large * size.bytes) as f64 / 1024.0;
    println!(
        "{} deliveries of {} bytes at once: {before} KiB, {waiting} KiB while all wait for their last byte, \
         at most {} KiB: {:.2} of the bodies; answered 200: {}, 503: {}",
        size.large,
        size.bytes,
        server.kib("VmHWM"),
        (server.kib("VmHWM") - before) / bodies,
        of(200),
        of(503)
    );
    assert_eq!(of(200) + of(503), size.large, "each is answered");
}

/// Sends a delivery but for its last byte.
async fn begin(server: SocketAddr, number: usize, bytes: usize) -> (Connection, u8) {
    let event = SampleEvent::of("checkout.session.completed").id(format!("evt_large_{number}"));
    let padding = "x".repeat(bytes.saturating_sub(event.to_json().len()));
    let body = event.object("client_reference_id", padding).to_json();
    let signature = sign_test_payload(&body, SECRET, now());
    let head = format!(
        "POST /webhook HTTP/1.1\r\nhost: loopback\r\ncontent-type: application/json\r\n\
         stripe-signature: {signature}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let (last, most) = body.as_bytes().split_last().expect("a body");
    let mut stream = connect(server).await;
    for part in [head.as_bytes(), most] {
        stream.write_all(part).await.expect("the server takes it");
    }
    (stream, *last)
}

async fn end(mut stream: Connection, last: u8) -> Option<u16> {
    let written = stream.write_all(&[last]).await;
    written.expect("the server takes the last byte");
    status_of(&receive(&mut stream).await)
}
