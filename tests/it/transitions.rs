//! The life of an entry, tried in arbitrary orders against a model of it: it goes every way that the
//! diagram in the docs of `inbox` shows, and no other.

use std::{cell::RefCell, collections::BTreeSet, time::Duration};

use axum::{http::StatusCode, response::IntoResponse};
use axum_stripe_webhook::{
    Disposition, EventTx, Guards, Mode, Operator,
    inbox::{EntryState, Retention, RetryPolicy},
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use sqlx::{Postgres, Sqlite};

use crate::{
    database::TestBackend,
    stored::{Stored, service},
};

const ATTEMPTS_MAX: u32 = 2;
const ID: &str = "evt_1";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Delivered,
    DeliveredAndStopped,
    Attempt(Handler),
    ProcessDies,
    Retry,
    Release,
    Discard,
    Scrub,
    Sweep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handler {
    Done,
    Fails,
    FailsForGood,
    Ignores,
    Discards,
    Quarantines,
    Misfits,
    NotYet,
}

/// What is known of the one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    entry: Option<Entry>,
    /// Its row in the ledger, and what holds it.
    ledger: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    state: EntryState,
    attempts: u32,
    has_payload: bool,
    in_attempt: bool,
    /// What has killed a process begins alone.
    died: bool,
}

impl Entry {
    fn new(state: EntryState) -> Option<Self> {
        Some(Self {
            state,
            attempts: 0,
            has_payload: true,
            in_attempt: false,
            died: false,
        })
    }
}

const PROCESSED: Option<&str> = Some("");

impl Model {
    fn take(&mut self, step: Step) {
        let state = self.entry.as_ref().map(|entry| entry.state);
        let has_payload = self.entry.as_ref().is_some_and(|entry| entry.has_payload);
        match (step, state) {
            (Step::Delivered, _) => self.delivered(),
            (Step::DeliveredAndStopped, Some(EntryState::Pending)) => {}
            (Step::DeliveredAndStopped, Some(EntryState::Dead)) if has_payload => {}
            (Step::DeliveredAndStopped, _) if self.ledger.is_none() => {
                self.entry = Entry::new(EntryState::Quarantined);
                self.ledger = Some("guard");
            }
            (Step::Attempt(handler), Some(EntryState::Pending)) => self.attempt(handler),
            (Step::ProcessDies, Some(EntryState::Pending)) => {
                let entry = self.entry.as_mut().unwrap();
                if entry.attempts < ATTEMPTS_MAX {
                    entry.attempts += 1;
                    entry.in_attempt = true;
                }
            }
            (Step::Retry, Some(EntryState::Dead | EntryState::Pending)) if has_payload => {
                let entry = self.entry.as_mut().unwrap();
                entry.in_attempt |= entry.died;
                (entry.state, entry.attempts) = (EntryState::Pending, 0);
            }
            (Step::Release, Some(EntryState::Quarantined)) if has_payload => {
                self.ledger = None;
                let entry = self.entry.as_mut().unwrap();
                (entry.state, entry.attempts) = (EntryState::Pending, 0);
            }
            (Step::Discard, Some(_)) => (self.entry, self.ledger) = (None, PROCESSED),
            (Step::Scrub, Some(EntryState::Dead | EntryState::Quarantined)) => {
                self.entry.as_mut().unwrap().has_payload = false;
            }
            (Step::Sweep, None) => self.ledger = None,
            _ => {}
        }
    }

    fn delivered(&mut self) {
        let is_scrubbed = self.entry.as_ref().is_some_and(|entry| !entry.has_payload);
        let is_held = matches!(self.ledger, Some("guard" | "misfit"))
            || (self.ledger == Some("handler") && is_scrubbed);
        let waits = self
            .entry
            .as_ref()
            .is_some_and(|entry| entry.has_payload && entry.state != EntryState::Quarantined);
        if is_held || (self.ledger.is_none() && !waits) {
            self.ledger = None;
            self.entry = Entry::new(EntryState::Pending);
        }
    }

