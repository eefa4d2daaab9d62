//! A stand-in of the carrier, which knows a parcel again by its key.

use std::{
    collections::VecDeque,
    future::IntoFuture,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Redirect,
    response::{IntoResponse, Response},
    routing::post,
};
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    time::timeout,
};

/// Longer than anything takes that does not hang.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(60);

/// What the carrier does when it is asked.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    /// It sends nothing.
    Failure,
    /// It sends nothing, and what is behind the redirect answers 200.
    Redirect,
    /// It has sent the parcel.
    FailureAfterAll,
    /// It has sent the parcel, and says so when it is let.
    WhenReleased,
}

#[derive(Clone)]
pub(crate) struct StandIn {
    pub(crate) base: String,
    /// Those of the next requests; after them it sends each parcel.
    answers: Arc<Mutex<VecDeque<Answer>>>,
    /// The key of each request.
    asked: watch::Sender<Vec<String>>,
    /// Key and content of each parcel.
    parcels: Arc<Mutex<Vec<(String, String)>>>,
    released: Arc<Notify>,
}

impl StandIn {
    pub(crate) async fn serve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let carrier = Self {
            base: format!("http://{}", listener.local_addr().unwrap()),
            answers: Arc::default(),
            asked: watch::Sender::default(),
            parcels: Arc::default(),
            released: Arc::default(),
        };
        let app = Router::new()
            .route("/parcels", post(parcel).get(StatusCode::OK))
            .with_state(carrier.clone());
        tokio::spawn(axum::serve(listener, app).into_future());
        carrier
    }

    pub(crate) fn answers(&self, answers: impl IntoIterator<Item = Answer>) {
        self.answers.lock().unwrap().extend(answers);
    }

    pub(crate) fn release(&self) {
        self.released.notify_one();
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }

    /// Waits until it has been asked so often.
    pub(crate) async fn asked_times(&self, times: usize) {
        let mut asked = self.asked.subscribe();
        let reached = asked.wait_for(|asked| asked.len() >= times);
        drop(timeout(TIME_MAX, reached).await.unwrap().unwrap());
    }

    pub(crate) fn parcels(&self) -> Vec<String> {
        let parcels = self.parcels.lock().unwrap();
        parcels.iter().map(|(_, content)| content.clone()).collect()
    }

    fn send(&self, key: &str, content: String) {
        let mut parcels = self.parcels.lock().unwrap();
        if parcels.iter().all(|(sent, _)| sent != key) {
            parcels.push((key.to_owned(), content));
        }
    }
}

async fn parcel(State(carrier): State<StandIn>, headers: HeaderMap, content: String) -> Response {
    let key = headers.get("idempotency-key").unwrap().to_str().unwrap();
    let answer = carrier.answers.lock().unwrap().pop_front();
    if !matches!(answer, Some(Answer::Failure | Answer::Redirect)) {
        carrier.send(key, content);
    }
    carrier
        .asked
        .send_modify(|asked| asked.push(key.to_owned()));
    match answer {
        Some(Answer::Redirect) => Redirect::to("/parcels").into_response(),
        Some(Answer::Failure | Answer::FailureAfterAll) => {
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Some(Answer::WhenReleased) => {
            carrier.released.notified().await;
            StatusCode::CREATED.into_response()
        }
        None => StatusCode::CREATED.into_response(),
    }
}
