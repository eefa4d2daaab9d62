use std::fmt;

use serde::{Serialize, Serializer};

/// An enum of flows, each with its name and the types of event that it cannot do without.
macro_rules! flows {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$doc:meta])* $flow:ident $called:literal {
            $($event_type:literal => $why:literal;)*
        })*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $flow,)*
        }

        impl $name {
            /// Every flow.
            pub const ALL: &[Self] = &[$(Self::$flow,)*];

            /// The flow's name, in lower-case words.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$flow => $called,)*
                }
            }

            /// The types of event that a service with this flow handles, or ignores on purpose.
            #[must_use]
            pub fn critical_types(self) -> &'static [CriticalType] {
                match self {
                    $(Self::$flow => &[
                        $(CriticalType { event_type: $event_type, why: $why },)*
                    ],)*
                }
            }
        }
    };
}

flows! {
    /// Something that a service does with Stripe, and that needs certain types of event.
    ///
    /// No type belongs to two flows. All are of snapshot events, except for those of
    /// [`Delivery`](Self::Delivery), which are of thin ones.
    ///
    /// From Stripe's [list of types](https://docs.stripe.com/api/events/types) and its pages on
    /// [fulfilment](https://docs.stripe.com/checkout/fulfillment), on
    /// [subscriptions](https://docs.stripe.com/billing/subscriptions/webhooks) and on [events that
    /// were never made](https://docs.stripe.com/webhooks/handle-irrecoverable-events).
    Flow {
        /// For services that sell through Checkout or Payment Links.
        Checkout "checkout" {
            "checkout.session.completed" => "a paid order is never fulfilled";
            "checkout.session.async_payment_succeeded" =>
                "a bank debit pays days later: never fulfilled";
            "checkout.session.async_payment_failed" =>
                "a bank debit fails days later: nobody is told";
            "checkout.session.expired" => "stock held for an abandoned cart stays held";
        }
        /// For services that take payments in pages of their own, with PaymentIntents.
        PaymentIntents "payment intents" {
            "payment_intent.succeeded" => "a paid order is never fulfilled";
            "payment_intent.payment_failed" => "the customer is not asked for another card";
            "payment_intent.processing" => "a debit under way looks unpaid: paid twice";
            "payment_intent.canceled" => "stock held for a dead payment stays held";
            "payment_intent.requires_action" => "the customer is not asked to authenticate";
            "payment_intent.amount_capturable_updated" => "an authorised amount lapses uncaptured";
            "payment_intent.partially_funded" => "a bank transfer that is too small is not seen";
        }
        /// For services that charge without PaymentIntents, or keep a ledger of charges.
        Charges "charges" {
            "charge.succeeded" => "a payment is missing from the ledger";
            "charge.failed" => "a bank debit fails days later: the ledger keeps it as pending";
            "charge.captured" => "money that was authorised and then taken is not booked";
            "charge.refunded" => "a refund made in the Dashboard is not seen: the goods go out";
            "charge.expired" => "an authorisation lapses uncaptured: the goods go out unpaid";
        }
        /// For every service: whoever may use the Dashboard can give money back.
        ///
        /// Without `charge.refund.updated`, which comes for some payment methods only.
        Refunds "refunds" {
            "refund.created" => "a refund made in the Dashboard is not booked";
            "refund.updated" => "a pending refund stays pending in the ledger";
            "refund.failed" => "a refund bounces: the customer never gets the money back";
        }
        /// For every service whose payments can be disputed, as those with cards can.
        Disputes "disputes" {
            "charge.dispute.created" => "the time to answer passes, and the goods go out";
            "charge.dispute.updated" => "new evidence, or a new state, is not seen";
            "charge.dispute.closed" => "won or lost, the order stays frozen";
            "charge.dispute.funds_withdrawn" => "the books keep money that was taken back";
            "charge.dispute.funds_reinstated" => "money that comes back is not booked";
        }
        /// For services that ship goods, or that have Radar's reviews switched on.
        Fraud "fraud" {
            "radar.early_fraud_warning.created" =>
                "no early refund: the fraud becomes a dispute";
            "radar.early_fraud_warning.updated" => "a warning that is obsolete is acted on";
            "review.opened" => "goods go out while the review is open";
            "review.closed" => "goods that the review held back never go out";
        }
        /// For services that send invoices, those for subscriptions included.
        ///
        /// `invoice.paid` stands for `invoice.payment_succeeded` too, which does not come for what
        /// is paid out of band.
        Invoices "invoices" {
            "invoice.paid" => "what was paid for, perhaps out of band, is not given";
            "invoice.payment_failed" => "the customer is not told, and access goes on unpaid";
            "invoice.payment_action_required" => "the customer is not asked to authenticate";
            "invoice.payment_attempt_required" =>
                "what Stripe cannot charge by itself is never charged";
            "invoice.finalization_failed" => "the invoice stays a draft and is never paid";
            "invoice.overdue" => "nobody chases the invoice, and access goes on";
            "invoice.voided" => "a debt that was cancelled is still chased";
            "invoice.marked_uncollectible" => "a debt that was given up is still in the books";
            "invoice.overpaid" => "what was paid too much is not given back";
            "invoice.created" => "without a 2xx it is finalised up to 72 hours late";
            "invoice.upcoming" => "usage is not added before the renewal";
            "invoice.will_be_due" => "nothing is added, nobody reminded, before it is due";
            "invoice_payment.paid" => "one of several payments for it is not booked";
        }
        /// For services that give access for as long as a subscription, its trial or its
        /// entitlements last.
        Subscriptions "subscriptions" {
            "customer.subscription.created" => "a new subscriber is not known";
            "customer.subscription.updated" => "a new plan or state is not seen";
            "customer.subscription.deleted" => "access goes on after the end";
            "customer.subscription.paused" => "access goes on while nothing is charged";
            "customer.subscription.resumed" => "whoever resumes stays locked out";
            "customer.subscription.trial_will_end" => "the first charge is a surprise";
            "customer.subscription.pending_update_applied" => "a change that was paid is not made";
            "customer.subscription.pending_update_expired" => "a change that was not paid is made";
            "entitlements.active_entitlement_summary.updated" =>
                "features are neither given nor taken";
            "subscription_schedule.aborted" => "changes dropped for debt stay planned";
            "subscription_schedule.canceled" => "changes called off stay planned";
            "subscription_schedule.completed" => "changes that are all made stay planned";
            "subscription_schedule.expiring" => "nobody acts in its last seven days";
            "subscription_schedule.released" => "changes it let go of stay planned";
            "subscription_schedule.updated" => "planned changes are out of date";
        }
        /// For services that keep a payment method to charge it later.
        SavedPaymentMethods "saved payment methods" {
            "setup_intent.succeeded" => "a method that was set up is never charged";
            "setup_intent.setup_failed" => "the customer is not asked for another method";
            "payment_method.attached" => "a method that was saved elsewhere is not known";
            "payment_method.automatically_updated" => "a card that was renewed looks expired";
            "payment_method.detached" => "a method that was removed is charged, and fails";
            "mandate.updated" => "a debit is tried without a mandate, and fails";
        }
        /// For services that book what moves between Stripe and their bank.
        Payouts "payouts" {
            "payout.paid" => "a payout is not booked";
            "payout.failed" => "a payout comes back: the books have it as paid";
            "payout.reconciliation_completed" => "payouts are not matched with their payments";
            "balance.available" => "funds that can be paid out are not noticed";
            "topup.succeeded" => "a top-up is not booked";
            "topup.failed" => "the balance stays short, and nobody knows";
            "topup.reversed" => "the books keep a top-up that was taken back";
        }
        /// For platforms and marketplaces that have connected accounts.
        Connect "connect" {
            "account.updated" => "an account that was restricted sells on";
            "account.application.deauthorized" => "an account that left is still called, in vain";
            "capability.updated" => "a capability that was lost is relied on";
            "person.updated" => "nobody asks for what a person has yet to show";
            "account.external_account.created" => "a new bank account for payouts is not known";
            "account.external_account.updated" => "a bank account that went bad is not noticed";
            "account.external_account.deleted" => "payouts stop for want of a bank account";
            "application_fee.created" => "the platform's revenue is not booked";
            "application_fee.refunded" => "the books keep a fee that was given back";
            "application_fee.refund.updated" => "a fee's refund is out of date in the books";
            "transfer.created" => "what went to an account is not booked";
            "transfer.reversed" => "what came back from an account is not booked";
            "transfer.updated" => "a transfer is out of date in the books";
        }
        /// For services that keep books, or hand them to software that does.
        Accounting "accounting" {
            "credit_note.created" => "the books have an invoice at too high an amount";
            "credit_note.voided" => "the books keep a credit that was taken back";
            "customer.tax_id.created" => "a tax number is missing from the books";
            "customer.tax_id.updated" => "a tax number that was refuted still exempts";
            "customer.tax_id.deleted" => "a tax number that was removed still exempts";
            "tax_rate.created" => "invoices have a tax rate that the books do not know";
            "tax_rate.updated" => "a tax rate is out of date in the books";
        }
        /// For services that issue cards and decide about purchases themselves.
        ///
        /// The answer is the decision, so it cannot wait in a queue.
        Issuing "issuing" {
            "issuing_authorization.request" =>
                "unanswered after 2 s, it is decided by Stripe's default";
        }
        /// For every service that has a destination for thin events: what Stripe says about its own
        /// events.
        Delivery "delivery" {
            "v2.core.health.event_generation_failure.resolved" =>
                "a lost event's object is never fetched";
            "v2.core.event_destination.ping" => "Stripe's test of the destination fails";
        }
    }
}