    fn attempt(&mut self, handler: Handler) {
        let entry = self.entry.as_mut().unwrap();
        let died = entry.in_attempt && entry.attempts >= ATTEMPTS_MAX;
        (entry.in_attempt, entry.died) = (false, died);
        if died {
            return entry.state = EntryState::Dead;
        }
        entry.attempts += 1;
        match handler {
            Handler::Done | Handler::Discards => (self.entry, self.ledger) = (None, PROCESSED),
            Handler::Ignores => self.entry = None,
            Handler::Fails if entry.attempts < ATTEMPTS_MAX => {}
            Handler::Fails | Handler::FailsForGood => entry.state = EntryState::Dead,
            Handler::NotYet => entry.attempts -= 1,
            Handler::Quarantines | Handler::Misfits => {
                entry.state = EntryState::Quarantined;
                let is_misfit = handler == Handler::Misfits;
                self.ledger = Some(if is_misfit { "misfit" } else { "handler" });
            }
        }
    }
}

#[derive(serde::Deserialize)]
struct Other {
    #[expect(dead_code, reason = "it is not there")]
    elsewhere: String,
}

async fn handle<DB: TestBackend>(
    handler: Handler,
    mut tx: EventTx<DB>,
) -> axum::response::Response {
    DB::work(&mut tx, ID).await.unwrap();
    let reason = "said_so";
    match handler {
        Handler::Done => Disposition::Done.into_response(),
        Handler::Fails => StatusCode::BAD_GATEWAY.into_response(),
        Handler::FailsForGood => StatusCode::GONE.into_response(),
        Handler::Ignores => Disposition::Ignore.into_response(),
        Handler::Discards => Disposition::Discard { reason }.into_response(),
        Handler::Quarantines => Disposition::Quarantine { reason }.into_response(),
        Handler::NotYet => Disposition::NotYet.into_response(),
        Handler::Misfits => match tx.event().object::<Other>() {
            Ok(_) => StatusCode::OK.into_response(),
            Err(misfit) => misfit.into_response(),
        },
    }
}

async fn take<DB: TestBackend>(stored: &Stored<DB>, step: Step) {
    let operator = Operator::new("ada", "tried").unwrap();
    let operations = &stored.operations;
    match step {
        Step::Delivered => assert_eq!(stored.deliver(ID).await, StatusCode::OK),
        Step::DeliveredAndStopped => {
            let stopping = stored.again(|inbox| inbox.guards(Guards::new().mode(Mode::Live)));
            assert_eq!(stopping.deliver(ID).await, StatusCode::OK);
        }
        Step::Attempt(handler) => attempt(stored, handler).await,
        Step::ProcessDies => {
            let died = "update stripe_inbox set in_attempt = true, attempts = attempts + 1,
                fence = fence + 1, due_at = received_at where state = 'pending' and attempts < 2";
            stored.run(died).await;
        }
        // An operator who is refused changes nothing, which the model says.
        Step::Retry => drop(operations.retry(ID, "default", &operator).await),
        Step::Release => drop(operations.release(ID, "default", &operator).await),
        Step::Discard => drop(operations.discard(ID, "default", &operator).await),
        Step::Scrub => {
            DB::age(&stored.pool, "stripe_inbox", "received_at", 400).await;
            let scrub = Retention::new(stored.pool.clone()).ledger_age_max(Duration::MAX);
            scrub.sweep().await.unwrap();
        }
        Step::Sweep => {
            DB::age(&stored.pool, "processed_stripe_events", "processed_at", 400).await;
            let sweep = Retention::new(stored.pool.clone()).payload_age_max(Duration::MAX);
            sweep.sweep().await.unwrap();
        }
    }
}

