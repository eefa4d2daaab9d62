//! The service's process, as the programme sees it.

use std::{env, fs, net::SocketAddr, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdout, Command},
    time::{Instant, sleep, timeout},
};

use super::{END, Settings};
use crate::client::Client;

/// A hundred times what it takes on two slow cores.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// Longer than anything that such a process has in hand.
pub(super) const END_TIME_MAX: Duration = Duration::from_secs(30);

pub(crate) struct Service {
    process: Child,
    pub(crate) address: SocketAddr,
    pub(crate) settings: Settings,
    output: BufReader<ChildStdout>,
}

/// A process, its output, and the line by which it has told that it runs.
pub(super) async fn launch(mut command: Command) -> (Child, BufReader<ChildStdout>, String) {
    let mut process = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Panics of handlers, which are many and meant.
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the process starts");
    let mut output = BufReader::new(process.stdout.take().expect("a pipe"));
    let mut line = String::new();
    let read = timeout(START_TIME_MAX, output.read_line(&mut line)).await;
    read.expect("it tells that it runs").expect("a line");
    (process, output, line)
}

impl Service {
    pub(crate) async fn start(settings: Settings) -> Self {
        let program = env::current_exe().expect("the program's own file");
        let mut command = Command::new(program);
        command.args(["serve", &settings.argument()]);
        Self::of(command, settings).await
    }

    /// No file of it may grow beyond that: what is written there fails, COMMIT's own writes included.
    pub(crate) async fn start_with_small_files(settings: Settings, kibibytes: u64) -> Self {
        let program = env::current_exe().expect("the program's own file");
        let mut command = Command::new("/bin/bash");
        let script = "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"";
        command
            .args(["-c", script, "faults", &kibibytes.to_string()])
            .arg(program)
            .args(["serve", &settings.argument()]);
        Self::of(command, settings).await
    }

    async fn of(command: Command, settings: Settings) -> Self {
        let (process, output, line) = launch(command).await;
        let address = line.trim_end().strip_prefix("listening on ");
        Self {
            process,
            address: address
                .and_then(|address| address.parse().ok())
                .expect("an address"),
            settings,
            output,
        }
    }

    /// With SIGKILL, at whatever instant this is.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.expect("it can be killed");
    }

    /// Waits until all connections of its pool can be had at once.
    pub(crate) async fn has_all_connections_within(&self, limit: Duration) -> bool {
        let all = self.settings.connections.to_string();
        let end = Instant::now() + limit;
        while Instant::now() < end {
            let had = Client::default().get(self.address, "/connections").await;
            if had.as_ref() == Some(&all) {
                return true;
            }
            sleep(Duration::from_millis(100)).await;
        }
        false
    }

    /// Has it accept nothing more, finish and exit; the events whose handlers it has begun. `None` if
    /// it does not end.
    pub(crate) async fn end(&mut self) -> Option<Vec<String>> {
        let mut input = self.process.stdin.take()?;
        input.write_all(END.as_bytes()).await.ok()?;
        input.write_all(b"\n").await.ok()?;
        let mut begun = String::new();
        let read = timeout(END_TIME_MAX, self.output.read_to_string(&mut begun)).await;
        read.ok()?.ok()?;
        let ended = timeout(END_TIME_MAX, self.process.wait()).await;
        let success = ended.ok()?.ok()?.success();
        let begun = begun.lines().filter(|id| !id.is_empty());
        success.then(|| begun.map(str::to_owned).collect())
    }

    /// Kibibytes of memory in use, where the system tells.
    pub(crate) fn resident_kib(&self) -> Option<u64> {
        let id = self.process.id()?;
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// Connections of its pool, and those of them that nobody uses.
    pub(crate) async fn pool(&self) -> Option<(usize, usize)> {
        let text = Client::default().get(self.address, "/pool").await?;
        let (size, idle) = text.split_once(' ')?;
        Some((size.parse().ok()?, idle.parse().ok()?))
    }

    /// Waits until no connection of its pool is in use: false if some are for good.
    pub(crate) async fn is_idle_within(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if let Some((size, idle)) = self.pool().await
                && size == idle
            {
                return true;
            }
            sleep(Duration::from_millis(20)).await;
        }
        false
    }
}
