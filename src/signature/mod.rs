//! Verification of the `Stripe-Signature` header. Pure: no clock, no I/O, no async.
//!
//! A delivery is genuine when one of its `v1` signatures is the HMAC-SHA256 of `{t}.{body}` under
//! one of the endpoint's secrets, and `t` lies within the tolerance of now. The rules, in the order
//! in which [`Verifier::verify`] applies them:
//!
//! 1. The header has at most [`HEADER_BYTES_MAX`] bytes; it is there and not blank. (The extractor
//!    refuses a request with more than one such line.)
//! 2. It is split on `,`, white space around an element is dropped, and an element is split at its
//!    first `=`. A bare `t` or `v1` is malformed; anything else that is unknown is ignored, so that
//!    `v0` and schemes to come can neither help nor harm.
//! 3. There is exactly one `t`, in canonical decimal digits that fit a `u64`.
//! 4. There is at least one `v1`, and there are at most [`SIGNATURES_MAX`].
//! 5. The MAC runs over the digits of `t` as sent, a `.`, and the body's bytes as received. Each
//!    `v1` is compared with it in constant time, for each secret; only 64 lower-case hex digits can
//!    match. A secret that has retired does not count.
//! 6. Only then is the age checked: `|floor(now) - t| <= tolerance`, past and future alike. A
//!    tolerance of zero means zero seconds.
//!
//! # Several secrets, and rolling one
//!
//! A verifier has any number of secrets: of account and Connect endpoints, of snapshot and thin
//! destinations, of live and test mode. Each can have a name, which the result tells, and can be
//! bound to a mode and a kind of event. [`Verifier::rotate`] replaces them while the service runs:
//!
//! 1. Roll the secret in Stripe's Dashboard, and let the old one live for a day there. Stripe signs
//!    with both meanwhile, so it does not matter when the service learns of the new one.
//! 2. Give the new secret to `rotate`, with the same day as overlap. `examples/rotate.rs` does so from
//!    a file that changes.
//! 3. [`Verifier::secrets`] tells how often each has been needed. A retired one is not accepted any
//!    more from the end of its overlap on, and forgotten at the next rotation.
//!
//! Stripe documents the scheme under "Verify webhook signatures manually". Where its SDKs differ
//! from each other (a repeated `t`, a future `t`, upper-case digits), the strictest one is followed.

mod error;
mod header;
mod keys;
mod secret;
mod verifier;

pub use error::{HeaderFault, SecretError, SecretFault, VerifyError};
pub use header::{HEADER_BYTES_MAX, MAC_BYTES, SIGNATURES_MAX, SignatureHeader};
pub use secret::{SECRET_FILE_BYTES_MAX, SigningSecret};
pub use verifier::{SecretUse, TOLERANCE_DEFAULT, VerifiedPayload, Verifier};

pub(crate) use header::HEADER_NAME;
