use std::{
    fmt, mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::Pool;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::record::{AuditSink, DeliveryRecord};
use crate::{
    clock,
    ledger::{DeliveryRow, Ledger, LedgerAccess, LedgerError, Limits, unix_ms, within_statement},
    telemetry,
};

/// Most records that wait to be written. What is not genuine may take half of the places.
pub const QUEUE_MAX: usize = 4096;

/// Most rows in a second of deliveries that are not genuine, for each [`AuditTable`].
pub const REFUSED_PER_SECOND_MAX: u32 = 100;

/// How long records wait for others, to be written together.
pub const GATHER_TIME: Duration = Duration::from_millis(250);

/// Rows of one statement.
const GROUP_MAX: usize = 1000;

/// How long to wait after a group that could not be written, at first and at most.
const RETRY_TIME_MIN: Duration = Duration::from_secs(1);
const RETRY_TIME_MAX: Duration = Duration::from_secs(30);

/// Records deliveries as rows of `stripe_deliveries`. Cloning it is cheap; clones share everything.
///
/// A task writes them, in groups: the request's way ends in a queue of [`QUEUE_MAX`] places. **It never
/// slows or fails a delivery**: what finds no place is left out and [counted](Self::left_out), and so is
/// what exceeds [`REFUSED_PER_SECOND_MAX`]. While the database is away the queue fills up; what is in it
/// is written afterwards.
///
/// Rows are not part of an event's transaction: the last [`GATHER_TIME`] of them can be lost with the
/// process. [`Retention`](crate::inbox::Retention) deletes them when they are old.
///
/// ```no_run
/// use axum_stripe_webhook::{AuditLayer, audit::AuditTable};
///
/// # async fn serve(pool: sqlx::PgPool) {
/// let table = AuditTable::start(pool);
/// let layer = AuditLayer::to(table.clone());
/// // … serve, and when the server has ended:
/// table.drain().await;
/// # }
/// ```
#[derive(Clone)]
pub struct AuditTable {
    records: mpsc::Sender<DeliveryRow>,
    refused: Arc<Mutex<Second>>,
    left_out: Arc<AtomicU64>,
    stop: Arc<watch::Sender<bool>>,
}

impl AuditTable {
    /// Starts the task that writes. It takes one connection of the pool at a time, while it writes.
    ///
    /// The tables must be there: see [`migrate`](crate::migrate).
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start<DB: Ledger>(pool: Pool<DB>) -> Self {
        let (records, queued) = mpsc::channel(QUEUE_MAX);
        let (stop, stopped) = watch::channel(false);
        let left_out = Arc::default();
        let mut access = LedgerAccess::new(pool, Limits::default());
        // A few statements in a second are worth no prepared one, which an old PgBouncer would refuse.
        access.is_persistent = false;
        let writer = Writer {
            access,
            queued,
            stopped,
            left_out: Arc::clone(&left_out),
        };
        tokio::spawn(writer.run());
        Self {
            records,
            refused: Arc::default(),
            left_out,
            stop: Arc::new(stop),
        }
    }

    /// How many records were left out since the start.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// Writes what is queued, if the database takes it at once, and ends. What comes later is left out.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, the task still ends.
    pub async fn drain(&self) {
        self.stop.send_replace(true);
        self.stop.closed().await;
    }

    /// A place for the record, or why there is none.
    fn place(&self, is_genuine: bool) -> Result<mpsc::Permit<'_, DeliveryRow>, &'static str> {
        if !is_genuine {
            if self.records.capacity() <= QUEUE_MAX / 2 {
                return Err("queue_full");
            }
            let mut second = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            if !second.admit(clock::unix_seconds()) {
                return Err("rate");
            }
        }
        self.records.try_reserve().map_err(|_| "queue_full")
    }
}

impl AuditSink for AuditTable {
    fn record(&self, delivery: &DeliveryRecord) {
        match self.place(delivery.is_genuine()) {
            Ok(place) => place.send(row(delivery)),
            Err(reason) => leave_out(&self.left_out, 1, reason),
        }
    }
}

impl fmt::Debug for AuditTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditTable")
            .field("left_out", &self.left_out())
            .finish_non_exhaustive()
    }
}

