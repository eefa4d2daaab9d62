use std::{env, fmt, sync::Arc};

use zeroize::Zeroizing;

use super::error::{SecretError, SecretFault};

/// A webhook endpoint's signing secret (`whsec_…`).
///
/// The key is the whole string, prefix included; it is never decoded. The value is wiped on drop,
/// `Debug` does not show it, and there is no way to read it back.
///
/// ```
/// use axum_stripe_webhook::SigningSecret;
///
/// let secret = SigningSecret::new("whsec_example")?.named("connect");
/// assert_eq!(format!("{secret:?}"), r#"SigningSecret { name: Some("connect"), .. }"#);
/// # Ok::<(), axum_stripe_webhook::SecretError>(())
/// ```
#[derive(Clone)]
pub struct SigningSecret {
    name: Option<Arc<str>>,
    value: Zeroizing<String>,
}

impl SigningSecret {
    /// Takes a secret from a value.
    ///
    /// # Errors
    ///
    /// A value that is blank, is surrounded by white space, holds control characters or is an API
    /// key is refused: each would let a forger in or refuse every genuine delivery.
    pub fn new(value: impl Into<String>) -> Result<Self, SecretError> {
        Self::checked(value.into()).map_err(|fault| SecretError {
            variable: None,
            fault,
        })
    }

    /// Takes a secret from an environment variable.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and when the variable is not set or not UTF-8. Each error names the
    /// variable.
    ///
    /// ```
    /// use axum_stripe_webhook::SigningSecret;
    ///
    /// let error = SigningSecret::from_env("STRIPE_SECRET_NOT_SET_HERE").unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "STRIPE_SECRET_NOT_SET_HERE: not set; set it to the endpoint's signing secret (whsec_…)"
    /// );
    /// ```
    pub fn from_env(variable: &str) -> Result<Self, SecretError> {
        let value = env::var(variable).map_err(|error| match error {
            env::VarError::NotPresent => SecretFault::NotSet,
            env::VarError::NotUnicode(_) => SecretFault::NotUtf8,
        });
        // Whoever gives the secret for the name does not want to read it in the log.
        let variable = match variable.starts_with("whsec_") {
            true => "the variable, whose name looks like a secret",
            false => variable,
        };
        value.and_then(Self::checked).map_err(|fault| SecretError {
            variable: Some(variable.to_owned()),
            fault,
        })
    }

    fn checked(value: String) -> Result<Self, SecretFault> {
        let value = Zeroizing::new(value);
        refuse_unusable(&value)?;
        Ok(Self { name: None, value })
    }

    /// Gives the secret a name that may be logged, to tell which of several secrets matched.
    #[must_use]
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    pub(super) fn key(&self) -> &[u8] {
        self.value.as_bytes()
    }

    pub(super) fn name(&self) -> Option<&Arc<str>> {
        self.name.as_ref()
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningSecret")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

fn refuse_unusable(value: &str) -> Result<(), SecretFault> {
    let trimmed = value.trim();
    if trimmed.is_empty() || trimmed.eq_ignore_ascii_case("whsec_") {
        return Err(SecretFault::Blank);
    }
    if trimmed.len() != value.len() {
        return Err(SecretFault::SurroundingWhitespace);
    }
    if value.chars().any(is_invisible) {
        return Err(SecretFault::InvisibleCharacter);
    }
    if ["sk_", "rk_", "pk_"]
        .iter()
        .any(|prefix| value.starts_with(prefix))
    {
        return Err(SecretFault::ApiKey);
    }
    Ok(())
}

/// Control characters, and those that copying from a page or a file brings along: soft hyphen, zero
/// width space and joiners, word joiner, byte order mark.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_secrets_are_refused_at_set_up() {
        for (value, fault) in [
            ("", SecretFault::Blank),
            (" \t\n", SecretFault::Blank),
            ("whsec_", SecretFault::Blank),
            ("whsec_a\n", SecretFault::SurroundingWhitespace),
            (" whsec_a", SecretFault::SurroundingWhitespace),
            ("whsec_a\0", SecretFault::InvisibleCharacter),
            ("\u{feff}whsec_a", SecretFault::InvisibleCharacter),
            ("whsec_\u{200b}", SecretFault::InvisibleCharacter),
            ("WHSEC_", SecretFault::Blank),
            ("whsec_a\u{1b}b", SecretFault::InvisibleCharacter),
            ("sk_test_a", SecretFault::ApiKey),
            ("rk_live_a", SecretFault::ApiKey),
            ("pk_live_a", SecretFault::ApiKey),
        ] {
            assert_eq!(
                SigningSecret::new(value).unwrap_err().fault(),
                fault,
                "{value:?}"
            );
        }
    }
}
