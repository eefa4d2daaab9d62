use super::*;
use crate::signature::{HeaderFault, VerifyError};

#[test]
fn a_missing_header_says_so_and_nothing_of_the_body() {
    for header in ["", "  "] {
        assert_eq!(codes(&found(b"{}", header, SECRETS)), ["missing_header"]);
    }
}

#[test]
fn a_malformed_header_says_which_rule_it_breaks() {
    let found = found(BODY.as_bytes(), "v1=abc", SECRETS);
    assert_eq!(
        found,
        [Finding::Refused(VerifyError::MalformedHeader(
            HeaderFault::TimestampMissing
        ))]
    );
    assert!(found[0].to_string().contains("(it has no t)"));
}

#[test]
fn a_header_without_v1_says_that_other_schemes_do_not_count() {
    let header = sign(BODY).replace("v1=", "v0=");
    let found = found(BODY.as_bytes(), &header, SECRETS);
    assert_eq!(codes(&found), ["no_signature"]);
    assert!(found[0].to_string().contains("v0 is a decoy"));
}

#[test]
fn headers_that_can_be_repaired_are_proven() {
    let header = sign(BODY);
    let (t, hex) = header.split_once("v1=").unwrap();
    let url = header.replace('=', "%3D").replace(',', "%2C");
    for (damaged, flaw) in [
        (url, HeaderFlaw::Escaped),
        (header.replace('=', "&#x3D;"), HeaderFlaw::Escaped),
        (header.replace('=', "\\u003d"), HeaderFlaw::Escaped),
        (format!("\"{header}\""), HeaderFlaw::Quoted),
        (
            format!("Stripe-Signature: {header}"),
            HeaderFlaw::NameIncluded,
        ),
        (header.replace(',', ";"), HeaderFlaw::Semicolons),
        (header.to_uppercase(), HeaderFlaw::UpperCase),
        (
            format!("{t}v1={}", hex.to_uppercase()),
            HeaderFlaw::UpperCase,
        ),
        (format!("{header},{header}"), HeaderFlaw::Joined),
        (format!("t=1,v1=aa, {header}"), HeaderFlaw::Joined),
        (format!("{header}, t=1,v1=aa"), HeaderFlaw::Joined),
    ] {
        let found = found(BODY.as_bytes(), &damaged, SECRETS);
        assert!(matches!(found[0], Finding::Refused(_)), "{found:?}");
        assert_eq!(
            found[1..],
            [Finding::Header {
                flaw,
                evidence: Evidence::Proven
            }]
        );
    }
}

#[test]
fn a_header_with_a_signature_that_was_cut_is_seen() {
    let header = sign(BODY);
    let found = found(BODY.as_bytes(), &header[..header.len() - 1], SECRETS);
    let cut = Finding::Header {
        flaw: HeaderFlaw::SignatureForm,
        evidence: Evidence::Seen,
    };
    assert_eq!(found[0].code(), "signature_mismatch");
    assert_eq!(found[1..], [cut, Finding::Unexplained]);
}
