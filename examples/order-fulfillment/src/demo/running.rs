use std::time::Duration;

use axum_stripe_webhook::{
    EventRouter, Guards, InboxOperations, SigningSecret, Verifier, inbox::RetryPolicy,
};
use sqlx::Pool;
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{DemoError, client::Sender};
use crate::{
    config::Processing, endpoint::Endpoint, orders::Shop, server, webhook, worker::worker,
};

/// Many times what it takes; what is not done by then is seen in the rows.
const WORK_TIME_MAX: Duration = Duration::from_secs(20);

/// How often the workers and the demo look.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A server on a port of its own.
pub(super) struct Running<DB: Shop> {
    pub(super) pool: Pool<DB>,
    pub(super) sender: Sender,
    events: EventRouter,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl<DB: Shop> Running<DB> {
    pub(super) async fn start(pool: Pool<DB>, processing: Processing) -> Result<Self, DemoError> {
        let secret = format!("whsec_{:032x}", rand::random::<u128>());
        let verifier = Verifier::new(SigningSecret::new(secret.as_str())?);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let sender = Sender::new(format!("http://{}", listener.local_addr()?), secret);
        let (stop, stopped) = oneshot::channel::<()>();
        let endpoint = Endpoint::new(processing, pool.clone(), verifier, Guards::new());
        let events = webhook::events::<DB>()?;
        let stopped = async { drop(stopped.await) };
        let serve = server::serve(listener, pool.clone(), endpoint, events.clone(), stopped);
        Ok(Self {
            server: tokio::spawn(serve),
            pool,
            sender,
            events,
            stop,
        })
    }

    /// Starts so many workers, as other processes would, and stops them when nothing is pending.
    pub(super) async fn work(&self, workers: usize) -> Result<(), DemoError> {
        let impatient = RetryPolicy::new()
            .attempts_max(3)
            .retry_time_first(Duration::ZERO);
        let start = || {
            worker(self.pool.clone(), self.events.clone())
                .poll_interval(LOOK_INTERVAL)
                .retry_policy(impatient.clone())
                .start()
        };
        let workers: Vec<_> = std::iter::repeat_with(start).take(workers).collect();
        let operations = InboxOperations::new(self.pool.clone());
        let done = async {
            while operations.counts().await?.pending > 0 {
                sleep(LOOK_INTERVAL).await;
            }
            Ok(())
        };
        let done = timeout(WORK_TIME_MAX, done).await.unwrap_or(Ok(()));
        for worker in workers {
            worker.stop().await;
        }
        done
    }

    pub(super) async fn stop(self) -> Result<(), DemoError> {
        drop(self.stop);
        Ok(self.server.await?)
    }
}
