//! Events as Stripe makes and signs them.

use std::{
    sync::LazyLock,
    time::{SystemTime, UNIX_EPOCH},
};

use axum_stripe_webhook::testing::sign_test_payload;

pub(crate) const SECRET: &str = "whsec_of_the_fault_programme";

/// Events of this kind wait in their handler for each other, so that they show how many can be in
/// their transactions at once. Up to the last `_` their ids name those that wait for each other.
pub(crate) const TOGETHER: &str = "evt_together_";

/// The handler of an event of this kind does what it has to, and nothing goes wrong in it by chance.
pub(crate) const CALM: &str = "evt_calm_";

/// Likewise, and the handler takes a second before it writes.
pub(crate) const SLOW: &str = "evt_calm_slow_";

/// The handler of an event of this kind ends its process when it has written.
pub(crate) const POISON: &str = "evt_poison_";

/// Where handlers stay, the one of an event of this kind keeps its thread until it is told to leave.
pub(crate) const STAYS: &str = "evt_calm_stays_";

/// Likewise, and it waits for what never comes.
pub(crate) const HANGS: &str = "evt_calm_hangs_";

/// All events are made when the programme starts: every attempt of one delivers the same bytes, and
/// no guard finds one too old.
static CREATED: LazyLock<u64> = LazyLock::new(|| {
    now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
});

pub(crate) fn body(id: &str) -> String {
    let created = *CREATED;
    format!(
        r#"{{"id":"{id}","object":"event","api_version":"2026-01-28.clover","created":{created},"livemode":false,"type":"invoice.paid","data":{{"object":{{"id":"in_1","object":"invoice"}}}}}}"#
    )
}

/// Every attempt has a signature of its own.
pub(crate) fn sign(body: &str) -> String {
    sign_test_payload(body, SECRET, now())
}

#[expect(clippy::disallowed_methods, reason = "Stripe signs with its own clock")]
fn now() -> SystemTime {
    SystemTime::now()
}
