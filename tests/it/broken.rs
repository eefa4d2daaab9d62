//! Endpoints that somebody could have written, each with one thing wrong.

use std::{
    collections::HashSet,
    convert::Infallible,
    future::IntoFuture,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Redirect, Response},
    routing::post,
};
use axum_stripe_webhook::{
    SigningSecret, Verifier,
    probe::{Ownership, Target},
    testing::sign_test_payload,
};
use futures_util::stream::repeat;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::stripe::{self, SECRET};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// For comparison.
    Nothing,
    VerifiesNothing,
    /// And verifies what it has written again.
    ParsesFirst,
    /// The same in Python's layout.
    WritesSpaces,
    /// The same in Stripe's layout.
    WritesIndented,
    TrimsTheBody,
    /// Tries those near the one that is there.
    GuessesTheTimestamp,
    HasNoAgeCheck,
    HasNoDeduplication,
    /// Instead of ids.
    RemembersBodies,
    /// Two steps, with something between them.
    LooksBeforeItMarks,
    IsOpenWithoutHeader,
    /// As "all of them fit" does.
    IsOpenWithoutSignature,
    ReadsTheLastSignatureAlone,
    KnowsTheEmptyKey,
    WorksBeforeItVerifies,
    Redirects,
    FailsOnGarbage,
    RefusesUnknownTypes,
    DropsTheConnection,
    TellsItsSettings,
    RepeatsWhatItRefuses,
    WaitsForTheBody,
    TakesAnySize,
    DiesOfNesting,
    TakesAnySignature,
    TakesV0,
    ComparesWhatIsThere,
    ReadsTheFirstTimestampForTheAge,
    ReadsTheFirstHeaderAlone,
    ReadsTheQuery,
    ReadsUnderscores,
    RefusesDuplicates,
    RefusesNewVersions,
    RefusesThinEvents,
    RefusesTestEvents,
    TakesSmallBodiesAlone,
    ToleratesAMinute,
    AcknowledgesGarbage,
    FailsOnCopies,
    /// To what is not signed.
    NeverAnswers,
    /// The body of an answer, to what is not signed.
    NeverEnds,
    WorksAndFails,
    /// Not wrong: its queue is slow, and moves when something else comes.
    WorksLater,
}

/// Longer than a body takes on loopback, on a machine that is busy.
const BODY_TIME_MAX: Duration = Duration::from_millis(400);

/// Who is alone goes on.
const MEETING_TIME_MAX: Duration = Duration::from_millis(100);

const HEADER: &str = "stripe-signature";

const BODY_BYTES_MAX: usize = 1024 * 1024;

/// An endpoint that is sound but for its flaw.
#[derive(Clone)]
pub(crate) struct Broken {
    flaw: Flaw,
    seen: Arc<Mutex<HashSet<String>>>,
    effects: Arc<AtomicU64>,
    /// How many stand between the look and the mark.
    looking: Arc<tokio::sync::watch::Sender<u32>>,
    listening: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Broken {
    pub(crate) fn with(flaw: Flaw) -> Self {
        Self {
            flaw,
            seen: Arc::default(),
            effects: Arc::default(),
            looking: Arc::new(tokio::sync::watch::Sender::new(0)),
            listening: Arc::default(),
        }
    }

    pub(crate) fn effects(&self) -> u64 {
        self.effects.load(Ordering::SeqCst)
    }

    pub(crate) async fn serve(&self) -> Target {
        let app = Router::new()
            .route("/hook", post(receive))
            .with_state(self.clone());
        let (target, listening) = serve(app, "/hook").await;
        *self.listening.lock().unwrap() = Some(listening);
        target
    }

    /// As a process does: its listener first, then its connections.
    async fn die(&self) -> ! {
        let listening = self.listening.lock().unwrap().take().unwrap();
        listening.abort();
        assert!(listening.await.unwrap_err().is_cancelled());
        panic!("the connection ends with its task");
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    async fn read(&self, body: Body) -> Result<Bytes, StatusCode> {
        let any_size = self.has(Flaw::TakesAnySize);
        let bytes_max = match self.flaw {
            Flaw::TakesAnySize => usize::MAX,
            Flaw::TakesSmallBodiesAlone => 64 * 1024,
            _ => BODY_BYTES_MAX,
        };
        let reading = to_bytes(body, bytes_max);
        let read = match self.has(Flaw::WaitsForTheBody) || any_size {
            true => reading.await,
            false => tokio::time::timeout(BODY_TIME_MAX, reading)
                .await
                .map_err(|_| StatusCode::REQUEST_TIMEOUT)?,
        };
        read.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)
    }

    fn verified(&self, headers: &HeaderMap, uri: &Uri, body: &[u8]) -> bool {
        let Some(header) = self.header(headers, uri) else {
            return self.has(Flaw::IsOpenWithoutHeader);
        };
        let header = match self.flaw {
            Flaw::TakesAnySignature => return header.contains("v1="),
            Flaw::IsOpenWithoutSignature if !header.contains("v1=") => {
                return stripe::unix_now().abs_diff(signed_at(&header)) <= 300;
            }
            Flaw::ReadsTheLastSignatureAlone => last_signature_alone(&header),
            Flaw::TakesV0 => header.replace("v0=", "v1="),
            Flaw::ComparesWhatIsThere => completed(&header, body),
            Flaw::ReadsTheFirstTimestampForTheAge => {
                return judged_by_two_timestamps(&header, body);
            }
            Flaw::GuessesTheTimestamp => with_guessed_timestamp(header, body),
            _ => header,
        };
        let is_guessed = || {
            let at = stripe::at(signed_at(&header));
            header == sign_test_payload(body, "", at)
        };
        let verifier = self.verifier();
        let body_bytes = Bytes::copy_from_slice(body);
        verifier
            .verify(body_bytes, header.as_bytes(), stripe::now())
            .is_ok()
            || (self.has(Flaw::KnowsTheEmptyKey) && is_guessed())
    }

    fn writes_again(&self) -> Option<fn(&Value) -> String> {
        match self.flaw {
            Flaw::ParsesFirst => Some(Value::to_string),
            Flaw::WritesSpaces => Some(spaced),
            Flaw::WritesIndented => Some(|event| format!("{event:#}")),
            _ => None,
        }
    }

    fn verifier(&self) -> Verifier {
        let verifier = Verifier::new(SigningSecret::new(SECRET).unwrap());
        match self.flaw {
            Flaw::HasNoAgeCheck => verifier.without_age_check(),
            Flaw::ToleratesAMinute => verifier.with_tolerance(Duration::from_secs(60)),
            _ => verifier,
        }
    }

    /// What counts as the header: nothing but a single line, unless that is what is wrong.
    fn header(&self, headers: &HeaderMap, uri: &Uri) -> Option<String> {
        let name = match self.has(Flaw::ReadsUnderscores) && !headers.contains_key(HEADER) {
            true => "stripe_signature",
            false => HEADER,
        };
        let mut lines = headers.get_all(name).iter();
        let line = lines
            .next()
            .map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned());
        if line.is_none() && self.has(Flaw::ReadsTheQuery) {
            let mut parts = uri.query()?.split('&');
            return parts
                .find_map(|part| part.strip_prefix("signature="))
                .map(str::to_owned);
        }
        let is_alone = lines.next().is_none() || self.has(Flaw::ReadsTheFirstHeaderAlone);
        // Two lines are none to be verified, and not a missing one.
        line.map(|line| if is_alone { line } else { String::new() })
    }

