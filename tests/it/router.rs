//! Handlers by event type.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    routing::{post, post_service},
};
use axum_stripe_webhook::{
    EventRouter, EventTx, Ledger, ProcessOnceLayer,
    router::{EventRouterBuilder, Flow, Handling, RouterError},
};
use sqlx::{Postgres, Sqlite};
use tower::ServiceExt;

use crate::{
    database::{Fresh, TestBackend, open},
    log, stripe,
};

/// Which handlers have run.
type Ran = Arc<Mutex<Vec<&'static str>>>;

macro_rules! notes {
    ($name:literal) => {
        |State(ran): State<Ran>| async move { ran.lock().unwrap().push($name) }
    };
}

fn builder() -> EventRouterBuilder<Ran> {
    EventRouter::new()
        .on("invoice.paid", notes!("exact"))
        .on("customer.subscription.deleted", notes!("within a prefix"))
        .on_prefix("customer.subscription.", notes!("prefix"))
        .on("v1.charge.refunded", notes!("thin"))
        .ignore(["invoice.created", "customer.subscription.trial_will_end"])
}

struct Served<DB: Ledger> {
    app: Router,
    pool: sqlx::Pool<DB>,
    _fresh: Fresh,
}

async fn serve<DB: TestBackend>(app: impl FnOnce(ProcessOnceLayer<DB>) -> Router) -> Served<DB> {
    let (fresh, pool) = open::<DB>().await;
    Served {
        app: app(ProcessOnceLayer::new(pool.clone(), stripe::verifier())),
        pool,
        _fresh: fresh,
    }
}

impl<DB: TestBackend> Served<DB> {
    async fn deliver(&self, id: &str, event_type: &str) -> StatusCode {
        let delivery = stripe::delivery(&stripe::event_of_type(id, event_type));
        let answer = self.app.clone().oneshot(delivery).await.unwrap();
        answer.status()
    }
}

const DISPATCHED: [(&str, &[&str]); 8] = [
    ("invoice.paid", &["exact"]),
    ("customer.subscription.deleted", &["within a prefix"]),
    ("customer.subscription.updated", &["prefix"]),
    ("customer.subscription.a.b.c", &["prefix"]),
    ("customer.subscriptions", &[]),
    ("customer.subscription.trial_will_end", &[]),
    ("invoice.created", &[]),
    ("charge.refunded", &[]),
];

/// As a handler with the router's state, and as a service with its own.
async fn each_type_reaches_its_handler_and_others_are_acknowledged<DB: TestBackend>() {
    for as_service in [false, true] {
        let ran = Ran::default();
        let state = Arc::clone(&ran);
        let served = serve::<DB>(|once| match as_service {
            true => {
                let events = builder().with_state::<()>(state).build().unwrap();
                Router::new().route("/webhooks/stripe", post_service(events).route_layer(once))
            }
            false => {
                let events = builder().build().unwrap();
                let route = post(events).route_layer(once);
                Router::new()
                    .route("/webhooks/stripe", route)
                    .with_state(state)
            }
        })
        .await;
        let mut processed = 0;
        for (n, (event_type, expected)) in DISPATCHED.iter().enumerate() {
            let id = format!("evt_{n}");
            assert_eq!(served.deliver(&id, event_type).await, StatusCode::OK);
            assert_eq!(
                std::mem::take(&mut *ran.lock().unwrap()),
                *expected,
                "{event_type}"
            );
            processed += expected.len();
        }
        let ledger = DB::count(&served.pool, "processed_stripe_events").await;
        assert_eq!(ledger, i64::try_from(processed).unwrap());
    }
}

#[tokio::test]
async fn each_type_reaches_its_handler_and_others_are_acknowledged_on_postgres() {
    each_type_reaches_its_handler_and_others_are_acknowledged::<Postgres>().await;
}

#[tokio::test]
async fn each_type_reaches_its_handler_and_others_are_acknowledged_on_sqlite() {
    each_type_reaches_its_handler_and_others_are_acknowledged::<Sqlite>().await;
}

