//! What is an event, and what is not.

use axum_stripe_webhook::{Event, EventError, EventKind, ObjectError};
use serde::Deserialize;

fn parse(body: &str) -> Result<Event, EventError> {
    Event::parse(body.to_owned().into())
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only its shape matters")]
struct Session {
    id: String,
    amount_total: u64,
}

#[test]
fn a_snapshot_event_shows_its_envelope_and_its_object() {
    let body = r#"{"id": "evt_1", "object": "event", "type": "checkout.session.completed",
        "api_version": "2026-10-28.endive", "created": 1767225600, "livemode": true,
        "account": "acct_1", "pending_webhooks": 1, "request": {"id": null},
        "data": {"object": {"id": "cs_1", "amount_total": 4200, "new": [1]},
                 "previous_attributes": {"id": 7}}}"#;
    let event = parse(body).unwrap();
    assert_eq!(event.kind(), EventKind::Snapshot);
    assert_eq!(event.id(), "evt_1");
    assert_eq!(event.deduplication_id(), "evt_1");
    assert_eq!(event.event_type(), "checkout.session.completed");
    assert_eq!(event.api_version(), Some("2026-10-28.endive"));
    assert_eq!(event.livemode(), Some(true));
    assert_eq!(event.account(), Some("acct_1"));
    assert_eq!(event.object::<Session>().unwrap().amount_total, 4200);
    assert_eq!(event.bytes(), body);
}

#[test]
fn a_thin_event_names_its_object_and_shares_the_id_of_its_twin() {
    let event = parse(
        r#"{"id": "evt_thin", "object": "v2.core.event", "type": "v1.checkout.session.completed",
            "created": "2026-01-01T00:00:00.123Z", "livemode": false, "context": "acct_1",
            "snapshot_event": "evt_snapshot",
            "related_object": {"id": "cs_1", "type": "checkout.session",
                               "url": "/v1/checkout/sessions/cs_1"}}"#,
    )
    .unwrap();
    assert_eq!(event.kind(), EventKind::Thin);
    assert_eq!(event.deduplication_id(), "evt_snapshot");
    assert_eq!(event.context(), Some("acct_1"));
    assert_eq!(event.related_object().unwrap().id, "cs_1");
    let since = event
        .created()
        .unwrap()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert_eq!(since.as_secs(), 1_767_225_600);
    assert_eq!(event.object::<Session>().unwrap_err(), ObjectError::Absent);
}

#[test]
fn a_thin_event_tells_what_changed_and_why() {
    #[derive(Deserialize)]
    struct Changes {
        before: Before,
    }
    #[derive(Deserialize)]
    struct Before {
        status: String,
    }
    let event = parse(
        r#"{"id": "evt_thin", "object": "v2.core.event", "type": "v2.core.account.updated",
            "changes": {"before": {"status": "pending"}}, "data": {"impact": 7},
            "reason": {"type": "request",
                       "request": {"id": "req_1", "idempotency_key": "marker"}}}"#,
    )
    .unwrap();
    let changes: Changes = event.changes().unwrap().unwrap();
    assert_eq!(changes.before.status, "pending");
    let reason = event.reason().unwrap();
    assert_eq!(reason.reason_type, "request");
    let request = event.request().unwrap();
    assert_eq!(request.id.as_deref(), Some("req_1"));
    assert_eq!(request.idempotency_key.as_deref(), Some("marker"));
    assert!(!format!("{reason:?} {event:?}").contains("marker"));
    let data: Option<serde_json::Value> = event.data().unwrap();
    assert_eq!(data, Some(serde_json::json!({"impact": 7})));
    assert_eq!(event.snapshot_event(), None);
    assert_eq!(event.deduplication_id(), "evt_thin");
    let misfit = event.changes::<u64>().unwrap_err();
    assert!(matches!(misfit, ObjectError::Misfit { .. }));
}

