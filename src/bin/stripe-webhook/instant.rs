use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time of day.
#[expect(
    clippy::disallowed_methods,
    reason = "the library keeps its clock to itself, and this is the program's one place"
)]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// Reads an instant in RFC 3339 or in Unix seconds.
pub(crate) fn parse(text: &str) -> Result<SystemTime, &'static str> {
    const FORM: &str = "neither RFC 3339 (2026-01-01T00:00:00Z) nor Unix seconds (1767225600)";
    if let Ok(seconds) = text.parse() {
        let at = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        return at.filter(|at| *at <= last()).ok_or(FORM);
    }
    humantime::parse_rfc3339(text).map_err(|_| FORM)
}

/// RFC 3339, in UTC.
pub(crate) fn shown(at: SystemTime) -> String {
    let representable = at.clamp(UNIX_EPOCH, last());
    humantime::format_rfc3339_millis(representable).to_string()
}

/// Likewise, to the second, where there is little room.
pub(crate) fn shown_short(at: SystemTime) -> String {
    let representable = at.clamp(UNIX_EPOCH, last());
    humantime::format_rfc3339_seconds(representable).to_string()
}

/// The last second that RFC 3339 can say.
fn last() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(253_402_300_799)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_read_in_either_form_and_shown_in_one() {
        for text in ["2026-01-01T00:00:00Z", "1767225600"] {
            assert_eq!(shown(parse(text).unwrap()), "2026-01-01T00:00:00.000Z");
        }
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in ["", "yesterday", "-1", "18446744073709551615", "2026-01-01"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
