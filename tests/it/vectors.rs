//! The signature vectors: one case a line, made by other implementations. `tests/vectors/README.md`
//! says how.

use std::time::{Duration, UNIX_EPOCH};

use axum_stripe_webhook::{SigningSecret, Verifier, VerifyError};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    secret: Vec<String>,
    payload_b64: String,
    header: Option<String>,
    /// Instead of `header`, where that is no text.
    header_b64: Option<String>,
    now: u64,
    #[serde(default)]
    now_subsec_ms: u64,
    /// `None`: the age check is switched off.
    tolerance_s: Option<u64>,
    expect: String,
    /// Which fault of a malformed header.
    detail: Option<String>,
    alt: Vec<String>,
}

impl Case {
    fn outcome(&self) -> (&'static str, Option<String>) {
        let Ok(verifier) = self.verifier() else {
            return ("secret_refused", None);
        };
        let body = BASE64_STANDARD.decode(&self.payload_b64).unwrap();
        let header = match &self.header_b64 {
            Some(bytes) => BASE64_STANDARD.decode(bytes).unwrap(),
            None => self.header.clone().unwrap_or_default().into_bytes(),
        };
        let now =
            UNIX_EPOCH + Duration::from_secs(self.now) + Duration::from_millis(self.now_subsec_ms);
        match verifier.verify(body.into(), &header, now) {
            Ok(_) => ("ok", None),
            Err(VerifyError::MalformedHeader(fault)) => {
                ("malformed_header", Some(format!("{fault:?}")))
            }
            Err(error) => (error.code(), None),
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

fn cases(lines: &str) -> Vec<Case> {
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

/// Only where set-up must refuse a secret is another outcome than the first choice acceptable.
fn assert_outcomes(cases: &[Case]) {
    let is_wrong = |case: &Case, (outcome, fault): &(&str, Option<String>)| {
        let refused = *outcome == "secret_refused" && case.alt.iter().any(|alt| alt == outcome);
        let other_fault = case.detail.is_some() && case.detail != *fault;
        !refused && (case.expect != *outcome || other_fault)
    };
    let wrong: Vec<_> = cases
        .iter()
        .map(|case| (case, case.outcome()))
        .filter(|(case, outcome)| is_wrong(case, outcome))
        .map(|(case, outcome)| {
            let (expect, detail) = (&case.expect, &case.detail);
            format!("{}: {outcome:?}, not {expect} {detail:?}", case.name)
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn all_112_vectors_have_the_expected_outcome() {
    let cases = cases(include_str!("../vectors/signature.jsonl"));
    assert_eq!(cases.len(), 112);
    assert_outcomes(&cases);
}

#[test]
fn all_300_vectors_made_by_stripes_sdks_have_the_expected_outcome() {
    let cases = cases(include_str!("../vectors/sdk.jsonl"));
    assert_eq!(cases.len(), 300);
    assert!(
        cases
            .iter()
            .all(|case| case.expect != "malformed_header" || case.detail.is_some())
    );
    assert_outcomes(&cases);
}
