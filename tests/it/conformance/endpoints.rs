//! Which events count as the same.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::http::{StatusCode, request::Parts};
use axum_stripe_webhook::{
    ProvideVerifier, Provided, SigningSecret, Verifier, testing::sign_test_payload,
};

use crate::{
    database::TestBackend,
    endpoint::{Door, Endpoint, behind, work},
    stripe,
};

on_both![
    copies_at_two_endpoints_of_one_process_do_not_get_in_each_others_way,
    tenants_with_labels_of_their_own_cannot_suppress_each_others_events,
    a_tenant_that_goes_while_its_body_arrives_keeps_its_label,
    an_empty_label_is_the_default,
    each_endpoint_label_processes_an_event_once,
    thin_and_snapshot_twins_are_processed_once_between_them,
    test_events_of_the_dashboard_are_not_deduplicated,
    a_decision_on_an_authorization_is_made_again_for_its_duplicate,
];

async fn copies_at_two_endpoints_of_one_process_do_not_get_in_each_others_way<DB: TestBackend>() {
    let door = Door::closed();
    let account = Endpoint::<DB>::new(behind::<DB>(door.clone())).await;
    let layer = account.layer.clone().endpoint("connect");
    let handler = behind::<DB>(door.clone());
    let fresh = Arc::clone(&account.fresh);
    let connect = Endpoint::on(fresh, account.pool.clone(), handler, move |_| layer);
    let other = async {
        door.wait_for_arrival().await;
        // On SQLite it waits for its turn, so the first is let through when the second has come.
        let second = connect.deliver("evt_1");
        door.open(2);
        second.await
    };
    let answers = tokio::join!(account.deliver("evt_1"), other);
    assert_eq!(answers, (StatusCode::OK, StatusCode::OK));
    assert_eq!(account.processed().await, (2, 2));
}

struct Tenants;

impl ProvideVerifier for Tenants {
    fn provide_verifier(&self, parts: &Parts) -> Option<Provided> {
        let tenant = parts.uri.query()?;
        let secret = SigningSecret::new(format!("whsec_of_{tenant}")).ok()?;
        Some(Provided::from(Verifier::new(secret)).endpoint(tenant))
    }
}

async fn tenants_with_labels_of_their_own_cannot_suppress_each_others_events<DB: TestBackend>() {
    let endpoint =
        Endpoint::<DB>::with(work::<DB>, |layer| layer.verifier(Arc::new(Tenants))).await;
    for tenant in ["mallory", "victim", "", "mallory", "victim", ""] {
        let body = stripe::event("evt_1");
        let secret = format!("whsec_of_{tenant}");
        let header = sign_test_payload(&body, &secret, stripe::now());
        let mut delivery = stripe::delivery_with(body, &header);
        *delivery.uri_mut() = format!("/webhooks/stripe?{tenant}").parse().unwrap();
        assert_eq!(endpoint.send(delivery).await, StatusCode::OK);
    }
    assert_eq!(endpoint.processed().await, (3, 3));
}

/// Knows its tenant once.
#[derive(Default)]
struct Once(AtomicBool);

impl ProvideVerifier for Once {
    fn provide_verifier(&self, _: &Parts) -> Option<Provided> {
        let gone = self.0.swap(true, Ordering::SeqCst);
        (!gone).then(|| Provided::from(stripe::verifier()).endpoint("tenant"))
    }
}

async fn a_tenant_that_goes_while_its_body_arrives_keeps_its_label<DB: TestBackend>() {
    let once = Once::default();
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| layer.verifier(once)).await;
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    let labels = "select endpoint from processed_stripe_events";
    assert_eq!(DB::texts(&endpoint.pool, labels).await, ["tenant"]);
    assert_eq!(endpoint.deliver("evt_2").await, StatusCode::NOT_FOUND);
}

async fn an_empty_label_is_the_default<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| layer.endpoint("")).await;
    let default = endpoint.other_process(work::<DB>, |layer| layer).await;
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(default.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(endpoint.processed().await, (1, 1));
}

async fn each_endpoint_label_processes_an_event_once<DB: TestBackend>() {
    let account = Endpoint::<DB>::new(work::<DB>).await;
    let connect = account
        .other_process(work::<DB>, |layer| layer.endpoint("connect"))
        .await;
    for _ in 0..2 {
        assert_eq!(account.deliver("evt_1").await, StatusCode::OK);
        assert_eq!(connect.deliver("evt_1").await, StatusCode::OK);
    }
    assert_eq!(account.processed().await, (2, 2));
}

async fn thin_and_snapshot_twins_are_processed_once_between_them<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(work::<DB>).await;
    let thin = r#"{"id": "evt_thin", "object": "v2.core.event", "snapshot_event": "evt_1",
        "type": "v1.checkout.session.completed"}"#;
    for _ in 0..2 {
        assert_eq!(endpoint.send(stripe::delivery(thin)).await, StatusCode::OK);
        assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    }
    assert_eq!(endpoint.processed().await, (1, 1));
}

async fn test_events_of_the_dashboard_are_not_deduplicated<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(work::<DB>).await;
    for _ in 0..3 {
        assert_eq!(endpoint.deliver("evt_00000000000000").await, StatusCode::OK);
    }
    assert_eq!(endpoint.processed().await, (0, 3));
}

async fn a_decision_on_an_authorization_is_made_again_for_its_duplicate<DB: TestBackend>() {
    let decide = || async {
        (
            [("content-type", "application/json")],
            r#"{"approved":true}"#,
        )
    };
    let endpoint = Endpoint::<DB>::new(decide).await;
    let types = [
        "issuing_authorization.request",
        "v1.issuing_authorization.request",
    ];
    for event_type in [types[0], types[0], types[1], types[1]] {
        let body = stripe::event_of_type("evt_1", event_type);
        assert_eq!(
            endpoint.body(stripe::delivery(&body)).await,
            r#"{"approved":true}"#
        );
    }
    assert_eq!(endpoint.rows().await, 0);
}
