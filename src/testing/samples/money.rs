//! Charges, and the ways in which their money leaves again: refunds, disputes, payouts.

use super::State;

pub(super) fn state(event_type: &str) -> Option<State> {
    Some(match event_type {
        "charge.succeeded" | "charge.captured" | "charge.updated" => &[],
        "charge.pending" => CHARGE_PENDING,
        "charge.failed" => CHARGE_FAILED,
        "charge.refunded" => CHARGE_REFUNDED,
        "charge.expired" => CHARGE_EXPIRED,
        "charge.refund.updated" | "refund.created" | "refund.updated" => &[],
        "refund.failed" => REFUND_FAILED,
        "charge.dispute.created" => &[],
        "charge.dispute.updated" => DISPUTE_UNDER_REVIEW,
        "charge.dispute.closed" => DISPUTE_LOST,
        "charge.dispute.funds_withdrawn" => DISPUTE_WITHDRAWN,
        "charge.dispute.funds_reinstated" => DISPUTE_WON,
        "payout.paid" => &[],
        "payout.created" => PAYOUT_CREATED,
        "payout.updated" => PAYOUT_ON_ITS_WAY,
        "payout.canceled" => PAYOUT_CANCELED,
        "payout.failed" => PAYOUT_FAILED,
        "payout.reconciliation_completed" => PAYOUT_RECONCILED,
        _ => return None,
    })
}

const CHARGE_PENDING: State = &[
    ("balance_transaction", "null"),
    ("paid", "false"),
    (
        "payment_method_details",
        r#"{
            "sepa_debit": {
                "bank_code": "00000000",
                "branch_code": null,
                "country": "IE",
                "fingerprint": "fingerprint_{{name}}",
                "last4": "0000",
                "mandate": "mandate_{{name}}"
            },
            "type": "sepa_debit"
        }"#,
    ),
    ("status", r#""pending""#),
];

