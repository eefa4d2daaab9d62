use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

use super::{
    error::VerifyError,
    header::{MAC_BYTES, SignatureHeader},
    secret::SigningSecret,
};

/// How far the time of signing may lie from now, in either direction: five minutes, as in Stripe's
/// own SDKs.
pub const TOLERANCE_DEFAULT: Duration = Duration::from_secs(300);

/// Verifies that a body was signed by Stripe with one of its secrets.
///
/// Cheap to clone. There is always at least one secret, so that a verifier which accepts everything
/// or nothing cannot be built.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
///
/// use axum_stripe_webhook::{SigningSecret, Verifier, VerifyError};
///
/// let verifier = Verifier::new(SigningSecret::new("whsec_test_secret")?);
/// let body = "{\n  \"id\": \"evt_test_webhook\",\n  \"object\": \"event\"\n}";
/// let header =
///     b"t=1767225600,v1=b124066e0fac9cdaa635e5151c55a3ef0be5db34ae646424fdd9848d450ff410";
/// let now = UNIX_EPOCH + Duration::from_secs(1_767_225_600);
///
/// assert!(verifier.verify(body.into(), header, now).is_ok());
/// assert_eq!(
///     verifier.verify("{}".into(), header, now).unwrap_err(),
///     VerifyError::SignatureMismatch
/// );
/// # Ok::<(), axum_stripe_webhook::SecretError>(())
/// ```
#[derive(Clone)]
pub struct Verifier(Arc<Settings>);

#[derive(Clone)]
struct Settings {
    keys: Vec<Key>,
    /// `None`: the age is not checked.
    tolerance: Option<Duration>,
}

/// A secret, ready to use: the two SHA-256 states that HMAC derives from the key.
#[derive(Clone)]
struct Key {
    name: Option<Arc<str>>,
    mac: Hmac<Sha256>,
}

impl Verifier {
    /// Makes a verifier of one secret and the tolerance [`TOLERANCE_DEFAULT`].
    #[must_use]
    pub fn new(secret: SigningSecret) -> Self {
        let settings = Settings {
            keys: Vec::new(),
            tolerance: Some(TOLERANCE_DEFAULT),
        };
        Self(Arc::new(settings)).with_secret(secret)
    }

    /// Adds a secret: the old one while it is being rolled, or that of another endpoint.
    ///
    /// A delivery is genuine if any of the secrets fits.
    #[must_use]
    pub fn with_secret(mut self, secret: SigningSecret) -> Self {
        // HMAC takes keys of any length, so this cannot fail; if it did, leaving the key out would
        // refuse deliveries and never accept one.
        if let Ok(mac) = Hmac::new_from_slice(secret.key()) {
            Arc::make_mut(&mut self.0).keys.push(Key {
                name: secret.name().cloned(),
                mac,
            });
        }
        self
    }

    /// Sets how far the time of signing may lie from now, in either direction.
    ///
    /// Zero means zero seconds. Whole seconds count.
    #[must_use]
    pub fn with_tolerance(mut self, tolerance: Duration) -> Self {
        Arc::make_mut(&mut self.0).tolerance = Some(tolerance);
        self
    }

    /// Switches the check of the age off: whoever has recorded a delivery can then replay it for
    /// ever. For recorded deliveries in tests and tools, not for a service.
    #[must_use]
    pub fn without_age_check(mut self) -> Self {
        Arc::make_mut(&mut self.0).tolerance = None;
        self
    }

    /// Verifies the bytes of a body against the value of its `Stripe-Signature` header.
    ///
    /// The body is not copied, not parsed and need not be UTF-8. An absent header is passed as an
    /// empty one.
    ///
    /// # Errors
    ///
    /// The first rule of the [module](crate::signature) that the delivery breaks.
    pub fn verify(
        &self,
        body: Bytes,
        header: &[u8],
        now: SystemTime,
    ) -> Result<VerifiedPayload, VerifyError> {
        let header = SignatureHeader::parse(header)?;
        let secret_name = self.matching_key(&header, &body)?.name.clone();
        self.check_age(header.timestamp, now)?;
        Ok(VerifiedPayload {
            bytes: body,
            signed_at: header.timestamp,
            secret_name,
        })
    }

    fn matching_key(&self, header: &SignatureHeader<'_>, body: &[u8]) -> Result<&Key, VerifyError> {
        self.0
            .keys
            .iter()
            .find(|key| key.signed(header, body))
            .ok_or(VerifyError::SignatureMismatch)
    }

    fn check_age(&self, timestamp: u64, now: SystemTime) -> Result<(), VerifyError> {
        let Some(tolerance) = self.0.tolerance else {
            return Ok(());
        };
        // A clock before 1970 is wrong by more than any tolerance.
        let now = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        if now.abs_diff(timestamp) <= tolerance.as_secs() {
            return Ok(());
        }
        let age_seconds = i128::from(now) - i128::from(timestamp);
        Err(VerifyError::TimestampOutOfTolerance { age_seconds })
    }
}

impl Key {
    fn signed(&self, header: &SignatureHeader<'_>, body: &[u8]) -> bool {
        let mut mac = self.mac.clone();
        mac.update(header.timestamp_digits);
        mac.update(b".");
        mac.update(body);
        let expected: [u8; MAC_BYTES] = mac.finalize().into_bytes().into();
        // All of them are compared, so that the time does not tell which one matched.
        let any = header.signatures().fold(Choice::from(0), |any, signature| {
            any | expected.ct_eq(signature)
        });
        any.into()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.keys.iter().map(|key| key.name.as_deref()).collect();
        f.debug_struct("Verifier")
            .field("secrets", &names)
            .field("tolerance", &self.0.tolerance)
            .finish()
    }
}

/// Bytes that were signed by Stripe. Only a [`Verifier`] makes one.
///
/// It need not be an event: Stripe signs whatever it sends.
#[derive(Clone)]
pub struct VerifiedPayload {
    bytes: Bytes,
    signed_at: u64,
    secret_name: Option<Arc<str>>,
}

impl VerifiedPayload {
    /// The body, exactly as signed.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// When this attempt of the delivery was signed, in Unix seconds.
    #[must_use]
    pub fn signed_at(&self) -> u64 {
        self.signed_at
    }

    /// The name of the secret that matched, if it was given one.
    #[must_use]
    pub fn secret_name(&self) -> Option<&str> {
        self.secret_name.as_deref()
    }
}

impl fmt::Debug for VerifiedPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedPayload")
            .field("body_bytes", &self.bytes.len())
            .field("signed_at", &self.signed_at)
            .field("secret_name", &self.secret_name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_names_and_no_key() {
        let secret = SigningSecret::new("whsec_marker").unwrap().named("old");
        let shown = format!("{:?}", Verifier::new(secret));
        assert!(
            shown.contains("old") && !shown.contains("marker"),
            "{shown}"
        );
    }
}
