//! Changes of JSON that leave it JSON: changes of bytes alone hardly ever make another event.

use std::fmt;

use libfuzzer_sys::fuzzer_mutate;
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

const KEYS: [&str; 24] = [
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
    "url",
    "idempotency_key",
    "previous_attributes",
    "amount",
    "\\u0069d",
    "i\\u0064",
    "x",
    "",
];

const VALUES: [&str; 24] = [
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1.5",
    "1e400",
    "1767225600",
    "253402300799",
    "253402300800",
    "18446744073709551616",
    r#""""#,
    r#""event""#,
    r#""v2.core.event""#,
    r#""2026-01-01T00:00:00.123Z""#,
    r#""9999-12-31T23:59:60Z""#,
    r#""jenny_rosen""#,
    r#""evt_\u0000""#,
    r#""\ud800""#,
    r#"{"id":"a","type":"b","url":"/v1/a"}"#,
    r#"{"type":"request","request":{"id":"req_1","idempotency_key":"jenny_rosen"}}"#,
    r#"{"object":{"id":"a","amount":1},"previous_attributes":{"id":"jenny_rosen"}}"#,
    "[[[]]]",
    "{}",
];

pub fn mutate(json: &[u8], seed: u32) -> Option<String> {
    let text = std::str::from_utf8(json).ok()?;
    let pairs: Pairs = serde_json::from_str(text).ok()?;
    Some(Dice(seed.into()).change_pairs(pairs.0))
}

/// Numbers that follow from the seed alone, so that a run can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((x ^ (x >> 31)) % end.max(1) as u64).unwrap_or_default()
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    fn change(&mut self, value: &str) -> String {
        if self.below(8) == 0 {
            return self.one_of(&VALUES).to_owned();
        }
        if let Ok(text) = serde_json::from_str::<String>(value) {
            return self.change_text(text);
        }
        match serde_json::from_str::<Pairs>(value) {
            Ok(pairs) => self.change_pairs(pairs.0),
            Err(_) => self.one_of(&VALUES).to_owned(),
        }
    }

    fn change_text(&mut self, text: String) -> String {
        const LONGEST: usize = 300;
        let mut bytes = text.into_bytes();
        let size = bytes.len().min(LONGEST);
        bytes.resize(LONGEST, 0);
        let size = fuzzer_mutate(&mut bytes, size, LONGEST);
        let text = String::from_utf8_lossy(&bytes[..size]);
        serde_json::to_string(&text).unwrap_or_default()
    }

    fn change_pairs(&mut self, mut pairs: Vec<(String, String)>) -> String {
        let at = self.below(pairs.len());
        match (self.below(16), pairs.get_mut(at)) {
            (0, Some(_)) => drop(pairs.remove(at)),
            (1, Some(pair)) => {
                let pair = pair.clone();
                pairs.push(pair);
            }
            (2, Some((key, _))) => *key = self.one_of(&KEYS).to_owned(),
            (3..6, _) | (_, None) => {
                let (key, value) = (self.one_of(&KEYS), self.one_of(&VALUES));
                pairs.insert(at, (key.to_owned(), value.to_owned()));
            }
            (_, Some((_, value))) => *value = self.change(value),
        }
        // Keys go in as they are: some of them are escaped.
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(key, value)| format!("\"{key}\":{value}"))
            .collect();
        format!("{{{}}}", pairs.join(","))
    }
}

/// The pairs of an object, the values as they stand. Keys that need escapes become another.
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    let key = key.replace(['"', '\\'], "_").replace(char::is_control, "_");
                    pairs.push((key, value.get().to_owned()));
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}
