//! What a handler may say of an event.

use std::time::Duration;

use axum::{http::StatusCode, response::IntoResponse};
use axum_stripe_webhook::{Disposition, EventTx, StripeObject, VerifiedStripeEvent};
use serde::Deserialize;
use tower::ServiceExt;

use crate::{
    database::TestBackend,
    endpoint::{Endpoint, work},
    log, stripe,
};

on_both![
    each_disposition_does_what_its_table_says,
    what_is_ignored_is_asked_about_again,
    an_ignored_twin_is_not_in_the_way,
    what_is_discarded_is_never_run_again,
    an_event_that_cannot_be_kept_is_not_acknowledged,
    a_disposition_that_is_lost_on_the_way_loses_no_event,
    a_transaction_that_is_kept_is_not_quarantined,
    the_step_before_the_transaction_can_quarantine,
    an_object_that_does_not_fit_is_quarantined_with_its_path,
    an_error_of_the_object_passed_on_quarantines_too,
    a_misfit_is_not_in_the_way_of_a_delivery_that_fits,
    a_handler_that_leaves_its_transaction_is_500_whatever_it_says,
    what_an_operator_should_know_is_a_warning,
];

const DOCS: &str = include_str!("../../../src/disposition.rs");

const QUARANTINE: Disposition = Disposition::Quarantine { reason: "no_order" };
const DISCARD: Disposition = Disposition::Discard { reason: "spam" };

/// A handler that writes first, and says this.
fn says<DB: TestBackend>(
    disposition: Disposition,
) -> impl Fn(EventTx<DB>) -> futures_util::future::BoxFuture<'static, Disposition> + Clone + Send + Sync
{
    move |tx| {
        Box::pin(async move {
            work(tx).await;
            disposition
        })
    }
}

async fn endpoint<DB: TestBackend>(disposition: Disposition) -> Endpoint<DB> {
    Endpoint::new(says::<DB>(disposition)).await
}

async fn each_disposition_does_what_its_table_says<DB: TestBackend>() {
    // Answer; rows of the business, of the ledger and of the inbox.
    for (disposition, expected) in [
        (Disposition::Done, (200, 1, 1, 0)),
        (Disposition::Ignore, (200, 0, 0, 0)),
        (
            Disposition::RetryAfter(Duration::from_secs(7)),
            (503, 0, 0, 0),
        ),
        (Disposition::NotYet, (503, 0, 0, 0)),
        (QUARANTINE, (200, 0, 1, 1)),
        (DISCARD, (200, 0, 1, 0)),
    ] {
        let endpoint = endpoint::<DB>(disposition).await;
        let response = endpoint
            .app
            .clone()
            .oneshot(stripe::delivery(&stripe::event("evt_1")));
        let response = response.await.unwrap();
        if disposition == Disposition::RetryAfter(Duration::from_secs(7)) {
            assert_eq!(response.headers()["retry-after"], "7");
        }
        let answer = response.status().as_u16();
        let (ledger, work) = endpoint.processed().await;
        let inbox = endpoint.count("stripe_inbox").await;
        assert_eq!((answer, work, ledger, inbox), expected, "{disposition:?}");
        let name = format!("{disposition:?}");
        let name = name.split(['(', ' ']).next().unwrap();
        let writes = if work == 1 {
            "committed"
        } else {
            "rolled back"
        };
        let row = if ledger == 1 { "a row" } else { "no row" };
        let kept = if inbox == 1 {
            "the event, `quarantined` "
        } else {
            ""
        };
        let row = format!("/// | `{name}` | {writes} | {row} | {kept}| {answer} |");
        assert!(DOCS.contains(&row), "the table lacks {row}");
        let idle = async {
            while endpoint.pool.num_idle() < endpoint.pool.size() as usize {
                tokio::task::yield_now().await;
            }
        };
        let idle = tokio::time::timeout(Duration::from_secs(10), idle).await;
        idle.expect("every connection is given back");
        if disposition == QUARANTINE {
            let kept = "select event_id || ' ' || state || ' ' || last_error from stripe_inbox";
            assert_eq!(
                DB::texts(&endpoint.pool, kept).await,
                ["evt_1 quarantined handler_no_order"]
            );
        }
    }
}

