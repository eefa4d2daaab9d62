use std::collections::BTreeSet;

use super::{related::Related, *};
use crate::testing::path::pointer;

use crate::router::KNOWN;

/// Types whose state is a promise of the docs. The other types of the same objects have one too.
const TYPES: [&str; 50] = [
    "account.application.deauthorized",
    "account.updated",
    "charge.captured",
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.dispute.funds_reinstated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.updated",
    "charge.expired",
    "charge.failed",
    "charge.refund.updated",
    "charge.refunded",
    "charge.succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "checkout.session.expired",
    "customer.created",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.trial_will_end",
    "customer.subscription.updated",
    "customer.updated",
    "invoice.created",
    "invoice.finalized",
    "invoice.marked_uncollectible",
    "invoice.paid",
    "invoice.payment_action_required",
    "invoice.payment_failed",
    "invoice.payment_succeeded",
    "invoice.upcoming",
    "invoice.voided",
    "payment_intent.amount_capturable_updated",
    "payment_intent.canceled",
    "payment_intent.created",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.succeeded",
    "payout.created",
    "payout.failed",
    "payout.paid",
    "refund.created",
    "refund.failed",
    "refund.updated",
    "setup_intent.setup_failed",
    "setup_intent.succeeded",
];

/// Members of a refund that Stripe leaves out until it fails.
const NEW: [&str; 2] = ["failure_balance_transaction", "failure_reason"];

const CREATED: u64 = 1_900_000_000;

/// Types of public previews, which have no state here.
const PREVIEWS: [&str; 4] = [
    "customer.subscription.collection_paused",
    "customer.subscription.collection_resumed",
    "customer.subscription.custom_event",
    "customer.subscription.price_migration_failed",
];

fn snapshot_types() -> impl Iterator<Item = &'static str> {
    let is_meant = |name: &&str| !name.starts_with('v') && !PREVIEWS.contains(name);
    KNOWN.iter().copied().filter(is_meant)
}

/// The types whose object has a file of its own.
fn special_types() -> impl Iterator<Item = &'static str> {
    snapshot_types().filter(|event_type| object(resource(event_type)) != object(""))
}

fn filling(event_type: &str) -> Filling<'_> {
    Filling {
        name: "demo",
        event_type,
        created: CREATED,
    }
}

fn filled(event_type: &str) -> Value {
    let object = sample(event_type).object(&filling(event_type));
    object.unwrap_or_else(|error| panic!("{event_type}: {error}"))
}

/// As it is before `state` and `without`.
fn template(event_type: &str) -> Value {
    serde_json::from_str(&filling(event_type).fill(sample(event_type).object)).unwrap()
}

fn previous(event_type: &str) -> Option<Value> {
    let json = filling(event_type).fill(sample(event_type).previous_attributes?);
    Some(serde_json::from_str(&json).unwrap_or_else(|error| panic!("{event_type}: {error}")))
}

#[test]
fn every_type_of_a_known_object_has_a_state_of_its_own() {
    for event_type in special_types() {
        let state = [
            payments::state(event_type),
            subscriptions::state(event_type),
            money::state(event_type),
            platform::state(event_type),
        ];
        assert_eq!(state.iter().flatten().count(), 1, "{event_type}");
    }
}

#[test]
fn every_promised_type_exists_and_is_special() {
    let special: BTreeSet<_> = special_types().collect();
    for event_type in TYPES {
        assert!(special.contains(event_type), "{event_type}");
    }
}

#[test]
fn every_object_is_json_once_filled() {
    for event_type in snapshot_types().chain(["ping", "v1.no.such.type"]) {
        let object = filled(event_type);
        assert!(!object.to_string().contains("{{"), "{object}");
        previous(event_type);
    }
}

#[test]
fn every_object_is_what_its_type_is_about() {
    for event_type in snapshot_types() {
        let filled = filled(event_type);
        let object = filled["object"].as_str().unwrap();
        let resource = format!(".{}", resource(event_type));
        assert!(resource.ends_with(&format!(".{object}")), "{event_type}");
    }
}

#[test]
fn every_path_of_a_state_exists() {
    for event_type in special_types() {
        let template = template(event_type);
        for (path, _) in sample(event_type).state {
            let exists = template.pointer(&pointer(path)).is_some();
            let new = event_type == "refund.failed" && NEW.contains(path);
            assert_ne!(exists, new, "{event_type}: {path}");
        }
    }
}

