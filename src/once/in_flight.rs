use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The events that this process has in hand. It spares the database a burst of copies; that an
/// event is processed once does not rest on it.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight(Arc<Mutex<HashSet<Arc<str>>>>);

/// Keeps an event in flight until it is dropped.
#[derive(Debug)]
pub(super) struct InFlightEvent {
    events: InFlight,
    id: Arc<str>,
}

impl InFlight {
    /// Enters an event; `None` if it is in flight already.
    pub(super) fn enter(&self, id: &str) -> Option<InFlightEvent> {
        let id: Arc<str> = id.into();
        let entered = self.lock().insert(Arc::clone(&id));
        entered.then(|| InFlightEvent {
            events: self.clone(),
            id,
        })
    }

    /// A set is whole between any two of its operations, so a poisoned lock means nothing.
    fn lock(&self) -> MutexGuard<'_, HashSet<Arc<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlightEvent {
    fn drop(&mut self) {
        self.events.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_can_be_entered_again_once_it_has_left() {
        let in_flight = InFlight::default();
        let event = in_flight.enter("evt_1").expect("nothing is in flight");
        assert!(in_flight.enter("evt_1").is_none());
        assert!(in_flight.enter("evt_2").is_some());
        drop(event);
        assert!(in_flight.enter("evt_1").is_some());
    }
}
