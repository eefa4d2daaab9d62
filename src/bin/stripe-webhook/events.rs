//! The events that are to be sent: samples, and files as they are.

use std::path::{Path, PathBuf};

use axum_stripe_webhook::{BODY_BYTES_MAX, testing::SampleEvent};
use bytes::Bytes;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use serde_json::Value;

use crate::{failure::Failure, input, secret::placed};

/// One event, as it is delivered.
pub(crate) struct Payload {
    /// The event's id; of a file that holds no event, its name.
    pub(crate) id: String,
    pub(crate) event_type: String,
    pub(crate) body: Bytes,
}

/// Which events are meant, in the order of the command line.
pub(crate) struct Events(Vec<Origin>);

enum Origin {
    Sample {
        event_type: String,
        sets: Vec<Set>,
    },
    File(PathBuf),
    /// A field without an event that it could be set in.
    Stray,
}

#[derive(Args)]
#[group(id = "events", multiple = true)]
struct EventsArgs {
    /// A sample event of this type (invoice.paid, v1.charge.refunded)
    #[arg(
        long = "type",
        id = "event_type",
        visible_alias = "event-type",
        value_name = "TYPE"
    )]
    event_type: Vec<String>,
    /// Set a field of the sample before it: data.object.amount_total=4200; what is not JSON is text
    #[arg(long, value_name = "PATH=VALUE", value_parser = Set::parse)]
    set: Vec<Set>,
    /// A file with an event, or - for standard input: `send` signs its bytes as they are, `probe` makes
    /// events like it
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
}

#[derive(Clone)]
struct Set {
    path: String,
    value: Value,
}

impl Events {
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn has_file(&self) -> bool {
        let is_file = |origin: &Origin| matches!(origin, Origin::File(_));
        self.0.iter().any(is_file)
    }

    pub(crate) fn has_stdin(&self) -> bool {
        let is_stdin = |origin: &Origin| match origin {
            Origin::File(path) => input::is_stdin(path),
            _ => false,
        };
        self.0.iter().any(is_stdin)
    }

    /// The sample that others are to be like; of a file, one with all its fields.
    pub(crate) fn sample(&self) -> Result<Option<SampleEvent>, Failure> {
        match self.0.as_slice() {
            [] => Ok(None),
            [Origin::Sample { event_type, sets }] => Ok(Some(sample(event_type, sets, false))),
            [Origin::File(path)] => of_file(path).map(Some),
            [Origin::Stray] => Err(stray()),
            _ => Err(Failure::usage(
                "one event is enough: --type or --file, once",
            )),
        }
    }

    /// The bytes of each event. An id, if there is one, is that of the samples.
    pub(crate) fn payloads(
        &self,
        id: Option<&str>,
        is_thin: bool,
    ) -> Result<Vec<Payload>, Failure> {
        let payload = |origin: &Origin| match origin {
            Origin::File(path) => {
                let body = input::read(path, BODY_BYTES_MAX)?;
                Ok(Payload::of(&input::shown(path), body.into()))
            }
            Origin::Sample { event_type, sets } => {
                let sample = sample(event_type, sets, is_thin);
                let sample = match id {
                    Some(id) => sample.id(id),
                    None => sample,
                };
                Ok(Payload::of("", sample.to_json().into()))
            }
            Origin::Stray => Err(stray()),
        };
        self.0.iter().map(payload).collect()
    }
}

fn stray() -> Failure {
    Failure::usage("--set stands behind the --type of the sample it is for")
}

fn of_file(path: &Path) -> Result<SampleEvent, Failure> {
    let bytes = input::read(path, BODY_BYTES_MAX)?;
    let event: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if event.get("type").is_some_and(Value::is_string) {
        return Ok(SampleEvent::from_value(event));
    }
    let message = format!("{}: no event: it has no type", input::shown(path));
    Err(Failure::impossible(message))
}

/// What is set is set in what is sent, so in the thin event if that is asked for.
fn sample(event_type: &str, sets: &[Set], is_thin: bool) -> SampleEvent {
    let sample = SampleEvent::of(event_type);
    let sample = if is_thin { sample.thin_twin() } else { sample };
    sets.iter().fold(sample, |sample, set| {
        sample.set(set.path.as_str(), set.value.clone())
    })
}

impl Payload {
    fn of(name: &str, body: Bytes) -> Self {
        let event: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |field: &str| event.get(field).and_then(Value::as_str).map(str::to_owned);
        Self {
            id: text("id").unwrap_or_else(|| name.to_owned()),
            event_type: text("type").unwrap_or_default(),
            body,
        }
    }
}

impl Set {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (path, value) = text
            .split_once('=')
            .filter(|(path, _)| !path.is_empty())
            .ok_or("it is PATH=VALUE, such as data.object.amount_total=4200")?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        let path = path.to_owned();
        Ok(Self { path, value })
    }
}

/// One word of the command line that says something about events.
enum Word<'a> {
    Type(&'a str),
    Set(&'a Set),
    File(&'a PathBuf),
}

impl FromArgMatches for Events {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let types = placed::<String>(matches, "event_type");
        let sets = placed::<Set>(matches, "set");
        let files = placed::<PathBuf>(matches, "file");
        let mut words: Vec<(usize, Word<'_>)> = types
            .map(|(place, event_type)| (place, Word::Type(event_type)))
            .chain(sets.map(|(place, set)| (place, Word::Set(set))))
            .chain(files.map(|(place, path)| (place, Word::File(path))))
            .collect();
        words.sort_by_key(|(place, _)| *place);
        let mut origins = Vec::new();
        for (_, word) in words {
            match (word, origins.last_mut()) {
                (Word::Type(event_type), _) => origins.push(Origin::Sample {
                    event_type: event_type.to_owned(),
                    sets: Vec::new(),
                }),
                (Word::File(path), _) => origins.push(Origin::File(path.clone())),
                (Word::Set(set), Some(Origin::Sample { sets, .. })) => sets.push(set.clone()),
                (Word::Set(_), _) => origins.push(Origin::Stray),
            }
        }
        Ok(Self(origins))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Events {
    fn augment_args(command: Command) -> Command {
        EventsArgs::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        EventsArgs::augment_args_for_update(command)
    }
}
