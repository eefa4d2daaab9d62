//! Attacks an endpoint of one's own as a forger would, then delivers to it as Stripe would, and says
//! what is wrong with it (feature `probe`). Over HTTP: whatever server it is, in whatever language.
//!
//! - **It causes real effects.** What is genuinely signed is processed: orders are fulfilled, mails are
//!   sent, and so they are by forgeries if the endpoint is broken. Aim it at a test deployment, with a
//!   database and a secret of its own.
//! - **It may take the server down**: that is one of the things it finds out. So it takes an endpoint on
//!   another machine only if the caller [declares](Ownership::Declared) it to be their own.
//! - **It runs for a minute or two**, most of which it waits: for the count to settle, and for a slow
//!   body to be given up.
//! - What nobody can see from outside it does not see. Without [`Probe::count`] a doubled effect looks
//!   like any other 200; without [`Probe::secret`] only a stranger's forgeries are tried.
//!
//! 1. A genuine delivery, if there is a secret. If it is refused, what only somebody with a recorded
//!    delivery could forge is left out: its refusal would show nothing. If it is accepted in another layout
//!    alone, everything else has that layout.
//! 2. Its duplicates.
//! 3. Forgeries. 2xx is a finding, and so are 5xx and no answer at all; 3xx
//!    and 4xx are right. If a wrong signature is accepted, that is one finding, with the others in it.
//! 4. Whatever else Stripe may deliver, and copies at once.
//! 5. A body that is too slow, and one that is too large.
//!
//! ```
//! use std::future::IntoFuture;
//!
//! use axum::{Router, http::StatusCode, routing::post};
//! use axum_stripe_webhook::probe::{Ownership, Probe, Severity, Target};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // It believes whatever comes.
//! let app = Router::new().route("/hook", post(async || StatusCode::OK));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let url = format!("http://{}/hook", listener.local_addr()?);
//! tokio::spawn(axum::serve(listener, app).into_future());
//!
//! let target = Target::resolve(&url, Ownership::LoopbackOnly).await?;
//! let probe = Probe::new(target).secret("whsec_of_the_test_deployment")?;
//! let report = probe.run(|_title, _done, _total| {}).await?;
//!
//! assert_eq!(report.worst(), Some(Severity::Critical));
//! let codes: Vec<_> = report.findings().iter().map(|finding| finding.code).collect();
//! assert_eq!(codes, ["not_verified"]);
//! # Ok(())
//! # }
//! ```
//!
//! # Checks
//!
//! | code | severity | needs | found if |
//! |---|---|---|---|
//! | `no_tls` | high |  | deliveries travel unencrypted |
//! | `not_verified` | critical |  | nothing is verified |
//! | `unsigned_accepted` | critical |  | what has no signature is accepted |
//! | `wrong_secret_accepted` | critical |  | any signature is accepted |
//! | `guessable_secret` | critical |  | a signature with a key that anybody would guess is accepted |
//! | `garbage_accepted` | high |  | garbage that nobody has signed is accepted |
//! | `forgery_breaks_server` | medium |  | a forgery is answered with a server error, or not at all |
//! | `parsed_before_verified` | medium |  | the body is parsed before it is verified |
//! | `echoes_input` | low |  | an answer repeats what was sent |
//! | `forgery_had_effect` | critical | count | a forgery that is refused has effects all the same |
//! | `server_died` | critical |  | the server no longer answers |
//! | `oversized_taken` | medium |  | a body of any size is taken in full |
//! | `slow_body_held` | medium |  | a body that does not arrive is waited for |
//! | `v0_accepted` | high | secret | a signature of another scheme than v1 is accepted |
//! | `stale_accepted` | high | secret | an old signature is accepted |
//! | `future_accepted` | medium | secret | a signature from the future is accepted |
//! | `other_body_accepted` | critical | secret | the signature of one body is accepted on another |
//! | `changed_body_accepted` | critical | secret | a body is accepted although it was changed |
//! | `changed_signature_accepted` | critical | secret | a signature is accepted although it was changed or cut short |
//! | `changed_timestamp_accepted` | critical | secret | a timestamp is accepted although it was changed |
//! | `two_headers_accepted` | low | secret | a delivery with two signature headers is accepted, one of them forged |
//! | `query_signature_accepted` | medium | secret | a signature in the query string is accepted |
//! | `underscore_header_accepted` | low | secret | a signature in a header called Stripe_Signature is accepted |
//! | `genuine_refused` | critical | secret | a genuine delivery is refused |
//! | `body_reserialised` | critical | secret | the body is written again before it is verified |
//! | `slow_answer` | medium | secret | an answer takes more than ten seconds |
//! | `duplicate_refused` | medium | secret | a duplicate is refused |
//! | `doubled` | critical | secret, count | a duplicate has its effects again |
//! | `unknown_type_refused` | high | secret | a type of event that is not known is refused |
//! | `rolled_secret_refused` | high | secret | a delivery with two signatures is refused, one of which fits |
//! | `new_version_refused` | high | secret | an event of an unknown API version, or with unknown fields, is refused |
//! | `large_refused` | medium | secret | a large event is refused |
//! | `clock_too_strict` | low | secret | a signature of four minutes ago is refused |
//! | `test_event_refused` | low | secret | the Dashboard's test event is refused |
//! | `thin_refused` | low | secret | a thin event is refused |
//! | `copies_fail` | medium | secret | copies of an event at the same time fail |
//! | `doubled_in_parallel` | critical | secret, count | copies at the same time have their effects more than once |
//!
//! # As JSON
//!
//! [`Report`] is serialised as `{"target", "findings", "passed", "not_checked"}`. A finding has `code`,
//! `severity` (`low`, `medium`, `high` or `critical`), `title`, `sent`, `answered`, `why` and `remedy`,
//! all of them texts, and `details`, a list of texts. `passed` is a list of codes, and an entry of
//! `not_checked` has `code` and `reason`. Every code of [`CHECKS`] stands in exactly one of the three.
//!
//! No text holds a secret or a signature, or more than 80 characters of an answer.

