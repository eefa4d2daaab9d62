//! Effects that more than one event can cause.

use std::time::Duration;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use axum_stripe_webhook::{
    Disposition, EventTx, EventTxError, ProcessOnceLayer,
    event::{EFFECT_KEY_BYTES_MAX, EffectKeyError},
};
use futures_util::future::{BoxFuture, join_all};

use crate::{database::TestBackend, endpoint::Endpoint, log, stripe};

on_both![
    two_events_claim_one_effect_once,
    forty_events_at_once_claim_one_effect_once,
    each_effect_is_claimed_by_itself,
    two_endpoints_claim_one_effect_once,
    a_second_claim_in_one_transaction_is_false,
    a_claim_of_a_handler_that_failed_is_free_again,
    keys_that_cannot_be_ones_are_errors_and_roll_back,
    a_key_that_is_as_long_as_may_be_can_be_claimed,
    a_swallowed_fault_of_a_key_does_not_end_the_transaction,
    an_effect_key_is_the_same_for_a_redelivery,
];

/// The ordinary handler: it does its work if it is the first to claim the effect.
async fn fulfil<DB: TestBackend>(mut tx: EventTx<DB>) -> Result<(), EventTxError> {
    if tx.claim_effect("fulfil:cs_test_1").await? {
        let id = tx.event().id().to_owned();
        DB::work(&mut tx, &id).await?;
    }
    Ok(())
}

/// One that claims a key after it has written.
fn claim<DB: TestBackend>(
    key: &str,
) -> impl Fn(EventTx<DB>) -> BoxFuture<'static, Claimed> + Clone + Send + Sync + use<DB> {
    let key = key.to_owned();
    move |mut tx| {
        let key = key.clone();
        Box::pin(async move {
            DB::work(&mut tx, "evt").await?;
            Ok(tx.claim_effect(&key).await?.to_string())
        })
    }
}

type Claimed = Result<String, EventTxError>;

async fn body<DB: TestBackend>(endpoint: &Endpoint<DB>, id: &str) -> String {
    endpoint.body(stripe::delivery(&stripe::event(id))).await
}

async fn two_events_claim_one_effect_once<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(fulfil::<DB>).await;
    for (event_type, id) in [
        ("checkout.session.completed", "evt_1"),
        ("checkout.session.async_payment_succeeded", "evt_2"),
        ("checkout.session.completed", "evt_1"),
        ("checkout.session.async_payment_succeeded", "evt_2"),
    ] {
        let event = stripe::event_of_type(id, event_type);
        assert_eq!(
            endpoint.send(stripe::delivery(&event)).await,
            StatusCode::OK
        );
    }
    assert_eq!(endpoint.processed().await, (2, 1));
    let claimed = "select effect_key || ' ' || event_id from stripe_effects";
    let expected = "fulfil:cs_test_1 evt_1";
    assert_eq!(DB::texts(&endpoint.pool, claimed).await, [expected]);
}

async fn forty_events_at_once_claim_one_effect_once<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(fulfil::<DB>).await;
    let ids: Vec<_> = (0..40).map(|n| format!("evt_{n}")).collect();
    let answers = join_all(ids.iter().map(|id| endpoint.deliver(id))).await;
    assert_eq!(answers, vec![StatusCode::OK; 40]);
    assert_eq!(endpoint.processed().await, (40, 1));
    assert_eq!(endpoint.count("stripe_effects").await, 1);
}

async fn each_effect_is_claimed_by_itself<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(claim::<DB>("fulfil:cs_1")).await;
    assert_eq!(body(&endpoint, "evt_1").await, "true");
    for (id, key) in [
        ("evt_2", "fulfil:cs_2"),
        ("evt_3", "refund:cs_1"),
        ("evt_4", "Fulfil:cs_1"),
        ("evt_5", "fulfil:cs_1 "),
        ("evt_6", "%"),
    ] {
        let other = endpoint
            .other_process(claim::<DB>(key), |layer| layer)
            .await;
        assert_eq!(body(&other, id).await, "true", "{key}");
    }
    assert_eq!(body(&endpoint, "evt_7").await, "false");
}

