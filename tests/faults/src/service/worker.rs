//! A worker's process, as the programme sees it.

use std::env;

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::{
    END, LEAVE, Settings,
    child::{END_TIME_MAX, launch},
    fate::{INSIDE, LEFT},
};

pub(crate) struct Worker {
    process: Child,
    pub(crate) settings: Settings,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    pub(crate) async fn start(settings: Settings) -> Self {
        let program = env::current_exe().expect("the program's own file");
        let mut command = Command::new(program);
        command.args(["work", &settings.argument()]);
        let (process, output, line) = launch(command).await;
        assert_eq!(line.trim_end(), "working");
        Self {
            process,
            settings,
            lines: output.lines(),
        }
    }

    /// With SIGKILL, at whatever instant this is.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.expect("it can be killed");
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        let status = self.process.try_wait().expect("it can be asked");
        status.is_some()
    }

    /// Sends it a signal, by its name.
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.process.id().expect("it runs").to_string();
        let script = "kill -s \"$1\" \"$2\"";
        let mut command = Command::new("/bin/bash");
        command.args(["-c", script, "faults", name, &id]);
        let status = command.status().await.expect("a shell");
        assert!(status.success(), "it can be sent a signal");
    }

    /// Waits until the handler of one more event stays; the event.
    pub(crate) async fn inside(&mut self) -> Option<String> {
        let line = self.line().await?;
        Some(line.strip_prefix(INSIDE)?.trim_start().to_owned())
    }

    /// Has those go on that stay; the first to do so.
    pub(crate) async fn leave(&mut self) -> Option<String> {
        self.tell(LEAVE).await?;
        let line = self.line().await?;
        Some(line.strip_prefix(LEFT)?.trim_start().to_owned())
    }

    /// Has it take nothing more, finish and exit; whether all connections could be had then. `None` if
    /// it does not end.
    pub(crate) async fn end(&mut self) -> Option<bool> {
        self.tell(END).await?;
        let had = self.line().await?;
        let ended = timeout(END_TIME_MAX, self.process.wait()).await;
        let success = ended.ok()?.ok()?.success();
        success.then(|| had == self.settings.connections.to_string())
    }

    async fn tell(&mut self, line: &str) -> Option<()> {
        let input = self.process.stdin.as_mut()?;
        let line = format!("{line}\n");
        input.write_all(line.as_bytes()).await.ok()
    }

    async fn line(&mut self) -> Option<String> {
        let line = timeout(END_TIME_MAX, self.lines.next_line()).await;
        line.ok()?.ok()?
    }
}
