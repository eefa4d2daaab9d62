use std::fmt;

use super::flaw::{BodyFlaw, HeaderFlaw, SecretFlaw, Texts};
use crate::signature::VerifyError;

/// One thing that was found about a delivery. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// `genuine`: the delivery verifies as it stands.
    Genuine {
        /// The name of the secret.
        name: String,
    },
    /// [`VerifyError::code`]: what [`Verifier::verify`](crate::Verifier::verify) says of the
    /// delivery as it stands, and once more if the repaired one is too old or from the future.
    Refused(VerifyError),
    /// `body_too_large`: the body is larger than any that a service takes, and was not looked at.
    BodyTooLarge {
        /// Its size in bytes.
        bytes: usize,
    },
    /// `no_secret`: there is no signing secret to try.
    NoSecret,
    /// Something about a secret.
    Secret {
        /// Which of the given secrets, from 0.
        index: usize,
        /// The secret's name.
        name: String,
        /// What it is.
        flaw: SecretFlaw,
        /// How that is known.
        evidence: Evidence,
    },
    /// Something about the header.
    Header {
        /// What it is.
        flaw: HeaderFlaw,
        /// How that is known.
        evidence: Evidence,
    },
    /// Something about the body.
    Body {
        /// What it is.
        flaw: BodyFlaw,
        /// How that is known.
        evidence: Evidence,
    },
    /// `unexplained`: nothing that can be undone makes the signature fit.
    Unexplained,
}

/// How a flaw is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// The signature fits once it is undone.
    Proven,
    /// It looks so, but nothing fits once it is undone.
    Refuted,
    /// It looks so, and cannot be undone.
    Seen,
}

impl Finding {
    /// The name of the finding, for tools.
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
                "unless another line explains it, it is a forgery, or made with a secret that was not given: each endpoint has its \
                 own, test and live mode differ, and so does the CLI's listener \
                 (stripe listen --print-secret)",
            ),
        }
    }

    fn evidence(&self) -> Option<Evidence> {
        match self {
            Self::Secret { evidence, .. }
            | Self::Header { evidence, .. }
            | Self::Body { evidence, .. } => Some(*evidence),
            _ => None,
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
        let (_, what, advice) = self.texts();
        match self {
            Self::Secret {
                flaw: SecretFlaw::Unusable(fault),
                ..
            } => return fault.fmt(f),
            Self::Body {
                flaw: BodyFlaw::NotEvent(error),
                ..
            } => return write!(f, "{error}; {advice}"),
            _ => f.write_str(what)?,
        }
        if let Some(detail) = self.detail() {
            write!(f, " ({detail})")?;
        }
        write!(f, ": {advice}")?;
        f.write_str(match self.evidence() {
            Some(Evidence::Proven) => "; proven: the signature fits once this is undone",
            Some(Evidence::Refuted) => "; this alone does not explain it: undone, nothing fits",
            Some(Evidence::Seen) | None => "",
        })
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
