//! Any bytes as an event: the envelope agrees with a second reading of the same JSON, keeps its
//! bounds, and shows nothing of the payload.

#![no_main]

mod mutator;
mod reading;

use std::time::{Duration, UNIX_EPOCH};

use axum_stripe_webhook::{Event, EventError, EventKind, ObjectError, event::ID_BYTES_MAX};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use reading::Reading;

/// Stands in the data of the seeds.
const MARKER: &str = "jenny_rosen";

const API: &str = "https://api.stripe.com";

fuzz_target!(|body: &[u8]| {
    let result = check(body);
    let not_utf8 = std::str::from_utf8(body).is_err();
    assert_eq!(not_utf8, matches!(result, Err(EventError::NotUtf8)));
    if body.len().is_multiple_of(16) {
        let _ = check(&nested(body));
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let json = match seed % 8 {
        0 => None,
        _ => mutator::mutate(&data[..size], seed),
    };
    match json {
        Some(json) if json.len() <= max_size => {
            data[..json.len()].copy_from_slice(json.as_bytes());
            json.len()
        }
        _ => fuzzer_mutate(data, size, max_size),
    }
});

fn check(body: &[u8]) -> Result<(), EventError> {
    let result = Event::parse(body.to_vec().into());
    if let Some(reading) = Reading::of(body) {
        agrees(&result, &reading);
    }
    let event = result.inspect_err(|error| {
        assert!(!format!("{error:?} {error}").contains(MARKER));
    })?;
    assert_eq!(event.bytes(), body);
    keeps_its_bounds(&event);
    the_related_object_is_fetched_from_stripe(&event);
    parts_are_read_or_refused(&event);
    shows_nothing_of_the_payload(&event);
    Ok(())
}

/// Brackets so many that a reader which recurses needs more than any stack.
fn nested(body: &[u8]) -> Vec<u8> {
    const TIMES: usize = 100_000;
    let open = body.iter().position(|byte| *byte == b'[');
    let close = body.iter().rposition(|byte| *byte == b']');
    let (Some(open), Some(close)) = (open, close) else {
        return Vec::new();
    };
    let Some(within) = body.get(open..close) else {
        return Vec::new();
    };
    let (open, close) = (&body[..open], &body[close..]);
    [open, &[b'['; TIMES], within, &[b']'; TIMES], close].concat()
}

fn agrees(result: &Result<Event, EventError>, reading: &Reading) {
    match (result, reading.refusal()) {
        (Err(error), Some(refusal)) => {
            let field = match error {
                EventError::Field { field } => field,
                _ => error.code(),
            };
            assert_eq!(field, refusal);
        }
        (Ok(event), None) => {
            assert_eq!(Some(event.id()), reading.text("id"));
            assert_eq!(Some(event.event_type()), reading.text("type"));
            assert_eq!(event.kind() == EventKind::Thin, reading.is_thin());
            assert_eq!(
                event.livemode(),
                reading.get("livemode").and_then(Value::as_bool)
            );
            assert_eq!(event.account(), reading.text_unless_empty("account"));
            let is_bounded =
                |text: &&str| text.len() <= ID_BYTES_MAX && !text.contains(char::is_control);
            let api_version = reading.text("api_version").filter(is_bounded);
            assert_eq!(event.api_version(), api_version);
            let of_thin = |key| reading.text_unless_empty(key).filter(|_| reading.is_thin());
            assert_eq!(event.snapshot_event(), of_thin("snapshot_event"));
            let context = reading.text("context").filter(|_| !reading.is_thin());
            let context = context.filter(is_bounded);
            assert_eq!(event.context(), context.or(of_thin("context")));
            agrees_about_parts(event, reading);
        }
        (result, refusal) => panic!("{result:?}, where the other reading has {refusal:?}"),
    }
}

/// An array in the place of an object is nothing, though serde takes its elements for the fields.
fn agrees_about_parts(event: &Event, reading: &Reading) {
    let part = |key| reading.get(key).filter(|part| part.is_object());
    assert!(event.related_object().is_none() || part("related_object").is_some());
    assert!(event.reason().is_none() || part("reason").is_some());
    assert!(event.object::<Value>().is_err() || part("data").is_some());
    if let (Ok(object), Some(data)) = (event.object::<Value>(), part("data")) {
        assert_eq!(Some(&object), data.get("object"));
    }
    if let (Some(related), Some(part)) = (event.related_object(), part("related_object")) {
        assert_eq!(Some(&*related.id), part["id"].as_str());
        assert_eq!(Some(&*related.object_type), part["type"].as_str());
        assert!(related.url.is_none() || related.url.as_deref() == part["url"].as_str());
    }
    let request = event.request().filter(|_| event.reason().is_none());
    if let (Some(request), Some(part)) = (request, part("request")) {
        assert_eq!(request.id.as_deref(), part["id"].as_str());
        assert_eq!(
            request.idempotency_key.as_deref(),
            part["idempotency_key"].as_str()
        );
    }
}

fn keeps_its_bounds(event: &Event) {
    let is_key =
        |text: &str| (1..=ID_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control);
    let related = event.related_object();
    let of_related = related.map(|related| [&*related.id, &*related.object_type]);
    let mut of_related = of_related.into_iter().flatten();
    assert!(of_related.all(|text| text.is_empty() || is_key(text)));
    let thin = event.kind() == EventKind::Thin;
    assert!(is_key(event.id()) && is_key(event.event_type()) && is_key(event.deduplication_id()));
    assert!(event.account().is_none_or(is_key));
    assert!(event.snapshot_event().is_none_or(|id| thin && is_key(id)));
    assert!(!thin || event.context().is_none_or(is_key));
    let year_10000 = UNIX_EPOCH + Duration::from_secs(253_402_300_800);
    assert!(event.created().is_none_or(|at| at < year_10000));
}

fn the_related_object_is_fetched_from_stripe(event: &Event) {
    let Some(url) = event
        .related_object()
        .and_then(|object| object.url.as_deref())
    else {
        return;
    };
    let api = Url::parse(API).expect("a URL");
    let origin = api.origin();
    let joined = api.join(url).expect("a path can be joined");
    let appended = Url::parse(&format!("{API}{url}")).expect("a path can be appended");
    for url in [joined, appended] {
        assert_eq!(url.origin(), origin);
        assert!(url.username().is_empty() && url.password().is_none());
    }
}

#[derive(Deserialize)]
struct Small {
    #[expect(dead_code, reason = "only its shape matters")]
    id: String,
    #[expect(dead_code, reason = "only its shape matters")]
    amount: Option<u64>,
}

fn parts_are_read_or_refused(event: &Event) {
    let any = event.object::<Value>();
    let small = event.object::<Small>();
    if event.kind() == EventKind::Thin {
        assert!(matches!(any, Err(ObjectError::Absent)));
        assert!(matches!(small, Err(ObjectError::Absent)));
    }
    for error in [
        any.err(),
        small.err(),
        event.changes::<Small>().err(),
        event.changes::<Value>().err(),
        event.data::<Small>().err(),
        event.data::<Value>().err(),
        event.previous_attributes::<Small>().err(),
        event.previous_attributes::<Value>().err(),
    ] {
        assert!(!format!("{error:?}").contains(MARKER));
    }
}

fn shows_nothing_of_the_payload(event: &Event) {
    let shown = [event.api_version(), event.account()];
    let shown = shown.into_iter().flatten();
    let mut shown = shown.chain([event.id(), event.event_type()]);
    if !shown.any(|text| text.contains(MARKER)) {
        assert!(!format!("{event:?}").contains(MARKER));
    }
    if let Some(request) = event.request() {
        let id = request.id.as_deref().unwrap_or_default();
        assert!(id.contains(MARKER) || !format!("{request:?}").contains(MARKER));
    }
    let _ = (event.reason(), event.created());
}
