//! The one place where the crate reads the clock.

use std::time::{Duration, SystemTime};

use http::Extensions;

use crate::signature::{SecretError, SigningSecret, Verifier};

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// The time of day, in whole seconds.
pub(crate) fn unix_seconds() -> u64 {
    now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// When a request with these extensions is received.
pub(crate) fn received_at(extensions: &Extensions) -> SystemTime {
    #[cfg(feature = "testing")]
    if let Some(clock) = extensions.get::<crate::testing::FixedClock>() {
        return clock.now();
    }
    #[cfg(not(feature = "testing"))]
    let _unused = extensions;
    now()
}

impl Verifier {
    /// Takes other secrets while the service runs, in this verifier and all its clones.
    ///
    /// **`new` is the whole set** that counts from now on: of a verifier of several secrets, give all.
    /// Every secret that is not among them is accepted until `overlap` has passed, and not a moment longer; one that is retiring already
    /// retires no later than it would have. [`Duration::ZERO`] drops the others at once, as after a
    /// leak. The same set again changes nothing, so it may be called as often as one likes.
    ///
    /// No delivery waits for this, and this waits for none: each is verified with the whole of the
    /// one set or of the other.
    ///
    /// # Errors
    ///
    /// When `new` is empty; everything then stays as it is.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use axum_stripe_webhook::{SigningSecret, Verifier};
    ///
    /// let verifier = Verifier::new(SigningSecret::new("whsec_old")?.named("2025"));
    /// let day = Duration::from_secs(24 * 60 * 60);
    /// verifier.rotate([SigningSecret::new("whsec_new")?.named("2026")], day)?;
    ///
    /// let [new, old] = verifier.secrets().try_into().unwrap();
    /// assert_eq!((new.name.as_deref(), new.retires_at), (Some("2026"), None));
    /// assert!(old.retires_at.is_some() && old.uses == 0);
    /// # Ok::<(), axum_stripe_webhook::SecretError>(())
    /// ```
    pub fn rotate(
        &self,
        new: impl IntoIterator<Item = SigningSecret>,
        overlap: Duration,
    ) -> Result<(), SecretError> {
        self.rotate_at(new, overlap, now())
    }
}
