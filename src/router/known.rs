/// The types of event that Stripe documents, snapshot and thin, public previews included. Sorted by
/// their bytes.
///
/// From the npm package `stripe` 23.1.0 (API version `2026-10-28.endive`); previews from the PyPI
/// package `stripe` 16.1.0b1 (`2026-09-30.preview`).
// One line or more for each resource: one name a line is longer than a file may be.
#[rustfmt::skip]
pub(crate) const KNOWN: &[&str] = &[
    "account.application.authorized", "account.application.deauthorized",
    "account.external_account.created", "account.external_account.deleted",
    "account.external_account.updated", "account.updated",
    "account_notice.created", "account_notice.updated",
    "application_fee.created", "application_fee.refund.updated", "application_fee.refunded",
    "apps.install.created", "apps.install.deleted", "apps.install.updated",
    "balance.available",
    "balance_settings.updated",
    "billing.alert.triggered", "billing.credit_balance_transaction.created",
    "billing.credit_grant.created", "billing.credit_grant.updated", "billing.meter.created",
    "billing.meter.deactivated", "billing.meter.reactivated", "billing.meter.updated",
    "billing_portal.configuration.created", "billing_portal.configuration.updated",
    "billing_portal.session.created",
    "capability.updated",
    "capital.financing_offer.accepted", "capital.financing_offer.accepted_other_offer",
    "capital.financing_offer.canceled", "capital.financing_offer.created",
    "capital.financing_offer.expired", "capital.financing_offer.fully_repaid",
    "capital.financing_offer.paid_out", "capital.financing_offer.rejected",
    "capital.financing_offer.replacement_created",
    "capital.financing_summary.line_of_credit_update", "capital.financing_transaction.created",
    "cash_balance.funds_available",
    "charge.captured", "charge.dispute.closed", "charge.dispute.created",
    "charge.dispute.funds_reinstated", "charge.dispute.funds_withdrawn", "charge.dispute.updated",
    "charge.expired", "charge.failed", "charge.pending", "charge.refund.updated", "charge.refunded",
    "charge.succeeded", "charge.updated",
    "checkout.session.async_payment_failed", "checkout.session.async_payment_succeeded",
    "checkout.session.completed", "checkout.session.expired",
    "climate.order.canceled", "climate.order.created", "climate.order.delayed",
    "climate.order.delivered", "climate.order.product_substituted", "climate.product.created",
    "climate.product.pricing_updated",
    "coupon.created", "coupon.deleted", "coupon.updated",
    "credit_note.created", "credit_note.updated", "credit_note.voided",
    "customer.created", "customer.deleted", "customer.discount.created",
    "customer.discount.deleted", "customer.discount.updated", "customer.source.created",
    "customer.source.deleted", "customer.source.expiring", "customer.source.updated",
    "customer.subscription.collection_paused", "customer.subscription.collection_resumed",
    "customer.subscription.created", "customer.subscription.custom_event",
    "customer.subscription.deleted", "customer.subscription.paused",
    "customer.subscription.pending_update_applied", "customer.subscription.pending_update_expired",
    "customer.subscription.price_migration_failed", "customer.subscription.resumed",
    "customer.subscription.trial_will_end", "customer.subscription.updated",
    "customer.tax_id.created", "customer.tax_id.deleted", "customer.tax_id.updated",
    "customer.updated",
    "customer_cash_balance_transaction.created",
    "entitlements.active_entitlement_summary.updated",
    "file.created",
    "financial_connections.account.account_numbers_updated",
    "financial_connections.account.created", "financial_connections.account.deactivated",
    "financial_connections.account.disconnected",
    "financial_connections.account.expected_deactivation_date_updated",
    "financial_connections.account.reactivated", "financial_connections.account.refreshed_balance",
    "financial_connections.account.refreshed_inferred_balances",
    "financial_connections.account.refreshed_ownership",
    "financial_connections.account.refreshed_transactions",
    "financial_connections.account.supported_payment_method_types_updated",
    "financial_connections.account.upcoming_account_number_expiry",
    "financial_connections.account.upcoming_deactivation",
    "financial_connections.authorization.expected_deactivation_date_updated",
    "financial_connections.authorization.upcoming_deactivation",
    "financial_connections.session.updated",
    "fx_quote.expired",
    "identity.verification_session.canceled", "identity.verification_session.created",
    "identity.verification_session.processing", "identity.verification_session.redacted",
    "identity.verification_session.requires_input", "identity.verification_session.verified",
    "invoice.created", "invoice.deleted", "invoice.finalization_failed", "invoice.finalized",
    "invoice.marked_uncollectible", "invoice.overdue", "invoice.overpaid", "invoice.paid",
    "invoice.payment.overpaid", "invoice.payment_action_required",
    "invoice.payment_attempt_required", "invoice.payment_failed", "invoice.payment_succeeded",
    "invoice.sent", "invoice.upcoming", "invoice.updated", "invoice.voided", "invoice.will_be_due",
    "invoice_payment.detached", "invoice_payment.paid",
    "invoiceitem.created", "invoiceitem.deleted",
    "issuing_authorization.created", "issuing_authorization.request",
    "issuing_authorization.updated",
    "issuing_card.created", "issuing_card.updated",
    "issuing_cardholder.created", "issuing_cardholder.updated",
    "issuing_dispute.closed", "issuing_dispute.created", "issuing_dispute.funds_reinstated",
    "issuing_dispute.funds_rescinded", "issuing_dispute.submitted", "issuing_dispute.updated",
    "issuing_dispute_settlement_detail.created", "issuing_dispute_settlement_detail.updated",
    "issuing_fraud_liability_debit.created",
    "issuing_personalization_design.activated", "issuing_personalization_design.deactivated",
    "issuing_personalization_design.rejected", "issuing_personalization_design.updated",
    "issuing_settlement.created", "issuing_settlement.updated",
    "issuing_token.created", "issuing_token.updated",
    "issuing_transaction.created", "issuing_transaction.purchase_details_receipt_updated",
    "issuing_transaction.updated",
    "mandate.updated",
    "payment_intent.amount_capturable_updated", "payment_intent.canceled", "payment_intent.created",
    "payment_intent.partially_funded", "payment_intent.payment_failed", "payment_intent.processing",
    "payment_intent.requires_action", "payment_intent.succeeded",
    "payment_link.created", "payment_link.updated",
    "payment_method.attached", "payment_method.automatically_updated", "payment_method.detached",
    "payment_method.updated",
    "payout.canceled", "payout.created", "payout.failed", "payout.paid",
    "payout.reconciliation_completed", "payout.updated",
    "person.created", "person.deleted", "person.updated",
    "plan.created", "plan.deleted", "plan.updated",
    "price.created", "price.deleted", "price.updated",
    "privacy.redaction_job.canceled", "privacy.redaction_job.created",
    "privacy.redaction_job.ready", "privacy.redaction_job.succeeded",
    "privacy.redaction_job.validation_error",
    "product.created", "product.deleted", "product.updated",
    "promotion_code.created", "promotion_code.updated",
    "quote.accept_failed", "quote.accepted", "quote.accepting", "quote.canceled", "quote.created",
    "quote.draft", "quote.finalized", "quote.reestimate_failed", "quote.reestimated", "quote.stale",
    "radar.early_fraud_warning.created", "radar.early_fraud_warning.updated",
    "refund.created", "refund.failed", "refund.updated",
    "reporting.report_run.failed", "reporting.report_run.succeeded",
    "reporting.report_type.updated",
    "reserve.hold.created", "reserve.hold.updated", "reserve.plan.created", "reserve.plan.disabled",
    "reserve.plan.expired", "reserve.plan.updated", "reserve.release.created",
    "review.closed", "review.opened",
    "setup_intent.canceled", "setup_intent.created", "setup_intent.requires_action",
    "setup_intent.setup_failed", "setup_intent.succeeded",
    "sigma.scheduled_query_run.created",
    "source.canceled", "source.chargeable", "source.failed", "source.mandate_notification",
    "source.refund_attributes_required", "source.transaction.created", "source.transaction.updated",
    "subscription_schedule.aborted", "subscription_schedule.canceled",
    "subscription_schedule.completed", "subscription_schedule.created",
    "subscription_schedule.expiring", "subscription_schedule.price_migration_failed",
    "subscription_schedule.released", "subscription_schedule.updated",
    "tax.form.updated", "tax.settings.updated",
    "tax_rate.created", "tax_rate.updated",
    "terminal.reader.action_failed", "terminal.reader.action_succeeded",
    "terminal.reader.action_updated",
    "test_helpers.test_clock.advancing", "test_helpers.test_clock.created",
    "test_helpers.test_clock.deleted", "test_helpers.test_clock.internal_failure",
    "test_helpers.test_clock.ready",
    "three_d_secure.authentication.canceled", "three_d_secure.authentication.challenge_started",
    "three_d_secure.authentication.errored", "three_d_secure.authentication.failed",
    "three_d_secure.authentication.requires_challenge",
    "three_d_secure.authentication.requires_submission", "three_d_secure.authentication.succeeded",
    "topup.canceled", "topup.created", "topup.failed", "topup.reversed", "topup.succeeded",
    "transfer.created", "transfer.reversed", "transfer.updated",
    "treasury.credit_reversal.created", "treasury.credit_reversal.posted",
    "treasury.debit_reversal.completed", "treasury.debit_reversal.created",
    "treasury.debit_reversal.initial_credit_granted", "treasury.financial_account.closed",
    "treasury.financial_account.created", "treasury.financial_account.features_status_updated",
    "treasury.inbound_transfer.canceled", "treasury.inbound_transfer.created",
    "treasury.inbound_transfer.failed", "treasury.inbound_transfer.succeeded",
    "treasury.outbound_payment.canceled", "treasury.outbound_payment.created",
    "treasury.outbound_payment.expected_arrival_date_updated", "treasury.outbound_payment.failed",
    "treasury.outbound_payment.posted", "treasury.outbound_payment.returned",
    "treasury.outbound_payment.tracking_details_updated", "treasury.outbound_transfer.canceled",
    "treasury.outbound_transfer.created",
    "treasury.outbound_transfer.expected_arrival_date_updated", "treasury.outbound_transfer.failed",
    "treasury.outbound_transfer.posted", "treasury.outbound_transfer.returned",
    "treasury.outbound_transfer.tracking_details_updated", "treasury.received_credit.created",
    "treasury.received_credit.failed", "treasury.received_credit.succeeded",
    "treasury.received_debit.created",
    "v1.account.application.authorized", "v1.account.application.deauthorized",
    "v1.account.external_account.created", "v1.account.external_account.deleted",
    "v1.account.external_account.updated", "v1.account.updated",
    "v1.application_fee.created", "v1.application_fee.refund.updated",
    "v1.application_fee.refunded",
    "v1.balance.available",
    "v1.balance_settings.updated",
    "v1.billing.alert.triggered", "v1.billing.credit_balance_transaction.created",
    "v1.billing.credit_grant.created", "v1.billing.credit_grant.updated",
    "v1.billing.meter.created", "v1.billing.meter.deactivated",
    "v1.billing.meter.error_report_triggered", "v1.billing.meter.no_meter_found",
    "v1.billing.meter.reactivated", "v1.billing.meter.updated",
    "v1.billing_portal.configuration.created", "v1.billing_portal.configuration.updated",
    "v1.billing_portal.session.created",
    "v1.capability.updated",
    "v1.cash_balance.funds_available",
    "v1.charge.captured", "v1.charge.dispute.closed", "v1.charge.dispute.created",
    "v1.charge.dispute.funds_reinstated", "v1.charge.dispute.funds_withdrawn",
    "v1.charge.dispute.updated", "v1.charge.expired", "v1.charge.failed", "v1.charge.pending",
    "v1.charge.refund.updated", "v1.charge.refunded", "v1.charge.succeeded", "v1.charge.updated",
    "v1.checkout.session.async_payment_failed", "v1.checkout.session.async_payment_succeeded",
    "v1.checkout.session.completed", "v1.checkout.session.expired",
    "v1.climate.order.canceled", "v1.climate.order.created", "v1.climate.order.delayed",
    "v1.climate.order.delivered", "v1.climate.order.product_substituted",
    "v1.climate.product.created", "v1.climate.product.pricing_updated",
    "v1.coupon.created", "v1.coupon.deleted", "v1.coupon.updated",
    "v1.credit_note.created", "v1.credit_note.updated", "v1.credit_note.voided",
    "v1.customer.created", "v1.customer.deleted", "v1.customer.discount.created",
    "v1.customer.discount.deleted", "v1.customer.discount.source_changed",
    "v1.customer.discount.updated", "v1.customer.subscription.active",
    "v1.customer.subscription.cancel_at_changed", "v1.customer.subscription.created",
    "v1.customer.subscription.default_payment_method_changed", "v1.customer.subscription.deleted",
    "v1.customer.subscription.incomplete", "v1.customer.subscription.incomplete_expired",
    "v1.customer.subscription.item_added", "v1.customer.subscription.item_price_changed",
    "v1.customer.subscription.item_quantity_changed", "v1.customer.subscription.item_removed",
    "v1.customer.subscription.item_tax_rates_changed", "v1.customer.subscription.past_due",
    "v1.customer.subscription.paused", "v1.customer.subscription.pending_update_applied",
    "v1.customer.subscription.pending_update_expired", "v1.customer.subscription.resumed",
    "v1.customer.subscription.trial_will_end", "v1.customer.subscription.trialing",
    "v1.customer.subscription.unpaid", "v1.customer.subscription.updated",
    "v1.customer.tax_id.created", "v1.customer.tax_id.deleted", "v1.customer.tax_id.updated",
    "v1.customer.updated",
    "v1.customer_cash_balance_transaction.created",
    "v1.entitlements.active_entitlement_summary.entitlement_added",
    "v1.entitlements.active_entitlement_summary.entitlement_removed",
    "v1.entitlements.active_entitlement_summary.updated",
    "v1.file.created",
    "v1.financial_connections.account.account_numbers_updated",
    "v1.financial_connections.account.balance_refresh_failed",
    "v1.financial_connections.account.balance_refresh_succeeded",
    "v1.financial_connections.account.created", "v1.financial_connections.account.deactivated",
    "v1.financial_connections.account.disconnected",
    "v1.financial_connections.account.expected_deactivation_date_updated",
    "v1.financial_connections.account.inferred_balances_refresh_failed",
    "v1.financial_connections.account.inferred_balances_refresh_succeeded",
    "v1.financial_connections.account.ownership_refresh_failed",
    "v1.financial_connections.account.ownership_refresh_succeeded",
    "v1.financial_connections.account.reactivated",
    "v1.financial_connections.account.refreshed_balance",
    "v1.financial_connections.account.refreshed_ownership",
    "v1.financial_connections.account.refreshed_transactions",
    "v1.financial_connections.account.risk_intelligence_refresh_failed",
    "v1.financial_connections.account.risk_intelligence_refresh_succeeded",
    "v1.financial_connections.account.supported_payment_method_types_updated",
    "v1.financial_connections.account.transactions_refresh_failed",
    "v1.financial_connections.account.transactions_refresh_succeeded",
    "v1.financial_connections.account.upcoming_account_number_expiry",
    "v1.financial_connections.account.upcoming_deactivation",
    "v1.identity.verification_session.canceled", "v1.identity.verification_session.created",
    "v1.identity.verification_session.processing", "v1.identity.verification_session.redacted",
    "v1.identity.verification_session.requires_input", "v1.identity.verification_session.verified",
    "v1.invoice.created", "v1.invoice.deleted", "v1.invoice.discount_added",
    "v1.invoice.discount_removed", "v1.invoice.finalization_failed", "v1.invoice.finalized",
    "v1.invoice.line_item_added", "v1.invoice.line_item_pricing_changed",
    "v1.invoice.line_item_quantity_changed", "v1.invoice.line_item_removed",
    "v1.invoice.marked_uncollectible", "v1.invoice.overdue", "v1.invoice.overpaid",
    "v1.invoice.paid", "v1.invoice.payment_action_required", "v1.invoice.payment_attempt_required",
    "v1.invoice.payment_failed", "v1.invoice.payment_succeeded", "v1.invoice.sent",
    "v1.invoice.upcoming", "v1.invoice.updated", "v1.invoice.voided", "v1.invoice.will_be_due",
    "v1.invoice_payment.canceled", "v1.invoice_payment.open", "v1.invoice_payment.paid",
    "v1.invoiceitem.amount_changed", "v1.invoiceitem.created", "v1.invoiceitem.deleted",
    "v1.invoiceitem.discount_added", "v1.invoiceitem.discount_removed",
    "v1.issuing_authorization.created", "v1.issuing_authorization.request",
    "v1.issuing_authorization.updated",
    "v1.issuing_card.created", "v1.issuing_card.updated",
    "v1.issuing_cardholder.created", "v1.issuing_cardholder.updated",
    "v1.issuing_dispute.closed", "v1.issuing_dispute.created",
    "v1.issuing_dispute.funds_reinstated", "v1.issuing_dispute.funds_rescinded",
    "v1.issuing_dispute.submitted", "v1.issuing_dispute.updated",
    "v1.issuing_personalization_design.activated", "v1.issuing_personalization_design.deactivated",
    "v1.issuing_personalization_design.rejected", "v1.issuing_personalization_design.updated",
    "v1.issuing_token.created", "v1.issuing_token.updated",
    "v1.issuing_transaction.created", "v1.issuing_transaction.purchase_details_receipt_updated",
    "v1.issuing_transaction.updated",
    "v1.mandate.updated",
    "v1.payment_intent.amount_capturable_updated", "v1.payment_intent.canceled",
    "v1.payment_intent.created", "v1.payment_intent.partially_funded",
    "v1.payment_intent.payment_failed", "v1.payment_intent.processing",
    "v1.payment_intent.requires_action", "v1.payment_intent.succeeded",
    "v1.payment_link.created", "v1.payment_link.updated",
    "v1.payment_method.attached", "v1.payment_method.automatically_updated",
    "v1.payment_method.detached", "v1.payment_method.updated",
    "v1.payout.canceled", "v1.payout.created", "v1.payout.failed", "v1.payout.paid",
    "v1.payout.reconciliation_completed", "v1.payout.updated",
    "v1.person.created", "v1.person.deleted", "v1.person.updated",
    "v1.plan.created", "v1.plan.deleted", "v1.plan.updated",
    "v1.price.activated", "v1.price.created", "v1.price.deactivated", "v1.price.deleted",
    "v1.price.lookup_key_changed", "v1.price.tax_behavior_changed", "v1.price.updated",
    "v1.product.activated", "v1.product.created", "v1.product.deactivated",
    "v1.product.default_price_changed", "v1.product.deleted", "v1.product.tax_code_changed",
    "v1.product.updated",
    "v1.promotion_code.created", "v1.promotion_code.fully_redeemed", "v1.promotion_code.updated",
    "v1.quote.accepted", "v1.quote.canceled", "v1.quote.created", "v1.quote.finalized",
    "v1.radar.early_fraud_warning.created", "v1.radar.early_fraud_warning.updated",
    "v1.refund.created", "v1.refund.failed", "v1.refund.updated",
    "v1.review.closed", "v1.review.opened",
    "v1.setup_intent.canceled", "v1.setup_intent.created", "v1.setup_intent.requires_action",
    "v1.setup_intent.setup_failed", "v1.setup_intent.succeeded",
    "v1.sigma.scheduled_query_run.created",
    "v1.source.canceled", "v1.source.chargeable", "v1.source.failed",
    "v1.source.refund_attributes_required",
    "v1.subscription_schedule.aborted", "v1.subscription_schedule.canceled",
    "v1.subscription_schedule.completed", "v1.subscription_schedule.created",
    "v1.subscription_schedule.expiring", "v1.subscription_schedule.phase_added",
    "v1.subscription_schedule.phase_default_tax_rates_changed",
    "v1.subscription_schedule.phase_end_date_changed", "v1.subscription_schedule.phase_removed",
    "v1.subscription_schedule.phase_trial_end_changed", "v1.subscription_schedule.released",
    "v1.subscription_schedule.updated",
    "v1.tax.settings.updated",
    "v1.tax_rate.created", "v1.tax_rate.updated",
    "v1.terminal.reader.action_failed", "v1.terminal.reader.action_succeeded",
    "v1.terminal.reader.action_updated",
    "v1.test_helpers.test_clock.advancing", "v1.test_helpers.test_clock.created",
    "v1.test_helpers.test_clock.deleted", "v1.test_helpers.test_clock.internal_failure",
    "v1.test_helpers.test_clock.ready",
    "v1.topup.canceled", "v1.topup.created", "v1.topup.failed", "v1.topup.reversed",
    "v1.topup.succeeded",
    "v1.transfer.created", "v1.transfer.reversed", "v1.transfer.updated",
    "v2.commerce.product_catalog.imports.failed", "v2.commerce.product_catalog.imports.processing",
    "v2.commerce.product_catalog.imports.succeeded",
    "v2.commerce.product_catalog.imports.succeeded_with_errors",
    "v2.core.account.closed", "v2.core.account.created", "v2.core.account.updated",
    "v2.core.account[configuration.customer].capability_status_updated",
    "v2.core.account[configuration.customer].updated",
    "v2.core.account[configuration.merchant].capability_status_updated",
    "v2.core.account[configuration.merchant].updated",
    "v2.core.account[configuration.money_manager].capability_status_updated",
    "v2.core.account[configuration.money_manager].updated",
    "v2.core.account[configuration.recipient].capability_status_updated",
    "v2.core.account[configuration.recipient].updated", "v2.core.account[defaults].updated",
    "v2.core.account[future_requirements].updated", "v2.core.account[identity].updated",
    "v2.core.account[requirements].updated",
    "v2.core.account_link.returned",
    "v2.core.account_person.created", "v2.core.account_person.deleted",
    "v2.core.account_person.updated",
    "v2.core.approval_request.approved", "v2.core.approval_request.canceled",
    "v2.core.approval_request.created", "v2.core.approval_request.expired",
    "v2.core.approval_request.failed", "v2.core.approval_request.rejected",
    "v2.core.approval_request.succeeded",
    "v2.core.batch_job.batch_failed", "v2.core.batch_job.canceled", "v2.core.batch_job.completed",
    "v2.core.batch_job.created", "v2.core.batch_job.ready_for_upload", "v2.core.batch_job.timeout",
    "v2.core.batch_job.updated", "v2.core.batch_job.upload_timeout", "v2.core.batch_job.validating",
    "v2.core.batch_job.validation_failed",
    "v2.core.event_destination.ping",
    "v2.core.health.event_generation_failure.resolved",
    "v2.data.reporting.query_run.created", "v2.data.reporting.query_run.failed",
    "v2.data.reporting.query_run.succeeded", "v2.data.reporting.query_run.updated",
    "v2.extend.workflow_run.failed", "v2.extend.workflow_run.started",
    "v2.extend.workflow_run.succeeded",
    "v2.money_management.adjustment.created",
    "v2.money_management.financial_account.created",
    "v2.money_management.financial_account.updated",
    "v2.money_management.financial_address.activated",
    "v2.money_management.financial_address.failed",
    "v2.money_management.inbound_transfer.available",
    "v2.money_management.inbound_transfer.bank_debit_failed",
    "v2.money_management.inbound_transfer.bank_debit_processing",
    "v2.money_management.inbound_transfer.bank_debit_queued",
    "v2.money_management.inbound_transfer.bank_debit_returned",
    "v2.money_management.inbound_transfer.bank_debit_succeeded",
    "v2.money_management.outbound_payment.canceled", "v2.money_management.outbound_payment.created",
    "v2.money_management.outbound_payment.failed", "v2.money_management.outbound_payment.posted",
    "v2.money_management.outbound_payment.returned",
    "v2.money_management.outbound_payment.under_review",
    "v2.money_management.outbound_payment.updated",
    "v2.money_management.outbound_transfer.canceled",
    "v2.money_management.outbound_transfer.created", "v2.money_management.outbound_transfer.failed",
    "v2.money_management.outbound_transfer.posted",
    "v2.money_management.outbound_transfer.returned",
    "v2.money_management.outbound_transfer.under_review",
    "v2.money_management.outbound_transfer.updated",
    "v2.money_management.payout_intent.canceled", "v2.money_management.payout_intent.created",
    "v2.money_management.payout_intent.pending", "v2.money_management.payout_intent.posted",
    "v2.money_management.payout_intent.processing",
    "v2.money_management.payout_intent.requires_action",
    "v2.money_management.payout_intent.updated",
    "v2.money_management.payout_method.created", "v2.money_management.payout_method.updated",
    "v2.money_management.received_credit.available", "v2.money_management.received_credit.failed",
    "v2.money_management.received_credit.returned", "v2.money_management.received_credit.succeeded",
    "v2.money_management.received_debit.canceled", "v2.money_management.received_debit.failed",
    "v2.money_management.received_debit.pending", "v2.money_management.received_debit.succeeded",
    "v2.money_management.received_debit.updated",
    "v2.money_management.recipient_verification.created",
    "v2.money_management.recipient_verification.updated",
    "v2.money_management.transaction.created", "v2.money_management.transaction.updated",
    "v2.orchestrated_commerce.agreement.confirmed", "v2.orchestrated_commerce.agreement.created",
    "v2.orchestrated_commerce.agreement.partially_confirmed",
    "v2.orchestrated_commerce.agreement.terminated",
    "v2.signals.account_evaluation.complete",
    "v2.signals.account_signal.fraudulent_merchant_ready",
    "v2.signals.account_signal.fraudulent_website_ready",
];

