use std::fmt;

use crate::ledger::Action;

/// Longest name of an operator, and longest reason, in characters.
pub const ACTOR_CHARS_MAX: usize = 255;
/// See [`ACTOR_CHARS_MAX`].
pub const REASON_CHARS_MAX: usize = 1000;

/// Who acts on an event that was kept, and why: recorded in `stripe_actions` together with what was
/// done. Neither is logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Operator {
    actor: String,
    reason: String,
}

/// Why an [`Operator`] cannot be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// Whoever it is must have a name, of at most [`ACTOR_CHARS_MAX`] characters without NUL.
    #[error("say who acts, in 1 to {ACTOR_CHARS_MAX} characters")]
    Actor,
    /// Whatever was done must have a reason, of at most [`REASON_CHARS_MAX`] characters without NUL.
    #[error("say why, in 1 to {REASON_CHARS_MAX} characters")]
    Reason,
}

impl Operator {
    /// # Errors
    ///
    /// [`OperatorError`] when one of them is blank, too long, or holds a NUL.
    pub fn new(actor: impl Into<String>, reason: impl Into<String>) -> Result<Self, OperatorError> {
        let (actor, reason) = (actor.into(), reason.into());
        if !is_recordable(&actor, ACTOR_CHARS_MAX) {
            return Err(OperatorError::Actor);
        }
        if !is_recordable(&reason, REASON_CHARS_MAX) {
            return Err(OperatorError::Reason);
        }
        Ok(Self { actor, reason })
    }

    pub(crate) fn action(&self, action: &'static str) -> Action<'_> {
        Action {
            action,
            actor: &self.actor,
            reason: &self.reason,
        }
    }
}

fn is_recordable(text: &str, chars_max: usize) -> bool {
    !text.trim().is_empty() && text.chars().count() <= chars_max && !text.contains('\0')
}

/// Not what was said: it may be about a person.
impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operator").finish_non_exhaustive()
    }
}
