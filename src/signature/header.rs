use std::fmt;

use super::error::{HeaderFault, VerifyError};

/// Longest `Stripe-Signature` header that is looked at, in bytes.
///
/// Stripe sends about 180 bytes, and 70 more for each further active secret; this leaves room for
/// [`SIGNATURES_MAX`] signatures of each of three schemes.
pub const HEADER_BYTES_MAX: usize = 4096;

/// Most `v1` elements a header may have.
///
/// Stripe sends one per active secret of the endpoint: two while a secret is being rolled.
pub const SIGNATURES_MAX: usize = 16;

/// Bytes of an HMAC-SHA256.
pub const MAC_BYTES: usize = 32;

/// The header's name, in the lower case that HTTP/2 and the `http` crate use.
pub(crate) const HEADER_NAME: &str = "stripe-signature";

/// A `Stripe-Signature` header that follows the grammar. Nothing of it is verified.
///
/// `Debug` shows no signature.
///
/// ```
/// use axum_stripe_webhook::signature::SignatureHeader;
///
/// let hex = "ab".repeat(32);
/// let value = format!("t=1767225600, v0=decoy, v1={hex}");
/// let header = SignatureHeader::parse(value.as_bytes())?;
/// assert_eq!(header.timestamp(), 1_767_225_600);
/// assert_eq!(header.to_value(), format!("t=1767225600,v1={hex}"));
/// # Ok::<(), axum_stripe_webhook::VerifyError>(())
/// ```
#[derive(Clone)]
pub struct SignatureHeader<'a> {
    /// Borrowed, because the MAC covers them as they were sent.
    pub(super) timestamp_digits: &'a [u8],
    timestamp: u64,
    /// One for each `v1`; `None` if it does not have the form of a MAC and so cannot match.
    signatures: Vec<Option<[u8; MAC_BYTES]>>,
}

impl<'a> SignatureHeader<'a> {
    /// Applies the rules 1 to 4 of the [module](super).
    ///
    /// # Errors
    ///
    /// The first fault, element by element; then what is missing.
    pub fn parse(header: &'a [u8]) -> Result<Self, VerifyError> {
        if header.len() > HEADER_BYTES_MAX {
            return malformed(HeaderFault::TooLong);
        }
        let header = header.trim_ascii();
        if header.is_empty() {
            return Err(VerifyError::MissingHeader);
        }
        let mut timestamp = None;
        let mut signatures = Vec::new();
        let mut other_elements = 0;
        for element in header.split(|byte| *byte == b',') {
            match split_element(element.trim_ascii()) {
                (b"t" | b"v1", None) => return malformed(HeaderFault::BareKey),
                (b"t", Some(_)) if timestamp.is_some() => {
                    return malformed(HeaderFault::TimestampRepeated);
                }
                (b"t", Some(digits)) => timestamp = Some((digits, parse_timestamp(digits)?)),
                (b"v1", Some(_)) if signatures.len() == SIGNATURES_MAX => {
                    return malformed(HeaderFault::TooManySignatures);
                }
                (b"v1", Some(hex)) => signatures.push(decode_mac(hex)),
                _ => other_elements += 1,
            }
        }
        let Some((timestamp_digits, timestamp)) = timestamp else {
            return malformed(HeaderFault::TimestampMissing);
        };
        if signatures.is_empty() {
            return Err(VerifyError::NoSignature { other_elements });
        }
        Ok(Self {
            timestamp_digits,
            timestamp,
            signatures,
        })
    }

    /// When the delivery claims to have been signed, in Unix seconds.
    #[must_use]
    pub fn timestamp(&self) -> u64 {
        self.timestamp
    }

    /// How many `v1` elements there are, at least one.
    #[must_use]
    pub fn signatures(&self) -> usize {
        self.signatures.len()
    }

    /// The `v1` signatures that have the form of a MAC.
    pub fn macs(&self) -> impl Iterator<Item = &[u8; MAC_BYTES]> {
        self.signatures.iter().flatten()
    }

    /// Writes what counts of the header as Stripe would: `t` and each `v1`, of which those stay empty
    /// that do not have the form of a MAC.
    #[must_use]
    pub fn to_value(&self) -> String {
        let mut value = format!("t={}", self.timestamp);
        for mac in &self.signatures {
            value.push_str(",v1=");
            let digits = mac.iter().flatten().flat_map(|byte| [byte >> 4, byte & 15]);
            value.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
        }
        value
    }
}

