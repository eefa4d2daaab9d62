//! Keys for what an event causes elsewhere.

use std::collections::BTreeSet;

use axum_stripe_webhook::{
    Event,
    event::{EFFECT_KEY_BYTES_MAX, EffectKeyError},
};

use crate::stripe;

fn event(id: &str) -> Event {
    Event::parse(stripe::event(id).into()).unwrap()
}

#[test]
fn every_event_and_every_effect_has_a_key_of_its_own() {
    let keys: BTreeSet<_> = ["evt_1", "evt_2", "evt_12", "evt_"]
        .iter()
        .flat_map(|id| ["refund", "mail", "refund2", "Refund"].map(|effect| (*id, effect)))
        .map(|(id, effect)| event(id).effect_key(effect).unwrap())
        .collect();
    assert_eq!(keys.len(), 16);
}

#[test]
fn a_key_does_not_depend_on_what_else_the_event_says() {
    let other = stripe::event_made_at("evt_1", "charge.refunded", 1).replace("4200", "1");
    let other = Event::parse(other.into()).unwrap();
    let key = other.effect_key("refund").unwrap();
    assert_eq!(key, event("evt_1").effect_key("refund").unwrap());
    assert_eq!(key, "refund:evt_1");
}

#[test]
fn a_key_is_at_most_as_long_as_stripe_takes_it() {
    assert_eq!(EFFECT_KEY_BYTES_MAX, 255);
    let room = EFFECT_KEY_BYTES_MAX - ":evt_1".len();
    for (length, expected) in [
        (1, Ok(7)),
        (room, Ok(EFFECT_KEY_BYTES_MAX)),
        (room + 1, Err(EffectKeyError::TooLong { length: 256 })),
        (1000, Err(EffectKeyError::TooLong { length: 1006 })),
    ] {
        let key = event("evt_1").effect_key(&"k".repeat(length));
        assert_eq!(key.map(|key| key.len()), expected);
    }
}

#[test]
fn an_effect_that_cannot_be_in_a_key_is_an_error_that_says_why() {
    let control = |at| EffectKeyError::ControlCharacter { at };
    for (effect, fault, says) in [
        ("", EffectKeyError::Empty, "name the effect, like `refund`"),
        ("\n", control(0), "at byte 0: leave it out"),
        ("refund\0", control(6), "at byte 6: leave it out"),
        ("\u{e4}\u{9f}", control(2), "at byte 2: leave it out"),
    ] {
        let error = event("evt_1").effect_key(effect).unwrap_err();
        assert_eq!(error, fault);
        assert!(error.to_string().ends_with(says), "{error}");
    }
}

/// A thin event and its snapshot twin are one event to the ledger: when the run of the one has
/// failed, the other is run in its place. What it causes elsewhere must have the same key.
#[test]
fn twins_which_count_as_one_event_have_one_key() {
    let thin = r#"{"id": "evt_thin", "object": "v2.core.event", "snapshot_event": "evt_1",
        "type": "v1.charge.refunded"}"#;
    let thin = Event::parse(thin.into()).unwrap();
    let snapshot = event("evt_1");
    assert_eq!(thin.deduplication_id(), snapshot.deduplication_id());
    assert_eq!(thin.effect_key("refund"), snapshot.effect_key("refund"));
}