    /// Until another stands here too, if one comes.
    async fn wait_for_another(&self) -> bool {
        let mut looking = self.looking.subscribe();
        self.looking.send_modify(|number| *number += 1);
        let two = looking.wait_for(|number| *number > 1);
        let has_come = tokio::time::timeout(MEETING_TIME_MAX, two).await.is_ok();
        self.looking.send_modify(|number| *number -= 1);
        has_come
    }

    /// What is genuine, and refused all the same.
    fn refuses(&self, event: &Value) -> bool {
        let text = |field: &str| event[field].as_str().unwrap_or_default();
        match self.flaw {
            Flaw::RefusesUnknownTypes => text("type").contains("unknown_type"),
            Flaw::RefusesNewVersions => text("api_version").starts_with("2031"),
            Flaw::RefusesThinEvents => text("object") == "v2.core.event",
            Flaw::RefusesTestEvents => text("id") == "evt_00000000000000",
            _ => false,
        }
    }

    /// Once for each event, unless that is what is wrong. Whether it is new.
    async fn work(&self, event: &Value) -> bool {
        let id = match self.has(Flaw::RemembersBodies) {
            true => event.to_string(),
            false => event["id"].as_str().unwrap().to_owned(),
        };
        if self.has(Flaw::LooksBeforeItMarks) {
            let is_seen = self.seen.lock().unwrap().contains(&id);
            if is_seen {
                return false;
            }
            self.wait_for_another().await;
        }
        let is_new = self.seen.lock().unwrap().insert(id);
        if self.has(Flaw::WorksLater) {
            return is_new;
        }
        let forgets = [Flaw::HasNoDeduplication, Flaw::LooksBeforeItMarks];
        if is_new || forgets.contains(&self.flaw) {
            self.effects.fetch_add(1, Ordering::SeqCst);
        }
        is_new
    }
}

/// Serves on loopback, as long as the task is not ended.
pub(crate) async fn serve(app: Router, path: &str) -> (Target, JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}{path}", listener.local_addr().unwrap());
    let serving = axum::serve(listener, app).into_future();
    let listening = tokio::spawn(async { serving.await.unwrap() });
    let target = Target::resolve(&url, Ownership::LoopbackOnly)
        .await
        .unwrap();
    (target, listening)
}

