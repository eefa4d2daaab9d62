use super::{
    check::{
        Check, ECHOES_INPUT, FORGERY_BREAKS_SERVER, FORGERY_HAD_EFFECT, NOT_VERIFIED,
        PARSED_BEFORE_VERIFIED, QUERY_SIGNATURE_ACCEPTED, UNDERSCORE_HEADER_ACCEPTED,
        UNSIGNED_ACCEPTED, WRONG_SECRET_ACCEPTED,
    },
    delivery::{Attempt, Outcome},
    report::Book,
};

pub(super) const THROTTLED: &str = "the endpoint throttles, so its answers show nothing";

/// What has become of the forgeries, until all are known: one cause can show in many of them.
#[derive(Default)]
pub(super) struct Trials {
    looked: Vec<&'static Check>,
    /// What is being looked at.
    current: Option<&'static Check>,
    /// Whether one was not looked at.
    is_throttled: bool,
    accepted: Vec<Trial>,
    broken: Vec<Trial>,
    echoed: Vec<Trial>,
    /// Effects that were seen before any forgery was accepted, and after.
    refused_moved: u64,
    accepted_moved: u64,
}

struct Trial {
    check: &'static Check,
    sent: String,
    answered: String,
}

impl Trials {
    pub(super) fn begin(&mut self, check: &'static Check) {
        self.looked.push(check);
        self.current = Some(check);
    }

    pub(super) fn end(&mut self) {
        self.current = None;
    }

    pub(super) fn note(
        &mut self,
        check: &'static Check,
        attempt: &Attempt,
        outcome: &Outcome,
        answered: String,
        marker: &str,
    ) {
        let trial = |answered: &str| Trial {
            check,
            sent: attempt.what.to_string(),
            answered: answered.to_owned(),
        };
        let body = outcome.body().map(|body| String::from_utf8_lossy(body));
        if body.is_some_and(|body| body.contains(marker)) {
            self.echoed.push(trial(&answered));
        }
        self.is_throttled |= outcome.is_throttled();
        let is_cut_off = attempt.may_be_cut_off && matches!(outcome, Outcome::Closed);
        if outcome.is_success() {
            self.accepted.push(trial(&answered));
        } else if outcome.is_broken() && !is_cut_off {
            self.broken.push(trial(&answered));
        }
    }

    /// The count has moved. What comes late after an accepted forgery is taken for its effect.
    pub(super) fn moved(&mut self, by: u64) {
        match self.accepted.is_empty() {
            true => self.refused_moved += by,
            false => self.accepted_moved += by,
        }
    }

    /// Writes down what follows from all of them.
    pub(super) fn conclude(mut self, book: &mut Book) {
        if self.looked.is_empty() {
            return;
        }
        if let Some(check) = self.current {
            book.not_checked(check, "the server died of it");
        }
        for (check, trials) in [
            (&FORGERY_BREAKS_SERVER, std::mem::take(&mut self.broken)),
            (&ECHOES_INPUT, std::mem::take(&mut self.echoed)),
        ] {
            book.passed(check);
            write(book, check, &trials, Vec::new());
        }
        if self.refused_moved > 0 {
            let told = format!("the count of effects moved by {}", self.refused_moved);
            book.found(
                &FORGERY_HAD_EFFECT,
                "forgeries, of which none was accepted",
                told,
                Vec::new(),
            );
        } else if !self.accepted.is_empty() {
            book.not_checked(
                &FORGERY_HAD_EFFECT,
                "forgeries are accepted, effects and all",
            );
        }
        if self.is_accepted(&WRONG_SECRET_ACCEPTED) {
            self.conclude_unverified(book);
        } else {
            self.conclude_each(book);
        }
    }

    fn is_accepted(&self, check: &Check) -> bool {
        self.accepted.iter().any(|trial| trial.check.is(check))
    }