async fn what_is_ignored_is_asked_about_again<DB: TestBackend>() {
    let endpoint = endpoint::<DB>(Disposition::Ignore).await;
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    let later = endpoint.other_process(work::<DB>, |layer| layer).await;
    assert_eq!(later.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(later.processed().await, (1, 1));
}

async fn an_ignored_twin_is_not_in_the_way<DB: TestBackend>() {
    let handler = |mut tx: EventTx<DB>| async move {
        if tx.event().event_type().starts_with("v1.") {
            return Disposition::Ignore;
        }
        DB::work(&mut tx, "evt_snapshot").await.unwrap();
        Disposition::Done
    };
    let endpoint = Endpoint::<DB>::new(handler).await;
    let thin = r#"{"id": "evt_thin", "object": "v2.core.event", "snapshot_event": "evt_snapshot",
        "type": "v1.checkout.session.completed"}"#;
    assert_eq!(endpoint.send(stripe::delivery(thin)).await, StatusCode::OK);
    assert_eq!(endpoint.deliver("evt_snapshot").await, StatusCode::OK);
    assert_eq!(endpoint.processed().await, (1, 1));
}

async fn what_is_discarded_is_never_run_again<DB: TestBackend>() {
    let endpoint = endpoint::<DB>(DISCARD).await;
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    let later = endpoint.other_process(work::<DB>, |layer| layer).await;
    assert_eq!(later.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(later.processed().await, (1, 0));
}

async fn an_event_that_cannot_be_kept_is_not_acknowledged<DB: TestBackend>() {
    let endpoint = endpoint::<DB>(QUARANTINE).await;
    let mut connection = endpoint.pool.acquire().await.unwrap();
    let hide = "alter table stripe_inbox rename to hidden";
    DB::run(&mut connection, hide).await.unwrap();
    let answer = endpoint.deliver("evt_1").await;
    assert_eq!(answer, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(endpoint.processed().await, (0, 0));
    let show = "alter table hidden rename to stripe_inbox";
    DB::run(&mut connection, show).await.unwrap();
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(endpoint.count("stripe_inbox").await, 1);
}

/// A layer between that makes a response of its own.
async fn a_disposition_that_is_lost_on_the_way_loses_no_event<DB: TestBackend>() {
    for disposition in [QUARANTINE, DISCARD] {
        let handler = move |tx: EventTx<DB>| async move {
            work(tx).await;
            disposition.into_response().status()
        };
        let endpoint = Endpoint::<DB>::new(handler).await;
        assert_eq!(
            endpoint.deliver("evt_1").await,
            StatusCode::INTERNAL_SERVER_ERROR
        );
        assert_eq!(endpoint.rows().await, 0);
    }
}

async fn a_transaction_that_is_kept_is_not_quarantined<DB: TestBackend>() {
    let (keep, kept) = std::sync::mpsc::channel();
    let handler = move |tx: EventTx<DB>| {
        keep.send(tx).unwrap();
        async { QUARANTINE }
    };
    let endpoint = Endpoint::<DB>::new(handler).await;
    assert_eq!(
        endpoint.deliver("evt_1").await,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    drop(kept);
    assert_eq!(endpoint.rows().await, 0);
}

async fn the_step_before_the_transaction_can_quarantine<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| {
        layer.prepare(|_: VerifiedStripeEvent| async { Err::<(), _>(QUARANTINE) })
    })
    .await;
    for _ in 0..2 {
        assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    }
    assert_eq!(endpoint.processed().await, (1, 0));
    assert_eq!(endpoint.count("stripe_inbox").await, 1);
}

#[derive(Deserialize)]
struct Misfit {
    #[expect(dead_code, reason = "it is never read")]
    amount_total: String,
}

async fn an_object_that_does_not_fit_is_quarantined_with_its_path<DB: TestBackend>() {
    let handler = |tx: EventTx<DB>, _: StripeObject<Misfit>| work(tx);
    let endpoint = Endpoint::<DB>::new(handler).await;
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(endpoint.processed().await, (1, 0));
    let kept = "select last_error from stripe_inbox";
    assert_eq!(
        DB::texts(&endpoint.pool, kept).await,
        ["object_misfit data.object.amount_total"]
    );
    let bytes = DB::payload(&endpoint.pool).await;
    assert_eq!(bytes, stripe::event("evt_1").as_bytes());
}

async fn an_error_of_the_object_passed_on_quarantines_too<DB: TestBackend>() {
    let handler = |tx: EventTx<DB>| async move {
        let event = tx.event().clone();
        work(tx).await;
        event.object::<Misfit>().map(|_| ())
    };
    let endpoint = Endpoint::<DB>::new(handler).await;
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(endpoint.processed().await, (1, 0));
    assert_eq!(endpoint.count("stripe_inbox").await, 1);
}

/// Of its snapshot twin, of another API version, or to a handler that was mended.
async fn a_misfit_is_not_in_the_way_of_a_delivery_that_fits<DB: TestBackend>() {
    #[derive(Deserialize)]
    struct Fits {
        #[expect(dead_code, reason = "it is never read")]
        amount_total: u64,
    }
    let handler = |_: StripeObject<Fits>, tx: EventTx<DB>| work(tx);
    let endpoint = Endpoint::<DB>::new(handler).await;
    let thin = r#"{"id": "evt_thin", "object": "v2.core.event", "snapshot_event": "evt_1",
        "type": "v1.checkout.session.completed"}"#;
    for _ in 0..2 {
        assert_eq!(endpoint.body(stripe::delivery(thin)).await, "kept\n");
        assert_eq!(endpoint.processed().await, (1, 0));
        assert_eq!(endpoint.count("stripe_inbox").await, 1);
    }
    for _ in 0..2 {
        assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    }
    assert_eq!(endpoint.send(stripe::delivery(thin)).await, StatusCode::OK);
    assert_eq!(endpoint.processed().await, (1, 1));
    assert_eq!(endpoint.count("stripe_inbox").await, 0);
}

