use std::{fmt, time::Duration};

use sqlx::Pool;
use tokio::time::sleep;

use super::operations::OperationError;
use crate::{
    guard::EVENT_AGE_MAX_DEFAULT,
    ledger::{Ledger, LedgerAccess, LedgerError, Limits, within_statement},
    telemetry,
};

/// How long the ledger remembers an event, unless set: as old as one may be that the guards let through.
pub const LEDGER_AGE_MAX_DEFAULT: Duration = EVENT_AGE_MAX_DEFAULT;

/// How long it remembers an event at least. Stripe can be asked to send one again for 30 days.
pub const LEDGER_AGE_MAX_MIN: Duration = Duration::from_secs(35 * 24 * 60 * 60);

/// How long the payload of a dead or quarantined entry is kept, unless set.
pub const PAYLOAD_AGE_MAX_DEFAULT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How long a row of `stripe_deliveries` is kept, unless set.
pub const DELIVERY_AGE_MAX_DEFAULT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Rows of a statement: few enough that nobody waits for their locks.
const BATCH: i64 = 1000;

/// Statements of each kind in one sweep.
const BATCHES_MAX: u64 = 100;

/// Deletes what has grown old: rows of processed events and of objects, and the payloads of entries that
/// nobody has looked after.
///
/// - Rows of `processed_stripe_events` and of `stripe_objects` go after
///   [`ledger_age_max`](Self::ledger_age_max). Those of events that are held stay.
/// - Dead and quarantined entries stay; their payloads go after
///   [`payload_age_max`](Self::payload_age_max), and with them what could be run. Have Stripe send the
///   event again then.
/// - Rows of `stripe_deliveries` go after [`delivery_age_max`](Self::delivery_age_max).
/// - `stripe_effects` and `stripe_actions` stay.
///
/// **An event that is older than the ledger's memory is processed again if it is sent again.** So the
/// guards stop such events: who shortens the one shortens the other, with
/// [`Guards::event_age_max`](crate::Guards::event_age_max).
///
/// ```no_run
/// use std::time::Duration;
///
/// use axum_stripe_webhook::inbox::Retention;
/// # fn start(pool: sqlx::PgPool) {
/// let hour = Duration::from_secs(60 * 60);
/// tokio::spawn(Retention::new(pool).sweep_every(hour));
/// # }
/// ```
#[must_use = "nothing is swept until `sweep` or `sweep_every` is called"]
pub struct Retention<DB: Ledger> {
    ledger: LedgerAccess<DB>,
    ledger_age_max: Duration,
    payload_age_max: Duration,
    delivery_age_max: Duration,
}

/// What a sweep has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// Rows that have left `processed_stripe_events`.
    pub events: u64,
    /// Rows that have left `stripe_objects`.
    pub objects: u64,
    /// Entries of `stripe_inbox` that have lost their payload.
    pub payloads: u64,
    /// Rows that have left `stripe_deliveries`.
    pub deliveries: u64,
    /// Whether there was more than one sweep takes.
    pub is_partial: bool,
}

impl<DB: Ledger> Retention<DB> {
    /// With the defaults.
    pub fn new(pool: Pool<DB>) -> Self {
        Self {
            ledger: LedgerAccess::new(pool, Limits::default()),
            ledger_age_max: LEDGER_AGE_MAX_DEFAULT,
            payload_age_max: PAYLOAD_AGE_MAX_DEFAULT,
            delivery_age_max: DELIVERY_AGE_MAX_DEFAULT,
        }
    }

    /// How long the ledger remembers an event; see [`LEDGER_AGE_MAX_DEFAULT`]. Less than
    /// [`LEDGER_AGE_MAX_MIN`] counts as that.
    pub fn ledger_age_max(mut self, age: Duration) -> Self {
        self.ledger_age_max = age.max(LEDGER_AGE_MAX_MIN);
        self
    }

    /// How long a dead or quarantined entry keeps its payload; see [`PAYLOAD_AGE_MAX_DEFAULT`].
    pub fn payload_age_max(mut self, age: Duration) -> Self {
        self.payload_age_max = age;
        self
    }

    /// How long the audit trail remembers a delivery; see [`DELIVERY_AGE_MAX_DEFAULT`].
    pub fn delivery_age_max(mut self, age: Duration) -> Self {
        self.delivery_age_max = age;
        self
    }

    /// See [`ProcessOnceLayer::persistent_statements`](crate::ProcessOnceLayer::persistent_statements).
    pub fn persistent_statements(mut self, persistent: bool) -> Self {
        self.ledger.is_persistent = persistent;
        self
    }

    /// Sweeps once: in batches of a thousand rows, each committed by itself, and at most a hundred
    /// thousand of each kind. Several may sweep at once.
    ///
    /// # Errors
    ///
    /// [`OperationError::Database`]; what was swept by then is.
    ///
    /// # Cancel safety
    ///
    /// Dropped half way, what was swept by then is.
    pub async fn sweep(&self) -> Result<Swept, OperationError> {
        let mut swept = Swept::default();
        for (kind, sum) in [
            (Kind::Events, &mut swept.events),
            (Kind::Objects, &mut swept.objects),
            (Kind::Payloads, &mut swept.payloads),
            (Kind::Deliveries, &mut swept.deliveries),
        ] {
            swept.is_partial |= !self.sweep_all(kind, sum).await?;
        }
        Ok(swept)
    }

    /// Sweeps now, and again and again after this time. Never ends: spawn it. What fails is logged, and
    /// made good by the next sweep.
    pub async fn sweep_every(self, interval: Duration) {
        loop {
            match self.sweep().await {
                Ok(_) | Err(OperationError::InHand) => {}
                Err(OperationError::Database(error)) => telemetry::sweep_failed(&*error),
                Err(error) => telemetry::sweep_failed(&error),
            }
            sleep(interval.max(Duration::from_secs(1))).await;
        }
    }

    /// False: there is more than one sweep takes.
    async fn sweep_all(&self, kind: Kind, sum: &mut u64) -> Result<bool, LedgerError> {
        for _ in 0..BATCHES_MAX {
            let rows = self.batch(kind).await?;
            *sum = sum.saturating_add(rows);
            if rows < BATCH.unsigned_abs() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn batch(&self, kind: Kind) -> Result<u64, LedgerError> {
        let mut idle = self.ledger.idle_besides().await?;
        let on = idle.on();
        let rows = match kind {
            Kind::Events => {
                within_statement(DB::sweep_ledger(on, self.ledger_age_max, BATCH)).await
            }
            Kind::Objects => {
                within_statement(DB::sweep_objects(on, self.ledger_age_max, BATCH)).await
            }
            Kind::Payloads => within_statement(DB::scrub(on, self.payload_age_max, BATCH)).await,
            Kind::Deliveries => {
                within_statement(DB::sweep_deliveries(on, self.delivery_age_max, BATCH)).await
            }
        };
        idle.settle(rows).await
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Events,
    Objects,
    Payloads,
    Deliveries,
}

impl<DB: Ledger> fmt::Debug for Retention<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retention")
            .field("ledger_age_max", &self.ledger_age_max)
            .field("payload_age_max", &self.payload_age_max)
            .field("delivery_age_max", &self.delivery_age_max)
            .finish_non_exhaustive()
    }
}
