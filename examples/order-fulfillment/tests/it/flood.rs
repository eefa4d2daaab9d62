//! The program under a flood of forgeries.

use std::sync::Arc;

use axum::{body::Body, http::Request};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::task::JoinSet;

use crate::{
    bench::{SECRET, now},
    program::Serving,
};

/// An invoice with many lines.
const BODY_BYTES: usize = 20_000;

const SENDERS: usize = 16;

/// Until its pools and buffers have the size that such a load needs.
const WARM_UP: usize = 2_000;

/// Their bodies are 200 MB together: what is kept of each would show.
const FLOOD: usize = 10_000;

/// What an allocator may keep for itself.
const GROWTH_KIB_MAX: usize = 4_096;

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_flat_while_a_forged_flood_lasts() {
    let folder = tempfile::tempdir().unwrap();
    let serving = Arc::new(Serving::start(
        &folder,
        &[("STRIPE_WEBHOOK_SECRET", SECRET)],
    ));
    flood(&serving, WARM_UP).await;
    let warm = serving.resident_kib();
    let most = flood(&serving, FLOOD).await;
    assert!(
        most < warm + GROWTH_KIB_MAX,
        "from {warm} to {most} KiB in {FLOOD} forgeries"
    );
}

/// Sends so many forgeries, and gives back the most memory that the program had meanwhile.
async fn flood(serving: &Arc<Serving>, forgeries: usize) -> usize {
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let serving = Arc::clone(serving);
        senders.spawn(async move {
            let address = format!("http://{}/webhooks/stripe", serving.address);
            let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
            let mut most = 0;
            for number in (sender..forgeries).step_by(SENDERS) {
                let forged = Request::post(&address)
                    .header("stripe-signature", forged_header(number))
                    .body(Body::from(vec![b' '; BODY_BYTES]))
                    .unwrap();
                let answer = client.request(forged).await.unwrap();
                assert_eq!(answer.status(), 400);
                most = serving.resident_kib().max(most);
            }
            most
        });
    }
    senders.join_all().await.into_iter().max().unwrap()
}

/// Well-formed, and of now: only the body's MAC can tell.
fn forged_header(number: usize) -> String {
    let now = now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("t={},v1={number:064x}", now.as_secs())
}