#[tokio::test]
async fn thin_types_are_routed_by_names_of_their_own() {
    let ran = Ran::default();
    let state = Arc::clone(&ran);
    let served = serve::<Sqlite>(|once| {
        let events = builder().with_state::<()>(state).build().unwrap();
        Router::new().route("/webhooks/stripe", post(events).route_layer(once))
    })
    .await;
    let thin = r#"{"id": "evt_thin", "object": "v2.core.event", "type": "v1.charge.refunded",
        "snapshot_event": "evt_1"}"#;
    // The snapshot twin is not handled here, and comes first.
    assert_eq!(
        served.deliver("evt_1", "charge.refunded").await,
        StatusCode::OK
    );
    let answer = served.app.clone().oneshot(stripe::delivery(thin)).await;
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
    assert_eq!(*ran.lock().unwrap(), ["thin"]);
}

#[tokio::test]
async fn the_fallback_takes_what_nobody_else_does() {
    let ran = Ran::default();
    let state = Arc::clone(&ran);
    let served = serve::<Sqlite>(|once| {
        let events = builder().fallback(notes!("fallback"));
        let events = events.with_state::<()>(state).build().unwrap();
        Router::new().route("/webhooks/stripe", post(events).route_layer(once))
    })
    .await;
    for (n, event_type) in ["charge.refunded", "invoice.created", "invoice.paid"]
        .iter()
        .enumerate()
    {
        served.deliver(&format!("evt_{n}"), event_type).await;
    }
    assert_eq!(*ran.lock().unwrap(), ["fallback", "exact"]);
}

#[tokio::test]
async fn handlers_under_the_router_have_the_events_transaction() {
    async fn work(mut tx: EventTx<Sqlite>) -> StatusCode {
        let id = tx.event().id().to_owned();
        Sqlite::work(&mut tx, &id).await.unwrap();
        match id.as_str() {
            "evt_fails" => StatusCode::BAD_GATEWAY,
            _ => StatusCode::OK,
        }
    }
    let served = serve::<Sqlite>(|once| {
        let events = EventRouter::new().on("invoice.paid", work).build().unwrap();
        Router::new().route("/webhooks/stripe", post(events).route_layer(once))
    })
    .await;
    for (id, answer) in [("evt_1", 200), ("evt_1", 200), ("evt_fails", 502)] {
        assert_eq!(served.deliver(id, "invoice.paid").await.as_u16(), answer);
    }
    assert_eq!(Sqlite::count(&served.pool, "work").await, 1);
}

#[tokio::test]
async fn a_router_without_the_layer_says_what_is_missing() {
    let events = builder().with_state::<()>(Ran::default()).build().unwrap();
    let app: Router = Router::new().route("/webhooks/stripe", post(events));
    let log = log::of(async {
        let delivery = stripe::delivery(&stripe::event("evt_1"));
        let answer = app.oneshot(delivery).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    })
    .await;
    assert!(
        log.contains("`.route_layer(ProcessOnceLayer::new(pool, verifier))`"),
        "{log}"
    );
}

fn refused(builder: EventRouterBuilder<()>) -> String {
    builder.build().unwrap_err().to_string()
}

#[test]
fn a_name_that_is_registered_wrongly_is_named_with_the_remedy() {
    async fn handler() {}
    let new = EventRouter::<()>::new;
    for (builder, expected) in [
        (
            new()
                .on("invoice.paid", handler)
                .on("invoice.paid", handler),
            "`invoice.paid` is registered twice: remove one",
        ),
        (
            new().on("invoice.paid", handler).ignore(["invoice.paid"]),
            "`invoice.paid` is registered twice: remove one",
        ),
        (
            new()
                .on_prefix("invoice.", handler)
                .on_prefix("invoice.", handler),
            "`invoice.` is registered twice: remove one",
        ),
        (new().on("", handler), "an event type is empty: name it"),
        (
            new().on_prefix("", handler),
            "an event type is empty: name it",
        ),
        (
            new().on("invoice.*", handler),
            "`invoice.*` is no event type",
        ),
        (new().on("invoice.", handler), "`invoice.` is no event type"),
        (
            new().on(" invoice.paid", handler),
            "` invoice.paid` is no event type",
        ),
        (
            new().on_prefix("invoice", handler),
            "the prefix `invoice` does not end in a dot: write `invoice.`",
        ),
        (
            new()
                .on_prefix("customer.", handler)
                .on_prefix("customer.subscription.", handler),
            "the prefixes `customer.` and `customer.subscription.` overlap",
        ),
    ] {
        let error = refused(builder);
        assert!(error.starts_with(expected), "{error}");
    }
    let twice = new()
        .on("invoice.paid", handler)
        .on("invoice.paid", handler)
        .build();
    assert!(matches!(twice.unwrap_err(), RouterError::Twice { .. }));
}

