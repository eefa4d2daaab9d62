use std::time::SystemTime;

use axum_stripe_webhook::inbox::{EntryFilter, EntryState};
use clap::{Args, builder::PossibleValuesParser, builder::TypedValueParser};

use crate::instant;

/// Which entries are meant: all, or those to which all that is given applies.
#[derive(Args)]
pub(crate) struct FilterArgs {
    /// Those of the endpoint with this label; of one event: default, unless given
    #[arg(long, value_name = "LABEL")]
    pub(crate) endpoint: Option<String>,
    /// Those of events of exactly this type
    #[arg(long = "type", visible_alias = "event-type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Those whose last error begins with this: handler_failed, say
    #[arg(long, value_name = "PREFIX")]
    error: Option<String>,
    /// Those received at this instant or later, in RFC 3339 or in Unix seconds
    #[arg(long, value_name = "INSTANT", value_parser = instant::parse)]
    received_from: Option<SystemTime>,
    /// Those received before this instant
    #[arg(long, value_name = "INSTANT", value_parser = instant::parse)]
    received_before: Option<SystemTime>,
}

impl FilterArgs {
    pub(crate) fn filter(&self) -> EntryFilter {
        let mut filter = EntryFilter::new();
        if let Some(endpoint) = &self.endpoint {
            filter = filter.endpoint(endpoint);
        }
        if let Some(event_type) = &self.event_type {
            filter = filter.event_type(event_type);
        }
        if let Some(error) = &self.error {
            filter = filter.error(error);
        }
        if let Some(at) = self.received_from {
            filter = filter.received_from(at);
        }
        if let Some(at) = self.received_before {
            filter = filter.received_before(at);
        }
        filter
    }

    /// Whether something is said beside the endpoint.
    pub(crate) fn narrows(&self) -> bool {
        self.event_type.is_some()
            || self.error.is_some()
            || self.received_from.is_some()
            || self.received_before.is_some()
    }
}

/// The states by their words.
pub(crate) fn states() -> impl TypedValueParser<Value = EntryState> {
    let states = [
        EntryState::Pending,
        EntryState::Dead,
        EntryState::Quarantined,
    ];
    PossibleValuesParser::new(states.map(EntryState::code))
        // Only these words come through.
        .map(|word| EntryState::of_code(&word).unwrap_or(EntryState::Pending))
}
