use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde_json::Value;

use crate::testing::SampleEvent;

/// Makes what deliveries carry, each event with ids that nobody has seen before.
pub(super) struct Events {
    sample: SampleEvent,
    /// In every id: by it what was sent is known again in an answer.
    marker: String,
    made: AtomicU64,
    is_compact: bool,
}

impl Events {
    pub(super) fn of(sample: &SampleEvent) -> Self {
        Self {
            sample: sample.clone(),
            marker: format!("probe{:016x}", fastrand::u64(..)),
            made: AtomicU64::new(0),
            is_compact: false,
        }
    }

    /// From now on without white space.
    pub(super) fn compact(&mut self) {
        self.is_compact = true;
    }

    pub(super) fn marker(&self) -> &str {
        &self.marker
    }

    /// A new event like the sample.
    pub(super) fn fresh(&self) -> SampleEvent {
        self.renamed(self.sample.clone())
    }

    /// A new event of another type.
    pub(super) fn of_type(&self, event_type: &str) -> SampleEvent {
        self.renamed(SampleEvent::of(event_type))
    }

    /// Under a new id, even if the sample has one that was set.
    fn renamed(&self, sample: SampleEvent) -> SampleEvent {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}n{number}", self.marker);
        let id = format!("evt_{name}");
        sample.named(name).id(id)
    }

    pub(super) fn body(&self, event: &SampleEvent) -> Bytes {
        match self.is_compact {
            true => compact(&event.to_value()),
            false => event.to_json().into(),
        }
    }

    pub(super) fn fresh_body(&self) -> Bytes {
        self.body(&self.fresh())
    }
}

pub(super) fn compact(event: &Value) -> Bytes {
    event.to_string().into()
}
