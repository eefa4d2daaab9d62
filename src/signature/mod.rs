//! Verification of the `Stripe-Signature` header. Pure: no clock, no I/O, no async.
//!
//! A delivery is genuine when one of its `v1` signatures is the HMAC-SHA256 of `{t}.{body}` under
//! one of the endpoint's secrets, and `t` lies within the tolerance of now. The rules, in the order
//! in which [`Verifier::verify`] applies them:
//!
//! 1. The header is there and not blank; it has at most [`HEADER_BYTES_MAX`] bytes. (The extractor
//!    refuses a request with more than one such line.)
//! 2. It is split on `,`, white space around an element is dropped, and an element is split at its
//!    first `=`. A bare `t` or `v1` is malformed; anything else that is unknown is ignored, so that
//!    `v0` and schemes to come can neither help nor harm.
//! 3. There is exactly one `t`, in canonical decimal digits that fit a `u64`.
//! 4. There is at least one `v1`, and there are at most [`SIGNATURES_MAX`].
//! 5. The MAC runs over the digits of `t` as sent, a `.`, and the body's bytes as received. Each
//!    `v1` is compared with it in constant time, for each secret; only 64 lower-case hex digits can
//!    match.
//! 6. Only then is the age checked: `|floor(now) - t| <= tolerance`, past and future alike. A
//!    tolerance of zero means zero seconds.
//!
//! Stripe documents the scheme under "Verify webhook signatures manually". Where its SDKs differ
//! from each other (a repeated `t`, a future `t`, upper-case digits), the strictest one is followed.

mod error;
mod header;
mod secret;
mod verifier;

pub use error::{HeaderFault, SecretError, SecretFault, VerifyError};
pub use header::{HEADER_BYTES_MAX, SIGNATURES_MAX};
pub use secret::SigningSecret;
pub use verifier::{TOLERANCE_DEFAULT, VerifiedPayload, Verifier};

pub(crate) use header::HEADER_NAME;
