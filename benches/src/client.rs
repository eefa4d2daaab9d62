//! Who delivers: over HTTP as Stripe does, or straight into the database.

use std::net::SocketAddr;

use sqlx::Pool;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::{
    database::Backend,
    deliveries::{Deliver, Delivery},
};

/// Inserts the row by itself.
pub(crate) struct Direct<DB: Backend>(pub(crate) Pool<DB>);

/// Keeps one connection. As little as possible, because it shares the machine with what is measured.
pub(crate) struct Http {
    server: SocketAddr,
    path: &'static str,
    connection: Option<BufReader<TcpStream>>,
}

impl<DB: Backend> Deliver for Direct<DB> {
    async fn deliver(&mut self, delivery: &Delivery) {
        DB::insert(&self.0, delivery).await;
    }
}

impl Http {
    pub(crate) fn to(server: SocketAddr) -> Self {
        Self::to_path(server, "/webhook")
    }

    pub(crate) fn to_path(server: SocketAddr, path: &'static str) -> Self {
        Self {
            server,
            path,
            connection: None,
        }
    }
}

impl Deliver for Http {
    async fn deliver(&mut self, delivery: &Delivery) {
        let mut stream = match self.connection.take() {
            Some(stream) => stream,
            None => connect(self.server).await,
        };
        let request = format!(
            "POST {} HTTP/1.1\r\nhost: loopback\r\ncontent-type: application/json; charset=utf-8\r\n\
             stripe-signature: {}\r\n\
             content-length: {}\r\n\r\n{}",
            self.path,
            delivery.signature,
            delivery.body.len(),
            delivery.body
        );
        let written = stream.write_all(request.as_bytes()).await;
        written.expect("the server takes a delivery");
        let head = receive(&mut stream).await;
        let is_expected =
            status_of(&head).is_some_and(|status| delivery.statuses.contains(&status));
        assert!(is_expected, "{head} instead of {:?}", delivery.statuses);
        self.connection = Some(stream);
    }
}

pub(crate) async fn connect(server: SocketAddr) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(server).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket's option");
    BufReader::new(stream)
}

pub(crate) fn status_of(head: &str) -> Option<u16> {
    head.split(' ').nth(1)?.parse().ok()
}

/// Reads an answer, and gives its head.
pub(crate) async fn receive(stream: &mut BufReader<TcpStream>) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let read = stream.read_line(&mut head).await.expect("an answer");
        assert!(read > 0, "the server has hung up: {head}");
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.parse().ok()).flatten()
    });
    let mut body = vec![0; length.unwrap_or_default()];
    stream.read_exact(&mut body).await.expect("an answer");
    head
}
