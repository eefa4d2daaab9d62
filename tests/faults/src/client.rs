//! One HTTP connection of Stripe's, with the manners of a client that may go away at any point.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::events;

/// Longer than a delivery may take, all its limits together; Stripe gives up after about as long.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

const HEADER_LINES_MAX: usize = 64;
const ANSWER_BYTES_MAX: usize = 1 << 16;

/// At which point a client leaves, or how it dawdles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manners {
    Proper,
    LeavesBeforeBody,
    LeavesWithinBody,
    LeavesAfterBody,
    /// After the handler may have begun.
    LeavesBeforeAnswer(Duration),
    /// Sends head and body in three pieces, with such pauses.
    Slow(Duration),
    /// Sends half of the body, and waits for the answer.
    StopsWithinBody,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Status(u16),
    /// The client has left, or the connection was broken.
    Nothing,
    /// Nobody has taken the connection.
    NoServer,
}

#[derive(Default)]
pub(crate) struct Client {
    kept: Option<(SocketAddr, BufReader<TcpStream>)>,
}

impl Heard {
    pub(crate) const OK: Self = Self::Status(200);

    pub(crate) fn is_success(self) -> bool {
        matches!(self, Self::Status(200..300))
    }
}

impl Client {
    pub(crate) async fn deliver(
        &mut self,
        server: SocketAddr,
        event: &str,
        manners: Manners,
    ) -> Heard {
        let body = events::body(event);
        let head = format!(
            "POST /webhook HTTP/1.1\r\nhost: loopback\r\ncontent-type: application/json\r\n\
             stripe-signature: {}\r\ncontent-length: {}\r\n\r\n",
            events::sign(&body),
            body.len()
        );
        match self.exchange(server, &head, &body, manners).await {
            Ok((status, _)) => Heard::Status(status),
            Err(heard) => heard,
        }
    }

    /// The text that a route of the service's gives.
    pub(crate) async fn get(&mut self, server: SocketAddr, path: &str) -> Option<String> {
        let head = format!("GET {path} HTTP/1.1\r\nhost: loopback\r\n\r\n");
        let answer = self.exchange(server, &head, "", Manners::Proper).await;
        let (status, text) = answer.ok()?;
        (status == 200).then_some(text)
    }

    async fn exchange(
        &mut self,
        server: SocketAddr,
        head: &str,
        body: &str,
        manners: Manners,
    ) -> Result<(u16, String), Heard> {
        let connection = self.connection(server).await;
        let mut stream = connection.map_err(|_| Heard::NoServer)?;
        let exchanged = timeout(ANSWER_TIME_MAX, async {
            if !send(&mut stream, head, body, manners).await? {
                return Ok::<_, io::Error>(None);
            }
            receive(&mut stream).await.map(Some)
        });
        let answer = exchanged.await.ok().and_then(Result::ok).flatten();
        let answer = answer.ok_or(Heard::Nothing)?;
        // Or the next head would be the rest of this body.
        if manners != Manners::StopsWithinBody {
            self.kept = Some((server, stream));
        }
        Ok(answer)
    }

    async fn connection(&mut self, server: SocketAddr) -> io::Result<BufReader<TcpStream>> {
        if let Some((address, stream)) = self.kept.take()
            && address == server
            && is_open(stream.get_ref())
        {
            return Ok(stream);
        }
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(BufReader::new(stream))
    }
}

/// Nothing is to come between two requests but the end.
fn is_open(stream: &TcpStream) -> bool {
    let read = stream.try_read(&mut [0]);
    read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Whether the client is still there to hear the answer.
async fn send(
    stream: &mut BufReader<TcpStream>,
    head: &str,
    body: &str,
    manners: Manners,
) -> io::Result<bool> {
    let half = body.len() / 2;
    let (before, after) = body.split_at(half);
    match manners {
        Manners::Proper | Manners::LeavesAfterBody | Manners::LeavesBeforeAnswer(_) => {
            stream.write_all([head, body].concat().as_bytes()).await?;
        }
        Manners::LeavesBeforeBody => stream.write_all(head.as_bytes()).await?,
        Manners::LeavesWithinBody | Manners::StopsWithinBody => {
            stream.write_all([head, before].concat().as_bytes()).await?;
        }
        Manners::Slow(pause) => {
            for piece in [head, before, after] {
                stream.write_all(piece.as_bytes()).await?;
                sleep(pause).await;
            }
        }
    }
    if let Manners::LeavesBeforeAnswer(after) = manners {
        sleep(after).await;
    }
    Ok(matches!(
        manners,
        Manners::Proper | Manners::Slow(_) | Manners::StopsWithinBody
    ))
}

async fn receive(stream: &mut BufReader<TcpStream>) -> io::Result<(u16, String)> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.ok_or_else(invalid)?;
    let mut length = 0;
    for _ in 0..HEADER_LINES_MAX {
        line.clear();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            let mut text = vec![0; length];
            stream.read_exact(&mut text).await?;
            return Ok((status, String::from_utf8_lossy(&text).into_owned()));
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(|_| invalid())?;
            if length > ANSWER_BYTES_MAX {
                return Err(invalid());
            }
        }
    }
    Err(invalid())
}
