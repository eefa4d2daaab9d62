use std::{fmt, io::ErrorKind};

/// Why a delivery was not accepted as coming from Stripe.
///
/// The variants stand in the order in which the rules are applied. The texts are for the operator's
/// log; the sender is told none of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// No `Stripe-Signature` header, or a blank one.
    ///
    /// Somebody other than Stripe called, or a proxy strips the header.
    #[error("the Stripe-Signature header is missing")]
    MissingHeader,
    /// The header does not follow the grammar.
    #[error("the Stripe-Signature header is malformed: {0}")]
    MalformedHeader(HeaderFault),
    /// The header has a timestamp but no `v1` element; other schemes do not count.
    #[error(
        "the Stripe-Signature header has no v1 signature, and the {other_elements} other elements it has \
         do not count"
    )]
    NoSignature {
        /// Elements of other schemes, or of none.
        other_elements: usize,
    },
    /// No `v1` fits any of the secrets.
    ///
    /// A forgery, the secret of another endpoint or mode, or a body that something in front of the
    /// service has changed. The `diagnosis` module tells which, of a delivery that was recorded.
    #[error(
        "no v1 signature fits the body under any signing secret \
         ({well_formed} of {signatures} v1 have a signature's form; t is {}): \
         a forgery, another endpoint's secret, or a body that was changed on its way", before(*age_seconds)
    )]
    SignatureMismatch {
        /// How many `v1` the header has.
        signatures: usize,
        /// How many of them are 64 lower-case hex digits, and so could fit at all.
        well_formed: usize,
        /// Now minus the time that the header gives, in seconds; negative for the future. Nobody has
        /// signed for it.
        age_seconds: i128,
    },
    /// The signature is genuine, and too old or from the future.
    ///
    /// A replayed delivery, or a clock that is wrong.
    #[error(
        "the signature is genuine, but its t is {}, outside the tolerance: \
         a replay, or this machine's clock is wrong", before(*age_seconds)
    )]
    TimestampOutOfTolerance {
        /// Now minus the time of signing, in seconds; negative for the future.
        age_seconds: i128,
    },
}

fn before(age_seconds: i128) -> String {
    match age_seconds {
        0.. => format!("{age_seconds} s before now"),
        _ => format!("{} s after now", age_seconds.unsigned_abs()),
    }
}

impl VerifyError {
    /// The name of the rule that failed, for logs and counters.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingHeader => "missing_header",
            Self::MalformedHeader(_) => "malformed_header",
            Self::NoSignature { .. } => "no_signature",
            Self::SignatureMismatch { .. } => "signature_mismatch",
            Self::TimestampOutOfTolerance { .. } => "timestamp_out_of_tolerance",
        }
    }
}

/// What is malformed about a `Stripe-Signature` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderFault {
    /// The request has more than one such header line.
    SeveralLines,
    /// The header is longer than [`HEADER_BYTES_MAX`](super::HEADER_BYTES_MAX).
    TooLong,
    /// A `t` or `v1` without `=`.
    BareKey,
    /// There is no `t`.
    TimestampMissing,
    /// There is more than one `t`.
    TimestampRepeated,
    /// `t` is not a canonical decimal number that fits a `u64`.
    TimestampInvalid,
    /// There are more `v1` than [`SIGNATURES_MAX`](super::SIGNATURES_MAX).
    TooManySignatures,
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SeveralLines => "it stands in more than one line",
            Self::TooLong => "it is too long",
            Self::BareKey => "a t or v1 has no value",
            Self::TimestampMissing => "it has no t",
            Self::TimestampRepeated => "it has more than one t",
            Self::TimestampInvalid => "its t is not a decimal number",
            Self::TooManySignatures => "it has too many v1",
        })
    }
}

/// Why a signing secret was refused at set-up.
///
/// The text names the variable or file, if there is one, and says what to do; it never shows the
/// secret.
/// `Debug` is the same text, because that is what `main` prints of an error it returns.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretError {
    /// Where the secret was to come from.
    pub(super) source: Option<String>,
    pub(super) fault: SecretFault,
}

impl SecretError {
    /// What is wrong with the secret.
    #[must_use]
    pub fn fault(&self) -> SecretFault {
        self.fault
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{source}: {}", self.fault),
            None => self.fault.fmt(f),
        }
    }
}

impl fmt::Debug for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for SecretError {}

/// What is wrong with a signing secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretFault {
    /// The environment variable is not set.
    NotSet,
    /// The file cannot be read.
    Unreadable(ErrorKind),
    /// The file is longer than [`SECRET_FILE_BYTES_MAX`](super::SECRET_FILE_BYTES_MAX).
    TooLong,
    /// The environment variable or file holds bytes that are not UTF-8.
    NotUtf8,
    /// There is no secret among those to rotate to.
    NoneGiven,
    /// It is empty, blank, or nothing but the prefix `whsec_`. Anybody can sign with an empty key.
    Blank,
    /// There is white space before or behind it, which would become part of the key.
    SurroundingWhitespace,
    /// It stands in quotes, which would become part of the key.
    Quoted,
    /// Something stands before `whsec_`: the name of a variable, say.
    NotAlone,
    /// It holds control characters, or others that cannot be seen.
    InvisibleCharacter,
    /// It is an API key (`sk_`, `rk_` or `pk_`).
    ApiKey,
}

impl fmt::Display for SecretFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSet => "not set; set it to the endpoint's signing secret (whsec_…)",
            Self::Unreadable(kind) => return write!(f, "the file cannot be read: {kind}"),
            Self::TooLong => "too long for a signing secret (whsec_…): is this the right file?",
            Self::NotUtf8 => "not UTF-8; set it to the endpoint's signing secret (whsec_…)",
            Self::NoneGiven => "no signing secret given: the present ones stay",
            Self::Blank => "the signing secret is blank: copy the endpoint's (whsec_…)",
            Self::SurroundingWhitespace => {
                "the signing secret has white space around it: remove it"
            }
            Self::NotAlone => "something stands before whsec_: copy the signing secret alone",
            Self::Quoted => "the signing secret stands in quotes: remove them",
            Self::InvisibleCharacter => {
                "the signing secret has characters that cannot be seen: copy it again"
            }
            Self::ApiKey => {
                "this is an API key: use the endpoint's signing secret instead (whsec_…)"
            }
        })
    }
}
