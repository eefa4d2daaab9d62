use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, atomic::AtomicU64},
};

use axum::handler::Handler;
use futures_util::future::FutureExt;

use super::{BoxedHandler, EventRouter, Route, Routes, known};
use crate::telemetry;

/// Collects the handlers of an [`EventRouter`].
///
/// Handlers are axum's: any extractors, any answer. Nothing is checked before
/// [`build`](Self::build).
#[must_use = "a router is made by `build`"]
pub struct EventRouterBuilder<S> {
    types: Vec<(String, Route<S>)>,
    prefixes: Vec<(String, BoxedHandler<S>)>,
    fallback: Option<BoxedHandler<S>>,
    known: Vec<String>,
}

/// Names that are warned of.
const UNKNOWN_MAX: usize = 50;

/// Why a router cannot be built.
///
/// `Debug` is `Display`: it is what a `main` shows that returns it.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouterError {
    /// A name has nothing in it.
    #[error("an event type is empty: name it, like `invoice.paid`")]
    Empty,
    /// A name that Stripe could never send.
    #[error("`{name}` is no event type: words with dots between them, no blanks and no `*`")]
    NotAType {
        /// As it was registered.
        name: String,
    },
    /// A type has two handlers, or a handler and is ignored.
    #[error("`{name}` is registered twice: remove one, or do both in one handler")]
    Twice {
        /// The type.
        name: String,
    },
    /// A prefix does not end where a word does.
    #[error("the prefix `{name}` does not end in a dot: write `{name}.`, or use `on` for a type")]
    PrefixWithoutDot {
        /// As it was registered.
        name: String,
    },
    /// A prefix begins with another one: which of the two is meant cannot be told.
    #[error(
        "the prefixes `{shorter}` and `{longer}` overlap: name the types of one of them with `on`"
    )]
    OverlappingPrefixes {
        /// The one that has both.
        shorter: String,
        /// The one within it.
        longer: String,
    },
}

impl fmt::Debug for RouterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A name that was registered and that this version of the crate does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownType {
    /// As it was registered.
    pub name: String,
    /// What may have been meant.
    pub nearest: Option<String>,
}

impl fmt::Display for UnknownType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.nearest {
            Some(nearest) => write!(f, "`{name}` is not known: is `{nearest}` meant?"),
            None => write!(
                f,
                "`{name}` is not known: if Stripe has it, add it with `known`"
            ),
        }
    }
}

impl<S: Clone + Send + Sync + 'static> EventRouterBuilder<S> {
    pub(super) fn new() -> Self {
        Self {
            types: Vec::new(),
            prefixes: Vec::new(),
            fallback: None,
            known: Vec::new(),
        }
    }

    /// Runs this handler for events of this type.
    pub fn on<T: 'static>(mut self, event_type: &str, handler: impl Handler<T, S>) -> Self {
        let route = Route::Handler(boxed(handler));
        self.types.push((event_type.to_owned(), route));
        self
    }

    /// Runs this handler for events whose type begins so and is not registered itself. The prefix ends in
    /// a dot, and overlaps with no other: `customer.subscription.`.
    pub fn on_prefix<T: 'static>(mut self, prefix: &str, handler: impl Handler<T, S>) -> Self {
        self.prefixes.push((prefix.to_owned(), boxed(handler)));
        self
    }

    /// Answers events of these types with 200, and is not missed by
    /// [`coverage`](EventRouter::coverage).
    pub fn ignore<'a>(mut self, event_types: impl IntoIterator<Item = &'a str>) -> Self {
        let ignored = event_types.into_iter();
        self.types
            .extend(ignored.map(|name| (name.to_owned(), Route::Ignored)));
        self
    }

    /// Runs this handler for all other events. The last one given counts.
    pub fn fallback<T: 'static>(mut self, handler: impl Handler<T, S>) -> Self {
        self.fallback = Some(boxed(handler));
        self
    }

    /// Adds names to the types that are known, so that nobody is warned of them: Stripe adds some every
    /// month.
    pub fn known<'a>(mut self, event_types: impl IntoIterator<Item = &'a str>) -> Self {
        let known = event_types.into_iter().map(str::to_owned);
        self.known.extend(known);
        self
    }

    /// Gives all handlers their state, so that the router is a service, and a handler for routers of any
    /// state.
    pub fn with_state<S2>(self, state: S) -> EventRouterBuilder<S2> {
        let given = |handler: BoxedHandler<S>| -> BoxedHandler<S2> {
            let state = state.clone();
            Arc::new(move |request, _| handler(request, state.clone()))
        };
        let types = self.types.into_iter().map(|(name, route)| match route {
            Route::Handler(handler) => (name, Route::Handler(given(handler))),
            Route::Ignored => (name, Route::Ignored),
        });
        let prefixes = self.prefixes.into_iter();
        EventRouterBuilder {
            types: types.collect(),
            prefixes: prefixes
                .map(|(prefix, handler)| (prefix, given(handler)))
                .collect(),
            fallback: self.fallback.map(given),
            known: self.known,
        }
    }

    /// Checks what was registered, and warns of each name that is not known
    /// ([`EventRouter::unknown_types`]).
    ///
    /// # Errors
    ///
    /// [`RouterError`] for the first name that cannot be, stands there twice, or overlaps.
    pub fn build(self) -> Result<EventRouter<S>, RouterError> {
        let mut unknown = Vec::new();
        let mut types = HashMap::new();
        self.known.iter().try_for_each(|name| check_name(name))?;
        for (name, route) in self.types {
            check_name(&name)?;
            // Looking for the nearest takes milliseconds: nobody has mistyped as many.
            if unknown.len() < UNKNOWN_MAX {
                unknown.extend(unknown_type(&name, &self.known));
            }
            if types.insert(name.clone(), route).is_some() {
                return Err(RouterError::Twice { name });
            }
        }
        let mut prefixes = HashMap::new();
        for (name, handler) in self.prefixes {
            check_prefix(&name, prefixes.keys())?;
            unknown.extend(unknown_prefix(&name, &self.known));
            prefixes.insert(name, handler);
        }
        unknown.iter().for_each(telemetry::unknown_type);
        let routes = Routes {
            types,
            prefixes,
            fallback: self.fallback,
            unknown,
            twins_unhandled: AtomicU64::new(0),
        };
        Ok(EventRouter {
            routes: Arc::new(routes),
        })
    }
}

