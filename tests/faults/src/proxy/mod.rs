//! A proxy before Postgres that understands its wire protocol, and breaks it.

mod faults;
mod wire;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use sqlx::postgres::PgConnectOptions;
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex as AsyncMutex, watch},
    task::JoinHandle,
    time::sleep,
};

pub(crate) use faults::{Fault, Faults, Hits, Plan, Side};
use wire::{ERROR_RESPONSE, Message, PASSWORD, QUERY, STARTUP, TERMINATE};

use crate::database::Address;

/// Shorter than every limit, also when every message of a delivery takes as long.
const DELAY: Duration = Duration::from_millis(15);

pub(crate) struct Proxy {
    /// What a service is told instead of the server's.
    pub(crate) address: Address,
    pub(crate) faults: Arc<Faults>,
    cut: watch::Sender<u64>,
    connections: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn before(server: &Address, seed: u64) -> Self {
        let Address::Postgres(url) = server else {
            unreachable!("SQLite has no wire");
        };
        let upstream: PgConnectOptions = url.parse().expect("a URL of Postgres");
        let (host, port) = (upstream.get_host().to_owned(), upstream.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let here = listener.local_addr().expect("an address");
        let faults = Arc::new(Faults::new(seed));
        let cut = watch::Sender::new(0);
        let connections = Arc::new(AtomicUsize::new(0));
        let open = Arc::clone(&connections);
        let (shared, cuts) = (Arc::clone(&faults), cut.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (faults, cut, host) = (Arc::clone(&shared), cuts.subscribe(), host.clone());
                let open = Arc::clone(&open);
                open.fetch_add(1, SeqCst);
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect((host, port)).await {
                        relay(client, server, faults, cut).await;
                    }
                    open.fetch_sub(1, SeqCst);
                });
            }
        });
        Self {
            address: Address::Postgres(through(url, here)),
            faults,
            cut,
            connections,
            accepting,
        }
    }

    /// Cuts every connection, and returns when that has happened.
    pub(crate) async fn cut_all(&self) {
        self.cut.send_modify(|times| *times += 1);
        while self.connections.load(SeqCst) > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut.send_modify(|times| *times += 1);
    }
}

/// The URL with another host and port, and nothing encrypted.
fn through(url: &str, here: SocketAddr) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (authority, path) = rest.split_once('/').expect("a database");
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    let database = path.split('?').next().unwrap_or_default();
    format!("{scheme}://{user}@{here}/{database}?sslmode=disable")
}

/// A connection through the proxy.
struct Link {
    faults: Arc<Faults>,
    to_client: AsyncMutex<OwnedWriteHalf>,
    /// The next error of the server's gets this code.
    code: Mutex<Option<&'static str>>,
    stalled: AtomicBool,
}

async fn relay(
    client: TcpStream,
    server: TcpStream,
    faults: Arc<Faults>,
    mut cut: watch::Receiver<u64>,
) {
    let _slower_if_it_fails = client.set_nodelay(true).and(server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let link = Link {
        faults,
        to_client: AsyncMutex::new(to_client),
        code: Mutex::default(),
        stalled: AtomicBool::new(false),
    };
    let passing = async {
        let mut from_client = BufReader::new(from_client);
        let from_server = BufReader::new(from_server);
        let mut to_server = to_server;
        // The client's first message has no type.
        let startup = Message::read_startup(&mut from_client).await?;
        link.pass_to_server(startup, &mut to_server).await?;
        tokio::select! {
            ended = link.ask(from_client, to_server) => ended,
            ended = link.answer(from_server) => ended,
        }
    };
    tokio::select! {
        _ended = passing => {}
        _cut = cut.changed() => {}
    }
}

impl Link {
    async fn ask(
        &self,
        mut from_client: BufReader<OwnedReadHalf>,
        mut to_server: OwnedWriteHalf,
    ) -> io::Result<()> {
        loop {
            let message = self.next(&mut from_client).await?;
            self.pass_to_server(message, &mut to_server).await?;
        }
    }

    async fn answer(&self, mut from_server: BufReader<OwnedReadHalf>) -> io::Result<()> {
        loop {
            let mut message = self.next(&mut from_server).await?;
            self.meet(Side::Answered).await?;
            if message.kind == ERROR_RESPONSE
                && let Some(code) = self.code().take()
            {
                message = Message::error(code);
            }
            self.to_client
                .lock()
                .await
                .write_all(&message.bytes)
                .await?;
        }
    }

    /// While nothing gets through, nobody hears that the other has hung up.
    async fn next(&self, from: &mut BufReader<OwnedReadHalf>) -> io::Result<Message> {
        let message = Message::read(from).await;
        if message.is_err() && self.stalled.load(SeqCst) {
            self.faults.stalled().await;
        }
        message
    }

    async fn pass_to_server(
        &self,
        message: Message,
        to_server: &mut OwnedWriteHalf,
    ) -> io::Result<()> {
        match self.meet(Side::Asked).await? {
            None => to_server.write_all(&message.bytes).await,
            Some(code) => self.fail(message, code, to_server).await,
        }
    }

    /// Has the server itself fail, so that it knows as much of the failure as the client does.
    async fn fail(
        &self,
        message: Message,
        code: &'static str,
        to_server: &mut OwnedWriteHalf,
    ) -> io::Result<()> {
        let instead = match message.kind {
            STARTUP | PASSWORD => return self.end_session(code).await,
            TERMINATE => message,
            // A COMMIT that fails ends the transaction all the same.
            QUERY if message.is_commit() => Message::query("rollback; select 1/0"),
            QUERY => Message::query("select 1/0"),
            _ => {
                to_server.write_all(&Message::poison().bytes).await?;
                message
            }
        };
        if instead.kind != TERMINATE {
            *self.code() = Some(code);
        }
        to_server.write_all(&instead.bytes).await
    }

    async fn end_session(&self, code: &'static str) -> io::Result<()> {
        let mut client = self.to_client.lock().await;
        client.write_all(&Message::fatal(code).bytes).await?;
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    /// Lets the fault of the next message happen; the code of an error that the server is to give.
    async fn meet(&self, side: Side) -> io::Result<Option<&'static str>> {
        if self.stalled.load(SeqCst) {
            return self.never().await;
        }
        match self.faults.of_next(side) {
            None => Ok(None),
            Some(Fault::Cut) => Err(io::ErrorKind::ConnectionReset.into()),
            Some(Fault::Stall) => {
                self.stalled.store(true, SeqCst);
                self.never().await
            }
            Some(Fault::Hold) => {
                self.faults.held().await;
                Ok(None)
            }
            Some(Fault::Delay) => {
                sleep(DELAY).await;
                Ok(None)
            }
            Some(Fault::Error(code)) => Ok(Some(code)),
            Some(Fault::Fatal(code)) => {
                self.end_session(code).await?;
                Ok(None)
            }
        }
    }

    async fn never(&self) -> io::Result<Option<&'static str>> {
        self.faults.stalled().await;
        Err(io::ErrorKind::ConnectionReset.into())
    }

    fn code(&self) -> std::sync::MutexGuard<'_, Option<&'static str>> {
        self.code.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
