//! The envelope once more, by way of `serde_json::Value`.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

/// The pairs of the object as they stand, doubles included.
pub struct Reading(Vec<(String, Value)>);

/// Every key that is looked at, and so may stand there once.
const KEYS: [&str; 16] = [
    "id",
    "object",
    "type",
    "api_version",
    "created",
    "livemode",
    "account",
    "context",
    "snapshot_event",
    "related_object",
    "reason",
    "request",
    "data",
    "changes",
    "detail",
    "specversion",
];

impl Reading {
    /// `None` where `Value` is no judge: it refuses what is nested deeply, large numbers and half
    /// surrogates, which an event may have in its data.
    pub fn of(body: &[u8]) -> Option<Self> {
        // With serde_json's `raw_value`, a map that begins with its private key is read as what
        // the string behind the key says.
        const PRIVATE_KEY: &[u8] = b"private::RawValue";
        if body
            .windows(PRIVATE_KEY.len())
            .any(|bytes| bytes == PRIVATE_KEY)
        {
            return None;
        }
        serde_json::from_slice(body).ok()
    }

    /// What is there and not null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let found = self.0.iter().find(|(there, _)| there == key);
        found
            .map(|(_, value)| value)
            .filter(|value| !value.is_null())
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    pub fn text_unless_empty(&self, key: &str) -> Option<&str> {
        self.text(key).filter(|text| !text.is_empty())
    }

    pub fn is_thin(&self) -> bool {
        self.text("object") == Some("v2.core.event")
    }

    /// Why it is no event: the code of the error, or the field that is at fault.
    pub fn refusal(&self) -> Option<&'static str> {
        let count = |key: &str| self.0.iter().filter(|(there, _)| there == key).count();
        if KEYS.iter().any(|key| count(key) > 1) {
            return Some("repeated_key");
        }
        let is_there = |key: &&str| self.get(key).is_some();
        if !is_there(&"object") && ["detail", "specversion"].iter().any(is_there) {
            return Some("cloud_envelope");
        }
        let is_key = |key: &str| {
            let is_key = |text: &str| text.len() <= 255 && !text.contains(char::is_control);
            self.text(key).is_some_and(is_key)
        };
        let is_missing = |key: &&&str| !is_key(key) || self.text(key) == Some("");
        let is_unfit = |key: &&&str| is_there(key) && !is_key(key);
        if is_missing(&&"object") {
            return Some("object");
        }
        if !self.is_thin() && self.text("object") != Some("event") {
            return Some("not_an_event");
        }
        if let Some(field) = ["id", "type"].iter().find(is_missing) {
            return Some(field);
        }
        if self
            .get("livemode")
            .is_some_and(|value| !value.is_boolean())
        {
            return Some("livemode");
        }
        let optional: &[&str] = match self.is_thin() {
            true => &["account", "context", "snapshot_event"],
            false => &["account"],
        };
        optional.iter().find(is_unfit).copied()
    }
}

impl<'de> Deserialize<'de> for Reading {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> de::Visitor<'de> for Pairs {
            type Value = Reading;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Reading, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Reading(pairs))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}
