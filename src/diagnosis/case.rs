use std::time::SystemTime;

use bytes::Bytes;

use super::{
    body,
    finding::{Evidence, Finding},
    flaw::{BodyFlaw, HeaderFlaw, SecretFlaw},
    header,
    secret::{self, Key},
};
use crate::{
    event::Event,
    signature::{SignatureHeader, SigningSecret, VerifyError},
};

/// Something as it was given, or with flaws undone.
#[derive(Clone)]
pub(super) struct Repaired<T, F> {
    pub(super) value: T,
    pub(super) undone: Vec<F>,
}

impl<T, F: Copy> Repaired<T, F> {
    pub(super) fn as_given(value: T) -> Self {
        let undone = Vec::new();
        Self { value, undone }
    }

    pub(super) fn with(&self, value: T, flaw: F) -> Self {
        let undone = self.undone.iter().copied().chain([flaw]).collect();
        Self { value, undone }
    }
}

type Body = Repaired<Bytes, BodyFlaw>;
type Header = Repaired<Bytes, HeaderFlaw>;

/// A delivery with everything that is tried in its place.
pub(super) struct Case<'a> {
    now: SystemTime,
    body: Bytes,
    repairs: Vec<body::Repair>,
    header: &'a [u8],
    secrets: &'a [(&'a str, &'a str)],
    keys: Vec<Key>,
    /// Those that the verifier can read.
    headers: Vec<Header>,
}

impl<'a> Case<'a> {
    pub(super) fn new(
        body: &[u8],
        header: &'a [u8],
        secrets: &'a [(&'a str, &'a str)],
        now: SystemTime,
    ) -> Self {
        let mut headers = header::repaired(header);
        headers.retain(|header| SignatureHeader::parse(&header.value).is_ok());
        let body = Bytes::copy_from_slice(body);
        Self {
            now,
            repairs: body::repairs(&body),
            body,
            header,
            secrets,
            keys: Key::all(secrets),
            headers,
        }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let verdict = self.verdict();
        let reasons = match verdict {
            Some(Finding::Genuine { .. }) => self.not_event().into_iter().collect(),
            Some(Finding::Refused(VerifyError::TimestampOutOfTolerance { .. })) => Vec::new(),
            Some(Finding::Refused(VerifyError::SignatureMismatch { .. })) => {
                let unexplained = || self.suspicions().chain([Finding::Unexplained]).collect();
                self.fit().unwrap_or_else(unexplained)
            }
            _ => self.fit().unwrap_or_else(|| self.suspicions().collect()),
        };
        let unusable = self.unusable(&reasons);
        verdict.into_iter().chain(unusable).chain(reasons).collect()
    }

    /// What the verifier says; nothing if the first secret is none that it takes.
    fn verdict(&self) -> Option<Finding> {
        if let Err(error) = SignatureHeader::parse(self.header) {
            return Some(Finding::Refused(error));
        }
        let expected = self.keys.first()?;
        if expected.index > 0 || !expected.undone.is_empty() {
            return None;
        }
        let name = self.name(expected.index);
        let result = expected.verify(&self.body, self.header, self.now);
        Some(result.map_or_else(Finding::Refused, |()| Finding::Genuine { name }))
    }

    fn not_event(&self) -> Option<Finding> {
        let error = Event::parse(self.body.clone()).err()?;
        Some(of_body(BodyFlaw::NotEvent(error), Evidence::Seen))
    }

    /// What has to be undone for the signature to fit.
    fn fit(&self) -> Option<Vec<Finding>> {
        if !self.is_tried() {
            return None;
        }
        let repaired = |undone: &body::Repair| body::repaired(&self.body, undone);
        let last = body::last_repairs(&self.repairs).into_iter();
        let guesses = last.filter_map(repaired).flat_map(body::guesses);
        let mut bodies = self.repairs.iter().filter_map(repaired).chain(guesses);
        bodies
            .find_map(|body| self.fit_of(&body))
            .or_else(|| self.fit_of_decoded())
    }

    fn fit_of(&self, body: &Body) -> Option<Vec<Finding>> {
        self.headers.iter().find_map(|header| {
            let fits = |key: &&Key| key.fits(&body.value, &header.value);
            let key = self.keys.iter().find(fits)?;
            Some(self.proven(body, header, key))
        })
    }

    fn proven(&self, body: &Body, header: &Header, key: &Key) -> Vec<Finding> {
        let mut findings = flaws(header, body, Evidence::Proven);
        let different = (key.index > 0).then_some(SecretFlaw::NotFirst);
        let of_secret = key.undone.iter().copied().chain(different);
        findings.extend(of_secret.map(|flaw| self.of_secret(key.index, flaw, Evidence::Proven)));
        let error = key.verify(&body.value, &header.value, self.now).err();
        findings.extend(error.map(Finding::Refused));
        findings
    }

