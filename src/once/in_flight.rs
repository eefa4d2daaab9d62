use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The events that this process has in hand, by endpoint and id. It spares the database a burst of
/// copies; that an event is processed once does not rest on it.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight(Arc<Mutex<HashSet<Key>>>);

type Key = (Arc<str>, Arc<str>);

/// Keeps an event in flight until it is dropped.
#[derive(Debug)]
pub(super) struct InFlightEvent {
    events: InFlight,
    key: Key,
}

impl InFlight {
    /// Enters an event; `None` if it is in flight already.
    pub(super) fn enter(&self, endpoint: &Arc<str>, id: &str) -> Option<InFlightEvent> {
        let key = (Arc::clone(endpoint), id.into());
        let entered = self.lock().insert(Key::clone(&key));
        entered.then(|| InFlightEvent {
            events: self.clone(),
            key,
        })
    }

    /// A set is whole between any two of its operations, so a poisoned lock means nothing.
    fn lock(&self) -> MutexGuard<'_, HashSet<Key>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlightEvent {
    fn drop(&mut self) {
        self.events.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_can_be_entered_again_once_it_has_left() {
        let in_flight = InFlight::default();
        let endpoint = "default".into();
        let event = in_flight
            .enter(&endpoint, "evt_1")
            .expect("nothing is in flight");
        assert!(in_flight.enter(&endpoint, "evt_1").is_none());
        assert!(in_flight.enter(&endpoint, "evt_2").is_some());
        drop(event);
        assert!(in_flight.enter(&endpoint, "evt_1").is_some());
    }

    #[test]
    fn endpoints_do_not_get_in_each_others_way() {
        let in_flight = InFlight::default();
        let _event = in_flight.enter(&"default".into(), "evt_1");
        assert!(in_flight.enter(&"connect".into(), "evt_1").is_some());
    }
}
