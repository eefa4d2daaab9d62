//! Why a recorded delivery does not verify (feature `diagnosis`). Pure: no clock, no I/O, no async.
//!
//! For developers, and for tools of theirs: it is slow, so no sender should be able to call it, and
//! what it says must not go into an answer.
//!
//! 1. A body larger than [`BODY_BYTES_MAX`] is not looked at.
//! 2. [`Verifier`](crate::Verifier) has its say, with the expected secret. If the signature fits,
//!    that is all.
//! 3. Flaws are undone, in the header, the body and the secrets, fewest in the body first, until
//!    the signature fits. Then they are **proven**. The age does not count here.
//! 4. If it never fits, what is still wrong by its looks is named, and what cannot be undone.
//! 5. If there is no such thing either, the delivery is `unexplained`.
//! 6. Secrets that no service would start with are named in any case.
//!
//! Undoing a flaw of the body is tried together with each flaw of the header and each secret, and
//! the work grows with all three: a body of 16 MiB that nothing explains takes seconds, and several
//! times its size in memory.
//!
//! | code | found | undone, to prove it |
//! |---|---|---|
//! | `genuine` | the delivery verifies as it stands | no |
//! | `missing_header` | the Stripe-Signature header is missing | no |
//! | `malformed_header` | the Stripe-Signature header is malformed | no |
//! | `no_signature` | the Stripe-Signature header has no v1 signature | no |
//! | `signature_mismatch` | the signature does not fit the body under the expected secret | no |
//! | `timestamp_out_of_tolerance` | the signature is genuine, but older than the tolerance | no |
//! | `timestamp_out_of_tolerance` | the signature is genuine, but from the future | no |
//! | `unexplained` | nothing that can be undone makes the signature fit | no |
//! | `body_too_large` | the body is larger than any that a service takes | no |
//! | `no_secret` | there is no signing secret to try | no |
//! | `secret_unusable` | set-up refuses the secret | no |
//! | `secret_whitespace` | white space stands around the secret and becomes part of the key | yes |
//! | `secret_quoted` | quotation marks stand around the secret and become part of the key | yes |
//! | `secret_invisible` | the secret has characters that cannot be seen | yes |
//! | `secret_prefix_missing` | the secret does not begin with whsec_ | yes |
//! | `secret_decoded` | the sender signed with the base64-decoded secret, as Svix and Standard Webhooks do and Stripe does not | yes |
//! | `secret_not_first` | the signature fits this secret, not the one that was expected | yes |
//! | `header_name_included` | the header's name stands in its value | yes |
//! | `header_escaped` | the header is escaped for a URL, for HTML or for JSON | yes |
//! | `header_quoted` | quotation marks stand around the header | yes |
//! | `header_semicolons` | the header's elements are separated by semicolons | yes |
//! | `header_upper_case` | the header has upper-case letters, and signatures are lower-case | yes |
//! | `header_joined` | two header lines were joined into one | yes |
//! | `header_signature_form` | no v1 in the header has 64 hex digits | no |
//! | `body_empty` | the body is empty | no |
//! | `body_compressed` | the body is compressed | no |
//! | `body_cloud_envelope` | the body is the envelope of Amazon EventBridge or Azure Event Grid | no |
//! | `body_replacement_characters` | the body has replacement characters (U+FFFD), as decoding with losses leaves them | no |
//! | `body_truncated` | the body's JSON breaks off | no |
//! | `body_not_object` | the body is not a JSON object | no |
//! | `body_reserialised` | the body is not laid out as Stripe lays it out, and no layout fits | no |
//! | `body_reformatted` | the body was parsed and written again with other white space | yes |
//! | `body_reescaped` | the body was parsed and written again with other escapes in its strings | yes |
//! | `body_byte_order_mark` | a byte order mark stands before the body | yes |
//! | `body_crlf` | the body's lines end in CR LF | yes |
//! | `body_end_added` | white space was added behind the body | yes |
//! | `body_end_removed` | the line break at the body's end was cut off | yes |
//! | `body_mojibake` | the body's UTF-8 was read as Latin-1 or Windows-1252 and encoded again | yes |
//! | `body_latin1` | the body was encoded as Latin-1 or Windows-1252 | yes |
//! | `body_utf16` | the body was encoded as UTF-16 | yes |
//! | `body_base64` | the body is base64 | yes |
//! | `body_json_string` | the body is a JSON string that holds the body | yes |
//! | `body_percent_encoded` | the body is encoded as a form or a URL | yes |
//! | `body_proxy_event` | the body is the event of an API gateway or a Lambda function | yes |
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

pub use finding::Finding;
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
