//! A proxy before Postgres that cuts the connection at a statement, and counts what goes through.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::Notify,
};

/// What happens to the connection that carries the statement.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// The statement never arrives.
    Before,
    /// It is executed, and nobody hears of it.
    After,
    /// The statement never arrives, and the connection stays as it is.
    Stall,
}

#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) options: PgConnectOptions,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    armed: AtomicBool,
    hit: Notify,
    asked: AtomicUsize,
}

impl Proxy {
    /// Stands before the server of this URL.
    pub(crate) async fn start(url: &str, statement: &'static str, cut: Cut) -> Self {
        let server: PgConnectOptions = url.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let options = server
            .clone()
            .host("127.0.0.1")
            .port(port)
            .ssl_mode(PgSslMode::Disable);
        let proxy = Self {
            options,
            state: Arc::default(),
        };
        let accepting = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = Arc::clone(&accepting.state);
                let server = server.clone();
                tokio::spawn(async move {
                    match server.get_socket() {
                        Some(path) => {
                            let path = path.join(format!(".s.PGSQL.{}", server.get_port()));
                            let server = UnixStream::connect(path).await.unwrap();
                            relay(client, server, statement, cut, &state).await;
                        }
                        None => {
                            let address = (server.get_host(), server.get_port());
                            let server = TcpStream::connect(address).await.unwrap();
                            relay(client, server, statement, cut, &state).await;
                        }
                    }
                });
            }
        });
        proxy
    }

    /// Cuts at the next such statement, once.
    pub(crate) fn arm(&self) {
        self.state.armed.store(true, Ordering::SeqCst);
    }

    /// Waits for the statement.
    pub(crate) async fn hit(&self) {
        self.state.hit.notified().await;
    }

    /// Round trips since this was last asked.
    pub(crate) fn round_trips(&self) -> usize {
        self.state.asked.swap(0, Ordering::SeqCst)
    }
}

/// sqlx writes a statement in one piece, and waits for the answer to one before the next.
async fn relay(
    mut client: TcpStream,
    mut server: impl AsyncRead + AsyncWrite + Unpin,
    statement: &str,
    cut: Cut,
    state: &State,
) {
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            Ok(n @ 1..) = client.read(&mut asked) => {
                let found = String::from_utf8_lossy(&asked[..n]).contains(statement);
                let now = found && state.armed.swap(false, Ordering::SeqCst);
                state.asked.fetch_add(1, Ordering::SeqCst);
                if now {
                    state.hit.notify_one();
                    match cut {
                        Cut::Before => return,
                        Cut::After => {}
                        Cut::Stall => pending().await,
                    }
                }
                server.write_all(&asked[..n]).await.unwrap();
                if now {
                    // The answer shows that it was executed; it goes no further.
                    assert_ne!(server.read(&mut answered).await.unwrap(), 0);
                    return;
                }
            }
            Ok(n @ 1..) = server.read(&mut answered) => {
                if client.write_all(&answered[..n]).await.is_err() {
                    return;
                }
            }
            else => return,
        }
    }
}
