//! The audit trail: every delivery on record, and nothing of its payload.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Instant,
};

use axum::{Router, body::Body, http::Request, http::StatusCode};
use axum_stripe_webhook::{
    AuditLayer, EventTx, Guards, Mode,
    audit::{AuditSink, AuditTable, DeliveryRecord, REFUSED_PER_SECOND_MAX},
    inbox::Retention,
};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use crate::{
    database::TestBackend,
    endpoint::{Endpoint, work},
    metrics,
    stored::Stored,
    stripe,
};

on_both!(
    each_delivery_has_a_row_and_a_forgery_says_nothing_of_itself,
    a_flood_of_forgeries_is_counted_and_takes_no_genuine_deliverys_place,
    what_the_inbox_stores_is_on_record,
    a_database_that_is_away_delays_no_delivery_and_what_is_lost_is_counted,
    old_rows_are_swept,
    no_row_holds_a_marker,
);

const OUTCOMES: &str =
    "select outcome || ' ' || coalesce(status, 0) || ' ' || coalesce(event_id, '')
    from stripe_deliveries order by delivery_id";

async fn send(app: &Router, request: Request<Body>) -> StatusCode {
    app.clone().oneshot(request).await.unwrap().status()
}

fn audited<DB: TestBackend>(endpoint: &Endpoint<DB>) -> (Router, AuditTable) {
    let table = AuditTable::start(endpoint.pool.clone());
    let sender: IpAddr = "2001:db8::7".parse().unwrap();
    let audit = AuditLayer::to(table.clone()).peer(move |_| Some(sender));
    (endpoint.app.clone().layer(audit), table)
}

async fn fails_or_works<DB: TestBackend>(tx: EventTx<DB>) -> StatusCode {
    match tx.event().id() {
        "evt_fails" => StatusCode::BAD_GATEWAY,
        _ => work(tx).await,
    }
}

async fn each_delivery_has_a_row_and_a_forgery_says_nothing_of_itself<DB: TestBackend>() {
    let guards = Guards::new().mode(Mode::Test);
    let endpoint = Endpoint::<DB>::with(fails_or_works::<DB>, |layer| {
        layer.endpoint("shop").guards(guards)
    })
    .await;
    let (app, table) = audited(&endpoint);
    let body = stripe::event("evt_1");
    for id in ["evt_1", "evt_1", "evt_fails"] {
        send(&app, stripe::delivery(&stripe::event(id))).await;
    }
    let live = stripe::event("evt_live").replace("\"livemode\": false", "\"livemode\": true");
    assert_ne!(live, stripe::event("evt_live"));
    send(&app, stripe::delivery(&live)).await;
    send(&app, stripe::delivery_with(body.clone(), "t=1,v1=00")).await;
    send(&app, stripe::delivery_signed_before(&body, 301)).await;
    send(&app, stripe::delivery("\"no event\"")).await;
    send(
        &app,
        Request::get("/webhooks/stripe")
            .body(Body::empty())
            .unwrap(),
    )
    .await;
    table.drain().await;

    assert_eq!(
        DB::texts(&endpoint.pool, OUTCOMES).await,
        [
            "processed 200 evt_1",
            "duplicate 200 evt_1",
            "handler_failed 502 evt_fails",
            "quarantined 200 evt_live",
            "signature_mismatch 400 ",
            "timestamp_out_of_tolerance 400 ",
            "not_an_object 400 ",
            "not_received 405 ",
        ]
    );
    assert_eq!(table.left_out(), 0);
    let facts =
        "select endpoint || ' ' || event_type || ' ' || header_age_seconds || ' ' || body_bytes
        || ' ' || (duration_us > 0) from stripe_deliveries where outcome = 'handler_failed'";
    let [fact] = DB::texts(&endpoint.pool, facts).await.try_into().unwrap();
    let length = stripe::event("evt_fails").len();
    assert!(
        fact.starts_with("shop checkout.session.completed ")
            && fact.contains(&format!(" {length} ")),
        "{fact}"
    );
    let age = "select cast(header_age_seconds as text) from stripe_deliveries
        where outcome = 'timestamp_out_of_tolerance'";
    assert!(["301", "302"].contains(&&*DB::texts(&endpoint.pool, age).await[0]));
    the_hash_of_the_first_body_and_the_peer_are_on_record(&endpoint, &body).await;
}