/// Longest name that is looked up, in bytes. The work grows with it; Stripe's longest has 71.
const NAME_BYTES_MAX: usize = 255;

/// Most that a typo may cost. What costs more is another name: for a subscription that was
/// `renewed`, which Stripe does not say, `deleted` would be proposed.
const COST_MAX: usize = 3;

/// What words in another order cost.
const REORDERED: usize = 2;

/// What separators that are missing, or that stand elsewhere, cost.
const RESPACED: usize = 1;

/// Most that another ending costs: `success` for `succeeded`.
const ENDING_COST_MAX: usize = 2;

/// The name that was probably meant, if one is near enough to be it: at most a third of the letters
/// wrong, and three at most. A word too many, too few or out of place counts for one to three; one
/// of twelve letters or more is too much. A last word that is missing is not guessed.
///
/// Upper case, and the characters that separate words, count for nothing. Of several that are
/// equally near it is the first in the alphabet; for more than 255 bytes there is none.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let cost_max = COST_MAX.min(name.len() / 3);
    let name = Words::of(name);
    known
        .filter(|candidate| candidate.len() <= NAME_BYTES_MAX)
        .map(|candidate| (name.cost(&Words::of(candidate)), candidate))
        .filter(|(cost, _)| *cost <= cost_max)
        .min()
        .map(|(_, candidate)| candidate)
}