fn leave_out(left_out: &AtomicU64, records: u64, reason: &'static str) {
    left_out.fetch_add(records, Ordering::Relaxed);
    telemetry::audit_left_out(records, reason);
}

/// How many rows of refused deliveries there were in a second.
#[derive(Default)]
struct Second {
    second: u64,
    rows: u32,
}

impl Second {
    fn admit(&mut self, second: u64) -> bool {
        if self.second != second {
            *self = Self { second, rows: 0 };
        }
        let is_admitted = self.rows < REFUSED_PER_SECOND_MAX;
        self.rows += u32::from(is_admitted);
        is_admitted
    }
}

fn row(delivery: &DeliveryRecord) -> DeliveryRow {
    // A zero byte is no text for Postgres, and one row must not be in the way of others.
    let text = |text: Option<&str>| text.map(|text| text.replace('\0', "\u{fffd}"));
    let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    DeliveryRow {
        received_at_ms: unix_ms(delivery.received_at),
        duration_us: i64::try_from(delivery.duration.as_micros()).unwrap_or(i64::MAX),
        endpoint: text(delivery.endpoint()),
        outcome: delivery.outcome,
        status: delivery
            .status
            .and_then(|status| i16::try_from(status.as_u16()).ok()),
        event_id: text(delivery.event_id()),
        event_type: text(delivery.event_type()),
        secret_name: text(delivery.secret_name()),
        peer: delivery.peer.map(|peer| peer.to_string()),
        header_age_seconds: delivery.header_age_seconds(),
        body_bytes: delivery.body_bytes().map(whole),
        body_sha256: delivery.body_sha256(),
    }
}

struct Writer<DB: Ledger> {
    access: LedgerAccess<DB>,
    queued: mpsc::Receiver<DeliveryRow>,
    stopped: watch::Receiver<bool>,
    left_out: Arc<AtomicU64>,
}

impl<DB: Ledger> Writer<DB> {
    async fn run(mut self) {
        loop {
            let mut group = Vec::new();
            tokio::select! {
                biased;
                () = stopped(&mut self.stopped) => break,
                records = self.queued.recv_many(&mut group, GROUP_MAX) => if records == 0 { break },
            }
            self.gather(&mut group).await;
            self.write(&mut group).await;
        }
        // What comes from now on finds no place.
        self.queued.close();
        let mut group = Vec::new();
        while self.queued.recv_many(&mut group, GROUP_MAX).await > 0 {
            self.write(&mut group).await;
        }
    }

    /// Waits for others, unless there are enough.
    async fn gather(&mut self, group: &mut Vec<DeliveryRow>) {
        if self.queued.len().saturating_add(group.len()) < GROUP_MAX {
            let _stopped_early = timeout(GATHER_TIME, stopped(&mut self.stopped)).await;
        }
        while group.len() < GROUP_MAX {
            let Ok(row) = self.queued.try_recv() else {
                break;
            };
            group.push(row);
        }
    }

    /// Until it is written, or the end has come.
    async fn write(&mut self, group: &mut Vec<DeliveryRow>) {
        let group = mem::take(group);
        let mut wait = RETRY_TIME_MIN;
        while let Err(error) = self.insert(&group).await {
            telemetry::audit_failed(&error);
            let waited = timeout(wait, stopped(&mut self.stopped)).await;
            if waited.is_ok() {
                let rows = u64::try_from(group.len()).unwrap_or(u64::MAX);
                return leave_out(&self.left_out, rows, "not_written");
            }
            wait = wait.saturating_mul(2).min(RETRY_TIME_MAX);
        }
    }

    async fn insert(&self, rows: &[DeliveryRow]) -> Result<(), LedgerError> {
        let mut idle = self.access.idle_besides().await?;
        let inserted = within_statement(DB::insert_deliveries(idle.on(), rows)).await;
        idle.settle(inserted).await
    }
}

/// Resolves when the writer is told to stop, or nobody is left to tell it anything.
async fn stopped(stopped: &mut watch::Receiver<bool>) {
    let _told_or_alone = stopped.wait_for(|stopped| *stopped).await;
}
