//! A signing secret in a file that changes: the new one is taken over while the service runs.
//!
//! ```sh
//! STRIPE_WEBHOOK_SECRET_FILE=/run/secrets/stripe cargo run --example rotate
//! ```
//!
//! The file stands for any manager of secrets. Roll the secret in Stripe's Dashboard, let the old
//! one live for a day there, and replace the file by a rename, as Kubernetes and Vault do: half a
//! secret looks like a whole one. Stripe signs with both meanwhile, so a restart does no harm.

use std::{
    env,
    error::Error,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use axum::{Router, routing::post};
use axum_stripe_webhook::{SecretError, SigningSecret, VerifiedStripeEvent, Verifier};
use tracing::{info, warn};

/// How often the file is read. A kubelet takes about a minute to bring a change.
const POLL_INTERVAL: Duration = Duration::from_secs(60);

/// How long a secret that has left the file still counts: the day that Stripe lets a rolled one live
/// at most. So a wrong file refuses nothing for a day. After a leak it has to be `Duration::ZERO`.
const OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);

/// Takes over what stands in the file, for as long as the service runs.
async fn follow(path: PathBuf, verifier: Verifier) {
    // Not inotify: a mounted secret is a symlink that is swapped, and the old file never changes.
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    loop {
        ticks.tick().await;
        // The same again changes nothing, so nobody has to know whether this is a new one. It is the
        // whole set: a verifier of several secrets is given all of them, or the others retire.
        let rotated = load(&path).and_then(|secret| verifier.rotate([secret], OVERLAP));
        match rotated {
            Ok(()) => log_old_secrets(&verifier),
            // Missing, or no secret. The error says what is wrong, and never what stands there.
            Err(error) => warn!("the present secrets stay: {error}"),
        }
    }
}

/// It blocks, and may: mounted secrets lie in memory, and no more than 4 KiB are read.
fn load(path: &Path) -> Result<SigningSecret, SecretError> {
    let secret = SigningSecret::from_file(path)?;
    // A name for the log. A manager of secrets has versions; a file has its time, in Unix seconds.
    let written = path.metadata().and_then(|file| file.modified());
    let since = written.unwrap_or(UNIX_EPOCH).duration_since(UNIX_EPOCH);
    Ok(secret.named(since.unwrap_or_default().as_secs().to_string()))
}

/// Says how often an old secret was needed: once that stands still, it may go.
fn log_old_secrets(verifier: &Verifier) {
    for secret in verifier.secrets() {
        if let Some(at) = secret.retires_at.map(humantime::format_rfc3339_seconds) {
            let name = secret.name.as_deref();
            info!(name, secret.uses, retires_at = %at, "an old secret is accepted");
        }
    }
}

async fn webhook(_: VerifiedStripeEvent) {}

fn app(verifier: Verifier) -> Router {
    let app = Router::new().route("/webhooks/stripe", post(webhook));
    app.with_state(verifier)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let path = PathBuf::from(env::var("STRIPE_WEBHOOK_SECRET_FILE")?);
    let verifier = Verifier::new(load(&path)?);
    tokio::spawn(follow(path, verifier.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app(verifier)).await?)
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::{fs, time::SystemTime};

    use axum::{body::Body, http::Request};
    use axum_stripe_webhook::testing::sign_test_payload;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    #[expect(clippy::disallowed_methods, reason = "signed at the time of day")]
    async fn a_new_secret_counts_beside_the_old_one_and_a_spoilt_file_changes_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "whsec_old\n").unwrap();
        let verifier = Verifier::new(load(file.path()).unwrap());
        let app = app(verifier.clone());
        tokio::spawn(follow(file.path().to_owned(), verifier));
        let body = r#"{"id": "evt_1", "object": "event", "type": "invoice.paid"}"#;
        let secrets = ["whsec_old", "whsec_new", "whsec_last"];
        let contents = ["whsec_old", "whsec_new\n", "\n", "whsec_\0", "whsec_last"];
        for (content, accepted) in contents.into_iter().zip([1, 2, 2, 2, 3]) {
            fs::write(&file, content).unwrap();
            tokio::time::advance(POLL_INTERVAL).await;
            tokio::task::yield_now().await;
            for (number, secret) in (1..).zip(secrets) {
                let signed = sign_test_payload(body, secret, SystemTime::now());
                let request = Request::post("/webhooks/stripe").header("stripe-signature", signed);
                let request = request.body(Body::from(body)).unwrap();
                let answer = app.clone().oneshot(request).await.unwrap();
                let status = if number <= accepted { 200 } else { 400 };
                assert_eq!(answer.status(), status, "{secret}: {content:?}");
            }
        }
    }
}