    /// If any signature does, all else that is accepted has the same cause.
    fn conclude_unverified(self, book: &mut Book) {
        let is_unsigned_accepted = self.is_accepted(&UNSIGNED_ACCEPTED);
        let lead = match is_unsigned_accepted {
            true => &NOT_VERIFIED,
            false => &WRONG_SECRET_ACCEPTED,
        };
        let effects = self.effects();
        write(book, lead, &self.accepted, effects);
        let folded = self.looked.iter().copied();
        for check in folded.chain([&NOT_VERIFIED, &PARSED_BEFORE_VERIFIED]) {
            if !is_unsigned_accepted && check.is(&UNSIGNED_ACCEPTED) {
                book.passed(check);
            } else if !check.is(lead) {
                book.not_checked(check, "signatures are not verified, so it shows nothing");
            }
        }
    }

    fn conclude_each(self, book: &mut Book) {
        let mut effects = self.effects();
        let is_unsigned_accepted = self.is_accepted(&UNSIGNED_ACCEPTED);
        for check in &self.looked {
            let has_no_header =
                check.is(&QUERY_SIGNATURE_ACCEPTED) || check.is(&UNDERSCORE_HEADER_ACCEPTED);
            if has_no_header && is_unsigned_accepted {
                book.not_checked(
                    check,
                    "what has no signature is accepted, so it shows nothing",
                );
                continue;
            }
            self.refused(book, check);
            if check.is(&WRONG_SECRET_ACCEPTED) {
                self.refused(book, &NOT_VERIFIED);
            }
            let trials = self.accepted.iter().filter(|trial| trial.check.is(check));
            let trials: Vec<_> = trials.collect();
            if !trials.is_empty() {
                let details = std::mem::take(&mut effects);
                write_all(book, check, &trials, details);
            }
        }
    }

    /// Unless it is found yet.
    fn refused(&self, book: &mut Book, check: &'static Check) {
        match self.is_throttled {
            true => book.not_checked(check, THROTTLED),
            false => book.passed(check),
        }
    }

    fn effects(&self) -> Vec<String> {
        let moved = (self.accepted_moved > 0)
            .then(|| format!("the count of effects moved by {}", self.accepted_moved));
        moved.into_iter().collect()
    }
}

fn write(book: &mut Book, check: &'static Check, trials: &[Trial], details: Vec<String>) {
    let trials: Vec<_> = trials.iter().collect();
    write_all(book, check, &trials, details);
}

/// The first with what is to be said of all, the others as details, each once.
fn write_all(book: &mut Book, check: &'static Check, trials: &[&Trial], mut details: Vec<String>) {
    let [first, others @ ..] = trials else {
        return;
    };
    let mut told = vec![&first.sent];
    for trial in others {
        if !told.contains(&&trial.sent) {
            told.push(&trial.sent);
            details.push(format!("{}: {}", trial.sent, trial.answered));
        }
    }
    book.found(check, &first.sent, first.answered.clone(), details);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::StatusCode;

    use super::*;
    use crate::probe::Report;

    fn answered(statuses: &[StatusCode]) -> Report {
        let mut trials = Trials::default();
        trials.begin(&WRONG_SECRET_ACCEPTED);
        for status in statuses {
            let outcome = Outcome::Answered {
                status: *status,
                body: Bytes::new(),
                took: Duration::ZERO,
            };
            let attempt = Attempt::new("a forgery", Bytes::new());
            let told = outcome.told(None);
            trials.note(&WRONG_SECRET_ACCEPTED, &attempt, &outcome, told, "marker");
        }
        trials.end();
        let mut book = Book::default();
        trials.conclude(&mut book);
        book.close(String::new(), "nobody has looked")
    }

    #[test]
    fn what_is_throttled_is_not_refused() {
        let codes = ["not_verified", "wrong_secret_accepted"];
        let refused = answered(&[StatusCode::BAD_REQUEST]);
        assert!(codes.iter().all(|code| refused.passed().contains(code)));
        let throttled = answered(&[StatusCode::BAD_REQUEST, StatusCode::TOO_MANY_REQUESTS]);
        for code in codes {
            let mut not_checked = throttled.not_checked().iter();
            let entry = not_checked.find(|entry| entry.code == code);
            assert_eq!(entry.map(|entry| entry.reason), Some(THROTTLED));
        }
    }

    #[test]
    fn one_that_is_accepted_is_found_whatever_the_others_say() {
        let report = answered(&[StatusCode::BAD_REQUEST, StatusCode::OK]);
        let [finding] = report.findings() else {
            panic!("one finding")
        };
        assert_eq!(finding.code, "wrong_secret_accepted");
    }
}
