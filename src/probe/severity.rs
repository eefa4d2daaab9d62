use std::{fmt, str::FromStr};

use serde::Serialize;

/// How bad a finding is; the worst is the greatest. In JSON it is [`word`](Self::word).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Severity {
    /// To be mended some day.
    Low,
    /// It hurts on a bad day.
    Medium,
    /// Events are lost or replayed once something ordinary happens.
    High,
    /// Money is lost, now.
    Critical,
}

impl Severity {
    /// From the worst to the mildest.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Medium, Self::Low];

    /// `low`, `medium`, `high` or `critical`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A word that is none of [`Severity::word`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a severity: give low, medium, high or critical")]
pub struct UnknownSeverity;

impl FromStr for Severity {
    type Err = UnknownSeverity;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter();
        let mut named = known.filter(|severity| severity.word() == word);
        named.next().ok_or(UnknownSeverity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_the_greatest_and_every_word_is_read_back() {
        assert!(Severity::ALL.is_sorted_by(|worse, milder| worse > milder));
        for severity in Severity::ALL {
            assert_eq!(severity.word().parse(), Ok(severity));
        }
        assert_eq!("Critical".parse::<Severity>(), Err(UnknownSeverity));
    }
}
