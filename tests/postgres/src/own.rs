//! A server of one test's own, which can be broken.

use std::{env, io::Write, path::Path};

use crate::{native, server::Server};

/// A server that nobody else uses, of the machine's Postgres binaries; gone with the value.
///
/// It is as careless as the shared one: set `synchronous_commit`, or a crash loses what was committed.
#[derive(Debug)]
#[must_use = "the server is stopped with the value"]
pub struct OwnServer(Server);

impl OwnServer {
    /// Starts a server.
    ///
    /// # Errors
    ///
    /// If there are no binaries, or they do not start; the message says why.
    pub fn start() -> Result<Self, String> {
        let path = env::var_os("PATH").unwrap_or_default();
        native::start(&path, Path::new("/usr/lib/postgresql")).map(Self)
    }

    /// The URL of its maintenance database, which is the same after a crash.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// Has it crash (`pg_ctl stop -m immediate`) and start again, and does not wait for either.
    ///
    /// # Errors
    ///
    /// If whoever is to do it has gone.
    pub fn crash(&mut self) -> std::io::Result<()> {
        let watchdog = self.0.watchdog.as_mut();
        let mut input = watchdog.and_then(|watchdog| watchdog.input());
        match &mut input {
            Some(input) => input.write_all(b"crash\n"),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }
}
