use std::{borrow::Cow, error::Error, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header::CONTENT_TYPE};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;

use super::client::{Connection, ExtraQuery, SendError};
use crate::testing::USER_AGENT;

/// Most of an answer's text that is shown.
const SHOWN_CHARS_MAX: usize = 80;

/// As long a run of hex digits may be part of a signature.
const HEX_RUN_SHOWN_MAX: usize = 31;

/// A whole signature in base64 is longer.
const BASE64_RUN_SHOWN_MAX: usize = 42;

/// As much of a secret as nobody has by chance.
const SECRET_PART_CHARS: usize = 8;

/// What is sent, and what to call it.
#[derive(Clone)]
pub(super) struct Attempt {
    /// As in "sent: a delivery without a signature".
    pub(super) what: Cow<'static, str>,
    pub(super) body: Bytes,
    headers: Vec<(HeaderName, HeaderValue)>,
    query: Option<String>,
    /// A server may end the connection instead of answering, because it need not read all of it.
    pub(super) may_be_cut_off: bool,
}

impl Attempt {
    pub(super) fn new(what: impl Into<Cow<'static, str>>, body: impl Into<Bytes>) -> Self {
        Self {
            what: what.into(),
            body: body.into(),
            headers: Vec::new(),
            query: None,
            may_be_cut_off: false,
        }
    }

    /// Adds a `Stripe-Signature` line.
    pub(super) fn signature(self, value: impl AsRef<[u8]>) -> Self {
        self.header(HeaderName::from_static("stripe-signature"), value)
    }

    /// Adds a line. A value that HTTP cannot carry is left out.
    pub(super) fn header(mut self, name: HeaderName, value: impl AsRef<[u8]>) -> Self {
        let value = HeaderValue::from_bytes(value.as_ref());
        self.headers.extend(value.ok().map(|value| (name, value)));
        self
    }

    pub(super) fn query(mut self, query: String) -> Self {
        self.query = Some(query);
        self
    }

    pub(super) fn may_be_cut_off(mut self) -> Self {
        self.may_be_cut_off = true;
        self
    }

    pub(super) fn request(&self) -> Request<Full<Bytes>> {
        self.request_of(Full::new(self.body.clone()))
    }

    /// Likewise with another body.
    pub(super) fn request_of<B>(&self, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        headers.insert(CONTENT_TYPE, json);
        headers.insert("user-agent", HeaderValue::from_static(USER_AGENT));
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        if let Some(query) = &self.query {
            request.extensions_mut().insert(ExtraQuery(query.clone()));
        }
        request
    }
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Outcome {
    Answered {
        status: StatusCode,
        body: Bytes,
        took: Duration,
    },
    Closed,
    Late(Duration),
    /// Nobody listens.
    Unreachable,
}

impl Outcome {
    /// Of a request over a connection that there is.
    pub(super) async fn of<B>(connection: Connection, request: Request<B>, limit: Duration) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let begun = Instant::now();
        match connection.send(request, limit).await {
            Ok(response) => {
                let status = response.status();
                let Ok(body) = response.into_body().collect().await;
                let (body, took) = (body.to_bytes(), begun.elapsed());
                Self::Answered { status, body, took }
            }
            Err(error) => Self::failed(&error),
        }
    }

    pub(super) fn failed(error: &SendError) -> Self {
        match error {
            SendError::Unreachable(_) => Self::Unreachable,
            SendError::Closed(_) => Self::Closed,
            SendError::Late(limit) => Self::Late(*limit),
        }
    }

    pub(super) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Answered { status, .. } => Some(*status),
            Self::Closed | Self::Late(_) | Self::Unreachable => None,
        }
    }

    pub(super) fn body(&self) -> Option<&Bytes> {
        match self {
            Self::Answered { body, .. } => Some(body),
            Self::Closed | Self::Late(_) | Self::Unreachable => None,
        }
    }

    pub(super) fn is_success(&self) -> bool {
        self.status().is_some_and(|status| status.is_success())
    }

    /// Whether it was to come later, and nobody has looked at it.
    pub(super) fn is_throttled(&self) -> bool {
        self.status() == Some(StatusCode::TOO_MANY_REQUESTS)
    }

    /// Whether a server error, or nothing, is all that came.
    pub(super) fn is_broken(&self) -> bool {
        self.status().is_none_or(|status| status.is_server_error())
    }

    /// Status and time, and of the text no more than a line that holds no secret.
    pub(super) fn told(&self, secret: Option<&str>) -> String {
        match self {
            Self::Answered { status, body, took } => {
                let ms = took.as_millis();
                let text = shown(body, secret).map(|text| format!(": {text}"));
                format!("{} in {ms} ms{}", status.as_u16(), text.unwrap_or_default())
            }
            Self::Closed => "the connection ended without an answer".to_owned(),
            Self::Late(limit) => format!("nothing within {}", humantime::format_duration(*limit)),
            Self::Unreachable => "no connection".to_owned(),
        }
    }
}

/// A server may repeat the header, or its own settings.
fn shown(body: &[u8], secret: Option<&str>) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let is_hex = |character: char| character.is_ascii_hexdigit();
    let is_base64 = |character: char| {
        character.is_ascii_alphanumeric() || matches!(character, '+' | '/' | '-' | '_')
    };
    if secret.is_some_and(|secret| holds_part(&text, secret))
        || text.contains("whsec_")
        || has_run(&text, HEX_RUN_SHOWN_MAX, is_hex)
        || has_run(&text, BASE64_RUN_SHOWN_MAX, is_base64)
    {
        return Some("(a text that may hold a secret)".to_owned());
    }
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_printable = |character: &char| matches!(character, ' '..='~');
    let line: String = words
        .chars()
        .filter(is_printable)
        .take(SHOWN_CHARS_MAX)
        .collect();
    (!line.is_empty()).then_some(line)
}

fn holds_part(text: &str, secret: &str) -> bool {
    let secret: Vec<_> = secret.chars().collect();
    let mut parts = secret.windows(SECRET_PART_CHARS.min(secret.len()).max(1));
    parts.any(|part| text.contains(&part.iter().collect::<String>()))
}

/// Whether more of such characters than that stand in a row.
fn has_run(text: &str, most: usize, is_such: fn(char) -> bool) -> bool {
    let runs = text.split(|character| !is_such(character));
    runs.into_iter().any(|run| run.len() > most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(body: &str) -> String {
        let answer = Outcome::Answered {
            status: StatusCode::BAD_REQUEST,
            body: Bytes::copy_from_slice(body.as_bytes()),
            took: Duration::from_millis(3),
        };
        answer.told(Some("the secret"))
    }

    #[test]
    fn an_answer_is_told_in_a_line_of_printable_text() {
        assert_eq!(told(""), "400 in 3 ms");
        assert_eq!(told("no\r\n\t\u{1b}[31mgood"), "400 in 3 ms: no [31mgood");
        assert_eq!(
            told(&"x ".repeat(200)),
            format!("400 in 3 ms: {}", "x ".repeat(40))
        );
    }

    #[test]
    fn a_text_that_holds_a_secret_or_a_signature_is_not_told() {
        let signature = format!("expected {}", "0a".repeat(32));
        let in_base64 = "Zm9yZ2VkIGFuZCBleHBlY3RlZCBhcmUgbm90IGFsaWs=";
        for body in [
            "with the secret",
            "with the secr…",
            "whsec_other",
            &signature,
            in_base64,
        ] {
            assert_eq!(told(body), "400 in 3 ms: (a text that may hold a secret)");
        }
    }
}
