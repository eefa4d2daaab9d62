use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Body;
use tokio::time::sleep;

use super::{
    check::{CHECKS, Check, NO_TLS, SERVER_DIED, SLOW_ANSWER},
    deliveries,
    delivery::{Attempt, Outcome},
    effects::Effects,
    events::Events,
    forgeries, pressure,
    report::{Book, Report},
    settings::{Probe, ProbeError},
    signer::Signer,
    target::Target,
    trials::Trials,
};

/// How often a server that does not listen is asked again: a supervisor needs a moment to restart it.
const REVIVALS_MAX: u32 = 5;

/// How long between two tries at a server that does not listen, or has asked for patience.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// How often a delivery is repeated that was answered with 429 or 503.
pub(super) const PATIENCE_MAX: u32 = 3;

/// What Checkout lets the buyer wait for.
const SLOW_ANSWER_TIME: Duration = Duration::from_secs(10);

/// The server is gone, and with it the rest of the run.
#[derive(Debug)]
pub(super) struct Died;

/// Told what is looked for, how many steps are done, and how many there are.
pub(super) type Progress<'a> = &'a mut (dyn FnMut(&str, usize, usize) + Send);

/// A run of a probe: what it has to work with, and what it knows.
pub(super) struct Run<'a> {
    pub(super) probe: &'a Probe,
    pub(super) events: Events,
    pub(super) effects: Effects,
    pub(super) book: Book,
    pub(super) trials: Trials,
    /// Whether what Stripe sends is accepted, so that a refusal says something.
    pub(super) is_open_to_stripe: bool,
    /// Whether what is not signed was never answered, so that no answer shows nothing.
    is_silent: bool,
    progress: Progress<'a>,
    steps: usize,
    steps_done: usize,
}

impl<'a> Run<'a> {
    pub(super) async fn begin(
        probe: &'a Probe,
        progress: Progress<'a>,
    ) -> Result<Self, ProbeError> {
        let target = &probe.target;
        target.reach().await.map_err(ProbeError::Unreachable)?;
        let outcome = exchange(target, unsigned().request(), target.answer_limit()).await;
        if let (Some(status), None) = (outcome.status().filter(is_nowhere), &probe.secret) {
            return Err(ProbeError::NothingThere(status));
        }
        let effects = Effects::new(probe.count.clone(), probe.settle_time);
        let effects = effects.await.map_err(ProbeError::Count)?;
        let mut run = Self::new(probe, effects, progress);
        run.is_silent = matches!(outcome, Outcome::Late(_));
        Ok(run)
    }

    fn new(probe: &'a Probe, effects: Effects, progress: Progress<'a>) -> Self {
        Self {
            probe,
            events: Events::of(&probe.sample),
            effects,
            book: Book::skipping(&probe.skipped),
            trials: Trials::default(),
            is_open_to_stripe: false,
            is_silent: false,
            progress,
            steps: steps(probe),
            steps_done: 0,
        }
    }

    pub(super) async fn finish(mut self) -> Result<Report, ProbeError> {
        self.transport();
        let reason = match self.steps().await {
            Ok(()) => "an earlier finding leaves nothing to look at",
            Err(Died) => "the server died before",
        };
        std::mem::take(&mut self.trials).conclude(&mut self.book);
        self.explain();
        (self.progress)("done", self.steps_done, self.steps_done);
        Ok(self.book.close(self.probe.target.to_string(), reason))
    }

    /// Genuine first, since a forgery that is refused by a server that refuses everything shows
    /// nothing; what may end the server last.
    async fn steps(&mut self) -> Result<(), Died> {
        if self.probe.secret.is_some()
            && let Some(accepted) = deliveries::genuine(self).await?
        {
            self.is_open_to_stripe = true;
            deliveries::duplicate(self, &accepted).await?;
        }
        forgeries::all(self).await?;
        if self.is_open_to_stripe {
            deliveries::all(self).await?;
            pressure::copies(self).await?;
        }
        self.book.passed(&SERVER_DIED);
        pressure::slow_body(self).await?;
        pressure::oversized_body(self).await
    }

    fn transport(&mut self) {
        let target = &self.probe.target;
        match target.is_open_to_the_network() {
            true => self.book.found(
                &NO_TLS,
                "nothing: it stands in the URL",
                "nothing".to_owned(),
                Vec::new(),
            ),
            false => self.book.passed(&NO_TLS),
        }
    }

    /// Says of what was not looked at what it would have needed.
    fn explain(&mut self) {
        let has_secret = self.probe.secret.is_some();
        for check in CHECKS {
            let (of_secret, of_count) = (check.needs.secret(), check.needs.count());
            if of_secret && !has_secret {
                let reason = "the endpoint's secret was not given";
                self.book.missing(check, reason);
            }
            if of_count && self.probe.count.is_none() {
                self.book.missing(check, "no count of effects was given");
            }
            if of_secret && !self.is_open_to_stripe {
                let reason = "genuine deliveries are refused, so other answers show nothing";
                self.book.missing(check, reason);
            }
        }
    }

