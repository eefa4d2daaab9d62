//! The one place where the crate reads the clock.

use std::time::SystemTime;

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}