type Word = Vec<char>;

/// A name, read in the three ways in which two names can be alike.
struct Words {
    in_order: Vec<Word>,
    sorted: Vec<Word>,
    joined: Word,
}

impl Words {
    fn of(name: &str) -> Self {
        let name = name.to_lowercase();
        let words = name.split(|character: char| !character.is_alphanumeric());
        let words = words.filter(|word| !word.is_empty());
        let in_order: Vec<Word> = words.map(|word| word.chars().collect()).collect();
        let mut sorted = in_order.clone();
        sorted.sort();
        Self {
            joined: in_order.concat(),
            sorted,
            in_order,
        }
    }

    fn cost(&self, other: &Self) -> usize {
        let reordered = distance(&self.sorted, &other.sorted, word_cost) + REORDERED;
        let respaced = distance(&self.joined, &other.joined, letter_cost) + RESPACED;
        let other_order = reordered.min(respaced);
        self.cost_in_order(other)
            .map_or(other_order, |cost| cost.min(other_order))
    }

    /// Nothing if the last words are not alike: which of its events `charge.dispute` means, nobody
    /// can tell.
    fn cost_in_order(&self, other: &Self) -> Option<usize> {
        let (last, before) = self.in_order.split_last()?;
        let (other_last, other_before) = other.in_order.split_last()?;
        let cost = typo_cost(last, other_last)?;
        Some(cost + distance(before, other_before, word_cost))
    }
}

