//! The program as its user runs it: the server and the worker in a process of their own.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::{
    carrier::{StandIn, TIME_MAX},
    shop::{SECRET, Shop, signature},
};

/// Killed with the value.
pub(crate) struct Program {
    process: Child,
    address: String,
}

impl Program {
    /// Returns once it serves.
    pub(crate) async fn start(shop: &Shop, carrier: &StandIn) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_ship-after-commit"))
            .env_clear()
            .env("DATABASE_URL", shop.database.url())
            .env("STRIPE_WEBHOOK_SECRET", SECRET)
            .env("CARRIER_URL", &carrier.base)
            .env("BIND_ADDRESS", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = timeout(TIME_MAX, logged_address(&mut log)).await.unwrap();
        // Nobody else reads the rest, and a full pipe would stop the program.
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        Self { process, address }
    }

    pub(crate) async fn deliver(&self, event: &str) -> u16 {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let delivery = client
            .post(format!("http://{}/webhooks/stripe", self.address))
            .header("stripe-signature", signature(event))
            .body(event.to_owned());
        delivery.send().await.unwrap().status().as_u16()
    }

    /// SIGKILL. Returns when the process is no more.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// SIGTERM.
    #[cfg(unix)]
    pub(crate) fn terminate(&self) {
        let id = self.process.id().unwrap().to_string();
        let mut sent = std::process::Command::new("kill");
        assert!(sent.args(["-TERM", &id]).status().unwrap().success());
    }

    /// Waits for its end.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        let ended = timeout(TIME_MAX, self.process.wait()).await;
        ended.unwrap().unwrap().code()
    }
}

async fn logged_address(log: &mut Lines<BufReader<ChildStdout>>) -> String {
    loop {
        let line = log.next_line().await.unwrap().unwrap();
        if let Some((_, address)) = line.split_once("serving address=") {
            return address.to_owned();
        }
    }
}