/// What it writes after a ROLLBACK of its own stands on Postgres: nobody is to take it for rolled back.
async fn a_handler_that_leaves_its_transaction_is_500_whatever_it_says<DB: TestBackend>() {
    for answer in [
        QUARANTINE,
        DISCARD,
        Disposition::Ignore,
        Disposition::NotYet,
    ] {
        let handler = move |mut tx: EventTx<DB>| async move {
            DB::run(&mut tx, "rollback").await.unwrap();
            answer
        };
        let endpoint = Endpoint::<DB>::new(handler).await;
        assert_eq!(
            endpoint.deliver("evt_1").await,
            StatusCode::INTERNAL_SERVER_ERROR,
            "{answer:?}"
        );
        assert_eq!(endpoint.rows().await, 0);
    }
}

async fn what_an_operator_should_know_is_a_warning<DB: TestBackend>() {
    for (disposition, level, outcome) in [
        (QUARANTINE, " WARN ", "outcome=\"quarantined\""),
        (DISCARD, " WARN ", "outcome=\"discarded\""),
        (Disposition::Ignore, "DEBUG ", "outcome=\"ignored\""),
    ] {
        let log = log::of(async {
            endpoint::<DB>(disposition).await.deliver("evt_1").await;
        })
        .await;
        let line = log.lines().find(|line| line.contains(outcome)).unwrap();
        assert!(line.contains(level), "{line}");
        assert!(line.contains("event_id=\"evt_1\""), "{line}");
        if level == " WARN " {
            assert!(line.contains("reason=\"handler_"), "{line}");
        }
    }
}
