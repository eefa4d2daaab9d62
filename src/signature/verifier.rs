use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use bytes::Bytes;

use super::{
    error::{SecretError, SecretFault, VerifyError},
    header::SignatureHeader,
    keys::Keys,
    secret::{Scope, SigningSecret},
};
use crate::event::{EventKind, Mode};

/// How far the time of signing may lie from now, in either direction: five minutes, as in Stripe's
/// own SDKs.
pub const TOLERANCE_DEFAULT: Duration = Duration::from_secs(300);

/// Verifies that a body was signed by Stripe with one of its secrets.
///
/// Cheap to clone; clones share their secrets, so that [`rotate`](Self::rotate) reaches all of them.
/// There is always at least one secret, so that a verifier which accepts everything or nothing
/// cannot be built. Each further secret costs a forgery one more pass over its body.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
///
/// use axum_stripe_webhook::{SigningSecret, Verifier};
///
/// let verifier = Verifier::new(SigningSecret::new("whsec_test_secret")?);
/// let body = "{\n  \"id\": \"evt_test_webhook\",\n  \"object\": \"event\"\n}";
/// let header =
///     b"t=1767225600,v1=b124066e0fac9cdaa635e5151c55a3ef0be5db34ae646424fdd9848d450ff410";
/// let now = UNIX_EPOCH + Duration::from_secs(1_767_225_600);
///
/// assert!(verifier.verify(body.into(), header, now).is_ok());
/// let error = verifier.verify("{}".into(), header, now).unwrap_err();
/// assert_eq!(error.code(), "signature_mismatch");
/// # Ok::<(), axum_stripe_webhook::SecretError>(())
/// ```
#[derive(Clone)]
pub struct Verifier {
    /// Replaced as a whole: whoever verifies neither waits nor locks.
    keys: Arc<ArcSwap<Keys>>,
    /// `None`: the age is not checked.
    tolerance: Option<Duration>,
}

impl Verifier {
    /// Makes a verifier of one secret and the tolerance [`TOLERANCE_DEFAULT`].
    #[must_use]
    pub fn new(secret: SigningSecret) -> Self {
        Self {
            keys: Arc::new(ArcSwap::from_pointee(Keys::of([secret]))),
            tolerance: Some(TOLERANCE_DEFAULT),
        }
    }

    /// Adds a secret: the old one while it is being rolled, or that of another endpoint.
    ///
    /// A delivery is genuine if any of the secrets fits. A secret that is there already gets the
    /// name, mode and kind of this one. The result no longer shares its secrets with the clones of
    /// the verifier that it is made from.
    #[must_use]
    pub fn with_secret(self, secret: SigningSecret) -> Self {
        let keys = Keys::clone(&self.keys.load()).with(secret);
        Self {
            keys: Arc::new(ArcSwap::from_pointee(keys)),
            ..self
        }
    }