/// A type of event that a flow cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CriticalType {
    /// The type, `invoice.paid`.
    pub event_type: &'static str,
    /// What goes wrong in a service that does not handle it, in a few words.
    pub why: &'static str,
}

/// What a service does with a type of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Handling {
    /// A handler takes it, by its name or by its prefix.
    Handled,
    /// The handler takes it that takes whatever has none of its own.
    ByFallback,
    /// It is acknowledged and dropped, on purpose.
    Ignored,
    /// Nothing was said about it.
    Missing,
}

impl Handling {
    fn word(self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::ByFallback => "fallback",
            Self::Ignored => "ignored",
            Self::Missing => "MISSING",
        }
    }

    /// The word in JSON, which is not there to strike the eye.
    fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            handling => handling.word(),
        }
    }
}

/// Which of the types that its flows need a service handles.
///
/// `Display` is a table of at most 100 columns: a part for each flow, a line for each type, the
/// reason behind those that are missing, and a count in the last line.
///
/// As JSON it is what `stripe-webhook coverage` reads of a service that runs: `event_types` with the
/// `flow`, the `event_type`, the `handling` (`handled`, `fallback`, `ignored` or `missing`) and the `why`
/// of each, and how many are `missing`. There is nothing secret in it, and it need not be seen from
/// outside: let the route stand where the service's own pages do.
///
/// ```
/// use axum::{Router, http::StatusCode, routing::{get, post}};
/// use axum_stripe_webhook::{EventRouter, router::Flow};
///
/// async fn fulfil() -> StatusCode {
///     StatusCode::OK
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let events = EventRouter::new()
///     .on_prefix("checkout.session.", fulfil)
///     .ignore(["issuing_authorization.request"])
///     .build()?;
/// let report = serde_json::to_string(&events.coverage(&[Flow::Checkout, Flow::Issuing]))?;
/// assert!(report.starts_with(
///     r#"{"event_types":[{"flow":"checkout","event_type":"checkout.session.completed","handling":"handled","#
/// ));
/// assert!(report.ends_with(r#""missing":0}"#));
///
/// let app: Router = Router::new()
///     .route("/webhooks/stripe", post(events))
///     .route("/events/coverage", get(async || report));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    rows: Vec<CoverageRow>,
}