mod check;
mod client;
mod deliveries;
mod delivery;
mod display;
mod effects;
mod events;
mod forgeries;
mod parsing;
mod pressure;
mod report;
mod run;
mod settings;
mod severity;
mod signer;
mod target;
mod trials;

pub use check::{CHECKS, Check, Needs};
pub use client::{ANSWER_BODY_TIME_MAX, ANSWER_BYTES_MAX, SendError};
pub use effects::CountError;
pub use report::{Finding, NotChecked, Report};
pub use settings::{
    COPIES_DEFAULT, COPIES_MAX, OVERSIZED_BYTES_DEFAULT, OVERSIZED_BYTES_MIN, Probe, ProbeError,
    SETTLE_TIME_DEFAULT, SETTLE_TIME_MAX, SLOW_TIME_DEFAULT, SLOW_TIME_MIN, UnknownCheck,
};
pub use severity::{Severity, UnknownSeverity};
pub use target::{ANSWER_TIME_MAX_DEFAULT, CONNECT_TIME_MAX, Ownership, Target, TargetError};

#[cfg(test)]
mod tests {
    use super::{CHECKS, Needs};

    #[test]
    fn the_documented_checks_are_those_of_the_code() {
        let documented: Vec<_> = include_str!("mod.rs")
            .lines()
            .filter(|line| line.starts_with("//! | `"))
            .collect();
        let row = |needs: Needs| match needs {
            Needs::Nothing => "",
            Needs::Secret => "secret",
            Needs::Count => "count",
            Needs::SecretAndCount => "secret, count",
        };
        let checks = CHECKS.iter().map(|check| {
            let (code, severity, title) = (check.code, check.severity, check.title);
            format!(
                "//! | `{code}` | {severity} | {} | {title} |",
                row(check.needs)
            )
        });
        assert_eq!(documented, checks.collect::<Vec<_>>());
    }

    #[test]
    fn codes_are_unique_and_texts_whole() {
        let codes: std::collections::BTreeSet<_> = CHECKS.iter().map(|check| check.code).collect();
        assert_eq!(codes.len(), CHECKS.len());
        for check in CHECKS {
            let is_snake_case = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
            assert!(check.code.bytes().all(is_snake_case), "{}", check.code);
            for text in [check.title, check.why, check.remedy] {
                assert!(!text.is_empty() && !text.ends_with('.'), "{text}");
            }
        }
    }
}