    /// Sets how far the time of signing may lie from now, in either direction.
    ///
    /// Zero means zero seconds. Whole seconds count.
    #[must_use]
    pub fn with_tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = Some(tolerance);
        self
    }

    /// Switches the check of the age off: whoever has recorded a delivery can then replay it for
    /// ever. For recorded deliveries in tests and tools, not for a service.
    #[must_use]
    pub fn without_age_check(mut self) -> Self {
        self.tolerance = None;
        self
    }

    /// Like [`rotate`](Self::rotate), with the time of day as an argument.
    ///
    /// # Errors
    ///
    /// When `new` is empty; everything then stays as it is.
    pub fn rotate_at(
        &self,
        new: impl IntoIterator<Item = SigningSecret>,
        overlap: Duration,
        now: SystemTime,
    ) -> Result<(), SecretError> {
        let new = Keys::of(new);
        if new.is_empty() {
            return Err(SecretError {
                source: None,
                fault: SecretFault::NoneGiven,
            });
        }
        self.keys.rcu(|keys| keys.rotated(&new, overlap, now));
        Ok(())
    }

    /// The secrets, the active ones first, and how much each is used.
    ///
    /// While a secret is being rolled Stripe signs with both; a use is counted for the newest that
    /// fits. So an old one whose [`uses`](SecretUse::uses) stand still is needed by nobody.
    #[must_use]
    pub fn secrets(&self) -> Vec<SecretUse> {
        let keys = self.keys.load();
        let uses = keys.iter().map(|key| SecretUse {
            name: key.scope.name.clone(),
            mode: key.scope.mode,
            kind: key.scope.kind,
            retires_at: key.retires_at,
            uses: key.uses(),
            last_used_at: key.last_used_at(),
        });
        uses.collect()
    }

    /// Verifies the bytes of a body against the value of its `Stripe-Signature` header.
    ///
    /// The body is not copied, not parsed and need not be UTF-8. An absent header is passed as an
    /// empty one. Without an error, one of the secrets has signed exactly these bytes at
    /// [`signed_at`](VerifiedPayload::signed_at), which lies within the tolerance of `now`. What they
    /// say, and whether the secret may sign that, is for
    /// [`VerifiedStripeEvent::parse`](crate::VerifiedStripeEvent::parse) to find out.
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
        let keys = self.keys.load();
        // A clock before 1970 counts as 1970.
        let now_unix = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let age_seconds = i128::from(now_unix) - i128::from(header.timestamp());
        let key =
            keys.signer(&header, &body, now)
                .ok_or_else(|| VerifyError::SignatureMismatch {
                    signatures: header.signatures(),
                    well_formed: header.macs().count(),
                    age_seconds,
                })?;
        self.check_age(age_seconds)?;
        key.count_use(now_unix);
        Ok(VerifiedPayload {
            bytes: body,
            signed_at: header.timestamp(),
            scope: Arc::clone(&key.scope),
        })
    }

    fn check_age(&self, age_seconds: i128) -> Result<(), VerifyError> {
        match self.tolerance {
            Some(tolerance) if age_seconds.unsigned_abs() > tolerance.as_secs().into() => {
                Err(VerifyError::TimestampOutOfTolerance { age_seconds })
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.load();
        let names: Vec<_> = keys.iter().map(|key| key.scope.name.as_deref()).collect();
        f.debug_struct("Verifier")
            .field("secrets", &names)
            .field("tolerance", &self.tolerance)
            .finish()
    }
}

/// A secret of a [`Verifier`], without its value, and how much it is used.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SecretUse {
    /// The name it was given.
    pub name: Option<Arc<str>>,
    /// The mode it is bound to.
    pub mode: Option<Mode>,
    /// The kind of event it is bound to.
    pub kind: Option<EventKind>,
    /// From when on it counts no more; `None` while it is active, or if its overlap has no end.
    pub retires_at: Option<SystemTime>,
    /// How many deliveries it has verified in this process.
    pub uses: u64,
    /// When it last has, in whole seconds.
    pub last_used_at: Option<SystemTime>,
}

/// Bytes that were signed by Stripe. Only a [`Verifier`] makes one.
///
/// It need not be an event: Stripe signs whatever it sends.
///
/// ```compile_fail,E0451
/// use axum_stripe_webhook::VerifiedPayload;
///
/// fn forge(genuine: VerifiedPayload) -> VerifiedPayload {
///     VerifiedPayload { bytes: "{}".into(), ..genuine }
/// }
/// ```
#[derive(Clone)]
pub struct VerifiedPayload {
    bytes: Bytes,
    signed_at: u64,
    scope: Arc<Scope>,
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
        self.scope.name.as_deref()
    }

    /// What the secret that matched is bound to.
    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }
}

