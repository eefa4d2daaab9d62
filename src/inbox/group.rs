//! Deliveries that arrive together share a statement.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, iter, mem, slice,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use crate::{
    extract::VerifiedStripeEvent,
    ledger::{Accepted, Arrival, Ledger, LedgerAccess, LedgerError, within_statement},
    telemetry,
};

/// Events that share a statement, and their bytes together: what one message to the database may hold.
const GROUP_MAX: usize = 128;
/// See [`GROUP_MAX`].
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How often a group is stored anew that others have failed.
const SERIALIZATIONS_MAX: u32 = 5;

/// Stores events in groups. A delivery that finds nobody storing begins at once, with itself; what
/// arrives while a group is stored is the next group. So there is no timer, and an idle endpoint pays
/// no delay.
pub(super) struct Groups {
    backlog: Mutex<Backlog>,
    /// Wakes the workers of this process.
    stored: watch::Sender<()>,
}

struct Backlog {
    waiting: VecDeque<Waiting>,
    is_storing: bool,
}

struct Waiting {
    event: VerifiedStripeEvent,
    endpoint: Arc<str>,
    /// The event's own, or for one that is not deduplicated one that nobody else has.
    key: Arc<str>,
    answer: oneshot::Sender<Stored>,
    /// Whoever waits is counted, so that the backlog is bounded.
    _admission: OwnedSemaphorePermit,
}

/// What has become of a delivery's event.
pub(super) type Stored = Result<Accepted, Arc<LedgerError>>;

