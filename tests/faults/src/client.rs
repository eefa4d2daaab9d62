//! One HTTP connection of Stripe's, with the manners of a client that may go away at any point.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::events;

/// Longer than a delivery may take; Stripe gives up after about as long.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);

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
    /// Sends the body in four pieces, with such pauses.
    Slow(Duration),
}

#[derive(Default)]
pub(crate) struct Client {
    kept: Option<(SocketAddr, BufReader<TcpStream>)>,
}

impl Client {
    /// The status of the answer; `None` if none was heard.
    pub(crate) async fn deliver(
        &mut self,
        server: SocketAddr,
        event: &str,
        manners: Manners,
    ) -> Option<u16> {
        let body = events::body(event);
        let head = format!(
            "POST /webhook HTTP/1.1\r\nhost: loopback\r\ncontent-type: application/json\r\n\
             stripe-signature: {}\r\ncontent-length: {}\r\n\r\n",
            events::sign(&body),
            body.len()
        );
        self.exchange(server, &head, &body, manners)
            .await
            .map(|(status, _)| status)
    }

    /// The text that a route of the service's gives.
    pub(crate) async fn get(&mut self, server: SocketAddr, path: &str) -> Option<String> {
        let head = format!("GET {path} HTTP/1.1\r\nhost: loopback\r\n\r\n");
        self.exchange(server, &head, "", Manners::Proper)
            .await
            .filter(|(status, _)| *status == 200)
            .map(|(_, text)| text)
    }

    async fn exchange(
        &mut self,
        server: SocketAddr,
        head: &str,
        body: &str,
        manners: Manners,
    ) -> Option<(u16, String)> {
        let mut stream = self.connection(server).await.ok()?;
        let exchanged = timeout(ANSWER_TIME_MAX, async {
            if !send(&mut stream, head, body, manners).await? {
                return Ok::<_, io::Error>(None);
            }
            receive(&mut stream).await.map(Some)
        });
        let answer = exchanged.await.ok()?.ok()??;
        self.kept = Some((server, stream));
        Some(answer)
    }

    async fn connection(&mut self, server: SocketAddr) -> io::Result<BufReader<TcpStream>> {
        if let Some((address, stream)) = self.kept.take()
            && address == server
        {
            return Ok(stream);
        }
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(BufReader::new(stream))
    }
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
        Manners::LeavesWithinBody => {
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
    Ok(matches!(manners, Manners::Proper | Manners::Slow(_)))
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
