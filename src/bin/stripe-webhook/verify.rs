use std::{path::PathBuf, time::SystemTime};

use axum_stripe_webhook::{
    BODY_BYTES_MAX,
    diagnosis::{Evidence, Finding, diagnose},
};
use clap::Args;
use serde_json::{Value, json};

use crate::{failure::Failure, input, instant, output::Report, secret::Secrets};

/// A header is at most as long as a server takes; of one that is longer no part is worth a look.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Says whether a recorded delivery verifies, and why not
#[derive(Args)]
#[command(after_help = "\
JSON: {\"genuine\": bool, \"findings\": [{\"code\", \"text\", \"evidence\": \"proven|refuted|seen\" or null}]}
Exit 0 if it verifies with the first secret, 1 if not.")]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    header: Header,
    /// The file with the body, byte for byte as it came; - for standard input
    #[arg(long, value_name = "FILE")]
    body: PathBuf,
    #[command(flatten)]
    secrets: Secrets,
    /// When the delivery came, in RFC 3339 or in Unix seconds; now, unless given
    #[arg(long, value_name = "INSTANT", value_parser = instant::parse)]
    received_at: Option<SystemTime>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Header {
    /// The value of the header Stripe-Signature; empty if there was none
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    header: Option<String>,
    /// The file with that value; one line end at its end does not count
    #[arg(long, value_name = "FILE")]
    header_file: Option<PathBuf>,
}

pub(crate) fn run(args: &VerifyArgs) -> Result<Report, Failure> {
    if input::is_stdin(&args.body) && args.secrets.has_stdin() {
        return Err(Failure::usage(
            "both the body and a secret are to come from standard input: give one of them in a file",
        ));
    }
    let secrets = args.secrets.read()?;
    let pairs = secrets.iter();
    let pairs: Vec<(&str, &str)> = pairs
        .map(|secret| (secret.name.as_str(), secret.value.as_str()))
        .collect();
    let header = args.header.read()?;
    let body = input::read(&args.body, BODY_BYTES_MAX)?;
    let received_at = args.received_at.unwrap_or_else(instant::now);
    let diagnosis = diagnose(&body, &header, &pairs, received_at);
    let findings: Vec<_> = diagnosis.findings().iter().map(finding).collect();
    let json = json!({"genuine": diagnosis.is_genuine(), "findings": findings});
    let text = format!("{diagnosis}\n");
    Ok(Report::answer(diagnosis.is_genuine(), text, json))
}

impl Header {
    fn read(&self) -> Result<Vec<u8>, Failure> {
        let Some(path) = &self.header_file else {
            let header = self.header.clone().unwrap_or_default();
            return Ok(header.into_bytes());
        };
        let mut header = input::read(path, HEADER_BYTES_MAX)?;
        for end in [b'\n', b'\r'] {
            if header.last() == Some(&end) {
                header.pop();
            }
        }
        Ok(header)
    }
}

fn finding(finding: &Finding) -> Value {
    let evidence = match finding {
        Finding::Secret { evidence, .. }
        | Finding::Header { evidence, .. }
        | Finding::Body { evidence, .. } => word(*evidence),
        _ => None,
    };
    json!({"code": finding.code(), "text": finding.to_string(), "evidence": evidence})
}

fn word(evidence: Evidence) -> Option<&'static str> {
    match evidence {
        Evidence::Proven => Some("proven"),
        Evidence::Refuted => Some("refuted"),
        Evidence::Seen => Some("seen"),
        _ => None,
    }
}
