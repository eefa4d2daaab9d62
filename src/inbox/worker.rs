use std::{
    convert::Infallible,
    fmt,
    future::{Future, pending},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use axum_core::{
    extract::Request,
    response::{ErrorResponse, IntoResponse},
};
use sqlx::Pool;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tower_service::Service;

use super::{attempt::Attempt, retry_policy::RetryPolicy};
use crate::{
    extract::VerifiedStripeEvent,
    ledger::{Due, Handover, Leased, Ledger, LedgerError, Purpose, Wanted, within_statement},
    once::{ENDPOINT_DEFAULT, Processor, label_or_default},
    telemetry,
};

/// How many events a worker runs at once, unless set; never more than the pool's places.
pub const CONCURRENCY_DEFAULT: usize = 8;

/// How often a worker looks for what is due. What is stored in the same process wakes it at once.
pub const POLL_INTERVAL_DEFAULT: Duration = Duration::from_secs(1);

/// How much longer than all its limits together a lease is at least.
const LEASE_TIME_MARGIN: Duration = Duration::from_secs(10);

/// How long a slot that is free waits for others, until half of them are: to take several entries costs
/// the database no more than one. Events that take longer than others must not hold those up.
const GATHER_TIME_MAX: Duration = Duration::from_millis(10);

/// Longest pause after a look that has failed.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Works the inbox off, with the same handlers as inline.
///
/// The [module docs](crate::inbox) say how an attempt runs. Any number of workers in any number of
/// processes may share a database; a process needs no HTTP for it.
///
/// ```no_run
/// use axum_stripe_webhook::{EventRouter, EventTx, InboxWorker};
/// use sqlx::{PgPool, Postgres};
///
/// async fn fulfil(tx: EventTx<Postgres>) {}
///
/// # async fn work() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = PgPool::connect("postgres://localhost/orders").await?;
/// let events = EventRouter::new().on("checkout.session.completed", fulfil).build()?;
/// let worker = InboxWorker::new(pool, events).concurrency(4).start();
///
/// tokio::signal::ctrl_c().await?;
/// worker.stop().await; // what is running is finished first
/// # Ok(())
/// # }
/// ```
#[must_use = "a worker does nothing until it is started"]
pub struct InboxWorker<DB: Ledger, S> {
    processor: Processor<DB>,
    service: S,
    policy: RetryPolicy,
    endpoint: Option<Arc<str>>,
    concurrency: usize,
    /// Places that are left to others.
    places_left: usize,
    poll_interval: Duration,
    /// Told of what is stored in this process.
    stored: Option<watch::Receiver<()>>,
}

/// A worker that was started. Dropped, it runs on until its runtime ends.
#[derive(Clone, Debug)]
#[must_use = "stop it before the runtime ends, or what it is doing is broken off"]
pub struct RunningWorker {
    stop: Arc<watch::Sender<bool>>,
    /// Closed when the worker is done.
    done: watch::Receiver<()>,
}

impl<DB: Ledger, S> InboxWorker<DB, S> {
    /// Makes a worker of the pool that the handlers' transactions come from, and the handlers: any
    /// service, as an [`EventRouter`](crate::EventRouter) or an `axum::Router`, with or without the
    /// service's own layers. A router is asked for `/`.
    ///
    /// All workers of an endpoint want the same handlers: what one of them has none for leaves the inbox.
    ///
    /// In the process of an inbox, [`Inbox::worker`](crate::Inbox::worker) makes one that is woken by it and shares its pool.
    pub fn new(pool: Pool<DB>, service: S) -> Self {
        let endpoint = ENDPOINT_DEFAULT.into();
        Self::beside(Processor::new(pool), endpoint, 0, None, service)
    }

    pub(super) fn beside(
        processor: Processor<DB>,
        endpoint: Arc<str>,
        places_left: usize,
        stored: Option<watch::Receiver<()>>,
        service: S,
    ) -> Self {
        Self {
            processor,
            service,
            policy: RetryPolicy::new(),
            endpoint: Some(endpoint),
            concurrency: CONCURRENCY_DEFAULT,
            places_left,
            poll_interval: POLL_INTERVAL_DEFAULT,
            stored,
        }
    }

    /// Takes the entries of this endpoint; of
    /// [`ENDPOINT_DEFAULT`](crate::once::ENDPOINT_DEFAULT), or of its inbox's, unless set. Each endpoint
    /// wants a worker: what is stored at another waits.
    pub fn endpoint(mut self, label: impl Into<Arc<str>>) -> Self {
        self.endpoint = Some(label_or_default(label.into()));
        self
    }

    /// Takes the entries of every endpoint, where all have the same handlers: those of
    /// [tenants](crate::Provided::endpoint), say. What the handlers have no use for is gone.
    pub fn every_endpoint(mut self) -> Self {
        self.endpoint = None;
        self
    }

    /// See [`CONCURRENCY_DEFAULT`]. At least one.
    pub fn concurrency(mut self, events: usize) -> Self {
        self.concurrency = events;
        self
    }

    /// See [`POLL_INTERVAL_DEFAULT`]. At least a millisecond.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval.max(Duration::from_millis(1));
        self
    }

    /// When an event that has failed is tried again.
    pub fn retry_policy(mut self, policy: RetryPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the step before the transaction, as
    /// [`ProcessOnceLayer::prepare`](crate::ProcessOnceLayer::prepare) does.
    pub fn prepare<F, Fut, T, E>(mut self, step: F) -> Self
    where
        F: Fn(VerifiedStripeEvent) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Clone + Send + Sync + 'static,
        E: Into<ErrorResponse>,
    {
        self.processor.prepare(step);
        self
    }

    /// See [`PREPARE_TIME_MAX_DEFAULT`](crate::once::PREPARE_TIME_MAX_DEFAULT).
    pub fn prepare_time_max(mut self, limit: Duration) -> Self {
        self.processor.prepare_time_max = limit;
        self
    }

    /// See [`HANDLER_TIME_MAX_DEFAULT`](crate::once::HANDLER_TIME_MAX_DEFAULT). Nobody waits for a
    /// worker's handler, so it may be longer than inline.
    pub fn handler_time_max(mut self, limit: Duration) -> Self {
        self.processor.ledger.limits.handler_time_max = limit;
        self
    }

    /// See [`ACQUIRE_TIME_MAX_DEFAULT`](crate::once::ACQUIRE_TIME_MAX_DEFAULT).
    pub fn acquire_time_max(mut self, limit: Duration) -> Self {
        self.processor.ledger.limits.acquire_time_max = limit;
        self
    }

    /// See [`ProcessOnceLayer::persistent_statements`](crate::ProcessOnceLayer::persistent_statements).
    pub fn persistent_statements(mut self, persistent: bool) -> Self {
        self.processor.ledger.is_persistent = persistent;
        self
    }

    /// As many as are wanted, and as there are places.
    fn slots(&self) -> usize {
        let places = self.processor.ledger.places();
        let places = places.saturating_sub(self.places_left).max(1);
        self.concurrency.clamp(1, places)
    }

    /// How long a worker has an entry: what prepares, waits and runs is over by then. If it is not, another
    /// worker may take the entry over, and this one cannot complete it any more.
    fn lease_time(&self) -> Duration {
        let limits = &self.processor.ledger.limits;
        [
            self.processor.prepare_time_max,
            // Once for the look before the step, once for the transaction.
            limits.acquire_time_max,
            limits.acquire_time_max,
            limits.claim_wait_max,
            limits.handler_time_max,
            LEASE_TIME_MARGIN,
        ]
        .iter()
        .fold(Duration::ZERO, |sum, limit| sum.saturating_add(*limit))
    }
}

impl<DB, S> InboxWorker<DB, S>
where
    S: Service<Request, Response: IntoResponse, Error: Into<Infallible>, Future: Send>,
    S: Clone + Send + 'static,
    DB: Ledger,
{
    /// Starts working, in tasks of the current runtime.
    pub fn start(self) -> RunningWorker {
        let (stop, stopped) = watch::channel(false);
        let (alive, done) = watch::channel(());
        let concurrency = self.slots();
        let lease_time = self.lease_time();
        let working = Working {
            worker: self,
            concurrency,
            lease_time,
            stopped,
            slots: JoinSet::new(),
            handover: Handover::new(),
            failures: 0,
        };
        tokio::spawn(async move {
            working.run().await;
            drop(alive);
        });
        RunningWorker {
            stop: Arc::new(stop),
            done,
        }
    }
}

impl RunningWorker {
    /// Has the worker take nothing more, and waits until what it has is done: each attempt within its
    /// limits. May be called again, and from several places at once.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, the worker stops all the same.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let mut done = self.done.clone();
        // An error means that it is closed, which is what is waited for.
        while done.changed().await.is_ok() {}
    }
}

