use super::resource;

const HOUR: i64 = 60 * 60;
const DAY: i64 = 24 * HOUR;

/// Instants an object may name, in seconds from the event's creation. No calendar: a month has 30 days.
const INSTANTS: [(&str, i64); 14] = [
    ("created", 0),
    ("created-30d", -30 * DAY),
    ("created-23d", -23 * DAY),
    ("created-7d", -7 * DAY),
    ("created-4d", -4 * DAY),
    ("created-2d", -2 * DAY),
    ("created-1d", -DAY),
    ("created+1h", HOUR),
    ("created+1d", DAY),
    ("created+2d", 2 * DAY),
    ("created+3d", 3 * DAY),
    ("created+7d", 7 * DAY),
    ("created+30d", 30 * DAY),
    ("created+37d", 37 * DAY),
];

/// What the placeholders of a sample stand for.
#[derive(Debug)]
pub(in crate::testing) struct Filling<'a> {
    /// `{{name}}`: what the ids are made of.
    pub(in crate::testing) name: &'a str,
    /// `{{object}}`: the object's kind, if the sample is generic.
    pub(in crate::testing) event_type: &'a str,
    /// `{{created}}` and `{{created+7d}}`, `{{created-1d}}`...: Unix seconds.
    pub(in crate::testing) created: u64,
}

impl Filling<'_> {
    /// The text without placeholders. A name or a type can not break out of its JSON string.
    pub(in crate::testing) fn fill(&self, template: &str) -> String {
        let mut parts = template.split("{{");
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let filled = part.split_once("}}").and_then(|(placeholder, rest)| {
                let value = self.value(placeholder)?;
                Some(value + rest)
            });
            // What is no placeholder stays as it is.
            text += &filled.unwrap_or_else(|| format!("{{{{{part}"));
        }
        text
    }

    fn value(&self, placeholder: &str) -> Option<String> {
        match placeholder {
            "name" => return Some(escaped(self.name)),
            "object" => return Some(escaped(resource(self.event_type))),
            _ => {}
        }
        let mut instants = INSTANTS.iter();
        let (_, seconds) = instants.find(|(instant, _)| *instant == placeholder)?;
        Some(self.created.saturating_add_signed(*seconds).to_string())
    }
}

/// As the inside of a JSON string.
fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    let inside = quoted.get(1..quoted.len().saturating_sub(1));
    inside.unwrap_or_default().to_owned()
}