async fn two_endpoints_claim_one_effect_once<DB: TestBackend>() {
    let account = Endpoint::<DB>::new(fulfil::<DB>).await;
    let label = |layer: ProcessOnceLayer<DB>| layer.endpoint("connect");
    let connect = account.other_process(fulfil::<DB>, label).await;
    assert_eq!(account.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(connect.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(account.processed().await, (2, 1));
}

async fn a_second_claim_in_one_transaction_is_false<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(|mut tx: EventTx<DB>| async move {
        let first = tx.claim_effect("fulfil:cs_1").await.unwrap();
        let again = tx.claim_effect("fulfil:cs_1").await.unwrap();
        let other = tx.claim_effect("refund:cs_1").await.unwrap();
        format!("{first} {again} {other}")
    })
    .await;
    assert_eq!(body(&endpoint, "evt_1").await, "true false true");
    assert_eq!(body(&endpoint, "evt_2").await, "false false false");
    assert_eq!(endpoint.count("stripe_effects").await, 2);
}

async fn a_claim_of_a_handler_that_failed_is_free_again<DB: TestBackend>() {
    let endings: [fn() -> Response; 7] = [
        || StatusCode::BAD_GATEWAY.into_response(),
        || Disposition::Ignore.into_response(),
        || Disposition::NotYet.into_response(),
        || Disposition::RetryAfter(Duration::ZERO).into_response(),
        || Disposition::Quarantine { reason: "a" }.into_response(),
        || Disposition::Discard { reason: "a" }.into_response(),
        || panic!("a handler's fault"),
    ];
    let endpoint = Endpoint::<DB>::new(fulfil::<DB>).await;
    for (nth, ending) in endings.into_iter().enumerate() {
        let handler = move |mut tx: EventTx<DB>| async move {
            assert!(tx.claim_effect("fulfil:cs_test_1").await.unwrap());
            DB::work(&mut tx, "evt").await.unwrap();
            ending()
        };
        let failing = endpoint.other_process(handler, |layer| layer).await;
        failing.deliver(&format!("evt_{nth}")).await;
        let written = [
            endpoint.count("stripe_effects").await,
            endpoint.count("work").await,
        ];
        assert_eq!(written, [0, 0], "ending {nth}");
    }
    assert_eq!(endpoint.deliver("evt_0").await, StatusCode::OK);
    assert_eq!(endpoint.count("work").await, 1);
    assert_eq!(endpoint.deliver("evt_another").await, StatusCode::OK);
    assert_eq!(endpoint.count("work").await, 1);
}

async fn keys_that_cannot_be_ones_are_errors_and_roll_back<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(fulfil::<DB>).await;
    let too_long = "k".repeat(EFFECT_KEY_BYTES_MAX + 1);
    // 128 characters, of two bytes each.
    let too_wide = "\u{e4}".repeat(EFFECT_KEY_BYTES_MAX.div_ceil(2));
    for (key, fault, at) in [
        ("", "the effect key is empty", ""),
        (&too_long, "the effect key has 256 bytes", ""),
        (&too_wide, "the effect key has 256 bytes", ""),
        ("a\nb", "control character", "byte 1"),
        ("\0", "control character", "byte 0"),
        ("fulfil:\u{7f}", "control character", "byte 7"),
        ("\u{e4}\u{85}", "control character", "byte 2"),
    ] {
        let faulty = endpoint
            .other_process(claim::<DB>(key), |layer| layer)
            .await;
        let log = log::of(async {
            let answer = faulty.deliver("evt_1").await;
            assert_eq!(answer, StatusCode::INTERNAL_SERVER_ERROR, "{key:?}");
        });
        let log = log.await;
        assert!(log.contains(fault) && log.contains(at), "{key:?}: {log}");
        assert_eq!(endpoint.rows().await, 0, "{key:?}");
    }
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(endpoint.processed().await, (1, 1));
}

async fn a_key_that_is_as_long_as_may_be_can_be_claimed<DB: TestBackend>() {
    for key in [
        "k".repeat(EFFECT_KEY_BYTES_MAX),
        "\u{e4}".repeat(EFFECT_KEY_BYTES_MAX / 2) + "k",
        "k".to_owned(),
    ] {
        assert!(key.len() == EFFECT_KEY_BYTES_MAX || key.len() == 1);
        let endpoint = Endpoint::<DB>::new(claim::<DB>(&key)).await;
        assert_eq!(body(&endpoint, "evt_1").await, "true", "{key}");
        assert_eq!(body(&endpoint, "evt_2").await, "false", "{key}");
    }
}

async fn a_swallowed_fault_of_a_key_does_not_end_the_transaction<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(|mut tx: EventTx<DB>| async move {
        let error = tx.claim_effect("").await.unwrap_err();
        assert!(matches!(
            error,
            EventTxError::EffectKey(EffectKeyError::Empty)
        ));
        DB::work(&mut tx, "evt_1").await.unwrap();
    })
    .await;
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(endpoint.processed().await, (1, 1));
}

async fn an_effect_key_is_the_same_for_a_redelivery<DB: TestBackend>() {
    let key = |tx: &EventTx<DB>| tx.event().effect_key("refund").unwrap();
    let failing = move |tx: EventTx<DB>| async move { (StatusCode::BAD_GATEWAY, key(&tx)) };
    let failing = Endpoint::<DB>::new(failing).await;
    let mended = move |tx: EventTx<DB>| async move { key(&tx) };
    let mended = failing.other_process(mended, |layer| layer).await;
    for endpoint in [&failing, &failing, &mended] {
        assert_eq!(body(endpoint, "evt_1").await, "refund:evt_1");
    }
    assert_eq!(body(&mended, "evt_2").await, "refund:evt_2");
}