/// Levenshtein's distance. `None` stands for the place of what is added or taken away.
fn distance<T>(from: &[T], to: &[T], cost: impl Fn(Option<&T>, Option<&T>) -> usize) -> usize {
    let mut corner = 0;
    let mut row: Vec<usize> = to
        .iter()
        .scan(0, |sum, new| {
            *sum += cost(None, Some(new));
            Some(*sum)
        })
        .collect();
    for old in from {
        let mut diagonal = corner;
        corner += cost(Some(old), None);
        let mut left = corner;
        for (cell, new) in row.iter_mut().zip(to) {
            let replaced = diagonal + cost(Some(old), Some(new));
            let removed = *cell + cost(Some(old), None);
            let added = left + cost(None, Some(new));
            diagonal = *cell;
            left = replaced.min(removed).min(added);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(corner)
}

fn letter_cost(old: Option<&char>, new: Option<&char>) -> usize {
    usize::from(old != new)
}

fn word_cost(old: Option<&Word>, new: Option<&Word>) -> usize {
    // Long words say more: `invoice.failed` lacks `payment` rather than `finalization`.
    let alone = |word: Option<&Word>| word.map_or(0, |word| 1 + word.len() / 4);
    let typo = old.zip(new).and_then(|(old, new)| typo_cost(old, new));
    typo.unwrap_or(alone(old) + alone(new))
}

/// Nothing if they differ in so much that they are two words: `user` is no typo for `file`.
fn typo_cost(old: &Word, new: &Word) -> Option<usize> {
    let longer = old.len().max(new.len());
    let letters = distance(old, new, letter_cost);
    let pairs = old.iter().zip(new);
    let beginning = pairs.take_while(|(old, new)| old == new).count();
    match beginning * 2 > longer {
        true => Some(letters.min(ENDING_COST_MAX)),
        false => (letters * 3 <= longer).then_some(letters),
    }
}

/// The type of this name, if Stripe documents one.
pub(crate) fn known_type(name: &str) -> Option<&'static str> {
    let place = KNOWN.binary_search(&name).ok()?;
    KNOWN.get(place).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn nearest_known(name: &str) -> Option<&'static str> {
        nearest(name, KNOWN.iter().copied())
    }

    #[test]
    fn names_are_sorted_and_stand_there_once() {
        assert!(KNOWN.is_sorted_by(|one, next| one < next));
    }

    #[test]
    fn names_differ_in_more_than_case_and_separators() {
        let words: BTreeSet<_> = KNOWN.iter().map(|name| Words::of(name).in_order).collect();
        assert_eq!(words.len(), KNOWN.len());
    }

    #[test]
    fn names_are_snapshot_and_thin() {
        for name in [
            "checkout.session.completed",
            "v1.billing.meter.error_report_triggered",
            "v2.core.account[requirements].updated",
            "v2.core.health.event_generation_failure.resolved",
        ] {
            assert!(KNOWN.contains(&name), "{name}");
        }
    }

    #[test]
    fn a_known_name_is_nearest_to_itself() {
        // Every one takes a while, and that they differ is shown above.
        for name in KNOWN.iter().step_by(25) {
            assert_eq!(nearest_known(name), Some(*name));
        }
    }

    #[test]
    fn a_typo_is_understood() {
        for (typo, meant) in [
            ("checkout.session.complete", "checkout.session.completed"),
            (
                "checkout.session.async_payment_suceeded",
                "checkout.session.async_payment_succeeded",
            ),
            ("invoice.payed", "invoice.paid"),
            ("invoice.piad", "invoice.paid"),
            (
                "customer.subscription.update",
                "customer.subscription.updated",
            ),
            (
                "customer.subscriptions.deleted",
                "customer.subscription.deleted",
            ),
            ("charge.dispute.create", "charge.dispute.created"),
            ("chrage.refunded", "charge.refunded"),
            ("v1.invoice.payed", "v1.invoice.paid"),
            ("invoice.pay", "invoice.paid"),
            ("charge.refund", "charge.refunded"),
            ("payment_intent.success", "payment_intent.succeeded"),
            ("invoice.finalised", "invoice.finalized"),
            ("payment_intent.cancelled", "payment_intent.canceled"),
        ] {
            assert_eq!(nearest_known(typo), Some(meant), "{typo}");
        }
    }

    #[test]
    fn case_and_separators_count_for_nothing() {
        for (typo, meant) in [
            ("Invoice.Paid", "invoice.paid"),
            ("CHECKOUT_SESSION_COMPLETED", "checkout.session.completed"),
            ("checkout-session-completed", "checkout.session.completed"),
            ("checkout session completed ", "checkout.session.completed"),
            ("CheckoutSessionCompleted", "checkout.session.completed"),
            ("payment.intent.succeeded", "payment_intent.succeeded"),
            (
                "v2.core.account.requirements.updated",
                "v2.core.account[requirements].updated",
            ),
        ] {
            assert_eq!(nearest_known(typo), Some(meant), "{typo}");
        }
    }

    #[test]
    fn a_word_may_be_misplaced_missing_or_too_many() {
        for (typo, meant) in [
            (
                "subscription.customer.updated",
                "customer.subscription.updated",
            ),
            ("completed.checkout.session", "checkout.session.completed"),
            ("subscription.deleted", "customer.subscription.deleted"),
            ("payment_intent.failed", "payment_intent.payment_failed"),
            ("invoice.failed", "invoice.payment_failed"),
            ("dispute.created", "charge.dispute.created"),
            (
                "stripe.checkout.session.completed",
                "checkout.session.completed",
            ),
            (
                "billing.meter.error_report_triggered",
                "v1.billing.meter.error_report_triggered",
            ),
        ] {
            assert_eq!(nearest_known(typo), Some(meant), "{typo}");
        }
    }

    #[test]
    fn nonsense_is_near_nothing() {
        for name in [
            "",
            "...",
            "*",
            "a",
            "paid",
            "foo.bar",
            "user.created",
            "order.placed",
            "task.completed",
            "order.shipped",
            "com.example.invoice_was_exported",
            "checkout.session.abandoned",
            "customer.subscription.cancelled",
            "customer.subscription.renewed",
            "charge.dispute",
            "invoice.*",
            "ивент.создан",
        ] {
            assert_eq!(nearest_known(name), None, "{name}");
        }
    }

    #[test]
    fn a_tie_goes_to_the_first_in_the_alphabet() {
        let known = ["charge.bead", "charge.beat", "charge.beak"];
        assert_eq!(
            nearest("charge.bean", known.into_iter()),
            Some("charge.bead")
        );
    }

    #[test]
    fn a_name_beyond_the_limit_is_near_nothing() {
        let longest = format!("invoice.paid{}", ".".repeat(NAME_BYTES_MAX - 12));
        assert_eq!(nearest_known(&longest), Some("invoice.paid"));
        assert_eq!(nearest_known(&format!("{longest}.")), None);
    }
}
