//! The one server of this process: which it is, and what to say if there is none.

use std::env;
use std::panic;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;

use crate::watchdog::Watchdog;
use crate::{docker, given, native};

/// A server that answered.
#[derive(Debug)]
pub(crate) struct Server {
    /// Its maintenance database.
    pub(crate) url: String,
    /// Stops the server when this process ends; `None` if the server is somebody else's.
    pub(crate) watchdog: Option<Watchdog>,
}

impl Server {
    /// Whether the server was there before this run and stays after it.
    pub(crate) fn is_given(&self) -> bool {
        self.watchdog.is_none()
    }
}

/// The server of this process; the first call finds it, the others wait for that.
pub(crate) fn shared() -> &'static Server {
    // The failure is kept too, or every test would wait for the same time-outs again.
    static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();

    match SERVER.get_or_init(find) {
        Ok(server) => server,
        Err(message) => unusable(message),
    }
}

/// Fails the test that needs a database.
#[expect(
    clippy::panic,
    reason = "a test without its database has failed, and must not pass"
)]
pub(crate) fn unusable(message: &str) -> ! {
    panic!("{message}")
}

/// Runs a future to its end on a runtime of its own, wherever the caller runs.
pub(crate) fn block_on<T: Send>(
    future: impl Future<Output = sqlx::Result<T>> + Send,
) -> sqlx::Result<T> {
    let run = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(future)
    };
    thread::scope(|scope| {
        // A thread of its own, because a runtime must not be started within another.
        scope
            .spawn(run)
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

fn find() -> Result<Server, String> {
    match env::var("TEST_DATABASE_URL") {
        Ok(url) if !url.is_empty() => given::server(url),
        _ => start(docker::start, || {
            let path = env::var_os("PATH").unwrap_or_default();
            native::start(&path, Path::new("/usr/lib/postgresql"))
        }),
    }
}

fn start(
    docker: impl FnOnce() -> Result<Server, String>,
    native: impl FnOnce() -> Result<Server, String>,
) -> Result<Server, String> {
    docker().or_else(|docker| native().map_err(|native| none_found(&docker, &native)))
}

fn none_found(docker: &str, native: &str) -> String {
    let indented = |reason: &str| reason.trim().replace('\n', "\n      ");
    format!(
        "no Postgres for the tests\n\
         tried:\n\
         \x20 1. TEST_DATABASE_URL: not set\n\
         \x20 2. Docker: {}\n\
         \x20 3. Postgres binaries: {}\n\
         do one of these:\n\
         \x20 - set TEST_DATABASE_URL=postgres://user:password@host/database \
         to a server where databases may be created\n\
         \x20 - start Docker\n\
         \x20 - install Postgres, for example `apt-get install postgresql`",
        indented(docker),
        indented(native),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn without_any_server_the_message_says_what_was_tried_and_what_to_do() {
        let message = start(
            || Err("no engine\nat all\n".into()),
            || native::start(OsStr::new("/nowhere"), Path::new("/nowhere/either")),
        )
        .unwrap_err();
        assert_eq!(
            message,
            "no Postgres for the tests
tried:
  1. TEST_DATABASE_URL: not set
  2. Docker: no engine
      at all
  3. Postgres binaries: initdb, postgres and pg_ctl are in no folder of PATH and in no \
             /nowhere/either/*/bin
do one of these:
  - set TEST_DATABASE_URL=postgres://user:password@host/database to a server where databases \
             may be created
  - start Docker
  - install Postgres, for example `apt-get install postgresql`"
        );
    }
}
