//! Why a recorded delivery does not verify (feature `diagnosis`). Pure: no clock, no I/O, no async.
//!
//! For developers, and for tools of theirs: it is slow, so no sender should be able to call it, and
//! what it says must not go into an answer.
//!
//! 1. A body larger than [`BODY_BYTES_MAX`] is not looked at.
//! 2. [`Verifier`](crate::Verifier) has its say, with the expected secret. If the signature fits,
//!    that is all, except that what is signed may be no event.
//! 3. Flaws are undone, in the header, the body and the secrets, fewest in the body first, until
//!    the signature fits. Then they are **proven**. The age does not count here.
//! 4. If it never fits, what is still wrong by its looks is named, and what cannot be undone.
//! 5. A signature that does not fit is then `unexplained` all the same: looks prove nothing.
//! 6. Secrets that no service would start with are named in any case.
//!
//! The codes stand with [`Finding`], [`SecretFlaw`], [`HeaderFlaw`] and [`BodyFlaw`].
//!
//! Undoing a flaw of the body is tried together with each flaw of the header and each secret, and
//! the work grows with all three: with one of each, a body of 16 MiB that nothing explains takes ten
//! to twenty seconds, and six times its size in memory.
//!
//! Nothing of the header, the body or a secret is shown, by `Display` or by `Debug`: only names of
//! secrets and numbers.
//!
//! ```
//! use std::time::{Duration, UNIX_EPOCH};
//!
//! use axum_stripe_webhook::diagnosis::diagnose;
//!
//! // Stripe signed this with line breaks and spaces; a JSON middleware has written it again.
//! let body = br#"{"id":"evt_test_webhook","object":"event"}"#;
//! let header =
//!     b"t=1767225600,v1=b124066e0fac9cdaa635e5151c55a3ef0be5db34ae646424fdd9848d450ff410";
//! let received_at = UNIX_EPOCH + Duration::from_secs(1_767_225_600);
//!
//! let secrets = [("STRIPE_SECRET", "whsec_test_secret")];
//! let diagnosis = diagnose(body, header, &secrets, received_at);
//! assert_eq!(
//!     diagnosis.to_string(),
//!     "the signature does not fit the body under the expected secret: \
//!      mend what the other lines name\n\
//!      the body was parsed and written again with other white space: \
//!      verify the bytes before anything parses them; \
//!      proven: the signature fits once this is undone"
//! );
//!
//! // Two mistakes at once are found as well.
//! let secrets = [
//!     ("STRIPE_SECRET", "whsec_of_another_endpoint"),
//!     ("STRIPE_CLI_SECRET", "\"whsec_test_secret\""),
//! ];
//! let diagnosis = diagnose(body, header, &secrets, received_at);
//! let codes: Vec<_> = diagnosis.findings().iter().map(|finding| finding.code()).collect();
//! assert_eq!(
//!     codes,
//!     ["signature_mismatch", "body_reformatted", "secret_quoted", "secret_not_first"]
//! );
//! ```

mod body;
mod case;
mod finding;
mod flaw;
mod header;
mod rewrite;
mod secret;
#[cfg(test)]
mod tests;

use std::{fmt, time::SystemTime};

use self::case::Case;
use crate::BODY_BYTES_MAX;

pub use finding::{Evidence, Finding};
pub use flaw::{BodyFlaw, HeaderFlaw, SecretFlaw};

/// Says why a delivery does not verify, or that it does.
///
/// `header` is the value of `Stripe-Signature`, empty if there is none. `secrets` are names and
/// values, exactly as they are configured, white space and all; the expected one stands first.
/// `now` is when the delivery came, or else its age is what is found.
///
/// Bounded: a body over [`BODY_BYTES_MAX`] is refused. See the [module](self).
#[must_use]
pub fn diagnose(
    body: &[u8],
    header: &[u8],
    secrets: &[(&str, &str)],
    now: SystemTime,
) -> Diagnosis {
    let findings = match body.len() > BODY_BYTES_MAX {
        true => vec![Finding::BodyTooLarge { bytes: body.len() }],
        false => Case::new(body, header, secrets, now).findings(),
    };
    Diagnosis { findings }
}

/// What was found about a delivery. `Display` has a line for each finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    findings: Vec<Finding>,
}

impl Diagnosis {
    /// Whether the delivery verifies as it stands: with the first secret, and at that time.
    #[must_use]
    pub fn is_genuine(&self) -> bool {
        matches!(self.findings.first(), Some(Finding::Genuine { .. }))
    }

    /// The findings, at least one. The verifier's own verdict, if it has one, stands first.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{finding}")?;
        }
        Ok(())
    }
}
