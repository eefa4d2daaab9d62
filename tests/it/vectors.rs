//! The signature vectors: one case a line, made by another implementation.

use std::time::{Duration, UNIX_EPOCH};

use axum_stripe_webhook::{SigningSecret, Verifier};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    secret: Vec<String>,
    payload_b64: String,
    header: Option<String>,
    now: u64,
    #[serde(default)]
    now_subsec_ms: u64,
    /// `None`: the age check is switched off.
    tolerance_s: Option<u64>,
    expect: String,
    alt: Vec<String>,
}

impl Case {
    fn outcome(&self) -> &'static str {
        let Ok(verifier) = self.verifier() else {
            return "secret_refused";
        };
        let body = BASE64_STANDARD.decode(&self.payload_b64).unwrap();
        let header = self.header.as_deref().unwrap_or_default();
        let now =
            UNIX_EPOCH + Duration::from_secs(self.now) + Duration::from_millis(self.now_subsec_ms);
        match verifier.verify(body.into(), header.as_bytes(), now) {
            Ok(_) => "ok",
            Err(error) => error.code(),
        }
    }

    fn verifier(&self) -> Result<Verifier, ()> {
        let mut secrets = self.secret.iter().map(SigningSecret::new);
        let first = secrets.next().ok_or(())?.map_err(|_| ())?;
        let verifier = secrets.try_fold(Verifier::new(first), |verifier, secret| {
            Ok(verifier.with_secret(secret.map_err(|_| ())?))
        })?;
        Ok(match self.tolerance_s {
            Some(seconds) => verifier.with_tolerance(Duration::from_secs(seconds)),
            None => verifier.without_age_check(),
        })
    }
}

#[test]
fn all_112_vectors_have_the_expected_outcome() {
    let cases: Vec<Case> = include_str!("../vectors/signature.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    assert_eq!(cases.len(), 112);
    // Only where set-up must refuse a secret is another outcome than the first choice acceptable.
    let wrong: Vec<_> = cases
        .iter()
        .map(|case| (case, case.outcome()))
        .filter(|(case, outcome)| {
            let refused = *outcome == "secret_refused" && case.alt.iter().any(|alt| alt == outcome);
            case.expect != *outcome && !refused
        })
        .map(|(case, outcome)| format!("{}: {outcome}, not {}", case.name, case.expect))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
