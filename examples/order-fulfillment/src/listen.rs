//! Taking connections: how many, how long a request's header may take, and how they end.
//!
//! `axum::serve` has no limit for the first two, and at the end it waits for whoever has sent half a
//! header.

use std::{
    future::Future,
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{Request, request::Parts},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::sleep,
};
use tower::ServiceExt;
use tracing::error;

/// What one client, or all of them, may take up before a request has begun.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many connections are open at once. Further ones wait until one ends.
    pub connections_max: usize,
    /// How long the header of a request may take, from when the connection is ready for it: an idle
    /// connection is closed after it too.
    pub header_time_max: Duration,
}

impl Default for Limits {
    /// As many connections as the usual limit of 1024 open files leaves room for beside the
    /// database's, and as long for a header as for a body.
    fn default() -> Self {
        Self {
            connections_max: 960,
            header_time_max: Duration::from_secs(10),
        }
    }
}

/// Takes connections until `stop` is done; then nobody listens any more.
pub async fn take_connections(
    listener: TcpListener,
    app: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) -> Connections {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let mut http = Builder::new(TokioExecutor::new()).http1_only();
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time_max);
    let mut connections = Connections {
        tasks: JoinSet::new(),
        stop: watch::Sender::default(),
    };
    let mut stop = pin!(stop);
    loop {
        let place = Arc::clone(&places).acquire_owned();
        let (stream, peer, place) = tokio::select! {
            () = &mut stop => return connections,
            accepted = async { accept(&listener, place.await).await } => accepted,
        };
        let served = serve(
            stream,
            peer,
            app.clone(),
            http.clone(),
            connections.stop.subscribe(),
        );
        connections.tasks.spawn(async {
            served.await;
            drop(place);
        });
        while connections.tasks.try_join_next().is_some() {}
    }
}

/// Who has opened the connection of a request. Behind a proxy that is the proxy.
pub(crate) fn peer(request: &Parts) -> Option<IpAddr> {
    let ConnectInfo(peer) = request.extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(peer.ip())
}

/// The open connections of a server that takes no more. Dropped, it cuts them off.
#[must_use = "dropping it cuts off the requests in progress"]
#[derive(Debug)]
pub struct Connections {
    tasks: JoinSet<()>,
    stop: watch::Sender<()>,
}

impl Connections {
    /// Has the requests in progress answered, and closes every other connection at once.
    pub async fn finish(&mut self) {
        self.stop.send_replace(());
        while self.tasks.join_next().await.is_some() {}
    }
}

/// The next connection. What is returned beside it is kept for it.
async fn accept<P>(listener: &TcpListener, place: P) -> (TcpStream, SocketAddr, P) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, place),
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                error!(%error, "no connection can be accepted");
                // Likely cause: too many open files. Trying on at once would only heat the machine.
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
    )
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
    http: Builder<TokioExecutor>,
    mut stop: watch::Receiver<()>,
) {
    let begun = Arc::new(AtomicBool::new(false));
    let begins = Arc::clone(&begun);
    let app = app.map_request(move |mut request: Request<_>| {
        begins.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(ConnectInfo(peer));
        request.map(Body::new)
    });
    let service = TowerToHyperService::new(app);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    // A client that goes away, or sends no HTTP, is nobody's fault here: its error is dropped.
    tokio::select! {
        biased; // what has arrived already is read first
        _ = &mut connection => return,
        _ = stop.changed() => {}
    }
    // hyper closes an idle connection, but would wait for the rest of the first header.
    if begun.load(Ordering::Relaxed) {
        connection.as_mut().graceful_shutdown();
        drop(connection.await);
    }
}