    /// Only of the body as it is: who signs so is not Stripe, nor lays bodies out as Stripe does.
    fn fit_of_decoded(&self) -> Option<Vec<Finding>> {
        let header = self.headers.first()?;
        let index = self
            .secrets
            .iter()
            .position(|(_, value)| secret::fits_decoded(value, &self.body, &header.value))?;
        Some(vec![self.of_secret(
            index,
            SecretFlaw::Decoded,
            Evidence::Proven,
        )])
    }

    /// What looks wrong, though undoing it does not help or is not possible.
    fn suspicions(&self) -> impl Iterator<Item = Finding> {
        let last = self.repairs.last();
        let body = last.and_then(|undone| body::repaired(&self.body, undone));
        let mut findings = Vec::new();
        if let (true, Some(body), Some(header)) = (self.is_tried(), &body, self.headers.last()) {
            findings = flaws(header, body, Evidence::Refuted);
            let fitting = SignatureHeader::parse(&header.value).map(|header| header.macs().count());
            let flaw = (fitting == Ok(0)).then_some(HeaderFlaw::SignatureForm);
            findings.extend(flaw.map(|flaw| of_header(flaw, Evidence::Seen)));
            findings.extend(self.suspected_secrets());
        }
        let irreparable = body.and_then(|body| body::irreparable(&body.value));
        // Without a signature to try, only what explains that there is none.
        let told = |flaw: &BodyFlaw| self.is_tried() || *flaw == BodyFlaw::CloudEnvelope;
        let irreparable = irreparable.filter(told);
        let irreparable = irreparable.map(|flaw| of_body(flaw, Evidence::Seen));
        findings.into_iter().chain(irreparable)
    }

    /// The flaws of secrets that a service starts with all the same.
    fn suspected_secrets(&self) -> impl Iterator<Item = Finding> {
        let usable = self.keys.iter().filter(|key| key.undone.is_empty());
        let last = usable.filter_map(|usable| {
            let mut keys = self.keys.iter();
            keys.rfind(|key| key.index == usable.index)
        });
        last.flat_map(|key| {
            let flaws = key.undone.iter();
            flaws.map(|flaw| self.of_secret(key.index, *flaw, Evidence::Refuted))
        })
    }

    /// The secrets that set-up refuses, unless a reason says more about them.
    fn unusable(&self, reasons: &[Finding]) -> Vec<Finding> {
        if self.secrets.is_empty() {
            return vec![Finding::NoSecret];
        }
        let is_told = |told: usize| {
            let mut reasons = reasons.iter();
            reasons.any(|reason| matches!(reason, Finding::Secret { index, .. } if *index == told))
        };
        let secrets = self.secrets.iter().enumerate();
        secrets
            .filter(|(index, _)| !is_told(*index))
            .filter_map(|(index, (_, value))| {
                let fault = SigningSecret::new(*value).err()?.fault();
                Some(self.of_secret(index, SecretFlaw::Unusable(fault), Evidence::Seen))
            })
            .collect()
    }

    fn is_tried(&self) -> bool {
        !self.keys.is_empty() && !self.headers.is_empty()
    }

    fn of_secret(&self, index: usize, flaw: SecretFlaw, evidence: Evidence) -> Finding {
        Finding::Secret {
            index,
            name: self.name(index),
            flaw,
            evidence,
        }
    }

    /// The name of a secret on one line, or its number where the name would show a value.
    fn name(&self, index: usize) -> String {
        let (name, value) = self.secrets.get(index).copied().unwrap_or_default();
        let name = name.trim();
        let shows = |(_, value): &(&str, &str)| secret::shows(name, value);
        let is_secret = self.secrets.iter().any(shows) || secret::is_swapped(name, value);
        match name.is_empty() || is_secret {
            true => format!("secret {}", index + 1),
            false => name.escape_debug().to_string(),
        }
    }
}

fn flaws(header: &Header, body: &Body, evidence: Evidence) -> Vec<Finding> {
    let in_header = header.undone.iter().map(|flaw| of_header(*flaw, evidence));
    let in_body = body.undone.iter().map(|flaw| of_body(*flaw, evidence));
    in_header.chain(in_body).collect()
}

fn of_header(flaw: HeaderFlaw, evidence: Evidence) -> Finding {
    Finding::Header { flaw, evidence }
}

fn of_body(flaw: BodyFlaw, evidence: Evidence) -> Finding {
    Finding::Body { flaw, evidence }
}