    pub(super) fn secret(&self) -> Option<&'a str> {
        self.probe.secret.as_ref().map(|secret| secret.as_str())
    }

    /// Says what comes now, unless it is to be skipped.
    pub(super) fn begins(&mut self, check: &Check) -> bool {
        if self.book.is_skipped(check) {
            return false;
        }
        (self.progress)(
            check.title,
            self.steps_done,
            self.steps.max(self.steps_done),
        );
        self.steps_done += 1;
        true
    }

    /// How an outcome is told.
    pub(super) fn told(&self, outcome: &Outcome) -> String {
        outcome.told(self.secret())
    }

    /// Sends it once.
    pub(super) async fn send(&mut self, attempt: &Attempt) -> Result<Outcome, Died> {
        let target = &self.probe.target;
        let outcome = exchange(target, attempt.request(), target.answer_limit()).await;
        self.still_alive(&attempt.what, outcome).await
    }

    /// Delivers it as Stripe would, which comes again if it is asked for patience.
    pub(super) async fn deliver(&mut self, attempt: &Attempt) -> Result<Outcome, Died> {
        let mut outcome = self.send(attempt).await?;
        for _ in 0..PATIENCE_MAX {
            let patience = [
                StatusCode::TOO_MANY_REQUESTS,
                StatusCode::SERVICE_UNAVAILABLE,
            ];
            if !outcome
                .status()
                .is_some_and(|status| patience.contains(&status))
            {
                break;
            }
            sleep(RETRY_PAUSE).await;
            outcome = self.send(attempt).await?;
        }
        self.timed(attempt, &outcome);
        Ok(outcome)
    }

    fn timed(&mut self, attempt: &Attempt, outcome: &Outcome) {
        self.book.passed(&SLOW_ANSWER);
        if let Outcome::Answered { took, .. } | Outcome::Late(took) = outcome
            && *took > SLOW_ANSWER_TIME
        {
            let told = self.told(outcome);
            self.book
                .found(&SLOW_ANSWER, &attempt.what, told, Vec::new());
        }
    }

    /// After something that may have ended the server: whether it still answers.
    pub(super) async fn still_alive(
        &mut self,
        sent: &str,
        outcome: Outcome,
    ) -> Result<Outcome, Died> {
        let is_alive = self.is_silent || matches!(outcome, Outcome::Answered { .. });
        if is_alive || answers(&self.probe.target).await {
            return Ok(outcome);
        }
        let told = self.told(&outcome);
        let details = vec!["afterwards it answered nothing, not even an empty object".to_owned()];
        self.book.found(&SERVER_DIED, sent, told, details);
        Err(Died)
    }

    /// What can be signed now.
    pub(super) fn signer(&self) -> Signer<'_> {
        Signer::new(&self.events, self.secret().unwrap_or_default())
    }
}

/// Connections that are taken and ended count too: some servers refuse like that. One does not: the
/// system takes connections for a server that is about to be gone.
async fn answers(target: &Target) -> bool {
    let mut is_ended_before = false;
    for _ in 0..REVIVALS_MAX {
        match exchange(target, unsigned().request(), target.answer_limit()).await {
            Outcome::Answered { .. } => return true,
            Outcome::Closed if is_ended_before => return true,
            Outcome::Closed => is_ended_before = true,
            Outcome::Late(_) => return false,
            Outcome::Unreachable => sleep(RETRY_PAUSE).await,
        }
    }
    false
}

/// What every server can answer.
fn unsigned() -> Attempt {
    Attempt::new("an empty object", "{}")
}

/// What is answered where no webhook is.
fn is_nowhere(status: &StatusCode) -> bool {
    status.is_redirection() || matches!(status.as_u16(), 404 | 405)
}

/// The time is that of the answer, without the connection's.
pub(super) async fn exchange<B>(target: &Target, request: Request<B>, limit: Duration) -> Outcome
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match target.connect().await {
        Ok(connection) => Outcome::of(connection, request, limit).await,
        Err(error) => Outcome::failed(&error),
    }
}

/// How many steps a run will have, if nothing is found that leaves some out.
fn steps(probe: &Probe) -> usize {
    let all = forgeries::checks()
        .chain(deliveries::checks())
        .chain(pressure::checks());
    let is_made = |check: &&Check| {
        let has_needs = !check.needs.secret() || probe.secret.is_some();
        has_needs && !probe.skipped.contains(&check.code)
    };
    all.filter(is_made).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Ownership;

    async fn found(url: &str, took: Duration) -> Vec<&'static str> {
        let target = Target::resolve(url, Ownership::Declared).await.unwrap();
        let probe = Probe::new(target);
        let effects = Effects::new(None, Duration::ZERO).await.unwrap();
        let mut progress = |_: &str, _, _| {};
        let mut run = Run::new(&probe, effects, &mut progress);
        run.transport();
        let (status, body) = (StatusCode::OK, Bytes::new());
        let outcome = Outcome::Answered { status, body, took };
        run.timed(&Attempt::new("a delivery", Bytes::new()), &outcome);
        let report = run.book.close(String::new(), "it is a test");
        report
            .findings()
            .iter()
            .map(|finding| finding.code)
            .collect()
    }

    #[tokio::test]
    async fn deliveries_that_anybody_can_read_are_found() {
        let quick = Duration::from_secs(1);
        assert_eq!(found("http://192.0.2.1/", quick).await, ["no_tls"]);
        assert_eq!(found("http://127.0.0.1/", quick).await, [""; 0]);
    }

    #[tokio::test]
    async fn an_answer_that_a_buyer_waits_for_too_long_is_found() {
        let url = "http://127.0.0.1/";
        assert_eq!(found(url, SLOW_ANSWER_TIME).await, [""; 0]);
        let longer = SLOW_ANSWER_TIME + Duration::from_millis(1);
        assert_eq!(found(url, longer).await, ["slow_answer"]);
    }
}