async fn receive(
    State(server): State<Broken>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let body = match server.read(body).await {
        Ok(body) => body,
        Err(status) => return status.into_response(),
    };
    if server.has(Flaw::Redirects) {
        return Redirect::temporary("/elsewhere").into_response();
    }
    if server.has(Flaw::DiesOfNesting) && body.starts_with(b"[[[[") {
        server.die().await;
    }
    let event: Option<Value> = serde_json::from_slice(&body).ok();
    if server.has(Flaw::FailsOnGarbage) && event.is_none() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    if server.has(Flaw::AcknowledgesGarbage) && event.is_none() {
        return StatusCode::OK.into_response();
    }
    let written_again;
    let mut signed: &[u8] = &body;
    if let Some(write) = server.writes_again() {
        let Some(event) = &event else {
            return StatusCode::UNPROCESSABLE_ENTITY.into_response();
        };
        written_again = write(event);
        signed = written_again.as_bytes();
    } else if server.has(Flaw::TrimsTheBody) {
        signed = body.trim_ascii();
    }
    let event = event.filter(|event| event["id"].is_string());
    if server.has(Flaw::WorksBeforeItVerifies)
        && let Some(event) = &event
    {
        server.work(event).await;
    }
    if !server.has(Flaw::VerifiesNothing) && !server.verified(&headers, &uri, signed) {
        return server.refusal(&body).await;
    }
    let Some(event) = event else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    if server.refuses(&event) {
        return StatusCode::NOT_FOUND.into_response();
    }
    if server.has(Flaw::FailsOnCopies) && server.wait_for_another().await {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let is_new = server.work(&event).await;
    if server.has(Flaw::WorksAndFails) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    match is_new || !server.has(Flaw::RefusesDuplicates) {
        true => StatusCode::OK.into_response(),
        false => StatusCode::CONFLICT.into_response(),
    }
}

impl Broken {
    async fn refusal(&self, body: &[u8]) -> Response {
        let bad = StatusCode::BAD_REQUEST;
        match self.flaw {
            Flaw::NeverAnswers => std::future::pending().await,
            Flaw::NeverEnds => {
                Body::from_stream(repeat(Ok::<_, Infallible>("x".repeat(4096)))).into_response()
            }
            Flaw::WorksLater => {
                let worked = self.seen.lock().unwrap().len() as u64;
                self.effects.store(worked, Ordering::SeqCst);
                bad.into_response()
            }
            Flaw::DropsTheConnection => panic!("the connection ends with its task"),
            Flaw::TellsItsSettings => (bad, format!("not signed with {SECRET}")).into_response(),
            Flaw::RepeatsWhatItRefuses => (bad, body.to_vec()).into_response(),
            _ => bad.into_response(),
        }
    }
}

/// As Python's `json.dumps` writes it.
fn spaced(event: &Value) -> String {
    let each = |values: Vec<String>| values.join(", ");
    match event {
        Value::Array(items) => format!("[{}]", each(items.iter().map(spaced).collect())),
        Value::Object(fields) => {
            let fields = fields.iter();
            let fields =
                fields.map(|(name, value)| format!("{}: {}", Value::from(&**name), spaced(value)));
            format!("{{{}}}", each(fields.collect()))
        }
        other => other.to_string(),
    }
}

fn last_signature_alone(header: &str) -> String {
    let mut elements: Vec<_> = header.split(',').collect();
    let last = elements
        .iter()
        .rposition(|element| element.starts_with("v1="));
    let last = last.map(|place| elements[place]).unwrap_or_default();
    elements.retain(|element| !element.starts_with("v1="));
    format!("{},{last}", elements.join(","))
}

/// The signature, as far as it is there, is taken for the whole.
fn completed(header: &str, body: &[u8]) -> String {
    let Some((_, given)) = header.split_once(",v1=") else {
        return header.to_owned();
    };
    let right = sign_test_payload(body, SECRET, stripe::at(signed_at(header)));
    let is_beginning = right.rsplit('=').next().unwrap().starts_with(given);
    if is_beginning {
        right
    } else {
        header.to_owned()
    }
}

fn signed_at(header: &str) -> u64 {
    let t = header.trim_start_matches("t=").split(',').next();
    t.and_then(|t| t.parse().ok()).unwrap_or(0)
}

/// With that one of the seconds around `t` for which the signature is right, if there is one.
fn with_guessed_timestamp(header: String, body: &[u8]) -> String {
    let said = signed_at(&header);
    let near = said.saturating_sub(60)..=said.saturating_add(60);
    let guessed = near.map(|t| sign_test_payload(body, SECRET, stripe::at(t)));
    let signature = header.rsplit(',').next().unwrap_or_default();
    let right = guessed
        .into_iter()
        .find(|guessed| guessed.ends_with(signature));
    right.unwrap_or(header)
}

/// The age by the first, the MAC by the last.
fn judged_by_two_timestamps(header: &str, body: &[u8]) -> bool {
    let Some((first, rest)) = header.split_once(',') else {
        return false;
    };
    let header = if rest.starts_with("t=") { rest } else { header };
    let verifier = stripe::verifier().without_age_check();
    let body = Bytes::copy_from_slice(body);
    let age =
        |t: &str| stripe::unix_now().abs_diff(t.trim_start_matches("t=").parse().unwrap_or(0));
    verifier
        .verify(body, header.as_bytes(), stripe::now())
        .is_ok()
        && age(first) <= 300
}
