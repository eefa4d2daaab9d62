//! `Verifier::verify` against a second reading of its rules: both must say the same of every
//! delivery, down to the fields of the error, and name the same secret.

#![no_main]

mod delivery;
mod reference;

use axum_stripe_webhook::{SecretFault, SigningSecret, Verifier};
use libfuzzer_sys::{Corpus, fuzz_target};

use delivery::{Delivery, Secret};
use reference::Standings;

fuzz_target!(|delivery: Delivery<'_>| -> Corpus {
    let Some((verifier, standings)) = set_up(&delivery) else {
        return Corpus::Reject;
    };
    let header = delivery.header();
    let now = delivery.now();
    let tolerance = delivery.tolerance.map(|tolerance| tolerance.seconds());
    let expected = reference::judge(&standings, &header, delivery.body, now.nanos(), tolerance);
    let result = verifier.verify(delivery.body.to_vec().into(), &header, now.system_time());

    let uses: u64 = verifier.secrets().iter().map(|secret| secret.uses).sum();
    assert_eq!(uses, u64::from(result.is_ok()));
    let result = result.map(|payload| {
        assert_eq!(payload.bytes(), delivery.body);
        let name = payload.secret_name().unwrap_or_default();
        (payload.signed_at(), name.to_owned())
    });
    assert_eq!(result, expected, "{}", header.escape_ascii());
    Corpus::Keep
});

/// A verifier after all its rotations, and where its secrets then stand by the reference. `None` if
/// none of the first secrets is usable.
fn set_up(delivery: &Delivery<'_>) -> Option<(Verifier, Standings)> {
    let mut standings = Standings::default();
    let (values, secrets) = usable(0, &delivery.secrets);
    standings.rotate(0, values, 0, 0);
    let verifier = secrets.into_iter().fold(None, |verifier, secret| {
        Some(match verifier {
            None => Verifier::new(secret),
            Some(verifier) => Verifier::with_secret(verifier, secret),
        })
    })?;
    let verifier = match delivery.tolerance {
        Some(tolerance) => tolerance.set(verifier),
        None => verifier.without_age_check(),
    };
    for (round, rotation) in (1..).zip(&delivery.rotations) {
        let (values, secrets) = usable(round, &rotation.secrets);
        let at = rotation.at(delivery.now());
        let overlap = rotation.overlap(delivery.now());
        let result = verifier.rotate_at(secrets, overlap, at.system_time());
        match values.is_empty() {
            true => assert_eq!(result.unwrap_err().fault(), SecretFault::NoneGiven),
            false => result.expect("a rotation to something works"),
        }
        standings.rotate(round, values, at.nanos(), overlap.as_nanos());
    }
    let (values, secrets) = usable(reference::LATE, delivery.late.as_slice());
    let verifier = secrets.into_iter().fold(verifier, Verifier::with_secret);
    standings.add(reference::LATE, values);
    Some((verifier, standings))
}

/// Those that set-up takes, named after the round and their place in it.
fn usable(round: usize, secrets: &[Secret<'_>]) -> (Vec<String>, Vec<SigningSecret>) {
    let taken = secrets.iter().filter_map(|secret| {
        let value = secret.value();
        let taken = SigningSecret::new(&*value).ok()?;
        assert!(!reference::must_be_refused(&value), "{value:?}");
        Some((value, taken))
    });
    let named = taken.enumerate().map(|(place, (value, secret))| {
        let name = reference::name(round, place);
        (value, secret.named(name))
    });
    named.unzip()
}
