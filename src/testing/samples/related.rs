/// What the thin events of a type refer to, instead of carrying it.
#[derive(Debug)]
pub(in crate::testing) struct Related {
    /// `related_object.type`.
    pub(in crate::testing) object_type: &'static str,
    /// `related_object.id`, with the placeholder `{{name}}`.
    pub(in crate::testing) id: &'static str,
    /// `related_object.url`, with the placeholders `{{id}}` and `{{name}}`.
    pub(in crate::testing) url: &'static str,
}

/// The related object of a thin type. `None` if there is none to fetch, or none known here.
pub(in crate::testing) fn related(event_type: &str) -> Option<Related> {
    let (object_type, id, url) = match (event_type, about(event_type)) {
        // The invoice does not exist yet.
        ("v1.invoice.upcoming", _) => return None,
        (_, Some(about)) => known(about)?,
        (_, None) => return None,
    };
    Some(Related {
        object_type,
        id,
        url,
    })
}

/// What a type is about: all before its last part, and before the part in brackets.
fn about(event_type: &str) -> Option<&str> {
    match event_type.split_once('[') {
        Some((about, _)) => Some(about),
        None => event_type.rsplit_once('.').map(|(about, _)| about),
    }
}

fn known(about: &str) -> Option<(&'static str, &'static str, &'static str)> {
    Some(match about {
        "v1.account" => ("account", "acct_{{name}}", "/v1/accounts/{{id}}"),
        "v1.charge" => ("charge", "ch_{{name}}", "/v1/charges/{{id}}"),
        "v1.charge.dispute" => ("dispute", "dp_{{name}}", "/v1/disputes/{{id}}"),
        "v1.charge.refund" | "v1.refund" => ("refund", "re_{{name}}", "/v1/refunds/{{id}}"),
        "v1.checkout.session" => (
            "checkout.session",
            "cs_test_{{name}}",
            "/v1/checkout/sessions/{{id}}",
        ),
        "v1.customer" => ("customer", "cus_{{name}}", "/v1/customers/{{id}}"),
        "v1.customer.subscription" => ("subscription", "sub_{{name}}", "/v1/subscriptions/{{id}}"),
        "v1.invoice" => ("invoice", "in_{{name}}", "/v1/invoices/{{id}}"),
        "v1.payment_intent" => (
            "payment_intent",
            "pi_{{name}}",
            "/v1/payment_intents/{{id}}",
        ),
        "v1.payment_method" => (
            "payment_method",
            "pm_{{name}}",
            "/v1/payment_methods/{{id}}",
        ),
        "v1.payout" => ("payout", "po_{{name}}", "/v1/payouts/{{id}}"),
        "v1.price" => ("price", "price_{{name}}", "/v1/prices/{{id}}"),
        "v1.product" => ("product", "prod_{{name}}", "/v1/products/{{id}}"),
        "v1.setup_intent" => ("setup_intent", "seti_{{name}}", "/v1/setup_intents/{{id}}"),
        "v2.core.account" => (
            "v2.core.account",
            "acct_{{name}}",
            "/v2/core/accounts/{{id}}",
        ),
        "v2.core.account_person" => (
            "v2.core.account_person",
            "person_{{name}}",
            "/v2/core/accounts/acct_{{name}}/persons/{{id}}",
        ),
        "v2.core.event_destination" => (
            "v2.core.event_destination",
            "ed_test_{{name}}",
            "/v2/core/event_destinations/{{id}}",
        ),
        _ => return None,
    })
}
