//! Subscriptions and their invoices.

use super::State;

pub(super) fn state(event_type: &str) -> Option<State> {
    Some(match event_type {
        "customer.subscription.created"
        | "customer.subscription.updated"
        | "customer.subscription.pending_update_applied"
        | "customer.subscription.pending_update_expired" => &[],
        "customer.subscription.deleted" => SUBSCRIPTION_CANCELED,
        "customer.subscription.paused" => SUBSCRIPTION_PAUSED,
        "customer.subscription.resumed" => SUBSCRIPTION_RESUMED,
        "customer.subscription.trial_will_end" => SUBSCRIPTION_TRIALING,
        "invoice.paid" | "invoice.payment_succeeded" | "invoice.updated" => &[],
        "invoice.created" | "invoice.deleted" => INVOICE_DRAFT,
        "invoice.finalization_failed" => INVOICE_UNFINALIZABLE,
        "invoice.finalized" | "invoice.payment_attempt_required" => INVOICE_OPEN,
        "invoice.payment_failed" => INVOICE_PAYMENT_FAILED,
        "invoice.payment_action_required" => INVOICE_REQUIRES_ACTION,
        "invoice.sent" | "invoice.will_be_due" => INVOICE_SENT,
        "invoice.overdue" => INVOICE_OVERDUE,
        "invoice.overpaid" => INVOICE_OVERPAID,
        "invoice.voided" => INVOICE_VOID,
        "invoice.marked_uncollectible" => INVOICE_UNCOLLECTIBLE,
        "invoice.upcoming" => INVOICE_UPCOMING,
        _ => return None,
    })
}

