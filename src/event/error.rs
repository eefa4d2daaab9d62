use serde_json::error::Category;
use serde_path_to_error::Segment;

/// Why the bytes of a body are not an event. Holds nothing of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The bytes are not UTF-8.
    #[error("the body is not UTF-8")]
    NotUtf8,
    /// The bytes are not JSON: not well-formed, something behind the end, or nested too deeply.
    #[error("the body is not JSON (line {line}, column {column})")]
    NotJson {
        /// Line of the first fault, from 1.
        line: usize,
        /// Column of the first fault, from 1.
        column: usize,
    },
    /// The JSON is not an object.
    #[error("the body is JSON, but not an object")]
    NotAnObject,
    /// A key of the envelope stands there twice, so that two readers could read two events.
    #[error("the body has a key of the envelope twice (line {line}, column {column})")]
    RepeatedKey {
        /// Line of the second one, from 1.
        line: usize,
        /// Column of the second one, from 1.
        column: usize,
    },
    /// A field is missing or does not have the form that the [module](crate::event) states.
    #[error("the body is not an event: its {field} is missing or has another form")]
    Field {
        /// The field's name.
        field: &'static str,
    },
    /// `object` is neither `event` nor `v2.core.event`.
    #[error("the body is a Stripe object, but not an event")]
    NotAnEvent,
    /// An event inside the envelope of Amazon EventBridge or Azure Event Grid.
    ///
    /// Those are delivered without a signature of Stripe's and are not webhooks.
    #[error(
        "the body is the envelope of a cloud's event bus: point a webhook endpoint here instead"
    )]
    CloudEnvelope,
}

impl EventError {
    /// The name of the fault, for logs and counters.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotUtf8 => "not_utf8",
            Self::NotJson { .. } => "not_json",
            Self::NotAnObject => "not_an_object",
            Self::RepeatedKey { .. } => "repeated_key",
            Self::Field { .. } => "field",
            Self::NotAnEvent => "not_an_event",
            Self::CloudEnvelope => "cloud_envelope",
        }
    }

    pub(super) fn of_json(error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            // The envelope takes any value for any key, so the only complaint about well-formed
            // JSON is a key that stands there twice.
            Category::Data => Self::RepeatedKey { line, column },
            _ => Self::NotJson { line, column },
        }
    }
}

/// Why `data.object`, or another part of an event, could not be read into the type that a handler
/// asked for.
///
/// It does not carry the deserializer's error, whose text quotes values of the payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// The event carries no object. Thin events never do: fetch it from
    /// [`related_object`](crate::Event::related_object).
    #[error("the event carries no object")]
    Absent,
    /// It does not have the shape that was asked for.
    #[error("the event has another shape than asked for, at {path}")]
    Misfit {
        /// Where: `data.object.lines.data[0].price`. It holds names of fields alone, and keys of maps
        /// that look like one; within `metadata`, and where it has other characters or more than four
        /// digits, a key is a `*`.
        path: String,
    },
}

/// Of a path: 128 levels is as deep as JSON may be nested.
const PATH_BYTES_MAX: usize = 255;

impl ObjectError {
    /// The name of the fault, for logs and counters.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Absent => "object_absent",
            Self::Misfit { .. } => "object_misfit",
        }
    }

    pub(super) fn misfit(
        root: &str,
        error: &serde_path_to_error::Error<serde_json::Error>,
    ) -> Self {
        let mut path = root.to_owned();
        for segment in error.path().iter() {
            let part = match segment {
                Segment::Seq { index } => format!("[{index}]"),
                Segment::Map { key } if !path.contains(".metadata") => named(key),
                Segment::Enum { variant } => named(variant),
                Segment::Map { .. } | Segment::Unknown => ".*".to_owned(),
            };
            if path.len() + part.len() > PATH_BYTES_MAX {
                break;
            }
            path.push_str(&part);
        }
        // What is missing has no place in the JSON; serde's text names it, and no value.
        let text = error.inner().to_string();
        if let Some(field) = text.strip_prefix("missing field `")
            && let Some((field, _)) = field.split_once("` at line ")
        {
            path.push_str(&named(field));
        }
        Self::Misfit { path }
    }
}

fn named(key: &str) -> String {
    match is_field(key) {
        true => format!(".{key}"),
        false => ".*".to_owned(),
    }
}

/// Whether it could be a name that Stripe has given.
fn is_field(key: &str) -> bool {
    let in_names = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let digits = key.bytes().filter(u8::is_ascii_digit).count();
    (1..=64).contains(&key.len()) && key.bytes().all(in_names) && digits <= 4
}
