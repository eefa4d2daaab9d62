//! As much of Postgres' wire protocol as faults need: where a message begins and ends.
//!
//! See "Message Formats" in Postgres' manual.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// None of a delivery's is a tenth as long.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// The first message of a client has no type.
pub(super) const STARTUP: u8 = 0;
pub(super) const QUERY: u8 = b'Q';
pub(super) const PASSWORD: u8 = b'p';
pub(super) const TERMINATE: u8 = b'X';
pub(super) const ERROR_RESPONSE: u8 = b'E';

pub(super) struct Message {
    pub(super) kind: u8,
    /// All of it, as sent.
    pub(super) bytes: Vec<u8>,
}

impl Message {
    pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let kind = from.read_u8().await?;
        let mut message = Self::read_startup(from).await?;
        message.bytes.insert(0, kind);
        Ok(Self { kind, ..message })
    }

    pub(super) async fn read_startup(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let length = from.read_u32().await?;
        // The length counts itself.
        let rest = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_sub(4));
        let rest = rest.filter(|rest| *rest <= MESSAGE_BYTES_MAX);
        let rest = rest.ok_or(io::ErrorKind::InvalidData)?;
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.resize(4 + rest, 0);
        let (_, body) = bytes.split_at_mut(4);
        from.read_exact(body).await?;
        Ok(Self {
            kind: STARTUP,
            bytes,
        })
    }

    pub(super) fn is_commit(&self) -> bool {
        self.kind == QUERY
            && self
                .bytes
                .get(5..)
                .is_some_and(|text| text.starts_with(b"COMMIT"))
    }

    pub(super) fn query(text: &str) -> Self {
        Self::new(QUERY, [text.as_bytes(), b"\0"].concat())
    }

    /// A Bind of a statement that does not exist: the server itself fails it, aborts the transaction
    /// and passes over everything up to the next Sync.
    pub(super) fn poison() -> Self {
        let nothing = [0; 6];
        Self::new(
            b'B',
            [b"\0no such statement\0", nothing.as_slice()].concat(),
        )
    }

    /// The last words of a server that ends the session.
    pub(super) fn fatal(code: &str) -> Self {
        Self::new(ERROR_RESPONSE, error_fields("FATAL", code))
    }

    /// The same failure under another code.
    pub(super) fn error(code: &str) -> Self {
        Self::new(ERROR_RESPONSE, error_fields("ERROR", code))
    }

    fn new(kind: u8, body: Vec<u8>) -> Self {
        let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
        let bytes = [&[kind], length.to_be_bytes().as_slice(), &body].concat();
        Self { kind, bytes }
    }
}

fn error_fields(severity: &str, code: &str) -> Vec<u8> {
    format!("S{severity}\0V{severity}\0C{code}\0Mby the fault programme\0\0").into_bytes()
}
