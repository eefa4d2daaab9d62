//! A proxy before Postgres that cuts the connection at a statement.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
};

/// When the connection is cut that carries the statement.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// The statement never arrives.
    Before,
    /// It is executed, and nobody hears of it.
    After,
}

#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) options: PgConnectOptions,
    armed: Arc<AtomicBool>,
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
            armed: Arc::default(),
        };
        let accepting = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let armed = Arc::clone(&accepting.armed);
                let server = server.clone();
                tokio::spawn(async move {
                    match server.get_socket() {
                        Some(path) => {
                            let path = path.join(format!(".s.PGSQL.{}", server.get_port()));
                            let server = UnixStream::connect(path).await.unwrap();
                            relay(client, server, statement, cut, armed).await;
                        }
                        None => {
                            let address = (server.get_host(), server.get_port());
                            let server = TcpStream::connect(address).await.unwrap();
                            relay(client, server, statement, cut, armed).await;
                        }
                    }
                });
            }
        });
        proxy
    }

    /// Cuts at the next such statement, once.
    pub(crate) fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }
}

/// sqlx writes a statement in one piece, and waits for the answer to one before the next.
async fn relay(
    mut client: TcpStream,
    mut server: impl AsyncRead + AsyncWrite + Unpin,
    statement: &str,
    cut: Cut,
    armed: Arc<AtomicBool>,
) {
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            Ok(n @ 1..) = client.read(&mut asked) => {
                let found = String::from_utf8_lossy(&asked[..n]).contains(statement);
                let now = found && armed.swap(false, Ordering::SeqCst);
                if now && matches!(cut, Cut::Before) {
                    return;
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
