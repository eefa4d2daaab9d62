use std::{env, fmt, fs::File, io::Read, path::Path, sync::Arc};

use zeroize::Zeroizing;

use super::error::{SecretError, SecretFault};
use crate::event::{EventKind, Mode};

/// Longest file that is read as a secret. Stripe's secrets have less than a hundred bytes.
pub const SECRET_FILE_BYTES_MAX: usize = 4096;

/// A webhook endpoint's signing secret (`whsec_…`), and what it may sign.
///
/// The key is the whole string, prefix included; it is never decoded. The value is wiped on drop,
/// `Debug` does not show it, and there is no way to read it back.
///
/// ```
/// use axum_stripe_webhook::{EventKind, Mode, SigningSecret};
///
/// let secret = SigningSecret::new("whsec_example")?
///     .named("connect")
///     .for_mode(Mode::Live)
///     .for_kind(EventKind::Thin);
/// assert_eq!(
///     format!("{secret:?}"),
///     r#"SigningSecret { name: Some("connect"), mode: Some(Live), kind: Some(Thin), .. }"#
/// );
/// # Ok::<(), axum_stripe_webhook::SecretError>(())
/// ```
///
/// It can neither be printed
///
/// ```compile_fail,E0277
/// # let secret = axum_stripe_webhook::SigningSecret::new("whsec_example").unwrap();
/// println!("{secret}");
/// ```
///
/// nor serialised:
///
/// ```compile_fail,E0277
/// # let secret = axum_stripe_webhook::SigningSecret::new("whsec_example").unwrap();
/// let json = serde_json::to_string(&secret);
/// ```
#[derive(Clone)]
pub struct SigningSecret {
    pub(super) scope: Scope,
    value: Zeroizing<String>,
}

/// What is said about a secret beside its value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    pub(crate) name: Option<Arc<str>>,
    /// `None`: of both modes.
    pub(crate) mode: Option<Mode>,
    /// `None`: of both kinds.
    pub(crate) kind: Option<EventKind>,
}

