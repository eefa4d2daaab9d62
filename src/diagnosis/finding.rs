use std::fmt;

use super::flaw::{BodyFlaw, HeaderFlaw, SecretFlaw, Texts};
use crate::signature::VerifyError;

/// One thing that was found about a delivery. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// The delivery verifies as it stands.
    Genuine {
        /// The name of the secret.
        name: String,
    },
    /// What [`Verifier::verify`](crate::Verifier::verify) says: of the delivery as it stands, and
    /// once more if the repaired one is too old or from the future.
    Refused(VerifyError),
    /// The body is larger than any that a service takes, and was not looked at.
    BodyTooLarge {
        /// Its size in bytes.
        bytes: usize,
    },
    /// No secret was given.
    NoSecret,
    /// Something about a secret.
    Secret {
        /// The secret's name.
        name: String,
        /// What it is.
        flaw: SecretFlaw,
        /// Whether the signature fits once it is undone.
        proven: bool,
    },
    /// Something about the header.
    Header {
        /// What it is.
        flaw: HeaderFlaw,
        /// Whether the signature fits once it is undone.
        proven: bool,
    },
    /// Something about the body.
    Body {
        /// What it is.
        flaw: BodyFlaw,
        /// Whether the signature fits once it is undone.
        proven: bool,
    },
    /// Nothing was found that would explain why the signature does not fit.
    Unexplained,
}

impl Finding {
    /// The name of the finding, for tools. Those of [`Refused`](Self::Refused) are
    /// [`VerifyError::code`].
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.texts().0
    }

    pub(super) fn texts(&self) -> Texts {
        match self {
            Self::Genuine { .. } => (
                "genuine",
                "the delivery verifies as it stands",
                "a service that refuses it has another secret or clock, or gets other bytes",
            ),
            Self::Refused(error) => refusal(error),
            Self::BodyTooLarge { .. } => (
                "body_too_large",
                "the body is larger than any that a service takes",
                "give the body of one delivery",
            ),
            Self::NoSecret => (
                "no_secret",
                "there is no signing secret to try",
                "give the endpoint's (whsec_…)",
            ),
            Self::Secret { flaw, .. } => flaw.texts(),
            Self::Header { flaw, .. } => flaw.texts(),
            Self::Body { flaw, .. } => flaw.texts(),
            Self::Unexplained => (
                "unexplained",
                "nothing that can be undone makes the signature fit",
                "it is a forgery, or made with a secret that was not given: each endpoint has its \
                 own, test and live mode differ, and so does the CLI's listener \
                 (stripe listen --print-secret)",
            ),
        }
    }

    pub(super) fn secret_name(&self) -> Option<&str> {
        match self {
            Self::Secret { name, .. } => Some(name),
            _ => None,
        }
    }

    fn proven(&self) -> bool {
        match self {
            Self::Secret { proven, .. }
            | Self::Header { proven, .. }
            | Self::Body { proven, .. } => *proven,
            _ => false,
        }
    }

    /// Whether it can be undone, so that trying proves or refutes it.
    pub(super) fn is_tried(&self) -> bool {
        match self {
            Self::Secret { flaw, .. } => !matches!(flaw, SecretFlaw::Unusable(_)),
            Self::Header { flaw, .. } => !matches!(flaw, HeaderFlaw::SignatureForm),
            Self::Body { flaw, .. } => flaw.is_tried(),
            _ => false,
        }
    }

    /// What no fixed text can say.
    fn detail(&self) -> Option<String> {
        match self {
            Self::Refused(VerifyError::MalformedHeader(fault)) => Some(fault.to_string()),
            Self::Refused(VerifyError::TimestampOutOfTolerance { age_seconds }) => {
                Some(format!("{} s", age_seconds.unsigned_abs()))
            }
            Self::BodyTooLarge { bytes } => Some(format!("{bytes} bytes")),
            _ => None,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Genuine { name } | Self::Secret { name, .. } = self {
            write!(f, "{name}: ")?;
        }
        if let Self::Secret {
            flaw: SecretFlaw::Unusable(fault),
            ..
        } = self
        {
            return fault.fmt(f);
        }
        let (_, what, advice) = self.texts();
        f.write_str(what)?;
        if let Some(detail) = self.detail() {
            write!(f, " ({detail})")?;
        }
        write!(f, ": {advice}")?;
        match (self.proven(), self.is_tried()) {
            (true, _) => f.write_str("; proven: the signature fits once this is undone"),
            (false, true) => f.write_str("; this alone does not explain it: undone, nothing fits"),
            (false, false) => Ok(()),
        }
    }
}

fn refusal(error: &VerifyError) -> Texts {
    let (what, advice) = match error {
        VerifyError::MissingHeader => (
            "the Stripe-Signature header is missing",
            "record it with the body and let no proxy drop it; who sends none is not Stripe",
        ),
        VerifyError::MalformedHeader(_) => (
            "the Stripe-Signature header is malformed",
            "pass it on as it came, as the only one of its name",
        ),
        VerifyError::NoSignature { .. } => (
            "the Stripe-Signature header has no v1 signature",
            "pass all of it on; other schemes do not count, v0 is a decoy on test deliveries",
        ),
        VerifyError::SignatureMismatch { .. } => (
            "the signature does not fit the body under the expected secret",
            "mend what the other lines name",
        ),
        VerifyError::TimestampOutOfTolerance { age_seconds } if *age_seconds < 0 => (
            "the signature is genuine, but from the future",
            "set this clock, which is slow, or the signer's, which is fast",
        ),
        VerifyError::TimestampOutOfTolerance { .. } => (
            "the signature is genuine, but older than the tolerance",
            "set this clock if it is fast; a recording that is replayed has to be verified at the \
             time at which it came",
        ),
    };
    (error.code(), what, advice)
}