#[test]
fn every_state_changes_what_it_names() {
    for event_type in special_types() {
        let (template, filled) = (template(event_type), filled(event_type));
        for (path, json) in sample(event_type).state {
            let at = pointer(path);
            assert_ne!(
                template.pointer(&at),
                filled.pointer(&at),
                "{event_type}: {path}"
            );
            let value: Value = serde_json::from_str(&filling(event_type).fill(json)).unwrap();
            assert_eq!(filled.pointer(&at), Some(&value), "{event_type}: {path}");
        }
    }
}

#[test]
fn only_an_upcoming_invoice_has_no_id() {
    for event_type in snapshot_types() {
        let has_id = filled(event_type).get("id").is_some();
        assert_eq!(has_id, event_type != "invoice.upcoming", "{event_type}");
    }
}

/// Each attribute, nested ones too, is one of the object's and has changed.
fn assert_previous(event_type: &str, previous: &Value, object: &Value) {
    for (name, before) in previous.as_object().unwrap() {
        let now = object.get(name);
        let now = now.unwrap_or_else(|| panic!("{event_type}: {name}"));
        match before {
            Value::Object(_) => assert_previous(event_type, before, now),
            before => assert_ne!(before, now, "{event_type}: {name}"),
        }
    }
}

#[test]
fn only_types_that_end_in_updated_have_previous_attributes_and_they_differ() {
    for event_type in snapshot_types() {
        let previous = previous(event_type);
        let is_updated = event_type.ends_with(".updated");
        assert_eq!(previous.is_some(), is_updated, "{event_type}");
        if let Some(previous) = previous {
            assert_previous(event_type, &previous, &filled(event_type));
        }
    }
}

/// What follows `//` in URLs and `@` in addresses.
fn hosts(text: &str) -> Vec<&str> {
    let after = |mark| text.split(mark).skip(1);
    let ends = |c: char| !c.is_ascii_alphanumeric() && !"-.".contains(c);
    (after("//").chain(after("@")))
        .filter_map(|rest| rest.split(ends).next())
        .collect()
}

#[test]
fn every_domain_is_an_example_or_stripes() {
    let mut found = BTreeSet::new();
    for event_type in snapshot_types() {
        let text = filled(event_type).to_string() + &format!("{:?}", previous(event_type));
        for host in hosts(&text) {
            let ours = ["example.com", "stripe.com"].iter().any(|domain| {
                host.strip_suffix(domain)
                    .is_some_and(|sub| sub.is_empty() || sub.ends_with('.'))
            });
            assert!(ours, "{event_type}: {host}");
            found.insert(host.to_owned());
        }
    }
    assert!(
        found.contains("example.com") && found.contains("hooks.stripe.com"),
        "{found:?}"
    );
}

fn is_zero(object: &Value, name: &str) -> bool {
    object[name] == 0
}

#[test]
fn the_sums_of_an_invoice_agree() {
    for event_type in special_types().filter(|name| name.starts_with("invoice.")) {
        let invoice = filled(event_type);
        let [due, paid, remaining, over] = [
            "amount_due",
            "amount_paid",
            "amount_remaining",
            "amount_overpaid",
        ]
        .map(|name| invoice[name].as_i64().unwrap());
        assert_eq!(paid + remaining, due + over, "{event_type}");
        assert_eq!(invoice["status"] == "paid", remaining == 0, "{event_type}");
        let paid_at = &invoice["status_transitions"]["paid_at"];
        assert_eq!(paid_at.is_null(), remaining > 0, "{event_type}");
        assert_eq!(
            invoice["number"].is_null(),
            invoice["status"] == "draft",
            "{event_type}"
        );
        assert_eq!(
            invoice["attempted"] == true,
            !is_zero(&invoice, "attempt_count"),
            "{event_type}"
        );
        assert!(invoice.get("subscription").is_none(), "{event_type}");
    }
}

#[test]
fn money_is_received_only_if_the_intent_succeeded() {
    for event_type in special_types().filter(|name| name.starts_with("payment_intent.")) {
        let intent = filled(event_type);
        let succeeded = intent["status"] == "succeeded";
        assert_eq!(
            succeeded,
            event_type.ends_with(".succeeded"),
            "{event_type}"
        );
        let received = if succeeded { 4200 } else { 0 };
        assert_eq!(intent["amount_received"], received, "{event_type}");
        let canceled = intent["status"] == "canceled";
        assert_eq!(canceled, !intent["canceled_at"].is_null(), "{event_type}");
        let needs_action = intent["status"] == "requires_action";
        assert_eq!(
            needs_action,
            !intent["next_action"].is_null(),
            "{event_type}"
        );
    }
}

