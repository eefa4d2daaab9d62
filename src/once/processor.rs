use std::{fmt, future::Future, sync::Arc, time::Duration};

use axum_core::response::ErrorResponse;
use sqlx::Pool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    DELIVERIES_MAX_DEFAULT, PREPARE_TIME_MAX_DEFAULT,
    answer::Answer,
    delivery::{Delivery, Source},
    in_flight::InFlight,
    prepare::{self, Prepare},
};
use crate::{
    extract::VerifiedStripeEvent,
    ledger::{Ledger, LedgerAccess, Limits},
};

/// Runs events through their transactions: what the layer, the inbox and its worker have in common.
/// Clones share their places, their admissions and what is in flight.
pub(crate) struct Processor<DB: Ledger> {
    pub(crate) ledger: LedgerAccess<DB>,
    pub(super) prepare: Option<Arc<Prepare>>,
    pub(crate) prepare_time_max: Duration,
    in_flight: InFlight,
    /// One for each delivery in progress; not waited for.
    admissions: Arc<Semaphore>,
    deliveries_max: u32,
}

impl<DB: Ledger> Processor<DB> {
    pub(crate) fn new(pool: Pool<DB>) -> Self {
        let (deliveries_max, admissions) = admissions(DELIVERIES_MAX_DEFAULT);
        Self {
            ledger: LedgerAccess::new(pool, Limits::default()),
            prepare: None,
            prepare_time_max: PREPARE_TIME_MAX_DEFAULT,
            in_flight: InFlight::default(),
            admissions,
            deliveries_max,
        }
    }

    pub(crate) fn prepare<F, Fut, T, E>(&mut self, step: F)
    where
        F: Fn(VerifiedStripeEvent) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Clone + Send + Sync + 'static,
        E: Into<ErrorResponse>,
    {
        self.prepare = Some(prepare::erase(step));
    }

    pub(crate) fn deliveries_max(&mut self, limit: usize) {
        (self.deliveries_max, self.admissions) = admissions(limit);
    }

    /// Leave to be in progress; `None`: too many are.
    pub(crate) fn admit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.admissions).try_acquire_owned().ok()
    }

    /// A delivery that is admitted, unless it is in flight already.
    pub(super) fn deliver(
        self,
        event: VerifiedStripeEvent,
        endpoint: Arc<str>,
        source: Source,
    ) -> Result<Delivery<DB>, Answer> {
        let enter = || self.in_flight.enter(&endpoint, event.deduplication_id());
        let _in_flight = event
            .is_deduplicated()
            .then(|| enter().ok_or(Answer::InFlight))
            .transpose()?;
        let _admission = Some(self.admit().ok_or(Answer::Overloaded)?);
        Ok(Delivery {
            processor: self,
            event,
            endpoint,
            source,
            handover: None,
            _in_flight,
            _admission,
        })
    }

    pub(crate) async fn drain(&self) {
        if let Ok(_all) = self.admissions.acquire_many(self.deliveries_max).await {
            self.admissions.close();
        }
    }
}

/// A semaphore hands out as many as a `u32` counts at once, and `drain` wants them all.
fn admissions(limit: usize) -> (u32, Arc<Semaphore>) {
    let limit = u32::try_from(limit.clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
    (limit, Arc::new(Semaphore::new(limit as usize)))
}

impl<DB: Ledger> Clone for Processor<DB> {
    fn clone(&self) -> Self {
        Self {
            ledger: self.ledger.clone(),
            prepare: self.prepare.clone(),
            prepare_time_max: self.prepare_time_max,
            in_flight: self.in_flight.clone(),
            admissions: Arc::clone(&self.admissions),
            deliveries_max: self.deliveries_max,
        }
    }
}

impl<DB: Ledger> fmt::Debug for Processor<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processor")
            .field("ledger", &self.ledger)
            .field("prepare_time_max", &self.prepare_time_max)
            .field("deliveries_max", &self.deliveries_max)
            .finish_non_exhaustive()
    }
}