async fn the_hash_of_the_first_body_and_the_peer_are_on_record<DB: TestBackend>(
    endpoint: &Endpoint<DB>,
    body: &str,
) {
    let hash = match DB::NAME {
        "SQLite" => {
            "select lower(hex(body_sha256)) from stripe_deliveries where body_sha256 is not null"
        }
        _ => {
            "select encode(body_sha256, 'hex') from stripe_deliveries where body_sha256 is not null"
        }
    };
    let expected: String = Sha256::digest(body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(DB::texts(&endpoint.pool, hash).await[0], expected);
    let peers = match DB::NAME {
        "SQLite" => "select distinct peer from stripe_deliveries",
        _ => "select distinct host(peer) from stripe_deliveries",
    };
    assert_eq!(DB::texts(&endpoint.pool, peers).await, ["2001:db8::7"]);
}

async fn a_flood_of_forgeries_is_counted_and_takes_no_genuine_deliverys_place<DB: TestBackend>() {
    const FLOOD: usize = 100_000;
    let measured = metrics::of(async {
        let endpoint = Endpoint::<DB>::new(work::<DB>).await;
        let (app, table) = audited(&endpoint);
        let body = stripe::event("evt_forged");
        let begun = Instant::now();
        for number in 0..FLOOD {
            let forgery = stripe::delivery_with(body.clone(), "t=1,v1=00");
            assert_eq!(send(&app, forgery).await, StatusCode::BAD_REQUEST);
            if number % 1000 == 0 {
                let genuine = stripe::event(&format!("evt_{number}"));
                assert_eq!(send(&app, stripe::delivery(&genuine)).await, StatusCode::OK);
            }
        }
        let seconds = usize::try_from(begun.elapsed().as_secs() + 2).unwrap();
        table.drain().await;
        let count = async |outcome: &str| {
            let outcomes = DB::texts(&endpoint.pool, "select outcome from stripe_deliveries").await;
            outcomes.iter().filter(|row| *row == outcome).count()
        };
        assert_eq!(count("processed").await, 100);
        let refused = count("signature_mismatch").await;
        assert!(
            (1..=seconds * REFUSED_PER_SECOND_MAX as usize).contains(&refused),
            "{refused}"
        );
        let left_out = usize::try_from(table.left_out()).unwrap();
        assert_eq!(refused + left_out, FLOOD);
    })
    .await;
    let sum = |name: &str| -> f64 {
        measured
            .iter()
            .filter(|(key, _)| key.starts_with(name))
            .map(|(_, value)| value)
            .sum()
    };
    assert_eq!(
        sum("stripe_rejections_total{rule=signature_mismatch}"),
        100_000.0
    );
    assert!(sum("stripe_audit_left_out_total") > 0.0, "{measured:?}");
}

async fn what_the_inbox_stores_is_on_record<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    let table = AuditTable::start(stored.pool.clone());
    let app = Router::new()
        .route(
            "/webhooks/stripe",
            axum::routing::post(stored.inbox.clone()),
        )
        .layer(AuditLayer::to(table.clone()));
    for id in ["evt_1", "evt_1"] {
        send(&app, stripe::delivery(&stripe::event(id))).await;
    }
    table.drain().await;
    assert_eq!(
        DB::texts(&stored.pool, OUTCOMES).await,
        ["stored 200 evt_1", "duplicate 200 evt_1"]
    );
}

