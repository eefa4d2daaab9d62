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
/// use axum_stripe_webhook::{ProvideVerifier, Verifier};
/// use http::request::Parts;
///
/// #[derive(Clone)]
/// struct AppState {
///     verifier: Verifier,
/// }
///
/// impl ProvideVerifier for AppState {
///     fn provide_verifier(&self, _parts: &Parts) -> Option<Verifier> {
///         Some(self.verifier.clone())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` provides no `Verifier`",
    label = "this state cannot verify Stripe's signatures",
    note = "implement `axum_stripe_webhook::ProvideVerifier` for the router's state"
)]
pub trait ProvideVerifier {
    /// Gives the verifier for a request; cloning one is cheap.
    ///
    /// The request may be looked at, for a tenant in its path say, but nothing of it is verified
    /// yet. `None` means that there is no such endpoint: the answer is 404.
    fn provide_verifier(&self, parts: &Parts) -> Option<Verifier>;

    /// Gives the endpoint's label for a request that was verified; `None`, or an empty one, is that
    /// of the layer.
    ///
    /// An event is processed once for each label, and whoever knows a secret can sign an event with
    /// any id. So tenants with secrets of their own need labels of their own: else one of them can
    /// have another's event taken for a duplicate.
    fn provide_endpoint(&self, _parts: &Parts) -> Option<Arc<str>> {
        None
    }

    /// Gives the guards for a request that was verified; `None` means those of the layer, and none
    /// for the extractor alone.
    fn provide_guards(&self, _parts: &Parts) -> Option<Guards> {
        None
    }
}

impl ProvideVerifier for Verifier {
    fn provide_verifier(&self, _parts: &Parts) -> Option<Verifier> {
        Some(self.clone())
    }
}

impl<P: ProvideVerifier + ?Sized> ProvideVerifier for Arc<P> {
    fn provide_verifier(&self, parts: &Parts) -> Option<Verifier> {
        P::provide_verifier(self, parts)
    }

    fn provide_endpoint(&self, parts: &Parts) -> Option<Arc<str>> {
        P::provide_endpoint(self, parts)
    }

    fn provide_guards(&self, parts: &Parts) -> Option<Guards> {
        P::provide_guards(self, parts)
    }
}