/// Even if its data has something of that name.
#[test]
fn a_thin_event_has_no_object() {
    let event = parse(
        r#"{"id": "evt_thin", "object": "v2.core.event", "type": "v1.a", "reason": null,
            "changes": null, "data": {"object": {"id": "cs_1", "amount_total": 1}}}"#,
    )
    .unwrap();
    assert_eq!(event.object::<Session>().unwrap_err(), ObjectError::Absent);
    assert_eq!(event.changes::<u64>(), Ok(None));
    assert_eq!((event.reason(), event.request()), (None, None));
}

#[test]
fn a_snapshot_event_tells_what_was_before_and_which_request_caused_it() {
    let event = |request: &str| {
        parse(&format!(
            r#"{{"id": "evt_1", "object": "event", "type": "a.updated", "request": {request},
                "data": {{"object": {{}}, "previous_attributes": {{"amount": 7}}}}}}"#
        ))
        .unwrap()
    };
    let since_2017 = event(r#"{"id": "req_1", "idempotency_key": null}"#);
    assert_eq!(since_2017.request(), event(r#""req_1""#).request());
    assert_eq!(since_2017.request().unwrap().id.as_deref(), Some("req_1"));
    assert_eq!(event("null").request(), None);
    assert_eq!(event("7").request(), None);
    let before: Option<serde_json::Value> = since_2017.previous_attributes().unwrap();
    assert_eq!(before, Some(serde_json::json!({"amount": 7})));
    let none = parse(r#"{"id": "evt_1", "object": "event", "type": "a", "data": {"object": {}}}"#);
    assert_eq!(none.unwrap().previous_attributes::<u64>(), Ok(None));
}

#[test]
fn a_snapshot_event_cannot_borrow_the_id_of_another() {
    let event =
        parse(r#"{"id": "evt_1", "object": "event", "type": "a", "snapshot_event": "evt_2"}"#);
    assert_eq!(event.unwrap().deduplication_id(), "evt_1");
}

#[test]
fn what_only_informs_may_have_any_form() {
    let event = parse(
        r#"{"id": "evt_1", "object": "event", "type": "a.type.to.come", "created": 1e400,
            "api_version": 7, "request": ["req_1"], "data": [{"id": "cs_1", "amount_total": 1}],
            "related_object": ["cs_1", "checkout.session", "/v1/checkout/sessions/cs_1"],
            "context": {}, "account": ""}"#,
    )
    .unwrap();
    assert_eq!(event.created(), None);
    assert_eq!(event.api_version(), None);
    assert_eq!(event.context(), None);
    assert_eq!(event.account(), None);
    assert_eq!((event.related_object(), event.request()), (None, None));
    assert!(event.object::<Session>().is_err());
}

#[test]
fn everything_else_is_refused_with_its_own_error() {
    let field = |field| EventError::Field { field };
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (body, error) in [
        (r#"{"object": "event", "type": "a"}"#, field("id")),
        (r#"{"id": 7, "object": "event", "type": "a"}"#, field("id")),
        (r#"{"id": "", "object": "event", "type": "a"}"#, field("id")),
        (
            r#"{"id": "a\u0000b", "object": "event", "type": "a"}"#,
            field("id"),
        ),
        (
            r#"{"id": "\ud802", "object": "event", "type": "a"}"#,
            field("id"),
        ),
        (r#"{"id": "evt_1", "object": "event"}"#, field("type")),
        (
            r#"{"id": "evt_1", "object": "event", "type": null}"#,
            field("type"),
        ),
        (r#"{"id": "evt_1", "type": "a"}"#, field("object")),
        (
            r#"{"id": "evt_1", "object": "event", "type": "a", "livemode": "no"}"#,
            field("livemode"),
        ),
        (
            r#"{"id": "evt_1", "object": "event", "type": "a", "account": 7}"#,
            field("account"),
        ),
        (
            r#"{"id": "evt_1", "object": "v2.core.event", "type": "a", "context": {}}"#,
            field("context"),
        ),
        (
            r#"{"id": "cs_1", "object": "checkout.session", "type": "a"}"#,
            EventError::NotAnEvent,
        ),
        (r#"["evt_1", "event", "a"]"#, EventError::NotAnObject),
        ("null", EventError::NotAnObject),
        (
            r#"{"detail-type": "a", "detail": {"id": "evt_1"}}"#,
            EventError::CloudEnvelope,
        ),
        (
            r#"{"specversion": "1.0", "type": "a"}"#,
            EventError::CloudEnvelope,
        ),
        (nested.as_str(), EventError::NotAnObject),
    ] {
        assert_eq!(
            parse(body).unwrap_err(),
            error,
            "{}",
            &body[..body.len().min(80)]
        );
    }
    let long = format!(
        r#"{{"id": "{}", "object": "event", "type": "a"}}"#,
        "x".repeat(256)
    );
    assert_eq!(parse(&long).unwrap_err(), field("id"));
}

#[test]
fn what_is_not_json_or_not_utf8_is_refused_without_a_panic() {
    for body in [
        "",
        " ",
        "{",
        "{}x",
        "\u{feff}{}",
        "NaN",
        r#"{"id": NaN}"#,
        "this is text",
    ] {
        assert!(
            matches!(parse(body), Err(EventError::NotJson { .. })),
            "{body:?}"
        );
    }
    let bytes = &b"{\"id\": \"evt_\xff\", \"object\": \"event\", \"type\": \"a\"}"[..];
    assert_eq!(Event::parse(bytes.into()).unwrap_err(), EventError::NotUtf8);
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    let twice = r#"{"id": "evt_1", "id": "evt_2", "object": "event", "type": "a"}"#;
    assert!(matches!(parse(twice), Err(EventError::RepeatedKey { .. })));
}

#[test]
fn deep_nesting_in_the_object_is_an_error_of_the_object_alone() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let body = format!(
        r#"{{"id": "evt_1", "object": "event", "type": "a", "data": {{"object": {deep}}}}}"#
    );
    let event = parse(&body).unwrap();
    assert!(matches!(
        event.object::<serde_json::Value>(),
        Err(ObjectError::Misfit { .. })
    ));
}

#[test]
fn a_misfit_is_named_by_its_path_and_by_no_key_that_somebody_chose() {
    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "what it is read into")]
    struct Invoice {
        lines: Vec<Line>,
        metadata: std::collections::HashMap<String, u64>,
        #[serde(default)]
        by_phone: std::collections::HashMap<String, u64>,
    }
    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "what it is read into")]
    struct Line {
        amount: u64,
    }
    for (object, path) in [
        (
            r#"{"lines": [{"amount": 1}, {"amount": "x"}], "metadata": {}}"#,
            "lines[1].amount",
        ),
        (r#"{"lines": [{}], "metadata": {}}"#, "lines[0].amount"),
        (r#"{"lines": []}"#, "metadata"),
        (r#"{"lines": [], "metadata": {"jenny": "x"}}"#, "metadata.*"),
        (r#"{"lines": 7}"#, "lines"),
        (
            r#"{"lines": [], "metadata": {}, "by_phone": {"4155550100": "x"}}"#,
            "by_phone.*",
        ),
    ] {
        let body = format!(
            r#"{{"id": "evt_1", "object": "event", "type": "a", "data": {{"object": {object}}}}}"#
        );
        let misfit = parse(&body).unwrap().object::<Invoice>().unwrap_err();
        let path = format!("data.object.{path}");
        assert_eq!(misfit, ObjectError::Misfit { path });
    }
}

#[test]
fn neither_debug_nor_errors_show_the_payload() {
    let body = r#"{"id": "evt_1", "object": "event", "type": "a",
        "data": {"object": {"id": "jenny@example.com", "amount_total": "marker"}}}"#;
    let event = parse(body).unwrap();
    let error = event.object::<Session>().unwrap_err();
    for shown in [format!("{event:?}"), format!("{error:?} {error}")] {
        assert!(
            !shown.contains("marker") && !shown.contains("jenny"),
            "{shown}"
        );
    }
}
