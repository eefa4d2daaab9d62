use super::Event;

/// Longest effect key, in bytes: as long as Stripe's `Idempotency-Key` may be.
pub const EFFECT_KEY_BYTES_MAX: usize = 255;

/// Why a text cannot be an effect key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EffectKeyError {
    /// There is nothing in it.
    #[error("the effect key is empty: name the effect, like `refund`")]
    Empty,
    /// It is longer than [`EFFECT_KEY_BYTES_MAX`].
    #[error(
        "the effect key has {length} bytes, more than {EFFECT_KEY_BYTES_MAX}: name the effect in a \
         word, and what it is about by its id"
    )]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A line break, a NUL or another control character stands in it.
    #[error("the effect key has a control character at byte {at}: leave it out")]
    ControlCharacter {
        /// Where it begins, from 0.
        at: usize,
    },
}

impl Event {
    /// A key for what this event causes elsewhere: an `Idempotency-Key` for a request to Stripe, the
    /// key of a job in a queue.
    ///
    /// It is the same whenever the event or its thin or snapshot twin is delivered, another one for
    /// every event and for every effect, and made of the effect's name and the event's id alone:
    /// `refund:evt_1…`. The test events of the Dashboard all share one id, and so one key. Deliveries are
    /// at-least-once, and so is what a handler does elsewhere; a key makes the second time harmless
    /// there. For an effect that several events could cause, take a key of what they are about, and
    /// [`EventTx::claim_effect`](crate::EventTx::claim_effect).
    ///
    /// ```
    /// # let body = r#"{"id": "evt_1", "object": "event", "type": "charge.refunded"}"#;
    /// # let event = axum_stripe_webhook::Event::parse(body.into()).unwrap();
    /// assert_eq!(event.effect_key("refund").unwrap(), "refund:evt_1");
    /// ```
    ///
    /// # Errors
    ///
    /// When `effect` is empty, has a control character, or makes the key longer than
    /// [`EFFECT_KEY_BYTES_MAX`].
    pub fn effect_key(&self, effect: &str) -> Result<String, EffectKeyError> {
        if effect.is_empty() {
            return Err(EffectKeyError::Empty);
        }
        let key = format!("{effect}:{}", self.deduplication_id());
        check_effect_key(&key)?;
        Ok(key)
    }
}

pub(crate) fn check_effect_key(key: &str) -> Result<(), EffectKeyError> {
    let length = key.len();
    if length == 0 {
        return Err(EffectKeyError::Empty);
    }
    if length > EFFECT_KEY_BYTES_MAX {
        return Err(EffectKeyError::TooLong { length });
    }
    match key.find(char::is_control) {
        Some(at) => Err(EffectKeyError::ControlCharacter { at }),
        None => Ok(()),
    }
}
