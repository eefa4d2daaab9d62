//! One request and its answer.

use std::time::{Duration, Instant};

use axum_stripe_webhook::probe::{ANSWER_BYTES_MAX, Ownership, SendError, Target, TargetError};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tower_service::Service;

use crate::failure::Failure;

/// What a server answered, and how long it took, the connection included.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    pub(crate) time: Duration,
}

pub(crate) async fn resolve(url: &str, is_own: bool) -> Result<Target, Failure> {
    let ownership = match is_own {
        true => Ownership::Declared,
        false => Ownership::LoopbackOnly,
    };
    let resolved = Target::resolve(url, ownership).await;
    resolved.map_err(|error| match error {
        TargetError::NotLoopback => Failure::usage(
            "the endpoint is not on this machine: --own says that it is your own and meant for tests",
        ),
        TargetError::NotUrl | TargetError::NotHttp | TargetError::UserInfo => {
            Failure::usage(error.to_string())
        }
        error => Failure::impossible(error.to_string()),
    })
}

/// Sends a request to the target's own path. The error is a text for people.
pub(crate) async fn exchange(
    target: &Target,
    request: Request<Full<Bytes>>,
) -> Result<Answer, String> {
    let begun = Instant::now();
    let response = target.clone().call(request).await.map_err(told)?;
    let status = response.status();
    let Ok(body) = response.into_body().collect().await;
    Ok(Answer {
        status,
        body: body.to_bytes(),
        time: begun.elapsed(),
    })
}

fn told(error: SendError) -> String {
    match &error {
        SendError::Unreachable(cause) => format!("{error}: {}", cause.kind()),
        _ => error.to_string(),
    }
}

/// A page that is to be read: that harms nobody, wherever it is.
pub(crate) async fn page(url: &str) -> Result<Target, Failure> {
    resolve(url, true).await
}

/// Reads a page, which has to be there, and whole.
pub(crate) async fn get(page: &Target) -> Result<Bytes, Failure> {
    let answer = exchange(page, Request::new(Full::default())).await;
    let answer = answer.map_err(|reason| Failure::impossible(format!("{page}: {reason}")))?;
    match answer.status {
        StatusCode::OK if answer.body.len() >= ANSWER_BYTES_MAX => Err(Failure::impossible(
            format!("{page}: longer than {ANSWER_BYTES_MAX} bytes"),
        )),
        StatusCode::OK => Ok(answer.body),
        status => Err(Failure::impossible(format!(
            "{page}: the server answered {}, not 200",
            status.as_u16()
        ))),
    }
}
