//! The process to which a server's whole life belongs.
//!
//! A script (`docker.sh`, `native.sh`) starts the server, prints `ready <port>`, waits for the end
//! of its input and then stops the server. The other end of its input is a pipe held by the test
//! process and closed by the kernel however that process ends, SIGKILL included. The script is a
//! process group of its own, which Ctrl-C in a terminal does not reach. A script that fails prints
//! the reason instead, stops what it has started, and ends.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::server::Server;

/// Holds the input of the script; the server goes when this is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Watchdog {
    script: Child,
}

/// A server that its watchdog says is ready.
pub(crate) struct Ready {
    pub(crate) port: u16,
    password: String,
    watchdog: Watchdog,
}

/// A shell with this script, to which arguments can be added.
pub(crate) fn script(text: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", text, "test-postgres"]);
    command
}

impl Watchdog {
    /// Runs the script until its server is ready, or returns what it printed instead.
    pub(crate) fn start(mut script: Command, limit: Duration) -> Result<Ready, String> {
        let failed = |error: io::Error| format!("the watchdog cannot be run: {error}");
        let password = password().map_err(failed)?;
        let mut script = script
            .env("POSTGRES_PASSWORD", &password)
            // A user `postgres` may be kept out of the folder of the tests.
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let output = script
            .stdout
            .take()
            .and_then(|stdout| read_within(limit, stdout));
        let watchdog = Self { script };
        let output = output.ok_or_else(|| format!("no server was ready within {limit:?}"))?;
        match port(&output) {
            Some(port) => Ok(Ready {
                port,
                password,
                watchdog,
            }),
            None => Err(output),
        }
    }

    /// A line there asks for a crash, if the script knows how.
    pub(crate) fn input(&mut self) -> Option<&mut ChildStdin> {
        self.script.stdin.as_mut()
    }
}

impl From<Ready> for Server {
    fn from(
        Ready {
            port,
            password,
            watchdog,
        }: Ready,
    ) -> Self {
        // `sslmode` is given, or PGSSLMODE of the environment would count.
        let url =
            format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres?sslmode=disable");
        Self {
            url,
            watchdog: Some(watchdog),
        }
    }
}

/// Reads up to the line `ready …` or else to the end; `None` if that takes longer.
pub(crate) fn read_within(limit: Duration, pipe: impl Read + Send + 'static) -> Option<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let _nobody_waits_after_the_limit = sender.send(read(pipe));
    });
    receiver.recv_timeout(limit).ok()
}

fn read(pipe: impl Read) -> String {
    let mut text = String::new();
    for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
        text.push_str(&String::from_utf8_lossy(&line));
        text.push('\n');
        if line.starts_with(b"ready ") {
            break;
        }
    }
    text
}

fn port(output: &str) -> Option<u16> {
    output
        .lines()
        .find_map(|line| line.strip_prefix("ready ")?.parse().ok())
}

/// A superuser of Postgres can run programs, so no other user of the machine may know it.
fn password() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn the_port_is_read_although_the_script_never_closes_its_output() {
        let ready = Watchdog::start(script("echo noise; echo ready 5433; read -r _"), LIMIT);
        assert_eq!(ready.map(|ready| ready.port).ok(), Some(5433));
    }

    #[test]
    fn what_a_failed_script_printed_is_the_reason() {
        let failed = Watchdog::start(script("echo no space; echo left; exit 1"), LIMIT);
        assert_eq!(
            failed.map(|ready| ready.port),
            Err("no space\nleft\n".into())
        );
    }

    #[test]
    fn a_script_that_says_nothing_is_not_waited_for() {
        let failed = Watchdog::start(script("read -r _"), Duration::from_millis(50));
        assert_eq!(
            failed.map(|ready| ready.port),
            Err("no server was ready within 50ms".into())
        );
    }
}
