//! An entry, shown.

use axum_stripe_webhook::inbox::StoredEntry;
use serde_json::{Value, json};

use crate::{
    instant,
    output::{fields, table},
};

/// All that is known of it but its payload.
pub(crate) fn json(entry: &StoredEntry) -> Value {
    json!({
        "event_id": entry.event_id,
        "endpoint": entry.endpoint,
        "event_type": entry.event_type,
        "account": entry.account,
        "livemode": entry.livemode,
        "created": entry.created.map(instant::shown),
        "object_id": entry.object_id,
        "state": entry.state.code(),
        "attempts": entry.attempts,
        "due_at": entry.due_at.map(instant::shown),
        "last_error": entry.last_error,
        "received_at": instant::shown(entry.received_at),
        "payload_bytes": entry.payload_bytes,
    })
}

pub(crate) fn shown(entry: &StoredEntry) -> String {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    fields([
        ("event_id", entry.event_id.clone()),
        ("endpoint", entry.endpoint.clone()),
        ("event_type", entry.event_type.clone()),
        ("account", or_none(entry.account.clone())),
        ("livemode", or_none(entry.livemode.map(|is| is.to_string()))),
        ("created", or_none(entry.created.map(instant::shown))),
        ("object_id", or_none(entry.object_id.clone())),
        ("state", entry.state.code().to_owned()),
        ("attempts", entry.attempts.to_string()),
        ("due_at", or_none(entry.due_at.map(instant::shown))),
        ("last_error", or_none(entry.last_error.clone())),
        ("received_at", instant::shown(entry.received_at)),
        (
            "payload_bytes",
            or_none(entry.payload_bytes.map(|bytes| bytes.to_string())),
        ),
    ])
}

/// A line for each, however long.
pub(crate) fn list(entries: &[StoredEntry]) -> String {
    let rows = entries.iter().map(|entry| {
        let error = entry.last_error.clone();
        vec![
            entry.event_id.clone(),
            entry.endpoint.clone(),
            entry.state.code().to_owned(),
            entry.attempts.to_string(),
            entry.event_type.clone(),
            instant::shown_short(entry.received_at),
            error.unwrap_or_default(),
        ]
    });
    let header = [
        "event_id",
        "endpoint",
        "state",
        "attempts",
        "type",
        "received_at",
        "last_error",
    ];
    table(&header, rows, header.len())
}
