#![cfg_attr(feature = "postgres", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "postgres"),
    doc = "Stripe webhooks for axum: verified before they are parsed."
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod audit;
mod clock;
#[cfg(feature = "diagnosis")]
pub mod diagnosis;
#[cfg(feature = "_database")]
mod disposition;
#[cfg(doc)]
pub mod docs;
pub mod event;
mod extract;
pub mod guard;
#[cfg(feature = "_database")]
pub mod inbox;
#[cfg(feature = "_database")]
mod ledger;
#[cfg(feature = "_database")]
pub mod once;
#[cfg(feature = "probe")]
pub mod probe;
#[cfg(feature = "_database")]
pub mod router;
pub mod signature;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;

pub use audit::AuditLayer;
#[cfg(feature = "_database")]
pub use disposition::Disposition;
pub use event::{Event, EventError, EventKind, Mode, ObjectError, RelatedObject};
pub use extract::{
    BODY_BYTES_MAX, ProvideVerifier, Provided, StripeEventRejection, VerifiedStripeEvent,
};
#[cfg(feature = "_database")]
pub use extract::{StripeObject, StripeObjectRejection};
pub use guard::{Guards, StopReason, WhenStopped};
#[cfg(feature = "_database")]
pub use inbox::{Inbox, InboxOperations, InboxWorker};
#[cfg(feature = "_database")]
pub use ledger::{Ledger, MigrateError, migrate};
#[cfg(feature = "_database")]
pub use once::{EventTx, EventTxError, EventTxRejection, ObjectOrder, Operator, ProcessOnceLayer};
#[cfg(feature = "_database")]
pub use router::EventRouter;
pub use signature::{
    SecretError, SecretFault, SigningSecret, VerifiedPayload, Verifier, VerifyError,
};
