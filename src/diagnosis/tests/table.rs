use super::*;
use crate::signature::SecretFault;

#[test]
fn the_table_in_the_docs_says_what_the_code_does() {
    let rows: Vec<_> = include_str!("../mod.rs")
        .lines()
        .filter(|line| line.starts_with("//! | `"))
        .map(str::to_owned)
        .collect();
    let row = |finding: &Finding| {
        let (code, what, _) = finding.texts();
        let undone = if finding.is_tried() { "yes" } else { "no" };
        format!("//! | `{code}` | {what} | {undone} |")
    };
    let expected: Vec<_> = every_finding().iter().map(row).collect();
    assert_eq!(rows, expected);
}

fn every_finding() -> Vec<Finding> {
    let refused = |header: &str, now| {
        let diagnosis = diagnose(BODY.as_bytes(), header.as_bytes(), SECRETS, now);
        diagnosis.findings[0].clone()
    };
    let (header, day) = (sign(BODY), Duration::from_secs(86_400));
    let name = String::new();
    let secret = |flaw| Finding::Secret {
        name: "MAIN".into(),
        flaw,
        proven: false,
    };
    let in_header = |flaw| Finding::Header {
        flaw,
        proven: false,
    };
    let in_body = |flaw| Finding::Body {
        flaw,
        proven: false,
    };
    let mut findings = vec![
        Finding::Genuine { name },
        refused("", now()),
        refused("t", now()),
        refused("t=1", now()),
        refused("t=1,v1=a", now()),
        refused(&header, now() + day),
        refused(&header, now() - day),
        Finding::Unexplained,
        Finding::BodyTooLarge { bytes: 0 },
        Finding::NoSecret,
    ];
    findings.extend(
        [
            SecretFlaw::Unusable(SecretFault::Blank),
            SecretFlaw::Whitespace,
            SecretFlaw::Quoted,
            SecretFlaw::Invisible,
            SecretFlaw::PrefixMissing,
            SecretFlaw::Decoded,
            SecretFlaw::NotFirst,
        ]
        .map(secret),
    );
    findings.extend(
        [
            HeaderFlaw::NameIncluded,
            HeaderFlaw::Escaped,
            HeaderFlaw::Quoted,
            HeaderFlaw::Semicolons,
            HeaderFlaw::UpperCase,
            HeaderFlaw::Joined,
            HeaderFlaw::SignatureForm,
        ]
        .map(in_header),
    );
    findings.extend(
        [
            BodyFlaw::Empty,
            BodyFlaw::Compressed,
            BodyFlaw::CloudEnvelope,
            BodyFlaw::Replaced,
            BodyFlaw::Truncated,
            BodyFlaw::NotObject,
            BodyFlaw::Reserialised,
            BodyFlaw::Reformatted,
            BodyFlaw::Reescaped,
            BodyFlaw::ByteOrderMark,
            BodyFlaw::CrLf,
            BodyFlaw::EndAdded,
            BodyFlaw::EndRemoved,
            BodyFlaw::Mojibake,
            BodyFlaw::Latin1,
            BodyFlaw::Utf16,
            BodyFlaw::Base64,
            BodyFlaw::JsonString,
            BodyFlaw::PercentEncoded,
            BodyFlaw::ProxyEvent,
        ]
        .map(in_body),
    );
    findings
}
