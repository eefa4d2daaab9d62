//! The program, and what it says.

use std::{path::PathBuf, process::Stdio, sync::Mutex};

use axum::Router;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpSocket},
    process::Command,
};

use crate::stripe;

/// In whatever must never be printed, wherever it comes from.
pub(crate) const MARKER: &str = "marker_that_nobody_reads";

/// The program with its arguments and variables; it sees no variable of the tests' own.
pub(crate) struct Program {
    command: Command,
    stdin: Vec<u8>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// With `SECRET` set to the tests' secret.
pub(crate) fn program(arguments: &[&str]) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stripe-webhook"));
    command.args(arguments).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command.env("SECRET", stripe::SECRET);
    command.kill_on_drop(true);
    Program {
        command,
        stdin: Vec::new(),
    }
}

impl Program {
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn stdin(mut self, bytes: &[u8]) -> Self {
        self.stdin = bytes.to_vec();
        self
    }

    /// Runs it to its end. What it says holds no secret, whatever it was given.
    pub(crate) async fn run(mut self) -> Ran {
        self.command.stdin(Stdio::piped());
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // Who does not read it has closed it.
        let _unread = stdin.write_all(&self.stdin).await;
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        let ran = Ran {
            exit: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        for secret in [MARKER, stripe::SECRET] {
            assert!(!ran.out.contains(secret), "{ran:?}");
            assert!(!ran.err.contains(secret), "{ran:?}");
        }
        assert!(!ran.err.contains("panicked"), "{ran:?}");
        ran
    }
}

impl Ran {
    /// The one document on standard output, of a run that ended like this.
    #[track_caller]
    pub(crate) fn json(&self, exit: i32) -> Value {
        assert_eq!(self.exit, exit, "{self:?}");
        serde_json::from_str(&self.out).unwrap()
    }

    /// That there is no answer, and that this is said on standard error.
    #[track_caller]
    pub(crate) fn fails(&self, exit: i32, message: &str) {
        assert_eq!(self.exit, exit, "{self:?}");
        assert!(self.err.contains(message), "{self:?}");
        assert_eq!(self.out, "", "{self:?}");
    }
}

/// Serves an application on this machine, as long as the test runs.
pub(crate) async fn serve(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, app).into_future());
    format!("http://{address}")
}

/// An address at which nobody listens, nor will: the socket that has it lives as long as the tests.
pub(crate) async fn nobody() -> String {
    static SOCKETS: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/", socket.local_addr().unwrap());
    SOCKETS.lock().unwrap().push(socket);
    url
}

/// Files of the test's own, gone with it.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }
}