/// One attempt, if anything waits: whatever it waits for has passed.
async fn attempt<DB: TestBackend>(stored: &Stored<DB>, handler: Handler) {
    stored
        .run("update stripe_inbox set due_at = received_at where state = 'pending'")
        .await;
    let fences = "select cast(fence as text) from stripe_inbox where state = 'pending'";
    let fences = DB::texts(&stored.pool, fences).await;
    let Some(fence) = fences.first() else { return };
    let handler = move |tx: EventTx<DB>| handle(handler, tx);
    let patient = RetryPolicy::new().attempts_max(ATTEMPTS_MAX);
    let patient = patient.retry_time_first(Duration::from_secs(3600));
    // It looks once.
    let worker = stored.worker(service(handler)).retry_policy(patient);
    let worker = worker.poll_interval(Duration::from_secs(3600)).start();
    stored.until_past(fence.parse().unwrap()).await;
    worker.stop().await;
}

async fn found<DB: TestBackend>(stored: &Stored<DB>) -> Model {
    let held = "select coalesce(held_by, '') from processed_stripe_events";
    let ledger = DB::texts(&stored.pool, held)
        .await
        .pop()
        .map(|held| match held.as_str() {
            "guard" => "guard",
            "misfit" => "misfit",
            "handler" => "handler",
            _ => "",
        });
    let in_attempt = stored.count("stripe_inbox where in_attempt").await == 1;
    let died = stored
        .count("stripe_inbox where last_error = 'process_died'")
        .await
        == 1;
    let entry = stored.entries().await.pop().map(|entry| Entry {
        state: entry.state,
        attempts: entry.attempts,
        has_payload: entry.payload_bytes.is_some(),
        in_attempt,
        died,
    });
    Model { entry, ledger }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let handler = select(vec![
        Handler::Done,
        Handler::Fails,
        Handler::FailsForGood,
        Handler::Ignores,
        Handler::Discards,
        Handler::Quarantines,
        Handler::Misfits,
        Handler::NotYet,
    ]);
    let step = prop_oneof![
        4 => Just(Step::Delivered),
        4 => Just(Step::DeliveredAndStopped),
        5 => handler.prop_map(Step::Attempt),
        1 => Just(Step::ProcessDies),
        2 => Just(Step::Retry),
        2 => Just(Step::Release),
        1 => Just(Step::Discard),
        3 => Just(Step::Scrub),
        1 => Just(Step::Sweep),
    ];
    vec(step, 1..20)
}

fn word(model: &Model) -> &'static str {
    model
        .entry
        .as_ref()
        .map_or("gone", |entry| entry.state.code())
}

fn an_entry_goes_every_way_of_the_diagram_and_no_other<DB: TestBackend>() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stored = runtime.block_on(Stored::<DB>::new());
    let ways = RefCell::new(BTreeSet::new());
    let config = Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    };
    // The same cases each time, so that they go all ways each time.
    let rng = proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let case = |steps: Vec<Step>| {
        runtime.block_on(async {
            stored.run("delete from stripe_inbox").await;
            stored.run("delete from processed_stripe_events").await;
            let mut model = Model::default();
            for step in steps {
                let before = word(&model);
                model.take(step);
                take(&stored, step).await;
                assert_eq!(found(&stored).await, model, "after {step:?}");
                if before != word(&model) {
                    ways.borrow_mut().insert((before, word(&model)));
                }
            }
        });
        Ok(())
    };
    runner.run(&steps(), case).unwrap();
    let diagram = [
        ("gone", "pending"),
        ("gone", "quarantined"),
        ("pending", "gone"),
        ("pending", "dead"),
        ("pending", "quarantined"),
        ("dead", "pending"),
        ("dead", "gone"),
        ("dead", "quarantined"),
        ("quarantined", "pending"),
        ("quarantined", "gone"),
    ];
    assert_eq!(ways.into_inner(), diagram.into());
}

#[test]
fn an_entry_goes_every_way_of_the_diagram_and_no_other_on_postgres() {
    an_entry_goes_every_way_of_the_diagram_and_no_other::<Postgres>();
}

#[test]
fn an_entry_goes_every_way_of_the_diagram_and_no_other_on_sqlite() {
    an_entry_goes_every_way_of_the_diagram_and_no_other::<Sqlite>();
}