#[test]
fn a_failure_names_its_reason() {
    for (event_type, reason) in [
        ("charge.failed", "failure_code"),
        ("payment_intent.payment_failed", "last_payment_error"),
        ("payout.failed", "failure_code"),
        ("refund.failed", "failure_reason"),
        ("setup_intent.setup_failed", "last_setup_error"),
        ("invoice.finalization_failed", "last_finalization_error"),
    ] {
        assert!(!filled(event_type)[reason].is_null(), "{event_type}");
    }
}

#[test]
fn a_subscription_ends_after_it_began() {
    for event_type in special_types().filter(|name| name.starts_with("customer.subscription.")) {
        let subscription = filled(event_type);
        let item = &subscription["items"]["data"][0];
        let [start, end] =
            ["current_period_start", "current_period_end"].map(|name| item[name].as_u64().unwrap());
        assert!(start < end, "{event_type}");
        let ended = subscription["status"] == "canceled";
        assert_eq!(ended, !subscription["ended_at"].is_null(), "{event_type}");
        assert_eq!(
            ended,
            !subscription["canceled_at"].is_null(),
            "{event_type}"
        );
        assert!(
            subscription.get("current_period_end").is_none(),
            "{event_type}"
        );
        if let Some(trial_end) = subscription["trial_end"].as_u64() {
            assert!(subscription["trial_start"].as_u64().unwrap() < trial_end);
            let trialing = subscription["status"] == "trialing";
            assert_eq!(trialing, trial_end > CREATED, "{event_type}");
        }
    }
}

#[test]
fn a_dispute_moves_its_amount_out_and_back() {
    for (event_type, status, sum) in [
        ("charge.dispute.created", "needs_response", 0),
        ("charge.dispute.funds_withdrawn", "needs_response", -4200),
        ("charge.dispute.updated", "under_review", -4200),
        ("charge.dispute.closed", "lost", -4200),
        ("charge.dispute.funds_reinstated", "won", 0),
    ] {
        let dispute = filled(event_type);
        let moved = dispute["balance_transactions"].as_array().unwrap();
        let amounts = moved.iter().map(|one| one["amount"].as_i64().unwrap());
        assert_eq!(dispute["status"], status);
        assert_eq!(amounts.sum::<i64>(), sum, "{event_type}");
        for one in moved {
            let [amount, fee, net] = ["amount", "fee", "net"].map(|name| one[name].as_i64());
            assert_eq!(amount.unwrap() - fee.unwrap(), net.unwrap(), "{event_type}");
        }
    }
}

#[test]
fn a_name_cannot_break_out_of_its_string() {
    let filling = Filling {
        name: r#"a", "livemode": true, "b": "\"#,
        event_type: "no\"such.type",
        created: 0,
    };
    let object = sample("no\"such.type").object(&filling).unwrap();
    assert_eq!(object["livemode"], false);
    assert_eq!(object["object"], "no\"such");
    assert_eq!(object["id"], format!("obj_{}", filling.name));
}

#[test]
fn a_thin_event_refers_to_the_object_of_its_snapshot_twin() {
    for event_type in special_types() {
        let twin = related(&format!("v1.{event_type}"));
        let object = filled(event_type);
        // An application cannot be fetched, nor can an invoice to come.
        let fetched = object["object"] != "application" && object.get("id").is_some();
        assert_eq!(twin.is_some(), fetched, "{event_type}");
        if let Some(twin) = twin {
            assert_eq!(object["object"], twin.object_type);
            assert_eq!(object["id"], filling(event_type).fill(twin.id));
        }
    }
}

#[test]
fn every_related_object_has_a_path_with_its_id() {
    let all: Vec<Related> = KNOWN
        .iter()
        .copied()
        .filter(|name| name.starts_with('v'))
        .filter_map(related)
        .collect();
    assert!(all.len() > 100, "{}", all.len());
    for one in all {
        assert!(one.url.starts_with("/v1/") || one.url.starts_with("/v2/"));
        assert!(one.url.ends_with("/{{id}}"), "{}", one.url);
        assert!(one.id.ends_with("_{{name}}"), "{}", one.id);
    }
}

#[test]
fn the_part_in_brackets_does_not_change_what_is_related() {
    for event_type in [
        "v2.core.account.updated",
        "v2.core.account[requirements].updated",
        "v2.core.account[configuration.merchant].capability_status_updated",
    ] {
        let related = related(event_type).unwrap();
        assert_eq!(related.object_type, "v2.core.account");
        assert_eq!(related.url, "/v2/core/accounts/{{id}}");
    }
    assert!(related("v2.core.account_link.returned").is_none());
    assert!(related("ping").is_none());
}