#[tokio::test]
async fn an_unknown_type_is_a_warning_with_the_nearest_name_and_no_refusal() {
    async fn handler() {}
    let log = log::of(async {
        let router = EventRouter::<()>::new()
            .on("invoice.payed", handler)
            .on("brand_new.thing", handler)
            .on("our.own", handler)
            .on_prefix("customer.subscriptions.", handler)
            .known(["our.own"])
            .build()
            .unwrap();
        let unknown: Vec<_> = router
            .unknown_types()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            unknown,
            [
                "`invoice.payed` is not known: is `invoice.paid` meant?",
                "`brand_new.thing` is not known: if Stripe has it, add it with `known`",
                "`customer.subscriptions.` is not known: is `customer.subscription.` meant?",
            ]
        );
    })
    .await;
    assert!(
        log.contains("WARN") && log.contains("is `invoice.paid` meant?"),
        "{log}"
    );
}

#[test]
fn coverage_tells_what_is_handled_and_what_is_missing() {
    async fn handler() {}
    let router = EventRouter::<()>::new()
        .on("checkout.session.completed", handler)
        .on_prefix("charge.dispute.", handler)
        .ignore(["checkout.session.expired"])
        .build()
        .unwrap();
    let coverage = router.coverage(&[Flow::Checkout, Flow::Disputes]);
    assert!(!coverage.is_complete());
    let handling = |event_type| {
        let row = coverage
            .rows()
            .iter()
            .find(|row| row.event_type == event_type);
        row.unwrap().handling
    };
    assert_eq!(handling("checkout.session.completed"), Handling::Handled);
    assert_eq!(handling("charge.dispute.closed"), Handling::Handled);
    assert_eq!(handling("checkout.session.expired"), Handling::Ignored);
    let missing: Vec<_> = coverage.missing().map(|row| row.event_type).collect();
    assert_eq!(
        missing,
        [
            "checkout.session.async_payment_succeeded",
            "checkout.session.async_payment_failed"
        ]
    );
    let table = coverage.to_string();
    assert!(
        table.contains("MISSING  a bank debit pays days later: never fulfilled"),
        "{table}"
    );
}

#[tokio::test]
async fn an_unhandled_twin_of_what_is_handled_is_a_warning() {
    let log = log::of(async {
        let served = serve::<Sqlite>(|once| {
            let events = builder().with_state::<()>(Ran::default()).build().unwrap();
            Router::new().route("/webhooks/stripe", post(events).route_layer(once))
        })
        .await;
        for (id, event_type) in [
            ("evt_1", "v1.invoice.paid"),
            ("evt_2", "charge.refunded"),
            ("evt_3", "charge.captured"),
        ] {
            assert_eq!(served.deliver(id, event_type).await, StatusCode::OK);
        }
    })
    .await;
    let warned: Vec<_> = log
        .lines()
        .filter(|line| line.contains("WARN") && line.contains("twin has a handler"))
        .collect();
    assert_eq!(warned.len(), 2, "{warned:?}");
    assert!(warned[0].contains("v1.invoice.paid") && warned[1].contains("charge.refunded"));
}

#[test]
fn a_type_whose_thin_twin_is_handled_is_covered() {
    async fn handler() {}
    let router = EventRouter::<()>::new()
        .on_prefix("v1.checkout.session.", handler)
        .build()
        .unwrap();
    assert!(router.coverage(&[Flow::Checkout]).is_complete());
}
