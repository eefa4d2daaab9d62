use std::time::SystemTime;

use bytes::Bytes;

use super::{
    body,
    finding::Finding,
    flaw::{BodyFlaw, HeaderFlaw, SecretFlaw},
    header,
    secret::{self, Key},
};
use crate::signature::{SignatureHeader, SigningSecret, VerifyError};

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
    header: &'a [u8],
    secrets: &'a [(&'a str, &'a str)],
    keys: Vec<Key>,
    bodies: Vec<Body>,
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
        Self {
            now,
            header,
            secrets,
            keys: Key::all(secrets),
            bodies: body::repaired(body),
            headers,
        }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let verdict = self.verdict();
        let mut reasons = match verdict {
            Some(
                Finding::Genuine { .. }
                | Finding::Refused(VerifyError::TimestampOutOfTolerance { .. }),
            ) => Vec::new(),
            _ => self.fit().unwrap_or_else(|| self.suspicions()),
        };
        if let Some(Finding::Refused(VerifyError::SignatureMismatch { .. })) = verdict
            && reasons.is_empty()
        {
            reasons.push(Finding::Unexplained);
        }
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
        let (body, header) = (self.bodies.first()?, self.headers.first()?);
        let name = self.name(expected.index);
        let result = expected.verify(&body.value, &header.value, self.now);
        Some(result.map_or_else(Finding::Refused, |()| Finding::Genuine { name }))
    }

    /// What has to be undone for the signature to fit.
    fn fit(&self) -> Option<Vec<Finding>> {
        if !self.is_tried() {
            return None;
        }
        let guesses = self.bodies.last().into_iter().flat_map(body::guesses);
        let mut bodies = self.bodies.iter().cloned().chain(guesses);
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
        let mut findings = flaws(header, body, true);
        let different = (key.index > 0).then_some(SecretFlaw::NotFirst);
        let of_secret = key.undone.iter().copied().chain(different);
        findings.extend(of_secret.map(|flaw| self.of_secret(key.index, flaw, true)));
        let error = key.verify(&body.value, &header.value, self.now).err();
        findings.extend(error.map(Finding::Refused));
        findings
    }

    /// Only of the body as it is: who signs so is not Stripe, nor lays bodies out as Stripe does.
    fn fit_of_decoded(&self) -> Option<Vec<Finding>> {
        let (body, header) = (self.bodies.first()?, self.headers.first()?);
        let index = self
            .secrets
            .iter()
            .position(|(_, value)| secret::fits_decoded(value, &body.value, &header.value))?;
        Some(vec![self.of_secret(index, SecretFlaw::Decoded, true)])
    }

    /// What looks wrong, though undoing it does not help or is not possible.
    fn suspicions(&self) -> Vec<Finding> {
        let body = self.bodies.last().filter(|_| self.is_tried());
        let header = self.headers.last().filter(|_| self.is_tried());
        let mut findings = Vec::new();
        if let (Some(body), Some(header)) = (body, header) {
            findings = flaws(header, body, false);
            let fitting = SignatureHeader::parse(&header.value).map(|header| header.macs().count());
            findings.extend((fitting == Ok(0)).then_some(Finding::Header {
                flaw: HeaderFlaw::SignatureForm,
                proven: false,
            }));
            let keys = self.keys.iter().filter(|key| key.undone.is_empty());
            findings.extend(keys.filter_map(|key| {
                let (_, value) = self.secrets.get(key.index)?;
                secret::lacks_prefix(value)
                    .then(|| self.of_secret(key.index, SecretFlaw::PrefixMissing, false))
            }));
        }
        let irreparable = self
            .bodies
            .last()
            .and_then(|body| body::irreparable(&body.value));
        // Without a signature to try, only what explains that there is none.
        let told = |flaw: &BodyFlaw| self.is_tried() || *flaw == BodyFlaw::CloudEnvelope;
        findings.extend(irreparable.filter(told).map(|flaw| Finding::Body {
            flaw,
            proven: false,
        }));
        findings
    }

    /// The secrets that set-up refuses, unless a reason says more about them.
    fn unusable(&self, reasons: &[Finding]) -> Vec<Finding> {
        if self.secrets.is_empty() {
            return vec![Finding::NoSecret];
        }
        let faults = self
            .secrets
            .iter()
            .enumerate()
            .filter_map(|(index, (_, value))| {
                let fault = SigningSecret::new(*value).err()?.fault();
                Some(self.of_secret(index, SecretFlaw::Unusable(fault), false))
            });
        let told = |fault: &Finding| {
            reasons
                .iter()
                .any(|reason| reason.secret_name() == fault.secret_name())
        };
        faults.filter(|fault| !told(fault)).collect()
    }

    fn is_tried(&self) -> bool {
        !self.keys.is_empty() && !self.headers.is_empty()
    }

    fn of_secret(&self, index: usize, flaw: SecretFlaw, proven: bool) -> Finding {
        let name = self.name(index);
        Finding::Secret { name, flaw, proven }
    }

    /// The name of a secret on one line, or its number where the name would show a value.
    fn name(&self, index: usize) -> String {
        let name = self.secrets.get(index).map_or("", |(name, _)| name.trim());
        let shows = |value: &str| !value.is_empty() && name.contains(value);
        let is_secret =
            shows("whsec_") || self.secrets.iter().any(|(_, value)| shows(value.trim()));
        match name.is_empty() || is_secret {
            true => format!("secret {}", index + 1),
            false => name.escape_debug().to_string(),
        }
    }
}

fn flaws(header: &Header, body: &Body, proven: bool) -> Vec<Finding> {
    let of_header = header.undone.iter().map(|flaw| Finding::Header {
        flaw: *flaw,
        proven,
    });
    let of_body = body.undone.iter().map(|flaw| Finding::Body {
        flaw: *flaw,
        proven,
    });
    of_header.chain(of_body).collect()
}