const CHARGE_FAILED: State = &[
    ("amount_captured", "0"),
    ("balance_transaction", "null"),
    ("captured", "false"),
    ("failure_code", r#""card_declined""#),
    ("failure_message", r#""Your card has insufficient funds.""#),
    ("outcome.network_status", r#""declined_by_network""#),
    ("outcome.reason", r#""insufficient_funds""#),
    (
        "outcome.seller_message",
        r#""The bank returned the decline code `insufficient_funds`.""#,
    ),
    ("outcome.type", r#""issuer_declined""#),
    ("paid", "false"),
    ("payment_method_details.card.authorization_code", "null"),
    ("receipt_url", "null"),
    ("status", r#""failed""#),
];

const CHARGE_REFUNDED: State = &[("amount_refunded", "4200"), ("refunded", "true")];

/// Authorized, but never captured: Stripe gives the authorization back as a refund.
const CHARGE_EXPIRED: State = &[
    ("amount_captured", "0"),
    ("amount_refunded", "4200"),
    ("balance_transaction", "null"),
    ("captured", "false"),
    ("created", "{{created-7d}}"),
    ("refunded", "true"),
];

const REFUND_FAILED: State = &[
    ("destination_details.card.reference", "null"),
    (
        "destination_details.card.reference_status",
        r#""unavailable""#,
    ),
    (
        "failure_balance_transaction",
        r#""txn_{{name}}_refund_failure""#,
    ),
    ("failure_reason", r#""expired_or_canceled_card""#),
    ("status", r#""failed""#),
];

const DISPUTE_UNDER_REVIEW: State = &[
    ("balance_transactions", WITHDRAWAL),
    ("evidence.uncategorized_text", r#""Delivered and signed.""#),
    ("evidence_details.has_evidence", "true"),
    ("evidence_details.submission_count", "1"),
    ("status", r#""under_review""#),
];

const DISPUTE_WITHDRAWN: State = &[("balance_transactions", WITHDRAWAL)];

const DISPUTE_LOST: State = &[
    ("balance_transactions", WITHDRAWAL),
    ("created", "{{created-30d}}"),
    ("evidence_details.due_by", "{{created-23d}}"),
    ("evidence_details.past_due", "true"),
    ("status", r#""lost""#),
];

const DISPUTE_WON: State = &[
    ("balance_transactions", REINSTATEMENT),
    ("created", "{{created-30d}}"),
    ("evidence.uncategorized_text", r#""Delivered and signed.""#),
    ("evidence_details.due_by", "{{created-23d}}"),
    ("evidence_details.has_evidence", "true"),
    ("evidence_details.submission_count", "1"),
    ("status", r#""won""#),
];

/// The amount and the fee for the dispute leave the balance together.
const WITHDRAWAL: &str = r#"[
    {
        "id": "txn_{{name}}_withdrawal",
        "object": "balance_transaction",
        "amount": -4200,
        "available_on": {{created}},
        "balance_type": "payments",
        "created": {{created}},
        "currency": "eur",
        "description": "Chargeback withdrawal for ch_{{name}}",
        "exchange_rate": null,
        "fee": 2000,
        "fee_details": [
            {
                "amount": 2000,
                "application": null,
                "currency": "eur",
                "description": "Dispute fee",
                "type": "stripe_fee"
            }
        ],
        "net": -6200,
        "reporting_category": "dispute",
        "source": "dp_{{name}}",
        "status": "available",
        "type": "adjustment"
    }
]"#;

const REINSTATEMENT: &str = r#"[
    {
        "id": "txn_{{name}}_withdrawal",
        "object": "balance_transaction",
        "amount": -4200,
        "available_on": {{created-30d}},
        "balance_type": "payments",
        "created": {{created-30d}},
        "currency": "eur",
        "description": "Chargeback withdrawal for ch_{{name}}",
        "exchange_rate": null,
        "fee": 2000,
        "fee_details": [
            {
                "amount": 2000,
                "application": null,
                "currency": "eur",
                "description": "Dispute fee",
                "type": "stripe_fee"
            }
        ],
        "net": -6200,
        "reporting_category": "dispute",
        "source": "dp_{{name}}",
        "status": "available",
        "type": "adjustment"
    },
    {
        "id": "txn_{{name}}_reinstatement",
        "object": "balance_transaction",
        "amount": 4200,
        "available_on": {{created}},
        "balance_type": "payments",
        "created": {{created}},
        "currency": "eur",
        "description": "Chargeback reversal for ch_{{name}}",
        "exchange_rate": null,
        "fee": 0,
        "fee_details": [],
        "net": 4200,
        "reporting_category": "dispute_reversal",
        "source": "dp_{{name}}",
        "status": "available",
        "type": "adjustment"
    }
]"#;

const PAYOUT_CREATED: State = &[
    ("arrival_date", "{{created+2d}}"),
    ("created", "{{created}}"),
    ("status", r#""pending""#),
    ("trace_id", r#"{"status": "pending", "value": null}"#),
];

const PAYOUT_ON_ITS_WAY: State = &[
    ("arrival_date", "{{created+2d}}"),
    ("created", "{{created}}"),
    ("status", r#""in_transit""#),
    ("trace_id", r#"{"status": "pending", "value": null}"#),
];

/// Stripe makes automatic payouts itself, so one that can be canceled is not.
const PAYOUT_CANCELED: State = &[
    ("arrival_date", "{{created+2d}}"),
    ("automatic", "false"),
    ("created", "{{created}}"),
    (
        "failure_balance_transaction",
        r#""txn_{{name}}_payout_failure""#,
    ),
    ("reconciliation_status", r#""not_applicable""#),
    ("status", r#""canceled""#),
    ("trace_id", r#"{"status": "unsupported", "value": null}"#),
];

const PAYOUT_FAILED: State = &[
    (
        "failure_balance_transaction",
        r#""txn_{{name}}_payout_failure""#,
    ),
    ("failure_code", r#""account_closed""#),
    ("failure_message", r#""The bank account has been closed.""#),
    ("status", r#""failed""#),
];

const PAYOUT_RECONCILED: State = &[("reconciliation_status", r#""completed""#)];
