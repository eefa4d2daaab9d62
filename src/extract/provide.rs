use std::sync::Arc;

use http::request::Parts;

use crate::{guard::Guards, signature::Verifier};

/// Where [`VerifiedStripeEvent`](crate::VerifiedStripeEvent) and
/// [`ProcessOnceLayer`](crate::ProcessOnceLayer) get the verifier from.
///
/// Implement it for the router's state. [`Verifier`] itself and `Arc<T>` have it already.
/// `examples/tenants.rs` picks by a tenant in the path.
///
/// ```
/// use axum_stripe_webhook::{ProvideVerifier, Provided, Verifier};
/// use http::request::Parts;
///
/// #[derive(Clone)]
/// struct AppState {
///     verifier: Verifier,
/// }
///
/// impl ProvideVerifier for AppState {
///     fn provide_verifier(&self, _parts: &Parts) -> Option<Provided> {
///         Some(self.verifier.clone().into())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` provides no `Verifier`",
    label = "this state cannot verify Stripe's signatures",
    note = "implement `axum_stripe_webhook::ProvideVerifier` for the router's state"
)]
pub trait ProvideVerifier {
    /// Gives what a request is verified with; cloning a verifier is cheap.
    ///
    /// It is asked once for a request, before the body is read. The request may be looked at, for a
    /// tenant in its path say (axum's `nest` strips the prefix of the path), but nothing of it is
    /// verified yet. Under the layer only the layer's own provider is asked, not the router's state.
    /// `None` means that there is no such endpoint: the answer is 404. It must not
    /// wait.
    fn provide_verifier(&self, parts: &Parts) -> Option<Provided>;
}

/// The verifier for a request, and what else depends on who is meant. Made of a [`Verifier`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Provided {
    pub(crate) verifier: Verifier,
    pub(crate) endpoint: Option<Arc<str>>,
    pub(crate) guards: Option<Guards>,
}

impl Provided {
    /// Gives the endpoint's label; that of the layer unless set, or if it is empty.
    ///
    /// An event is processed once for each label, and whoever knows a secret can sign an event with
    /// any id. So tenants with secrets of their own need labels of their own: else one of them can
    /// have another's event taken for a duplicate.
    pub fn endpoint(mut self, label: impl Into<Arc<str>>) -> Self {
        self.endpoint = Some(label.into());
        self
    }

    /// Gives the guards; those of the layer unless set, and none for the extractor alone.
    ///
    /// Clones of one `Guards` share their count of API versions: keep one for each endpoint.
    pub fn guards(mut self, guards: Guards) -> Self {
        self.guards = Some(guards);
        self
    }
}

impl From<Verifier> for Provided {
    fn from(verifier: Verifier) -> Self {
        Self {
            verifier,
            endpoint: None,
            guards: None,
        }
    }
}

impl ProvideVerifier for Verifier {
    fn provide_verifier(&self, _parts: &Parts) -> Option<Provided> {
        Some(self.clone().into())
    }
}

impl<P: ProvideVerifier + ?Sized> ProvideVerifier for Arc<P> {
    fn provide_verifier(&self, parts: &Parts) -> Option<Provided> {
        P::provide_verifier(self, parts)
    }
}
