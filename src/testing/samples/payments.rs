//! Checkout sessions, payment intents and setup intents.

use super::State;

pub(super) fn state(event_type: &str) -> Option<State> {
    Some(match event_type {
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" => &[],
        "checkout.session.async_payment_failed" => SESSION_UNPAID,
        "checkout.session.expired" => SESSION_EXPIRED,
        "payment_intent.succeeded" => &[],
        "payment_intent.created" => INTENT_CREATED,
        "payment_intent.processing" => INTENT_PROCESSING,
        "payment_intent.payment_failed" => INTENT_FAILED,
        "payment_intent.canceled" => INTENT_CANCELED,
        "payment_intent.requires_action" => INTENT_REQUIRES_ACTION,
        "payment_intent.amount_capturable_updated" => INTENT_CAPTURABLE,
        "payment_intent.partially_funded" => INTENT_PARTIALLY_FUNDED,
        "setup_intent.succeeded" => &[],
        "setup_intent.created" => SETUP_CREATED,
        "setup_intent.setup_failed" => SETUP_FAILED,
        "setup_intent.canceled" => SETUP_CANCELED,
        "setup_intent.requires_action" => SETUP_REQUIRES_ACTION,
        _ => return None,
    })
}

const SESSION_UNPAID: State = &[("payment_status", r#""unpaid""#)];

const SESSION_EXPIRED: State = &[
    ("created", "{{created-1d}}"),
    ("customer", "null"),
    ("customer_details", "null"),
    ("expires_at", "{{created}}"),
    // In `payment` mode there is none until the customer submits the form.
    ("payment_intent", "null"),
    ("payment_status", r#""unpaid""#),
    ("status", r#""expired""#),
];

const INTENT_CREATED: State = &[
    ("amount_received", "0"),
    ("latest_charge", "null"),
    ("payment_method", "null"),
    ("status", r#""requires_payment_method""#),
];

const INTENT_PROCESSING: State = &[
    ("amount_received", "0"),
    ("payment_method_options", r#"{"sepa_debit": {}}"#),
    ("payment_method_types", r#"["sepa_debit"]"#),
    ("status", r#""processing""#),
];

const INTENT_FAILED: State = &[
    ("amount_received", "0"),
    (
        "last_payment_error",
        r#"{
            "charge": "ch_{{name}}",
            "code": "card_declined",
            "decline_code": "insufficient_funds",
            "doc_url": "https://docs.stripe.com/error-codes/card-declined",
            "message": "Your card has insufficient funds.",
            "payment_method": {
                "id": "pm_{{name}}",
                "object": "payment_method",
                "created": {{created}},
                "customer": null,
                "livemode": false,
                "metadata": {},
                "type": "card"
            },
            "type": "card_error"
        }"#,
    ),
    ("payment_method", "null"),
    ("status", r#""requires_payment_method""#),
];

const INTENT_CANCELED: State = &[
    ("amount_received", "0"),
    ("canceled_at", "{{created}}"),
    ("cancellation_reason", r#""requested_by_customer""#),
    ("latest_charge", "null"),
    ("payment_method", "null"),
    ("status", r#""canceled""#),
];

const INTENT_REQUIRES_ACTION: State = &[
    ("amount_received", "0"),
    ("latest_charge", "null"),
    (
        "next_action",
        r#"{
            "redirect_to_url": {
                "return_url": "https://shop.example.com/thanks",
                "url": "https://hooks.stripe.com/3d_secure_2/test_{{name}}"
            },
            "type": "redirect_to_url"
        }"#,
    ),
    ("status", r#""requires_action""#),
];

const INTENT_CAPTURABLE: State = &[
    ("amount_capturable", "4200"),
    ("amount_received", "0"),
    ("capture_method", r#""manual""#),
    ("status", r#""requires_capture""#),
];

const INTENT_PARTIALLY_FUNDED: State = &[
    ("amount_received", "0"),
    ("latest_charge", "null"),
    (
        "next_action",
        r#"{
            "display_bank_transfer_instructions": {
                "amount_remaining": 1200,
                "currency": "eur",
                "financial_addresses": [],
                "hosted_instructions_url": null,
                "reference": "EXAMPLE",
                "type": "eu_bank_transfer"
            },
            "type": "display_bank_transfer_instructions"
        }"#,
    ),
    ("payment_method_options", r#"{"customer_balance": {}}"#),
    ("payment_method_types", r#"["customer_balance"]"#),
    ("status", r#""requires_action""#),
];

const SETUP_CREATED: State = &[
    ("latest_attempt", "null"),
    ("payment_method", "null"),
    ("status", r#""requires_payment_method""#),
];

const SETUP_FAILED: State = &[
    (
        "last_setup_error",
        r#"{
            "code": "card_declined",
            "decline_code": "generic_decline",
            "doc_url": "https://docs.stripe.com/error-codes/card-declined",
            "message": "Your card was declined.",
            "payment_method": {
                "id": "pm_{{name}}",
                "object": "payment_method",
                "created": {{created}},
                "customer": null,
                "livemode": false,
                "metadata": {},
                "type": "card"
            },
            "type": "card_error"
        }"#,
    ),
    ("payment_method", "null"),
    ("status", r#""requires_payment_method""#),
];

const SETUP_CANCELED: State = &[
    ("cancellation_reason", r#""abandoned""#),
    ("latest_attempt", "null"),
    ("payment_method", "null"),
    ("status", r#""canceled""#),
];

const SETUP_REQUIRES_ACTION: State = &[
    (
        "next_action",
        r#"{
            "redirect_to_url": {
                "return_url": "https://shop.example.com/account",
                "url": "https://hooks.stripe.com/3d_secure_2/test_{{name}}"
            },
            "type": "redirect_to_url"
        }"#,
    ),
    ("status", r#""requires_action""#),
];
