//! A stand-in of Stripe's API.

use std::{
    future::{IntoFuture, pending},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header::LOCATION},
    response::{IntoResponse, Response},
};
use sqlx::{Pool, Sqlite};

use crate::database::TestBackend;

pub(crate) const KEY: &str = "rk_test_of_the_tests";

/// Serves on loopback. It looks at each request's key and, if it is to, that whoever asks has no
/// transaction open.
#[derive(Clone)]
pub(crate) struct StripeApi {
    pub(crate) base: String,
    /// The answer to whatever is asked, if there is one.
    answer: Arc<Mutex<Option<(u16, String)>>>,
    asked: Arc<Mutex<Vec<String>>>,
    /// A connection to the database of whoever asks before it opens its transaction.
    outside: Option<Pool<Sqlite>>,
}

impl StripeApi {
    pub(crate) async fn serve(database_url: &str) -> Self {
        Self::serve_from(Some(Sqlite::connect(database_url, 1).await)).await
    }

    /// For those who ask while their transaction is open.
    pub(crate) async fn serve_within_transactions() -> Self {
        Self::serve_from(None).await
    }

    async fn serve_from(outside: Option<Pool<Sqlite>>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = Self {
            base: format!("http://{}", listener.local_addr().unwrap()),
            answer: Arc::default(),
            asked: Arc::default(),
            outside,
        };
        let app = Router::new().fallback(answer).with_state(api.clone());
        tokio::spawn(axum::serve(listener, app).into_future());
        api
    }

    pub(crate) fn answer_with(&self, status: u16, body: &str) {
        *self.answer.lock().unwrap() = Some((status, body.to_owned()));
    }

    pub(crate) fn answer_never(&self) {
        *self.answer.lock().unwrap() = None;
    }

    /// What was asked for since the last time, each with its context or account.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

async fn answer(State(api): State<StripeApi>, uri: Uri, headers: HeaderMap) -> Response {
    let header = |name: &str| Some(headers.get(name)?.to_str().unwrap());
    let account = header("stripe-context").or(header("stripe-account"));
    let context = account.unwrap_or("none");
    let asked = format!("{} of {context}", uri.path());
    api.asked.lock().unwrap().push(asked);
    let key = header("authorization");
    assert_eq!(key, Some(format!("Bearer {KEY}").as_str()));
    assert!(header("stripe-version").is_some());
    if let Some(outside) = &api.outside {
        let mut outside = outside.acquire().await.unwrap();
        Sqlite::run(&mut outside, "begin immediate; rollback")
            .await
            .expect("no transaction is open while Stripe is asked");
    }
    let answer = api.answer.lock().unwrap().clone();
    let Some((status, body)) = answer else {
        return pending().await;
    };
    let status = StatusCode::from_u16(status).unwrap();
    (status, [(LOCATION, "/elsewhere")], body).into_response()
}
