//! How often an effect is there, by the service's own account: what a probe compares before and after.

use std::{process::Stdio, time::Duration};

use axum_stripe_webhook::probe::Target;
use clap::Args;
use tokio::{io::AsyncReadExt, process::Command, time::timeout};

use crate::{exchange, failure::Failure};

/// Of a command's output: a number has twenty digits at most, and what is longer is something else.
const COUNT_BYTES_MAX: usize = 1024;

/// For a query on a database that a probe is keeping busy.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(30);

/// Where the number of effects comes from.
#[derive(Args)]
#[group(multiple = false)]
pub(crate) struct CountArgs {
    /// A page that says how many effects there are: an integer and nothing else
    #[arg(long, value_name = "URL")]
    count_url: Option<String>,
    /// A command that prints how many effects there are: an integer; it is run by sh -c
    #[arg(long, value_name = "CMD")]
    count_command: Option<String>,
}

/// Counts effects, as often as it is asked to.
#[derive(Clone)]
pub(crate) enum Counter {
    Url(Target),
    Command(String),
}

impl CountArgs {
    /// `None` if nobody said how to count.
    pub(crate) async fn counter(&self) -> Result<Option<Counter>, Failure> {
        Ok(match (&self.count_url, &self.count_command) {
            (Some(url), _) => Some(Counter::Url(exchange::page(url).await?)),
            (None, Some(command)) => Some(Counter::Command(command.clone())),
            (None, None) => None,
        })
    }
}

impl Counter {
    pub(crate) async fn count(&self) -> Result<u64, Failure> {
        match self {
            Self::Url(url) => {
                let page = exchange::get(url).await?;
                number(&page, "the page of --count-url")
            }
            Self::Command(command) => {
                let printed = printed_by(command).await?;
                number(&printed, "the output of --count-command")
            }
        }
    }
}

async fn printed_by(command: &str) -> Result<Vec<u8>, Failure> {
    let failed = |what: &str| Failure::impossible(format!("--count-command {what}"));
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|_| failed("cannot be run"))?;
    let Some(stdout) = child.stdout.take() else {
        return Err(failed("has no output"));
    };
    let mut printed = Vec::new();
    let mut bounded = stdout.take(COUNT_BYTES_MAX as u64 + 1);
    let ended = timeout(COMMAND_TIME_MAX, async {
        bounded.read_to_end(&mut printed).await?;
        if printed.len() > COUNT_BYTES_MAX {
            // Or it would wait for ever for somebody to read the rest.
            child.start_kill()?;
        }
        child.wait().await
    });
    match ended.await {
        Err(_) => Err(failed(&format!(
            "did not end within {} s",
            COMMAND_TIME_MAX.as_secs()
        ))),
        Ok(Err(_)) => Err(failed("cannot be read")),
        Ok(Ok(_)) if printed.len() > COUNT_BYTES_MAX => Err(failed("prints too much")),
        Ok(Ok(status)) if !status.success() => Err(failed("failed: try it with sh -c")),
        Ok(Ok(_)) => Ok(printed),
    }
}

fn number(bytes: &[u8], what: &str) -> Result<u64, Failure> {
    let text = std::str::from_utf8(bytes).unwrap_or_default().trim();
    let number = text.parse();
    number.map_err(|_| Failure::impossible(format!("{what} is not a number of effects")))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn counted(command: &str) -> Result<u64, String> {
        let counter = Counter::Command(command.to_owned());
        counter.count().await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_command_counts() {
        assert_eq!(counted("printf '  41\n'").await, Ok(41));
    }

    #[tokio::test]
    async fn a_command_that_does_not_count_is_a_fault() {
        for (command, expected) in [
            (
                "echo many",
                "the output of --count-command is not a number of effects",
            ),
            (
                "echo -1",
                "the output of --count-command is not a number of effects",
            ),
            (
                "echo 3; exit 1",
                "--count-command failed: try it with sh -c",
            ),
            ("yes", "--count-command prints too much"),
        ] {
            assert_eq!(
                counted(command).await,
                Err(expected.to_owned()),
                "{command}"
            );
        }
    }
}