/// What is done with one type of event that a flow needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CoverageRow {
    /// The flow.
    pub flow: Flow,
    /// The type, `invoice.paid`.
    pub event_type: &'static str,
    /// What is done with it.
    pub handling: Handling,
    /// What goes wrong in a service that does not handle it, in a few words.
    pub why: &'static str,
}

impl Coverage {
    /// Asks what is done with each type of these flows. A flow that is given twice counts once.
    pub(crate) fn of(flows: &[Flow], handling: impl Fn(&str) -> Handling) -> Self {
        let mut rows: Vec<CoverageRow> = Vec::new();
        for flow in flows {
            if rows.iter().any(|row| row.flow == *flow) {
                continue;
            }
            rows.extend(flow.critical_types().iter().map(|critical| CoverageRow {
                flow: *flow,
                event_type: critical.event_type,
                handling: handling(critical.event_type),
                why: critical.why,
            }));
        }
        Self { rows }
    }

    /// A row for each type, flow by flow in the order in which they were given.
    #[must_use]
    pub fn rows(&self) -> &[CoverageRow] {
        &self.rows
    }

    /// The rows of the types that nothing was said about.
    pub fn missing(&self) -> impl Iterator<Item = &CoverageRow> {
        self.having(Handling::Missing)
    }

    /// Whether none is missing. What is ignored is not.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing().next().is_none()
    }

    fn having(&self, handling: Handling) -> impl Iterator<Item = &CoverageRow> {
        self.rows.iter().filter(move |row| row.handling == handling)
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for rows in self.rows.chunk_by(|row, next| row.flow == next.flow) {
            write_flow(f, rows)?;
        }
        let count = |handling| self.having(handling).count();
        write!(
            f,
            "{} event types: {} handled, {} by fallback, {} ignored, {} missing",
            self.rows.len(),
            count(Handling::Handled),
            count(Handling::ByFallback),
            count(Handling::Ignored),
            count(Handling::Missing),
        )
    }
}