const SUBSCRIPTION_CANCELED: State = &[
    ("canceled_at", "{{created}}"),
    ("cancellation_details.reason", r#""cancellation_requested""#),
    ("ended_at", "{{created}}"),
    ("status", r#""canceled""#),
];

/// Its trial has ended without a way to pay.
const SUBSCRIPTION_PAUSED: State = &[
    ("billing_cycle_anchor", "{{created-30d}}"),
    ("created", "{{created-30d}}"),
    ("default_payment_method", "null"),
    ("items.data.0.created", "{{created-30d}}"),
    ("start_date", "{{created-30d}}"),
    ("status", r#""paused""#),
    ("trial_end", "{{created}}"),
    (
        "trial_settings.end_behavior.missing_payment_method",
        r#""pause""#,
    ),
    ("trial_start", "{{created-30d}}"),
];

const SUBSCRIPTION_RESUMED: State = &[
    ("created", "{{created-30d}}"),
    ("items.data.0.created", "{{created-30d}}"),
    ("start_date", "{{created-30d}}"),
    ("trial_end", "{{created-4d}}"),
    (
        "trial_settings.end_behavior.missing_payment_method",
        r#""pause""#,
    ),
    ("trial_start", "{{created-30d}}"),
];

/// Stripe announces the end of a trial three days before.
const SUBSCRIPTION_TRIALING: State = &[
    ("billing_cycle_anchor", "{{created+3d}}"),
    ("created", "{{created-4d}}"),
    ("items.data.0.created", "{{created-4d}}"),
    ("items.data.0.current_period_end", "{{created+3d}}"),
    ("items.data.0.current_period_start", "{{created-4d}}"),
    ("start_date", "{{created-4d}}"),
    ("status", r#""trialing""#),
    ("trial_end", "{{created+3d}}"),
    ("trial_start", "{{created-4d}}"),
];

const INVOICE_DRAFT: State = &[
    ("amount_paid", "0"),
    ("amount_remaining", "4200"),
    ("attempt_count", "0"),
    ("attempted", "false"),
    ("auto_advance", "true"),
    ("automatically_finalizes_at", "{{created+1h}}"),
    ("effective_at", "null"),
    ("ending_balance", "null"),
    ("hosted_invoice_url", "null"),
    ("invoice_pdf", "null"),
    ("next_payment_attempt", "{{created+1h}}"),
    ("number", "null"),
    ("status", r#""draft""#),
    ("status_transitions.finalized_at", "null"),
    ("status_transitions.paid_at", "null"),
    ("webhooks_delivered_at", "null"),
];

const INVOICE_UNFINALIZABLE: State = &[
    ("amount_paid", "0"),
    ("amount_remaining", "4200"),
    ("attempt_count", "0"),
    ("attempted", "false"),
    ("automatic_tax.enabled", "true"),
    ("automatic_tax.liability", r#"{"type": "self"}"#),
    ("automatic_tax.provider", r#""stripe""#),
    ("automatic_tax.status", r#""requires_location_inputs""#),
    ("effective_at", "null"),
    ("ending_balance", "null"),
    ("hosted_invoice_url", "null"),
    ("invoice_pdf", "null"),
    (
        "last_finalization_error",
        r#"{
            "code": "customer_tax_location_invalid",
            "message": "The customer's address is not recognized.",
            "type": "invalid_request_error"
        }"#,
    ),
    ("number", "null"),
    ("status", r#""draft""#),
    ("status_transitions.finalized_at", "null"),
    ("status_transitions.paid_at", "null"),
];

const INVOICE_OPEN: State = &[
    ("amount_paid", "0"),
    ("amount_remaining", "4200"),
    ("attempt_count", "0"),
    ("attempted", "false"),
    ("auto_advance", "true"),
    ("status", r#""open""#),
    ("status_transitions.paid_at", "null"),
];

const INVOICE_PAYMENT_FAILED: State = &[
    ("amount_paid", "0"),
    ("amount_remaining", "4200"),
    ("auto_advance", "true"),
    ("next_payment_attempt", "{{created+3d}}"),
    ("status", r#""open""#),
    ("status_transitions.paid_at", "null"),
];

const INVOICE_REQUIRES_ACTION: State = &[
    ("amount_paid", "0"),
    ("amount_remaining", "4200"),
    ("auto_advance", "true"),
    ("status", r#""open""#),
    ("status_transitions.paid_at", "null"),
];

const INVOICE_SENT: State = &[
    ("amount_paid", "0"),
    ("amount_remaining", "4200"),
    ("attempt_count", "0"),
    ("attempted", "false"),
    ("auto_advance", "true"),
    ("collection_method", r#""send_invoice""#),
    ("due_date", "{{created+7d}}"),
    ("status", r#""open""#),
    ("status_transitions.paid_at", "null"),
];

const INVOICE_OVERDUE: State = &[
    ("amount_paid", "0"),
    ("amount_remaining", "4200"),
    ("attempt_count", "0"),
    ("attempted", "false"),
    ("auto_advance", "true"),
    ("collection_method", r#""send_invoice""#),
    ("created", "{{created-30d}}"),
    ("due_date", "{{created-1d}}"),
    ("effective_at", "{{created-30d}}"),
    ("status", r#""open""#),
    ("status_transitions.finalized_at", "{{created-30d}}"),
    ("status_transitions.paid_at", "null"),
];

const INVOICE_OVERPAID: State = &[("amount_overpaid", "100"), ("amount_paid", "4300")];

const INVOICE_VOID: State = &[
    ("amount_paid", "0"),
    ("amount_remaining", "4200"),
    ("status", r#""void""#),
    ("status_transitions.paid_at", "null"),
    ("status_transitions.voided_at", "{{created}}"),
];

const INVOICE_UNCOLLECTIBLE: State = &[
    ("amount_paid", "0"),
    ("amount_remaining", "4200"),
    ("status", r#""uncollectible""#),
    ("status_transitions.marked_uncollectible_at", "{{created}}"),
    ("status_transitions.paid_at", "null"),
];

/// What the invoice of next week would be.
const INVOICE_UPCOMING: State = &[
    ("amount_paid", "0"),
    ("amount_remaining", "4200"),
    ("attempt_count", "0"),
    ("attempted", "false"),
    ("billing_reason", r#""upcoming""#),
    ("created", "{{created+7d}}"),
    ("effective_at", "null"),
    ("ending_balance", "null"),
    ("hosted_invoice_url", "null"),
    ("invoice_pdf", "null"),
    ("lines.data.0.id", r#""il_tmp_{{name}}""#),
    ("lines.data.0.invoice", "null"),
    ("lines.data.0.period.end", "{{created+37d}}"),
    ("lines.data.0.period.start", "{{created+7d}}"),
    (
        "lines.url",
        r#""/v1/invoices/upcoming/lines?subscription=sub_{{name}}""#,
    ),
    ("next_payment_attempt", "{{created+7d}}"),
    ("number", "null"),
    ("period_end", "{{created+7d}}"),
    ("period_start", "{{created-23d}}"),
    ("status", r#""draft""#),
    ("status_transitions.finalized_at", "null"),
    ("status_transitions.paid_at", "null"),
    ("webhooks_delivered_at", "null"),
];
