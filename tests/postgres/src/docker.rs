//! A server in a container, by way of the `docker` client.

use std::env;
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::server::Server;
use crate::watchdog::{self, Watchdog};

/// A client waits without end for an engine that hangs.
const ENGINE_ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// Enough to pull the image over a slow line.
const STARTS_WITHIN: Duration = Duration::from_mins(5);

/// Starts a container, pulling its image if need be.
pub(crate) fn start() -> Result<Server, String> {
    engine_answers()?;
    let tag = env::var("TEST_POSTGRES_TAG")
        .ok()
        .filter(|tag| !tag.is_empty());
    let tag = tag.as_deref().unwrap_or("15");
    let mut script = watchdog::script(include_str!("docker.sh"));
    script.arg(format!("postgres:{tag}"));
    let server = Watchdog::start(script, STARTS_WITHIN)?;
    // An engine elsewhere (DOCKER_HOST) publishes the port on a loopback that is not ours.
    TcpStream::connect((Ipv4Addr::LOCALHOST, server.port))
        .map_err(|error| format!("the container's port cannot be reached from here: {error}"))?;
    Ok(server.into())
}

fn engine_answers() -> Result<(), String> {
    let mut client = Command::new("docker")
        .arg("version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("the client `docker` cannot be run: {error}"))?;
    let complaint = client
        .stderr
        .take()
        .and_then(|stderr| watchdog::read_within(ENGINE_ANSWERS_WITHIN, stderr));
    let Some(complaint) = complaint else {
        let _gone_already_if_it_fails = client.kill().and_then(|()| client.wait());
        return Err(format!(
            "the engine did not answer within {ENGINE_ANSWERS_WITHIN:?}"
        ));
    };
    match client.wait() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(complaint),
    }
}
