use super::resource;

/// What an object was before, in the events of the types that say so: `*.updated`.
pub(super) fn attributes(event_type: &str) -> Option<&'static str> {
    event_type
        .ends_with(".updated")
        .then(|| previous(event_type))
}

fn previous(event_type: &str) -> &'static str {
    match resource(event_type) {
        "account" => {
            r#"{
                "charges_enabled": false,
                "payouts_enabled": false,
                "requirements": {
                    "currently_due": ["external_account"],
                    "disabled_reason": "requirements.past_due",
                    "eventually_due": ["external_account"],
                    "past_due": ["external_account"]
                }
            }"#
        }
        "charge" => r#"{"balance_transaction": null}"#,
        "charge.dispute" => {
            r#"{
                "balance_transactions": [],
                "evidence": {"uncategorized_text": null},
                "evidence_details": {"has_evidence": false, "submission_count": 0},
                "status": "needs_response"
            }"#
        }
        "charge.refund" | "refund" => {
            r#"{
                "destination_details": {
                    "card": {"reference": null, "reference_status": "pending"}
                }
            }"#
        }
        "customer" => r#"{"email": "previous@example.com"}"#,
        "customer.subscription" => r#"{"status": "past_due"}"#,
        "invoice" => {
            r#"{
                "amount_paid": 0,
                "amount_remaining": 4200,
                "attempt_count": 0,
                "attempted": false,
                "auto_advance": true,
                "status": "open",
                "status_transitions": {"paid_at": null}
            }"#
        }
        "payout" => r#"{"status": "pending"}"#,
        _ => r#"{"metadata": {"order_id": "order_before"}}"#,
    }
}