impl fmt::Debug for SignatureHeader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureHeader")
            .field("timestamp", &self.timestamp)
            .field("signatures", &self.signatures.len())
            .finish_non_exhaustive()
    }
}

fn malformed<T>(fault: HeaderFault) -> Result<T, VerifyError> {
    Err(VerifyError::MalformedHeader(fault))
}

/// Splits `key=value` at the first `=`; the value keeps any further ones.
fn split_element(element: &[u8]) -> (&[u8], Option<&[u8]>) {
    match element
        .iter()
        .position(|byte| *byte == b'=')
        .and_then(|at| element.split_at_checked(at))
    {
        Some((key, rest)) => (key, rest.get(1..)),
        None => (element, None),
    }
}

/// Accepts `0|[1-9][0-9]*` that fits a `u64`, so that one number has one spelling and no `.` can
/// move bytes between timestamp and body.
fn parse_timestamp(digits: &[u8]) -> Result<u64, VerifyError> {
    let invalid = VerifyError::MalformedHeader(HeaderFault::TimestampInvalid);
    if digits.is_empty() || (digits.len() > 1 && digits.starts_with(b"0")) {
        return Err(invalid);
    }
    digits.iter().try_fold(0_u64, |value, byte| {
        let digit = byte
            .is_ascii_digit()
            .then(|| u64::from(byte - b'0'))
            .ok_or(invalid)?;
        value
            .checked_mul(10)
            .and_then(|value| value.checked_add(digit))
            .ok_or(invalid)
    })
}

/// Decodes exactly 64 lower-case hex digits. It only ever sees what the sender sent, so its timing
/// tells nothing about the MAC.
fn decode_mac(hex: &[u8]) -> Option<[u8; MAC_BYTES]> {
    if hex.len() != 2 * MAC_BYTES {
        return None;
    }
    let mut mac = [0; MAC_BYTES];
    for (byte, pair) in mac.iter_mut().zip(hex.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(mac)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(header: &str) -> VerifyError {
        SignatureHeader::parse(header.as_bytes()).expect_err(header)
    }

    #[test]
    fn a_timestamp_has_one_spelling() {
        for digits in [
            "", "00", "01", "+1", "-1", "1.0", "1_0", " 1", "1e3", "0x1", "\u{ff11}",
        ] {
            assert_eq!(
                fault(&format!("t={digits},v1=a")),
                VerifyError::MalformedHeader(HeaderFault::TimestampInvalid),
                "{digits:?}"
            );
        }
    }

    #[test]
    fn a_timestamp_may_be_as_large_as_a_u64_and_no_larger() {
        let largest = format!("t={},v1=a", u64::MAX);
        assert_eq!(
            SignatureHeader::parse(largest.as_bytes())
                .unwrap()
                .timestamp,
            u64::MAX
        );
        assert_eq!(
            fault("t=18446744073709551616,v1=a"),
            VerifyError::MalformedHeader(HeaderFault::TimestampInvalid)
        );
    }

    #[test]
    fn more_signatures_than_the_limit_are_refused() {
        let header = |n| format!("t=1{}", ",v1=a".repeat(n));
        assert!(SignatureHeader::parse(header(SIGNATURES_MAX).as_bytes()).is_ok());
        assert_eq!(
            fault(&header(SIGNATURES_MAX + 1)),
            VerifyError::MalformedHeader(HeaderFault::TooManySignatures)
        );
    }

    #[test]
    fn a_header_longer_than_the_limit_is_refused_unread() {
        let header = format!("t=1,v1=a,{}", "x".repeat(HEADER_BYTES_MAX));
        assert_eq!(
            fault(&header),
            VerifyError::MalformedHeader(HeaderFault::TooLong)
        );
    }

    #[test]
    fn only_sixty_four_lower_case_digits_decode() {
        assert!(decode_mac(&[b'a'; 64]).is_some());
        for hex in [
            &[b'a'; 63][..],
            &[b'a'; 65],
            &[b'A'; 64],
            &[b'g'; 64],
            &[0xe9; 64],
        ] {
            assert_eq!(decode_mac(hex), None);
        }
    }
}
