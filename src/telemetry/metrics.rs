//! What is counted and measured, through the `metrics` facade. Without that feature, nothing is.

use std::borrow::Cow;

use axum_core::response::Response;
use http::Extensions;

use super::{label, metric};

#[cfg(feature = "_database")]
pub(crate) use database::*;

type Label = (&'static str, Cow<'static, str>);

/// Of a secret without a name.
const UNNAMED: &str = "unnamed";

/// Of a delivery whose client has left before there was an answer, or whose task was lost.
pub(crate) const UNANSWERED: &str = "unanswered";

/// What is said of a delivery in its response, for whoever counts or records it.
#[derive(Clone, Copy)]
struct Outcome(&'static str);

pub(crate) fn with_outcome(mut response: Response, outcome: &'static str) -> Response {
    response.extensions_mut().insert(Outcome(outcome));
    response
}

pub(crate) fn outcome_of(extensions: &Extensions) -> Option<&'static str> {
    extensions.get().map(|Outcome(outcome)| *outcome)
}

fn count<const N: usize>(metric: &'static str, labels: [Label; N]) {
    count_all(metric, labels, 1);
}

fn count_all<const N: usize>(metric: &'static str, labels: [Label; N], many: u64) {
    #[cfg(feature = "metrics")]
    metrics::counter!(metric, &labels).increment(many);
    #[cfg(not(feature = "metrics"))]
    let _nobody_counts = (metric, labels, many);
}

/// A delivery was answered before any handler ran, by this rule.
pub(super) fn count_rejected(rule: &'static str) {
    count(metric::REJECTIONS, [(label::RULE, rule.into())]);
}

/// A delivery was verified by this secret.
pub(crate) fn matched(secret_name: Option<&str>) {
    let name = secret_name.unwrap_or(UNNAMED).to_owned();
    count(
        metric::SIGNATURE_MATCHES,
        [(label::SECRET_NAME, name.into())],
    );
}

#[cfg(feature = "_database")]
mod database {
    use std::{sync::Arc, time::Duration};

    use axum_core::response::Response;
    use tokio::time::Instant;

    use super::{Label, UNANSWERED, count, count_all, outcome_of};
    use crate::{
        clock,
        event::Event,
        inbox::InboxCounts,
        router::known_type,
        telemetry::{label, metric},
    };

    /// Of a type that Stripe's documentation does not have: anybody could make up another one.
    const OTHER_TYPE: &str = "other";

    fn observe<const N: usize>(metric: &'static str, labels: [Label; N], time: Duration) {
        #[cfg(feature = "metrics")]
        metrics::histogram!(metric, &labels).record(time.as_secs_f64());
        #[cfg(not(feature = "metrics"))]
        let _nobody_measures = (metric, labels, time);
    }

    fn gauge<const N: usize>(metric: &'static str, labels: [Label; N], value: f64) {
        #[cfg(feature = "metrics")]
        metrics::gauge!(metric, &labels).set(value);
        #[cfg(not(feature = "metrics"))]
        let _nobody_looks = (metric, labels, value);
    }

    fn type_label(event: &Event) -> Label {
        let known = known_type(event.event_type()).unwrap_or(OTHER_TYPE);
        (label::EVENT_TYPE, known.into())
    }

    fn endpoint_label(endpoint: &str) -> Label {
        (label::ENDPOINT, endpoint.to_owned().into())
    }

    /// A genuine delivery, from its receipt until it is answered.
    pub(crate) struct Progress {
        endpoint: Arc<str>,
        outcome: &'static str,
    }

    impl Progress {
        pub(crate) fn begin(endpoint: &Arc<str>) -> Self {
            in_flight(endpoint, 1.0);
            Self {
                endpoint: Arc::clone(endpoint),
                outcome: UNANSWERED,
            }
        }

        /// It was answered like this.
        pub(crate) fn end(mut self, response: Response) -> Response {
            if let Some(outcome) = outcome_of(response.extensions()) {
                self.outcome = outcome;
            }
            response
        }
    }

    /// Whatever becomes of it.
    impl Drop for Progress {
        fn drop(&mut self) {
            in_flight(&self.endpoint, -1.0);
            let labels = [
                endpoint_label(&self.endpoint),
                (label::OUTCOME, self.outcome.into()),
            ];
            count(metric::DELIVERIES, labels);
        }
    }

    fn in_flight(endpoint: &str, change: f64) {
        #[cfg(feature = "metrics")]
        metrics::gauge!(metric::IN_FLIGHT, &[endpoint_label(endpoint)]).increment(change);
        #[cfg(not(feature = "metrics"))]
        let _nobody_looks = (endpoint, change);
    }

    /// A handler has run, to its end or not.
    pub(crate) fn handler_ran(event: &Event, outcome: &'static str, begun: Instant) {
        let labels = [type_label(event), (label::OUTCOME, outcome.into())];
        observe(metric::HANDLER_SECONDS, labels, begun.elapsed());
    }

    /// The effects of an event are committed.
    pub(crate) fn committed(event: &Event, received: Option<Instant>) {
        if let Some(received) = received {
            let labels = [type_label(event)];
            observe(
                metric::RECEIPT_TO_COMMIT_SECONDS,
                labels,
                received.elapsed(),
            );
        }
        if let Some(created) = event.created() {
            let since = clock::now().duration_since(created).unwrap_or_default();
            observe(
                metric::CREATED_TO_COMMIT_SECONDS,
                [type_label(event)],
                since,
            );
        }
    }

    /// An event has no handler.
    pub(crate) fn unhandled(event: &Event) {
        count(metric::UNHANDLED, [type_label(event)]);
    }

    /// A worker's attempt has ended like this.
    pub(in crate::telemetry) fn attempted(outcome: &'static str) {
        count(metric::ATTEMPTS, [(label::OUTCOME, outcome.into())]);
    }

    /// So many records of deliveries were left out, for this reason.
    pub(crate) fn audit_left_out(records: u64, reason: &'static str) {
        count_all(
            metric::AUDIT_LEFT_OUT,
            [(label::REASON, reason.into())],
            records,
        );
    }

    /// How many entries there are.
    pub(crate) fn counted(counts: &InboxCounts) {
        for (state, entries) in [
            ("pending", counts.pending),
            ("due", counts.due),
            ("dead", counts.dead),
            ("quarantined", counts.quarantined),
        ] {
            gauge(
                metric::ENTRIES,
                [(label::STATE, state.into())],
                entries as f64,
            );
        }
        let age = counts.oldest_due.unwrap_or_default();
        gauge(metric::OLDEST_DUE_SECONDS, [], age.as_secs_f64());
    }
}