struct Working<DB: Ledger, S> {
    worker: InboxWorker<DB, S>,
    concurrency: usize,
    lease_time: Duration,
    stopped: watch::Receiver<bool>,
    slots: JoinSet<()>,
    /// Between events, as long as more of them are due than there are slots.
    handover: Handover<DB>,
    /// Looks in a row that have failed.
    failures: u32,
}

/// When to look again.
enum Next {
    /// More may be due: as soon as there are slots.
    Slots,
    /// After a while, or when something is stored.
    Later(Duration),
}

impl<DB, S> Working<DB, S>
where
    S: Service<Request, Response: IntoResponse, Error: Into<Infallible>, Future: Send>,
    S: Clone + Send + 'static,
    DB: Ledger,
{
    async fn run(mut self) {
        while !*self.stopped.borrow() {
            let next = self.look().await;
            self.wait(next).await;
        }
        self.handover.set_open(false);
        while self.slots.join_next().await.is_some() {}
    }

    /// Takes as many of those that are due as there are slots free, and begins with each.
    async fn look(&mut self) -> Next {
        while self.slots.try_join_next().is_some() {}
        let free = self.concurrency.saturating_sub(self.slots.len());
        if free == 0 {
            return Next::Slots;
        }
        match self.lease(free, false).await {
            Ok(due) => {
                self.failures = 0;
                let leased = due.leased.len();
                let more_may_be_due = leased == free && !due.has_suspects;
                self.handover.set_open(more_may_be_due);
                for leased in due.leased {
                    let attempt = self.attempt(leased, false);
                    self.slots.spawn(attempt);
                }
                if due.has_suspects && self.run_suspect().await {
                    return Next::Later(Duration::ZERO);
                }
                match leased == free {
                    true => Next::Slots,
                    false => Next::Later(self.worker.poll_interval),
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Takes one entry whose last attempt left no outcome, and runs it with nothing else of this worker:
    /// it may well be what has killed the other process. False: somebody else was quicker, or has it
    /// still; or it could not be looked for.
    async fn run_suspect(&mut self) -> bool {
        while self.slots.join_next().await.is_some() {}
        if *self.stopped.borrow() {
            return false;
        }
        let due = match self.lease(1, true).await {
            Ok(due) => due,
            Err(error) => {
                telemetry::lease_failed(&error);
                return false;
            }
        };
        let found = !due.leased.is_empty();
        for leased in due.leased {
            let attempt = self.attempt(leased, true);
            self.slots.spawn(attempt);
        }
        while self.slots.join_next().await.is_some() {}
        found
    }

    fn failed(&mut self, error: &LedgerError) -> Next {
        self.handover.set_open(false);
        telemetry::lease_failed(error);
        let pause = self
            .worker
            .poll_interval
            .saturating_mul(1 << self.failures.min(5));
        self.failures = self.failures.saturating_add(1);
        Next::Later(pause.min(PAUSE_MAX.max(self.worker.poll_interval)))
    }

    // Borrowed mutably: shared across an await, the service would have to be `Sync`.
    async fn lease(&mut self, limit: usize, suspects: bool) -> Result<Due, LedgerError> {
        let wanted = Wanted {
            endpoint: self.worker.endpoint.as_deref(),
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
            lease_time: self.lease_time,
            suspects,
        };
        // What waits for a next event must be in nobody's way meanwhile.
        if self.worker.processor.ledger.is_waited_for() {
            self.handover.set_open(false);
        }
        // What is leased and not heard of would be taken for what a process has died of.
        let mut idle = self
            .worker
            .processor
            .ledger
            .transaction_besides(Purpose::Lease)
            .await?;
        let due = within_statement(DB::lease(idle.on(), &wanted)).await;
        idle.settle(due).await
    }

    fn attempt(
        &self,
        leased: Leased,
        is_suspect: bool,
    ) -> impl Future<Output = ()> + Send + 'static + use<DB, S> {
        let attempt = Attempt {
            processor: self.worker.processor.clone(),
            policy: self.worker.policy.clone(),
            lease_time: self.lease_time,
            is_suspect,
            leased,
            handover: self.handover.clone(),
        };
        // In this task, which must outlive it.
        let service = AssertUnwindSafe(|| self.worker.service.clone());
        attempt.run(catch_unwind(service).ok())
    }

    async fn wait(&mut self, next: Next) {
        match next {
            Next::Slots => {
                self.until_free(1).await;
                let enough = self.until_free(self.concurrency.div_ceil(2));
                let _gathered_or_long_enough = timeout(GATHER_TIME_MAX, enough).await;
            }
            Next::Later(pause) => tokio::select! {
                () = sleep(pause) => {}
                () = stored(&mut self.worker.stored), if self.failures == 0 => {}
                () = stopped(&mut self.stopped) => {}
            },
        }
    }

    /// Waits until so many slots are free, or the worker is told to stop.
    async fn until_free(&mut self, slots: usize) {
        while self.concurrency.saturating_sub(self.slots.len()) < slots {
            tokio::select! {
                _ = self.slots.join_next() => {}
                () = stopped(&mut self.stopped) => return,
            }
        }
    }
}

/// Resolves when the worker is told to stop. Whoever could tell it has gone: never.
async fn stopped(stopped: &mut watch::Receiver<bool>) {
    if stopped.wait_for(|stopped| *stopped).await.is_err() {
        pending::<()>().await;
    }
}

/// Resolves when something has been stored in this process since the last look.
async fn stored(stored: &mut Option<watch::Receiver<()>>) {
    let told = match stored {
        Some(stored) => stored.changed().await.is_ok(),
        None => false,
    };
    if !told {
        pending::<()>().await;
    }
}

impl<DB: Ledger, S> fmt::Debug for InboxWorker<DB, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxWorker")
            .field("processor", &self.processor)
            .field("policy", &self.policy)
            .field("endpoint", &self.endpoint)
            .field("concurrency", &self.concurrency)
            .field("poll_interval", &self.poll_interval)
            .finish_non_exhaustive()
    }
}