/// What a router says of a request that no layer has put an event into.
#[derive(Debug, thiserror::Error)]
#[error(
    "no verified event in the request: put `.route_layer(ProcessOnceLayer::new(pool, verifier))` on \
     the router's route"
)]
pub(super) struct MissingLayer;

fn boxed<T: 'static, S: Clone + Send + Sync + 'static>(
    handler: impl Handler<T, S>,
) -> BoxedHandler<S> {
    Arc::new(move |request, state| handler.clone().call(request, state).boxed())
}

/// Refuses what no type will ever be called, and nothing that is only not known.
fn check_name(name: &str) -> Result<(), RouterError> {
    let cannot_be = |c: char| c == '*' || c.is_whitespace() || c.is_control();
    match name {
        "" => Err(RouterError::Empty),
        _ if name.split('.').any(str::is_empty) || name.contains(cannot_be) => {
            Err(RouterError::NotAType { name: name.into() })
        }
        _ => Ok(()),
    }
}

fn check_prefix<'a>(
    name: &str,
    mut others: impl Iterator<Item = &'a String>,
) -> Result<(), RouterError> {
    let name = name.to_owned();
    check_name(name.strip_suffix('.').unwrap_or(&name))?;
    if !name.ends_with('.') {
        return Err(RouterError::PrefixWithoutDot { name });
    }
    match others.find(|other| name.starts_with(*other) || other.starts_with(&name)) {
        None => Ok(()),
        Some(other) if *other == name => Err(RouterError::Twice { name }),
        Some(other) => {
            let mut overlapping = [name, other.clone()];
            overlapping.sort();
            let [shorter, longer] = overlapping;
            Err(RouterError::OverlappingPrefixes { shorter, longer })
        }
    }
}

fn names(added: &[String]) -> impl Iterator<Item = &str> {
    let known = known::KNOWN.iter().copied();
    known.chain(added.iter().map(String::as_str))
}

fn unknown_type(name: &str, added: &[String]) -> Option<UnknownType> {
    if names(added).any(|known| known == name) {
        return None;
    }
    let nearest = known::nearest(name, names(added)).map(str::to_owned);
    let name = name.to_owned();
    Some(UnknownType { name, nearest })
}

/// A prefix that no known type begins with.
fn unknown_prefix(prefix: &str, added: &[String]) -> Option<UnknownType> {
    if names(added).any(|known| known.starts_with(prefix)) {
        return None;
    }
    let words = prefix.matches('.').count();
    let prefix_of = |known: &'static str| {
        let (dot, _) = known.match_indices('.').nth(words.checked_sub(1)?)?;
        known.get(..=dot)
    };
    let prefixes = known::KNOWN.iter().copied().filter_map(prefix_of);
    let nearest = known::nearest(prefix, prefixes).map(str::to_owned);
    let name = prefix.to_owned();
    Some(UnknownType { name, nearest })
}

impl<S> fmt::Debug for EventRouterBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventRouterBuilder")
            .field("types", &self.types.len())
            .field("prefixes", &self.prefixes.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_type_can_be_registered() {
        async fn handler() {}
        let mut all = EventRouter::<()>::new();
        for name in known::KNOWN {
            all = all.on(name, handler);
        }
        assert_eq!(all.build().unwrap().unknown_types(), []);
    }
}
