//! Days of Stripe's deliveries in a moment.

use axum_stripe_webhook::testing::{LedgerSnapshot, LedgerState, SampleEvent, Simulator};

use crate::{
    database::TestBackend,
    endpoint::{Endpoint, work},
    stored::{Stored, service},
    stripe::SECRET,
};

on_both![
    days_of_deliveries_lose_nothing_and_double_nothing,
    days_of_deliveries_are_stored_and_run_once,
];

const EVENTS: usize = 200;

fn events() -> impl Iterator<Item = SampleEvent> {
    let types = [
        "checkout.session.completed",
        "invoice.paid",
        "v1.charge.refunded",
    ];
    let types = types.into_iter().cycle().take(EVENTS);
    types.map(SampleEvent::of)
}

async fn days_of_deliveries_lose_nothing_and_double_nothing<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(work::<DB>).await;
    let simulator = Simulator::new(SECRET).chaos();
    let report = simulator.run(endpoint.app.clone(), events()).await;
    report.assert_all_acknowledged();
    assert!(report.deliveries().len() > EVENTS, "{report}");
    endpoint.layer.drain().await;
    let events = i64::try_from(report.events()).unwrap();
    assert_eq!(endpoint.processed().await, (events, events));
}

async fn days_of_deliveries_are_stored_and_run_once<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    let worker = stored.inbox.worker(service(work::<DB>)).start();
    let simulator = Simulator::new(SECRET).chaos();
    let report = simulator.run(stored.app.clone(), events()).await;
    report.assert_all_acknowledged();
    stored.until_empty().await;
    worker.stop().await;
    let snapshot = LedgerSnapshot::of(&stored.pool).await.unwrap();
    assert_eq!(snapshot.count(&LedgerState::Processed), EVENTS);
    assert_eq!(snapshot.len(), EVENTS);
    let work = i64::try_from(EVENTS).unwrap();
    assert_eq!(DB::count(&stored.pool, "work").await, work);
}
