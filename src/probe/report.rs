use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    check::{CHECKS, Check},
    severity::Severity,
};

/// Most details of one finding, beside a line that says how many more there are.
const DETAILS_MAX: usize = 20;

/// What a probe has found. `Display` is for people; as JSON it has the fields that the
/// [module's documentation](super) lists.
///
/// Neither shows a secret or a signature. Each code of [`CHECKS`] stands in exactly one of
/// [`findings`](Self::findings), [`passed`](Self::passed) and [`not_checked`](Self::not_checked).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    target: String,
    findings: Vec<Finding>,
    passed: Vec<&'static str>,
    not_checked: Vec<NotChecked>,
}

/// Something that is wrong with the endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The name of the check.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is the case.
    pub title: &'static str,
    /// What was sent.
    pub sent: String,
    /// What came back: status and time, and at most 80 characters of text.
    pub answered: String,
    /// What comes of it.
    pub why: &'static str,
    /// What to do.
    pub remedy: &'static str,
    /// What else was seen.
    pub details: Vec<String>,
}

/// A check that was not made, and so says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NotChecked {
    /// The name of the check.
    pub code: &'static str,
    /// Why not.
    pub reason: &'static str,
}

impl Report {
    /// The endpoint's URL, without its query.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// What is wrong, the worst first.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The codes of what is in order.
    #[must_use]
    pub fn passed(&self) -> &[&'static str] {
        &self.passed
    }

    /// What nothing is known of.
    #[must_use]
    pub fn not_checked(&self) -> &[NotChecked] {
        &self.not_checked
    }

    /// How bad the worst finding is; `None` if there is none.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }
}

/// What is known so far.
#[derive(Default)]
pub(super) struct Book {
    skipped: Vec<&'static str>,
    findings: BTreeMap<&'static str, Finding>,
    passed: Vec<&'static str>,
    not_checked: BTreeMap<&'static str, &'static str>,
}

impl Book {
    pub(super) fn skipping(skipped: &[&'static str]) -> Self {
        Self {
            skipped: skipped.to_vec(),
            ..Self::default()
        }
    }

    pub(super) fn is_skipped(&self, check: &Check) -> bool {
        self.skipped.contains(&check.code)
    }

    /// Only the first counts; what comes later adds a detail.
    pub(super) fn found(
        &mut self,
        check: &'static Check,
        sent: &str,
        answered: String,
        details: Vec<String>,
    ) {
        if self.is_skipped(check) {
            return;
        }
        match self.findings.get_mut(check.code) {
            Some(finding) => finding.details.push(format!("{sent}: {answered}")),
            None => {
                let finding = Finding {
                    code: check.code,
                    severity: check.severity,
                    title: check.title,
                    sent: sent.to_owned(),
                    answered,
                    why: check.why,
                    remedy: check.remedy,
                    details,
                };
                self.findings.insert(check.code, finding);
            }
        }
    }

    /// It was looked at, and nothing was found, unless it is found later.
    pub(super) fn passed(&mut self, check: &'static Check) {
        self.passed.push(check.code);
    }

    pub(super) fn not_checked(&mut self, check: &'static Check, reason: &'static str) {
        self.not_checked.entry(check.code).or_insert(reason);
    }

    /// Why it was not looked at, if it was not.
    pub(super) fn missing(&mut self, check: &'static Check, reason: &'static str) {
        if !self.passed.contains(&check.code) {
            self.not_checked(check, reason);
        }
    }

    /// For whatever nobody has looked at.
    pub(super) fn close(mut self, target: String, reason: &'static str) -> Report {
        let mut not_checked = Vec::new();
        let mut passed = Vec::new();
        for check in CHECKS {
            let code = check.code;
            let explicit = self.not_checked.get(code).copied();
            if self.findings.contains_key(code) {
            } else if self.skipped.contains(&code) {
                let reason = "it was to be skipped";
                not_checked.push(NotChecked { code, reason });
            } else if explicit.is_none() && self.passed.contains(&code) {
                passed.push(code);
            } else {
                let reason = explicit.unwrap_or(reason);
                not_checked.push(NotChecked { code, reason });
            }
        }
        let mut findings: Vec<_> = std::mem::take(&mut self.findings).into_values().collect();
        findings.iter_mut().for_each(shorten);
        findings.sort_by_key(|finding| (std::cmp::Reverse(finding.severity), finding.code));
        Report {
            target,
            findings,
            passed,
            not_checked,
        }
    }
}

fn shorten(finding: &mut Finding) {
    let more = finding.details.len().saturating_sub(DETAILS_MAX);
    if more > 0 {
        finding.details.truncate(DETAILS_MAX);
        finding.details.push(format!("and {more} more"));
    }
}
