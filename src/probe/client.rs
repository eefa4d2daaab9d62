use std::{
    error::Error,
    io,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Either, select},
};
use http::{
    HeaderValue, Request, Response, Uri,
    header::{CONNECTION, HOST},
};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{error::Elapsed, timeout},
};

use super::target::{CONNECT_TIME_MAX, Place, Target};

/// Most of an answer's body that is read. What Stripe is told fits in a line.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How long an answer's body is waited for after its head: a line comes with it.
pub const ANSWER_BODY_TIME_MAX: Duration = Duration::from_secs(5);

/// Why there is no answer to a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no connection.
    #[error("no connection to the endpoint")]
    Unreachable(#[source] io::Error),
    /// The connection ended without an answer, or with one that is not HTTP.
    #[error("the connection ended without an answer")]
    Closed(#[source] hyper::Error),
    /// There is no answer yet.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Late(Duration),
}

/// To be added to the target's own query.
#[derive(Clone)]
pub(super) struct ExtraQuery(pub(super) String);

impl<B> tower_service::Service<Request<B>> for Target
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<Full<Bytes>>;
    type Error = SendError;
    type Future = BoxFuture<'static, Result<Self::Response, SendError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (target, limit) = (self.clone(), self.answer_limit());
        async move { target.connect().await?.send(request, limit).await }.boxed()
    }
}

/// A connection for one request.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    place: Arc<Place>,
}

impl Target {
    /// Connects and no more.
    pub(super) async fn reach(&self) -> Result<(), SendError> {
        self.connect().await.map(drop)
    }

    pub(super) async fn connect(&self) -> Result<Connection, SendError> {
        let place = Arc::clone(self.place());
        let stream = connect(&place).await?;
        Ok(Connection { stream, place })
    }
}

impl Connection {
    /// The answer's head has so much time; of its body what comes soon after is kept.
    pub(super) async fn send<B>(
        self,
        mut request: Request<B>,
        limit: Duration,
    ) -> Result<Response<Full<Bytes>>, SendError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        address(&mut request, &self.place);
        exchange(self.stream, request, limit).await
    }
}

/// Gives a request the target's path, query and host.
fn address<B>(request: &mut Request<B>, place: &Place) {
    let extra = request.extensions_mut().remove::<ExtraQuery>();
    let queries = place.query.iter().chain(extra.iter().map(|query| &query.0));
    let query = queries.map(String::as_str).collect::<Vec<_>>().join("&");
    let uri = match query.is_empty() {
        true => place.path.clone(),
        false => format!("{}?{query}", place.path),
    };
    *request.uri_mut() = uri.parse().unwrap_or_else(|_| Uri::from_static("/"));
    let headers = request.headers_mut();
    if let Ok(host) = HeaderValue::from_str(&place.authority) {
        headers.insert(HOST, host);
    }
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// To the first address that takes it.
async fn connect(place: &Place) -> Result<Box<dyn Stream>, SendError> {
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    // The one that was reached before comes first, or each delivery would wait for those that are dead.
    let reached = place.reached.load(Ordering::Relaxed);
    let addresses = place.addresses.iter().enumerate();
    let addresses = addresses
        .clone()
        .skip(reached)
        .chain(addresses.take(reached));
    for (index, address) in addresses {
        let connecting = timeout(CONNECT_TIME_MAX, async {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            let stream: Box<dyn Stream> = match &place.tls {
                Some((tls, name)) => Box::new(tls.connect(name.clone(), tcp).await?),
                None => Box::new(tcp),
            };
            Ok::<_, io::Error>(stream)
        });
        match connecting.await.map_err(io::Error::from) {
            Ok(Ok(stream)) => {
                place.reached.store(index, Ordering::Relaxed);
                return Ok(stream);
            }
            Ok(Err(error)) | Err(error) => failed = error,
        }
    }
    Err(SendError::Unreachable(failed))
}

async fn exchange<B>(
    stream: Box<dyn Stream>,
    request: Request<B>,
    limit: Duration,
) -> Result<Response<Full<Bytes>>, SendError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(SendError::Closed)?;
    let asked = pin!(async move {
        let head = timeout(limit, sender.send_request(request)).await;
        let head = head.map_err(|Elapsed { .. }| SendError::Late(limit))?;
        let (head, body) = head.map_err(SendError::Closed)?.into_parts();
        let body = Full::new(beginning(body).await);
        Ok(Response::from_parts(head, body))
    });
    // Driven here and not in a task, so that whoever gives up has closed the connection.
    match select(asked, pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        Either::Right((_, asked)) => asked.await,
    }
}

/// A body that breaks off, or goes on for ever, is as long as what came: the status has been said.
async fn beginning(mut body: hyper::body::Incoming) -> Bytes {
    let mut read = BytesMut::new();
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let data = frame.into_data().unwrap_or_default();
            let room = ANSWER_BYTES_MAX - read.len();
            read.extend_from_slice(data.get(..room).unwrap_or(&data));
            if read.len() >= ANSWER_BYTES_MAX {
                break;
            }
        }
    };
    let _ended = timeout(ANSWER_BODY_TIME_MAX, reading).await;
    read.freeze()
}