impl fmt::Debug for VerifiedPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedPayload")
            .field("body_bytes", &self.bytes.len())
            .field("signed_at", &self.signed_at)
            .field("secret_name", &self.secret_name())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn secret(name: &str) -> SigningSecret {
        SigningSecret::new(format!("whsec_{name}"))
            .unwrap()
            .named(name)
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn names(verifier: &Verifier) -> Vec<(String, Option<SystemTime>)> {
        let secrets = verifier.secrets().into_iter();
        secrets
            .map(|secret| (secret.name.unwrap().to_string(), secret.retires_at))
            .collect()
    }

    #[test]
    fn debug_shows_names_and_no_key() {
        let secret = SigningSecret::new("whsec_marker").unwrap().named("old");
        let shown = format!("{:?}", Verifier::new(secret));
        assert!(
            shown.contains("old") && !shown.contains("marker"),
            "{shown}"
        );
    }

    #[test]
    fn what_is_not_among_the_new_retires_after_the_overlap() {
        let verifier = Verifier::new(secret("old"));
        verifier.rotate_at([secret("new")], DAY, at(0)).unwrap();
        let expected = [
            ("new".to_owned(), None),
            ("old".to_owned(), Some(at(86_400))),
        ];
        assert_eq!(names(&verifier), expected);
    }

    #[test]
    fn a_second_rotation_never_prolongs_what_retires() {
        let verifier = Verifier::new(secret("a"));
        verifier.rotate_at([secret("b")], DAY, at(0)).unwrap();
        verifier.rotate_at([secret("c")], 2 * DAY, at(60)).unwrap();
        let retiring = names(&verifier).split_off(1);
        let expected = [
            ("b".to_owned(), Some(at(60 + 2 * 86_400))),
            ("a".to_owned(), Some(at(86_400))),
        ];
        assert_eq!(retiring, expected);
        // A secret that has leaked: nothing but the new one counts from now on.
        verifier
            .rotate_at([secret("d")], Duration::ZERO, at(120))
            .unwrap();
        assert_eq!(names(&verifier), [("d".to_owned(), None)]);
    }

    #[test]
    fn rolling_back_makes_a_retiring_secret_active_again_and_keeps_its_count() {
        let verifier = Verifier::new(secret("a"));
        let keys = verifier.keys.load();
        keys.iter().for_each(|key| key.count_use(7));
        verifier.rotate_at([secret("b")], DAY, at(0)).unwrap();
        verifier.rotate_at([secret("a")], DAY, at(1)).unwrap();
        let used = &verifier.secrets()[0];
        assert_eq!(used.name.as_deref(), Some("a"));
        assert_eq!((used.retires_at, used.uses), (None, 1));
        assert_eq!(used.last_used_at, Some(at(7)));
    }

    #[test]
    fn an_overlap_without_end_is_possible() {
        let verifier = Verifier::new(secret("a"));
        verifier
            .rotate_at([secret("b")], Duration::MAX, at(0))
            .unwrap();
        assert_eq!(verifier.secrets().len(), 2);
    }

    #[test]
    fn rotating_to_nothing_is_refused() {
        let verifier = Verifier::new(secret("a"));
        let error = verifier.rotate_at([], DAY, at(0)).unwrap_err();
        assert_eq!(error.fault(), SecretFault::NoneGiven);
        assert_eq!(names(&verifier), [("a".to_owned(), None)]);
    }

    #[test]
    fn clones_share_a_rotation_and_with_secret_parts_them() {
        let verifier = Verifier::new(secret("a"));
        let clone = verifier.clone().with_tolerance(DAY);
        let parted = verifier.clone().with_secret(secret("b"));
        verifier
            .rotate_at([secret("c")], Duration::ZERO, at(0))
            .unwrap();
        assert_eq!(names(&clone)[0].0, "c");
        assert_eq!(names(&parted)[0].0, "a");
    }

    #[test]
    fn a_secret_given_twice_counts_once_with_the_later_name() {
        let same = SigningSecret::new("whsec_a").unwrap().named("later");
        let verifier = Verifier::new(secret("a")).with_secret(same);
        assert_eq!(names(&verifier), [("later".to_owned(), None)]);
    }
}
