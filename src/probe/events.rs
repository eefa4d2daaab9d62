use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::testing::SampleEvent;

/// Makes what deliveries carry, each event with ids that nobody has seen before.
pub(super) struct Events {
    sample: SampleEvent,
    /// In every id: by it what was sent is known again in an answer.
    marker: String,
    made: AtomicU64,
    layout: Layout,
}

/// How the JSON of an event is laid out.
#[derive(Clone, Copy)]
pub(super) enum Layout {
    /// Indented, as Stripe has it.
    Indented,
    /// Without white space, as most libraries write it.
    Compact,
    /// With a space after each comma and colon, as Python writes it.
    Spaced,
}

impl Events {
    pub(super) fn of(sample: &SampleEvent) -> Self {
        Self {
            sample: sample.clone(),
            marker: format!("probe{:016x}", fastrand::u64(..)),
            made: AtomicU64::new(0),
            layout: Layout::Indented,
        }
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn lay_out(&mut self, layout: Layout) {
        self.layout = layout;
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
        self.layout.of(event)
    }

    pub(super) fn fresh_body(&self) -> Bytes {
        self.body(&self.fresh())
    }
}

impl Layout {
    pub(super) fn of(self, event: &SampleEvent) -> Bytes {
        match self {
            Self::Indented => event.to_json().into(),
            Self::Compact => event.to_value().to_string().into(),
            Self::Spaced => spaced(&event.to_json()).into(),
        }
    }
}

/// In one line: no string has a line's end in it, since JSON escapes that.
fn spaced(indented: &str) -> String {
    let parts = indented.lines().map(str::trim_start);
    let spaced = parts.flat_map(|part| [part, if part.ends_with(',') { " " } else { "" }]);
    spaced.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_spaced_layout_is_that_of_python() {
        let event = json!({"a": [1, {"b": "c, \n ,"}, []], "f": {}, "g": null});
        let indented = format!("{event:#}");
        let expected = r#"{"a": [1, {"b": "c, \n ,"}, []], "f": {}, "g": null}"#;
        assert_eq!(spaced(&indented), expected);
    }
}