async fn a_database_that_is_away_delays_no_delivery_and_what_is_lost_is_counted<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(work::<DB>).await;
    let (app, table) = audited(&endpoint);
    let mut connection = endpoint.pool.acquire().await.unwrap();
    DB::run(&mut connection, "drop table stripe_deliveries")
        .await
        .unwrap();
    drop(connection);
    assert_eq!(
        send(&app, stripe::delivery(&stripe::event("evt_1"))).await,
        StatusCode::OK
    );
    assert_eq!(endpoint.processed().await, (1, 1));
    table.drain().await;
    assert_eq!(table.left_out(), 1);
    // And after its end nothing waits for it.
    assert_eq!(
        send(&app, stripe::delivery(&stripe::event("evt_2"))).await,
        StatusCode::OK
    );
    assert_eq!(table.left_out(), 2);
}

async fn old_rows_are_swept<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(work::<DB>).await;
    let (app, table) = audited(&endpoint);
    send(&app, stripe::delivery(&stripe::event("evt_1"))).await;
    table.drain().await;
    let retention = Retention::new(endpoint.pool.clone());
    assert_eq!(retention.sweep().await.unwrap().deliveries, 0);
    DB::age(&endpoint.pool, "stripe_deliveries", "received_at", 91).await;
    assert_eq!(retention.sweep().await.unwrap().deliveries, 1);
    assert_eq!(endpoint.count("stripe_deliveries").await, 0);
}

async fn no_row_holds_a_marker<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(fails_or_works::<DB>).await;
    let (app, table) = audited(&endpoint);
    let body = stripe::event("evt_1");
    assert!(body.contains(stripe::PERSONAL));
    send(&app, stripe::delivery(&body)).await;
    for (_, forgery) in stripe::forgeries(&body) {
        send(&app, forgery).await;
    }
    table.drain().await;
    let rows = match DB::NAME {
        "SQLite" => "select coalesce(endpoint, '') || outcome || coalesce(event_id, '') || coalesce(event_type, '')
            || coalesce(secret_name, '') || coalesce(peer, '') from stripe_deliveries",
        _ => "select delivery::text from stripe_deliveries as delivery",
    };
    let rows = DB::texts(&endpoint.pool, rows).await;
    assert!(rows.len() > 5);
    for row in rows {
        assert!(
            ![stripe::PERSONAL, stripe::SECRET, "v1="]
                .iter()
                .any(|marker| row.contains(marker)),
            "{row}"
        );
    }
}

#[derive(Default)]
struct Panics;

impl AuditSink for Panics {
    fn record(&self, _: &DeliveryRecord) {
        panic!("as a sink of somebody's may");
    }
}

#[tokio::test]
async fn a_sink_that_panics_changes_no_answer() {
    let endpoint = Endpoint::<sqlx::Sqlite>::new(work::<sqlx::Sqlite>).await;
    let app = endpoint.app.clone().layer(AuditLayer::to(Panics));
    assert_eq!(
        send(&app, stripe::delivery(&stripe::event("evt_1"))).await,
        StatusCode::OK
    );
    assert_eq!(endpoint.processed().await, (1, 1));
}

#[tokio::test]
async fn a_client_that_has_gone_is_on_record() {
    let (begun, begins) = tokio::sync::oneshot::channel();
    let begun = Arc::new(Mutex::new(Some(begun)));
    let endpoint = Endpoint::<sqlx::Sqlite>::new(move |_: EventTx<sqlx::Sqlite>| {
        let begun = begun.lock().unwrap().take();
        async move {
            begun.map(|begun| begun.send(()));
            std::future::pending::<()>().await;
        }
    })
    .await;
    let records = Records::default();
    let app = endpoint.app.clone().layer(AuditLayer::to(records.clone()));
    let body = stripe::event("evt_1");
    let delivery = tokio::spawn(async move { send(&app, stripe::delivery(&body)).await });
    begins.await.unwrap();
    delivery.abort();
    assert!(delivery.await.unwrap_err().is_cancelled());
    assert_eq!(*records.0.lock().unwrap(), ["unanswered Some(\"evt_1\")"]);
}

#[derive(Clone, Default)]
struct Records(Arc<Mutex<Vec<String>>>);

impl AuditSink for Records {
    fn record(&self, delivery: &DeliveryRecord) {
        let record = format!("{} {:?}", delivery.outcome, delivery.event_id());
        self.0.lock().unwrap().push(record);
    }
}