impl Groups {
    pub(super) fn new() -> Self {
        Self {
            backlog: Mutex::new(Backlog {
                waiting: VecDeque::new(),
                is_storing: false,
            }),
            stored: watch::Sender::new(()),
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.stored.subscribe()
    }

    /// Has an event stored. The answer fails to come if the runtime goes down, or if something of ours
    /// has panicked.
    pub(super) fn store<DB: Ledger>(
        self: &Arc<Self>,
        ledger: &LedgerAccess<DB>,
        event: VerifiedStripeEvent,
        endpoint: Arc<str>,
        admission: OwnedSemaphorePermit,
    ) -> oneshot::Receiver<Stored> {
        let (answer, answered) = oneshot::channel();
        let begin = {
            let mut backlog = self.lock();
            backlog.waiting.push_back(Waiting {
                key: key(&event),
                event,
                endpoint,
                answer,
                _admission: admission,
            });
            !mem::replace(&mut backlog.is_storing, true)
        };
        if begin {
            // A task of its own: what is being stored does not depend on the client who came first.
            let storing = Storing {
                groups: Arc::clone(self),
                has_ended: false,
            };
            tokio::spawn(storing.run(ledger.clone()));
        }
        answered
    }

    /// A backlog is whole between any two of its operations, so a poisoned lock means nothing.
    fn lock(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stores until nothing waits any more. There is one at a time.
struct Storing {
    groups: Arc<Groups>,
    /// By itself, because nobody waited: whoever stores now is somebody else.
    has_ended: bool,
}

impl Storing {
    async fn run<DB: Ledger>(mut self, ledger: LedgerAccess<DB>) {
        while let Some(group) = self.next() {
            store(&ledger, &group).await.tell(group);
            self.groups.stored.send_replace(());
        }
    }

    /// The next group; `None` when nobody waits, and then somebody else may store.
    fn next(&mut self) -> Option<Vec<Waiting>> {
        let mut backlog = self.groups.lock();
        let mut group = Vec::new();
        let mut bytes: usize = 0;
        while group.len() < GROUP_MAX
            && let Some(next) = backlog.waiting.front()
        {
            bytes = bytes.saturating_add(next.event.bytes().len());
            if bytes > GROUP_BYTES_MAX && !group.is_empty() {
                break;
            }
            group.extend(backlog.waiting.pop_front());
        }
        self.has_ended = group.is_empty();
        backlog.is_storing = !self.has_ended;
        (!self.has_ended).then_some(group)
    }
}

impl Drop for Storing {
    /// Dropped half way, by the runtime or a panic: nobody must wait for what will not come.
    fn drop(&mut self) {
        if !self.has_ended {
            let mut backlog = self.groups.lock();
            backlog.is_storing = false;
            backlog.waiting.clear();
        }
    }
}

/// What has become of the events of a group, by endpoint and key, and the types of those that were to be
/// stored.
struct Outcomes(BTreeMap<(Arc<str>, Arc<str>), (String, Stored)>);

impl Outcomes {
    fn tell(mut self, group: Vec<Waiting>) {
        for waiting in group {
            let key = (waiting.endpoint, waiting.key);
            let Some((event_type, stored)) = self.0.get_mut(&key) else {
                continue;
            };
            let told = match waiting.event.event_type() == event_type {
                true => stored.clone(),
                // Its twin may be one that nobody handles: what becomes of that must be seen first.
                false => Ok(Accepted::InFlight),
            };
            // A copy in the same group is one of what was stored with the first.
            if let (Ok(Accepted::Stored), Ok(accepted)) = (&told, stored) {
                *accepted = Accepted::Duplicate;
            }
            // A client that has gone does not hear of it.
            let _ = waiting.answer.send(told);
        }
    }
}

/// A group that the database refuses is stored one by one: one of its events may be the reason.
async fn store<DB: Ledger>(ledger: &LedgerAccess<DB>, group: &[Waiting]) -> Outcomes {
    // In the order of their keys: two groups that share events must not wait for each other crosswise.
    let mut events = BTreeMap::new();
    for waiting in group {
        let key = (Arc::clone(&waiting.endpoint), Arc::clone(&waiting.key));
        events.entry(key).or_insert_with(|| &waiting.event);
    }
    let arrivals: Vec<_> = events
        .iter()
        .map(|((endpoint, key), event)| Arrival::new(event, endpoint, key))
        .collect();
    let stored = match accept(ledger, &arrivals).await {
        Ok(accepted) => accepted.into_iter().map(Ok).collect(),
        Err(error) if arrivals.len() > 1 && error.is_about_a_row() => {
            telemetry::group_refused(&error, arrivals.len());
            accept_each(ledger, &arrivals).await
        }
        Err(error) => vec![Err(Arc::new(error)); arrivals.len()],
    };
    drop(arrivals);
    let types = events.values().map(|event| event.event_type().to_owned());
    let outcomes = types.zip(stored).collect::<Vec<_>>();
    Outcomes(events.into_keys().zip(outcomes).collect())
}

/// Each by itself, until one fails for a reason that is not its own.
async fn accept_each<DB: Ledger>(
    ledger: &LedgerAccess<DB>,
    arrivals: &[Arrival<'_>],
) -> Vec<Stored> {
    let mut stored = Vec::with_capacity(arrivals.len());
    for arrival in arrivals {
        let accepted = accept(ledger, slice::from_ref(arrival)).await;
        let accepted = accepted.and_then(|accepted| {
            let first = accepted.first().copied();
            first.ok_or(LedgerError::NotWritten)
        });
        match accepted {
            Ok(accepted) => stored.push(Ok(accepted)),
            Err(error) => {
                let is_its_own = error.is_about_a_row();
                let failed = Err(Arc::new(error));
                let others = if is_its_own {
                    1
                } else {
                    arrivals.len() - stored.len()
                };
                stored.extend(iter::repeat_n(failed, others));
                if !is_its_own {
                    break;
                }
            }
        }
    }
    stored
}

/// Where transactions are serializable by default, those that share no row can fail by each other.
async fn accept<DB: Ledger>(
    ledger: &LedgerAccess<DB>,
    arrivals: &[Arrival<'_>],
) -> Result<Vec<Accepted>, LedgerError> {
    for _ in 0..SERIALIZATIONS_MAX {
        match accept_once(ledger, arrivals).await {
            Err(error) if error.is_serialization() => {}
            accepted => return accepted,
        }
    }
    accept_once(ledger, arrivals).await
}

async fn accept_once<DB: Ledger>(
    ledger: &LedgerAccess<DB>,
    arrivals: &[Arrival<'_>],
) -> Result<Vec<Accepted>, LedgerError> {
    let mut idle = ledger.idle_besides().await?;
    let accepted = within_statement(DB::accept(idle.on(), arrivals)).await;
    idle.settle(accepted).await
}

/// All test events of the Dashboard have one id; each is stored.
fn key(event: &VerifiedStripeEvent) -> Arc<str> {
    let id = event.deduplication_id();
    match event.is_deduplicated() {
        true => id.into(),
        false => format!("{id}#{:016x}", fastrand::u64(..)).into(),
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backlog = self.lock();
        f.debug_struct("Groups")
            .field("backlog", &backlog.waiting.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever begins in the instant between the end and the drop of another.
    #[test]
    fn one_that_has_ended_leaves_what_the_next_one_is_to_store() {
        let groups = Arc::new(Groups::new());
        let storing = |groups: &Arc<Groups>| Storing {
            groups: Arc::clone(groups),
            has_ended: false,
        };
        let mut ended = storing(&groups);
        groups.lock().is_storing = true;
        assert!(ended.next().is_none());

        let event = r#"{"id": "evt_1", "object": "event", "type": "invoice.paid"}"#;
        let event = VerifiedStripeEvent::stored(event.into()).expect("an event");
        let admissions = Arc::new(tokio::sync::Semaphore::new(1));
        let (answer, mut answered) = oneshot::channel();
        let mut next = storing(&groups);
        {
            let mut backlog = groups.lock();
            backlog.is_storing = true;
            backlog.waiting.push_back(Waiting {
                key: key(&event),
                event,
                endpoint: "default".into(),
                answer,
                _admission: admissions.try_acquire_owned().expect("one is free"),
            });
        }
        drop(ended);
        assert!(
            answered
                .try_recv()
                .is_err_and(|error| error == oneshot::error::TryRecvError::Empty)
        );
        assert_eq!(next.next().map(|group| group.len()), Some(1));
        // One that is dropped half way has nobody wait for what will not come.
        drop(next);
        assert!(!groups.lock().is_storing);
    }
}
