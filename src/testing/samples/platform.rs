//! Connected accounts and customers.

use super::State;

pub(super) fn state(event_type: &str) -> Option<State> {
    Some(match event_type {
        "account.updated" => ACCOUNT_OLDER,
        "account.application.authorized" | "account.application.deauthorized" => &[],
        "customer.created" => &[],
        // A deleted customer comes as it last was, without `deleted`.
        "customer.updated" | "customer.deleted" => CUSTOMER_OLDER,
        _ => return None,
    })
}

const ACCOUNT_OLDER: State = &[("created", "{{created-1d}}")];

const CUSTOMER_OLDER: State = &[("created", "{{created-30d}}")];
