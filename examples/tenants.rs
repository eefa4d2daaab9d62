//! Many tenants, each with a Stripe account, a secret and an endpoint of its own.
//!
//! ```sh
//! STRIPE_SECRET_ACME=whsec_… STRIPE_SECRET_GLOBEX=whsec_… cargo run --example tenants
//! ```
//!
//! The path says which tenant is meant. Nothing vouches for it: it only picks the secret that has to
//! fit.

use std::{collections::HashMap, error::Error, sync::Arc};

use axum::{Router, extract::Path, http::request::Parts, routing::post};
use axum_stripe_webhook::{
    Guards, ProvideVerifier, Provided, SigningSecret, VerifiedStripeEvent, Verifier,
};
use tracing::info;

struct Tenant {
    verifier: Verifier,
    guards: Guards,
}

/// In memory: the verifier is asked for before anything is known of the sender, and without waiting.
#[derive(Default)]
struct Tenants(HashMap<Arc<str>, Tenant>);

impl Tenants {
    /// The name is of letters, digits and `-`, which no client needs to percent-encode.
    fn with(mut self, name: &str, account: &'static str, secret: SigningSecret) -> Self {
        // Events of the endpoint's own account name none; others are of accounts connected to it.
        let own = move |named: Option<&str>| named.is_none_or(|named| named == account);
        let verifier = Verifier::new(secret);
        // What is stopped is answered with 400 here; under `ProcessOnceLayer` it is kept.
        let guards = Guards::new().accounts(own);
        self.0.insert(name.into(), Tenant { verifier, guards });
        self
    }

    /// By the last segment, which `nest` leaves alone. It is compared as sent and never decoded: if
    /// it is encoded, it is nobody's.
    fn of(&self, parts: &Parts) -> Option<(&Arc<str>, &Tenant)> {
        let (_, name) = parts.uri.path().rsplit_once('/')?;
        self.0.get_key_value(name)
    }
}

impl ProvideVerifier for Tenants {
    /// The label is for `ProcessOnceLayer`, which processes an event once for each. Under a common one
    /// a tenant could sign an event with another's id, and have that one taken for a duplicate.
    fn provide_verifier(&self, parts: &Parts) -> Option<Provided> {
        let (name, tenant) = self.of(parts)?;
        let provided = Provided::from(tenant.verifier.clone());
        Some(
            provided
                .endpoint(Arc::clone(name))
                .guards(tenant.guards.clone()),
        )
    }
}

async fn webhook(Path(tenant): Path<String>, event: VerifiedStripeEvent) {
    info!("{tenant}: {} {}", event.id(), event.event_type());
}

fn app(tenants: Tenants) -> Router {
    let app = Router::new().route("/webhooks/{tenant}", post(webhook));
    app.with_state(Arc::new(tenants))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let secret = SigningSecret::from_env;
    let tenants = Tenants::default()
        .with("acme", "acct_acme", secret("STRIPE_SECRET_ACME")?)
        .with("globex", "acct_globex", secret("STRIPE_SECRET_GLOBEX")?);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app(tenants)).await?)
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::time::SystemTime;

    use axum::{body::Body, http::Request};
    use axum_stripe_webhook::testing::sign_test_payload;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "signed at the time of day")]
    async fn each_tenant_accepts_its_own_secret_and_account_alone() {
        let secret = |value| SigningSecret::new(value).unwrap();
        let tenants = Tenants::default()
            .with("acme", "acct_acme", secret("whsec_acme"))
            .with("globex", "acct_globex", secret("whsec_globex"));
        let app = app(tenants);
        let app = Router::new().nest("/stripe", app.clone()).merge(app);
        for (path, secret, account, status) in [
            ("/webhooks/acme", "whsec_acme", r#""acct_acme""#, 200),
            ("/stripe/webhooks/globex", "whsec_globex", "null", 200),
            ("/webhooks/acme", "whsec_globex", "null", 400),
            ("/webhooks/acme", "whsec_acme", r#""acct_globex""#, 400),
            ("/webhooks/%61cme", "whsec_acme", "null", 404),
            ("/webhooks/nobody", "whsec_acme", "null", 404),
        ] {
            let body = r#"{"id": "evt_1", "object": "event", "type": "a", "account": null}"#;
            let body = body.replace("null", account);
            let signed = sign_test_payload(&body, secret, SystemTime::now());
            let request = Request::post(path).header("stripe-signature", signed);
            let request = request.body(Body::from(body)).unwrap();
            let answer = app.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), status, "{path} {secret} {account}");
        }
    }
}