impl SigningSecret {
    /// Takes a secret from a value.
    ///
    /// # Errors
    ///
    /// A value that is blank, is surrounded by white space or quotes, holds characters that cannot be
    /// seen or is an API key: each would let a forger in or refuse every genuine delivery.
    pub fn new(value: impl Into<String>) -> Result<Self, SecretError> {
        let value = Zeroizing::new(value.into());
        Self::checked(value).map_err(|fault| SecretError {
            source: None,
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
    /// # Examples
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
        let checked = value.map(Zeroizing::new).and_then(Self::checked);
        checked.map_err(|fault| SecretError {
            source: Some(shown(variable, "the variable")),
            fault,
        })
    }

    /// Takes a secret from a file, as Kubernetes, Docker or Vault mount one.
    ///
    /// One line end at the file's end is not part of the secret. The file, which must not be a pipe,
    /// is read at once, on the calling thread. When it changes, give the new secret to [`Verifier::rotate`]: see
    /// `examples/rotate.rs`.
    ///
    /// [`Verifier::rotate`]: crate::Verifier::rotate
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and when the file cannot be read, is not UTF-8 or is longer than
    /// [`SECRET_FILE_BYTES_MAX`]. Each error names the file.
    ///
    /// # Examples
    ///
    /// ```
    /// use axum_stripe_webhook::SigningSecret;
    ///
    /// let error = SigningSecret::from_file("/run/secrets/not_mounted").unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "/run/secrets/not_mounted: the file cannot be read: entity not found"
    /// );
    /// ```
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, SecretError> {
        let path = path.as_ref();
        let checked = read(path).and_then(Self::checked);
        checked.map_err(|fault| SecretError {
            source: Some(shown(&path.to_string_lossy(), "the file")),
            fault,
        })
    }

    fn checked(value: Zeroizing<String>) -> Result<Self, SecretFault> {
        refuse_unusable(&value)?;
        Ok(Self {
            scope: Scope::default(),
            value,
        })
    }

    /// Gives the secret a name that may be logged, to tell which of several secrets matched.
    #[must_use]
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Self {
        let name = name.into();
        let is_secret = looks_like_a_secret(&name) || *name == **self.value;
        self.scope.name = Some(if is_secret { "hidden".into() } else { name });
        self
    }

    /// Binds the secret to a mode: an event of the other one, or one that does not say, is rejected
    /// with 400 although it is signed. So a test secret that has leaked cannot sign a live event.
    ///
    /// **Not for the live secret of a Connect endpoint**: Stripe sends test events there too, and
    /// would go on delivering what is rejected. Set [`Guards::mode`](crate::Guards::mode) instead,
    /// which keeps them or ignores them.
    ///
    /// It keeps an event of the wrong mode out, not an event's id: who has a test secret can still
    /// sign a test event with the id of a live one, which would then be a duplicate. Give the two
    /// secrets endpoints with labels of their own, or guard the mode.
    #[must_use]
    pub fn for_mode(mut self, mode: Mode) -> Self {
        self.scope.mode = Some(mode);
        self
    }

    /// Binds the secret to a kind of event: an event of the other one is rejected with 400 although
    /// it is signed. A destination sends one kind alone.
    #[must_use]
    pub fn for_kind(mut self, kind: EventKind) -> Self {
        self.scope.kind = Some(kind);
        self
    }

    pub(super) fn key(&self) -> &[u8] {
        self.value.as_bytes()
    }
}

/// Whoever gives the secret for the name of its place does not want to read it in the log.
fn shown(place: &str, kind: &str) -> String {
    match looks_like_a_secret(place) {
        true => format!("{kind}, whose name looks like a secret"),
        false => place.to_owned(),
    }
}

/// Beginning like one, and not the path of a file that is called so.
fn looks_like_a_secret(text: &str) -> bool {
    let prefixes = ["whsec_", "sk_", "rk_", "pk_"];
    !text.contains('/') && prefixes.iter().any(|prefix| text.contains(prefix))
}

fn read(path: &Path) -> Result<Zeroizing<String>, SecretFault> {
    let unreadable = |error: std::io::Error| SecretFault::Unreadable(error.kind());
    // As large as it may become: a buffer that grows leaves copies of the secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_FILE_BYTES_MAX + 1));
    File::open(path)
        .map_err(unreadable)?
        .take(SECRET_FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() > SECRET_FILE_BYTES_MAX {
        return Err(SecretFault::TooLong);
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| SecretFault::NotUtf8)?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    Ok(Zeroizing::new(line.to_owned()))
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningSecret")
            .field("name", &self.scope.name)
            .field("mode", &self.scope.mode)
            .field("kind", &self.scope.kind)
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
    if is_quoted(value) {
        return Err(SecretFault::Quoted);
    }
    if value.chars().any(is_invisible) {
        return Err(SecretFault::InvisibleCharacter);
    }
    if !value.starts_with("whsec_") && value.contains("whsec_") {
        return Err(SecretFault::NotAlone);
    }
    if ["sk_", "rk_", "pk_"]
        .iter()
        .any(|prefix| value.starts_with(prefix))
    {
        return Err(SecretFault::ApiKey);
    }
    Ok(())
}

/// The quotes of an `.env` file, which some of its readers leave in place.
fn is_quoted(value: &str) -> bool {
    ['"', '\'', '`'].iter().any(|quote| {
        value
            .strip_prefix(*quote)
            .is_some_and(|rest| rest.ends_with(*quote))
    })
}

/// White space but for the blank, control characters, and those that copying from a page or a file brings along: soft hyphen, zero
/// width space and joiners, marks of direction, byte order mark.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || (character.is_whitespace() && character != ' ')
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
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
            ("whsec_a\u{202e}b", SecretFault::InvisibleCharacter),
            ("\"whsec_a\"", SecretFault::Quoted),
            ("'whsec_a'", SecretFault::Quoted),
            ("“whsec_a”", SecretFault::NotAlone),
            ("STRIPE_WEBHOOK_SECRET=whsec_a", SecretFault::NotAlone),
            ("whsec_a\u{a0}b", SecretFault::InvisibleCharacter),
            ("\u{3164}", SecretFault::InvisibleCharacter),
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

    fn file(content: &[u8]) -> Result<SigningSecret, SecretFault> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        SigningSecret::from_file(file.path()).map_err(|error| error.fault())
    }

    #[test]
    fn a_file_may_end_in_one_line_end() {
        for content in ["whsec_a", "whsec_a\n", "whsec_a\r\n"] {
            assert_eq!(file(content.as_bytes()).unwrap().key(), b"whsec_a");
        }
        let twice = file(b"whsec_a\n\n").unwrap_err();
        assert_eq!(twice, SecretFault::SurroundingWhitespace);
    }

    #[test]
    fn a_file_that_holds_no_secret_is_refused() {
        assert_eq!(file(b"\n").unwrap_err(), SecretFault::Blank);
        assert_eq!(file(b"whsec_\xff").unwrap_err(), SecretFault::NotUtf8);
        let long = [b'a'; SECRET_FILE_BYTES_MAX + 1];
        assert_eq!(file(&long).unwrap_err(), SecretFault::TooLong);
        assert_eq!(file(b"sk_live_a\n").unwrap_err(), SecretFault::ApiKey);
    }

    #[test]
    fn a_folder_is_not_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = SigningSecret::from_file(folder.path()).unwrap_err();
        assert!(error.to_string().contains("directory"), "{error}");
    }

    #[test]
    fn a_secret_given_for_its_place_is_not_shown() {
        for error in [
            SigningSecret::from_env("whsec_marker").unwrap_err(),
            SigningSecret::from_file("whsec_marker").unwrap_err(),
            SigningSecret::from_env("sk_live_marker").unwrap_err(),
        ] {
            assert!(!error.to_string().contains("marker"), "{error}");
        }
        let named = SigningSecret::new("whsec_a").unwrap();
        let shown = format!("{:?}", named.named("whsec_marker"));
        assert!(!shown.contains("marker"), "{shown}");
        let path = SigningSecret::from_file("/run/secrets/whsec_prod").unwrap_err();
        assert!(path.to_string().starts_with("/run/secrets/whsec_prod: "));
    }
}
