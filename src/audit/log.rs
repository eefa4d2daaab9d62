use super::record::{AuditSink, DeliveryRecord};
use crate::telemetry;

/// Records deliveries as log lines, `stripe delivery on record`.
///
/// Of genuine ones each, at `info`; of the others, which anybody can cause, at `debug` and no more than
/// [`LINES_PER_SECOND_MAX`](crate::telemetry::LINES_PER_SECOND_MAX) of each outcome.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct AuditLog {}

impl AuditLog {
    /// Makes one.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }
}

impl AuditSink for AuditLog {
    fn record(&self, delivery: &DeliveryRecord) {
        telemetry::recorded(delivery);
    }
}