impl Serialize for Coverage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let report = Report {
            event_types: self.rows.iter().map(ReportRow::of).collect(),
            missing: self.missing().count(),
        };
        report.serialize(serializer)
    }
}

#[derive(Serialize)]
struct Report {
    event_types: Vec<ReportRow>,
    missing: usize,
}

#[derive(Serialize)]
struct ReportRow {
    flow: &'static str,
    event_type: &'static str,
    handling: &'static str,
    why: &'static str,
}

impl ReportRow {
    fn of(row: &CoverageRow) -> Self {
        Self {
            flow: row.flow.name(),
            event_type: row.event_type,
            handling: row.handling.code(),
            why: row.why,
        }
    }
}

/// The table's part for one flow, with a blank line behind it.
fn write_flow(f: &mut fmt::Formatter<'_>, rows: &[CoverageRow]) -> fmt::Result {
    let widths = rows.iter().map(|row| row.event_type.len());
    // Of this flow alone: beside the longest type of all there would be no room for reasons.
    let width = widths.max().unwrap_or_default();
    if let Some(flow) = rows.first().map(|row| row.flow) {
        writeln!(f, "{}", flow.name())?;
    }
    for row in rows {
        let word = row.handling.word();
        write!(f, "  {:width$}  {word}", row.event_type)?;
        match row.handling {
            Handling::Missing => writeln!(f, "  {}", row.why)?,
            _ => writeln!(f)?,
        }
    }
    writeln!(f)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{super::known::KNOWN, *};

    const COLUMNS_MAX: usize = 100;

    fn critical_types() -> impl Iterator<Item = &'static CriticalType> {
        Flow::ALL.iter().flat_map(|flow| flow.critical_types())
    }

    fn event_types(coverage: &Coverage) -> Vec<&'static str> {
        coverage.rows().iter().map(|row| row.event_type).collect()
    }

    /// As a router with a handler by name, one by prefix and an ignored type has it.
    fn of_router(event_type: &str) -> Handling {
        match event_type {
            "checkout.session.completed" => Handling::Handled,
            "checkout.session.expired" => Handling::Ignored,
            _ if event_type.starts_with("charge.dispute.") => Handling::Handled,
            _ => Handling::Missing,
        }
    }

    #[test]
    fn critical_types_are_known() {
        for critical in critical_types() {
            assert!(KNOWN.contains(&critical.event_type), "{critical:?}");
        }
    }

    #[test]
    fn every_flow_has_types_and_a_name_of_its_own() {
        let names: BTreeSet<_> = Flow::ALL.iter().map(|flow| flow.name()).collect();
        assert_eq!(names.len(), Flow::ALL.len());
        assert!(
            Flow::ALL
                .iter()
                .all(|flow| !flow.critical_types().is_empty())
        );
    }

    #[test]
    fn no_type_is_there_twice_in_a_flow_or_in_two() {
        let event_types: BTreeSet<_> = critical_types()
            .map(|critical| critical.event_type)
            .collect();
        assert_eq!(event_types.len(), critical_types().count());
    }

    #[test]
    fn the_table_names_what_is_done_and_why_what_is_missing_matters() {
        let coverage = Coverage::of(
            &[Flow::Checkout, Flow::Issuing],
            |event_type| match event_type.starts_with("issuing_") {
                true => Handling::ByFallback,
                false => of_router(event_type),
            },
        );
        let table = "\
checkout
  checkout.session.completed                handled
  checkout.session.async_payment_succeeded  MISSING  a bank debit pays days later: never fulfilled
  checkout.session.async_payment_failed     MISSING  a bank debit fails days later: nobody is told
  checkout.session.expired                  ignored

issuing
  issuing_authorization.request  fallback

5 event types: 1 handled, 1 by fallback, 1 ignored, 2 missing";
        assert_eq!(coverage.to_string(), table);
    }

    #[test]
    fn as_json_it_has_a_row_for_each_type_and_a_count() {
        let coverage = Coverage::of(&[Flow::Issuing], |_| Handling::Missing);
        assert_eq!(
            serde_json::to_string(&coverage).unwrap(),
            r#"{"event_types":[{"flow":"issuing","event_type":"issuing_authorization.request","handling":"missing","why":"unanswered after 2 s, it is decided by Stripe's default"}],"missing":1}"#
        );
        for (handling, word) in [
            (Handling::Handled, "handled"),
            (Handling::ByFallback, "fallback"),
            (Handling::Ignored, "ignored"),
        ] {
            let report = serde_json::to_value(Coverage::of(&[Flow::Issuing], |_| handling));
            let report = report.unwrap();
            assert_eq!(report["event_types"][0]["handling"], word);
            assert_eq!(report["missing"], 0);
        }
    }

    #[test]
    fn the_table_fits_its_columns_whatever_is_missing() {
        let table = Coverage::of(Flow::ALL, |_| Handling::Missing).to_string();
        for line in table.lines() {
            assert!(line.len() <= COLUMNS_MAX, "{line}");
            assert_eq!(line, line.trim_end());
        }
    }

    #[test]
    fn no_flow_needs_nothing() {
        let coverage = Coverage::of(&[], |_| Handling::Missing);
        assert!(coverage.is_complete());
        assert_eq!(
            coverage.to_string(),
            "0 event types: 0 handled, 0 by fallback, 0 ignored, 0 missing"
        );
    }

    #[test]
    fn missing_types_make_it_incomplete() {
        let coverage = Coverage::of(&[Flow::Checkout], of_router);
        let missing: Vec<_> = coverage.missing().map(|row| row.event_type).collect();
        assert!(!coverage.is_complete());
        assert_eq!(
            missing,
            [
                "checkout.session.async_payment_succeeded",
                "checkout.session.async_payment_failed"
            ]
        );
    }

    #[test]
    fn what_is_ignored_or_left_to_the_fallback_is_not_missing() {
        for handling in [Handling::Handled, Handling::ByFallback, Handling::Ignored] {
            assert!(
                Coverage::of(Flow::ALL, |_| handling).is_complete(),
                "{handling:?}"
            );
        }
    }

    #[test]
    fn a_prefix_covers_all_types_that_begin_with_it() {
        assert!(Coverage::of(&[Flow::Disputes], of_router).is_complete());
    }

    #[test]
    fn a_flow_given_twice_counts_once_and_the_order_is_kept() {
        let flows = [Flow::Refunds, Flow::Issuing, Flow::Refunds];
        let coverage = Coverage::of(&flows, of_router);
        assert_eq!(
            event_types(&coverage),
            [
                "refund.created",
                "refund.updated",
                "refund.failed",
                "issuing_authorization.request"
            ]
        );
    }
}
