use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{Method, Request, header::CONTENT_TYPE},
};
use axum_stripe_webhook::testing::sign_test_payload;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::DemoError;

const SIGNATURE: &str = "stripe-signature";

/// Plays Stripe, and whoever pretends to be Stripe.
pub(super) struct Sender {
    http: Client<HttpConnector, Body>,
    server: String,
    secret: String,
}

/// What the server said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
}

impl Sender {
    pub(super) fn new(server: String, secret: String) -> Self {
        Self {
            http: Client::builder(TokioExecutor::new()).build_http(),
            server,
            secret,
        }
    }

    /// The shop itself places an order and gets its id.
    pub(super) async fn place(&self, amount: i64, currency: &str) -> Result<String, DemoError> {
        let order = json!({"amount": amount, "currency": currency});
        let answer = self.post("/orders", &order).await?;
        let placed: Value = serde_json::from_str(&answer.text).unwrap_or_default();
        match placed.get("id").and_then(Value::as_str) {
            Some(id) => Ok(id.to_owned()),
            None => Err(DemoError::Order(answer.status)),
        }
    }

    /// The shop's staff releases, discards or retries an event.
    pub(super) async fn act(&self, event_id: &str, action: &str) -> Result<Answer, DemoError> {
        let by = json!({"actor": "demo", "reason": "looked at it"});
        let path = format!("/events/{event_id}/{action}");
        self.post(&path, &by).await
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Answer, DemoError> {
        let request = Request::post(format!("{}{path}", self.server))
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))?;
        send(self.http.clone(), request).await
    }

    /// A signature as Stripe makes it now.
    pub(super) fn sign(&self, body: &str) -> String {
        sign_test_payload(body, &self.secret, now())
    }

    /// A signature that Stripe made a while ago.
    pub(super) fn sign_before(&self, body: &str, age: Duration) -> String {
        sign_test_payload(body, &self.secret, now() - age)
    }

    /// A signature of somebody who does not know the secret.
    pub(super) fn forge(body: &str) -> String {
        sign_test_payload(body, "whsec_a_guess", now())
    }

    pub(super) async fn deliver(
        &self,
        body: &str,
        signature: Option<String>,
    ) -> Result<Answer, DemoError> {
        send(self.http.clone(), self.request(body, signature)?).await
    }

    /// All of them at the same moment.
    pub(super) async fn deliver_at_once(
        &self,
        bodies: &[String],
    ) -> Result<Vec<Answer>, DemoError> {
        let mut sent = JoinSet::new();
        for body in bodies {
            let request = self.request(body, Some(self.sign(body)))?;
            sent.spawn(send(self.http.clone(), request));
        }
        sent.join_all().await.into_iter().collect()
    }

    /// Announces a body by its length and waits for the answer before it sends any of it: a server
    /// that refuses it by its length may hang up on whoever writes on, and the answer be lost.
    pub(super) async fn announce(&self, body: &str) -> Result<Answer, DemoError> {
        let announced = Body::new(Announced(body.len() as u64));
        let request = self
            .request(body, Some(self.sign(body)))?
            .map(|_| announced);
        send(self.http.clone(), request).await
    }

    fn request(&self, body: &str, signature: Option<String>) -> Result<Request<Body>, DemoError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/webhooks/stripe", self.server))
            .header(CONTENT_TYPE, "application/json; charset=utf-8");
        let request = match signature {
            Some(signature) => request.header(SIGNATURE, signature),
            None => request,
        };
        Ok(request.body(Body::from(body.to_owned()))?)
    }
}

/// A body of a known length that never comes.
struct Announced(u64);

impl HttpBody for Announced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

async fn send(
    http: Client<HttpConnector, Body>,
    request: Request<Body>,
) -> Result<Answer, DemoError> {
    let response = http.request(request).await?;
    let status = response.status().as_u16();
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(axum::Error::new)?;
    Ok(Answer {
        status,
        text: String::from_utf8_lossy(&body.to_bytes()).trim().to_owned(),
    })
}

#[expect(clippy::disallowed_methods, reason = "Stripe signs with its own clock")]
fn now() -> SystemTime {
    SystemTime::now()
}
