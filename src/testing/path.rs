//! Places in a JSON value, named as in `items.data.0.price`.

use serde_json::{Value, json};

/// Puts a value there. What is not there yet is made; what is in the way is replaced.
pub(super) fn set(root: &mut Value, path: &str, value: Value) {
    let (parent, last) = split(path);
    if let Some(place) = place(root, parent).and_then(|parent| child(parent, last)) {
        *place = value;
    }
}

/// Takes out what is there.
pub(super) fn remove(root: &mut Value, path: &str) {
    let (parent, last) = split(path);
    match root.pointer_mut(&pointer(parent)) {
        Some(Value::Object(fields)) => drop(fields.remove(last)),
        Some(Value::Array(list)) => {
            let place = last.parse().ok();
            if let Some(place) = place.filter(|place| *place < list.len()) {
                list.remove(place);
            }
        }
        _ => {}
    }
}

/// The place as a JSON pointer.
pub(super) fn pointer(path: &str) -> String {
    let parts = parts(path).map(|part| format!("/{}", escaped(part)));
    parts.collect()
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('.').filter(|part| !part.is_empty())
}

fn place<'a>(root: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    parts(path).try_fold(root, child)
}

/// The field of this name, or the place of this number, made if it is not there.
fn child<'a>(parent: &'a mut Value, part: &str) -> Option<&'a mut Value> {
    match &mut *parent {
        Value::Object(fields) => {
            fields.entry(part).or_insert(Value::Null);
        }
        Value::Array(list) if part == list.len().to_string() => list.push(Value::Null),
        Value::Array(list) if part.parse().is_ok_and(|place: usize| place < list.len()) => {}
        other => *other = json!({part: null}),
    }
    parent.pointer_mut(&format!("/{}", escaped(part)))
}

/// As a part of a JSON pointer.
fn escaped(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}
