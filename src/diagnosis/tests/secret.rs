use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::*;
use crate::signature::SecretFault;

/// Asserts that a secret that is configured so is found out, and nothing else.
#[track_caller]
fn assert_secret(configured: &str, flaws: &[SecretFlaw]) {
    let mut found = found(BODY.as_bytes(), &sign(BODY), &[("MAIN", configured)]);
    found.retain(|finding| finding.code() != "signature_mismatch");
    let flaws = flaws.iter().map(|flaw| Finding::Secret {
        index: 0,
        name: "MAIN".into(),
        flaw: *flaw,
        evidence: Evidence::Proven,
    });
    assert_eq!(found, flaws.collect::<Vec<_>>());
}

#[test]
fn without_a_secret_that_is_all_there_is_to_say() {
    let header = sign(BODY);
    assert_eq!(found(BODY.as_bytes(), &header, &[]), [Finding::NoSecret]);
}

#[test]
fn secrets_that_set_up_refuses_are_named_with_the_fault() {
    for (value, fault) in [
        ("", SecretFault::Blank),
        ("whsec_", SecretFault::Blank),
        ("whsec_other\n", SecretFault::SurroundingWhitespace),
        ("whsec_ot\u{200b}her", SecretFault::InvisibleCharacter),
        ("sk_test_a", SecretFault::ApiKey),
        ("rk_live_a", SecretFault::ApiKey),
    ] {
        let unusable = |index| Finding::Secret {
            index,
            name: "SPARE".into(),
            flaw: SecretFlaw::Unusable(fault),
            evidence: Evidence::Seen,
        };
        assert_eq!(unusable(0).to_string(), format!("SPARE: {fault}"));
        let header = sign(BODY);
        let alone = found(BODY.as_bytes(), &header, &[("SPARE", value)]);
        assert_eq!(alone, [unusable(0)]);
        let spare = found(
            BODY.as_bytes(),
            &header,
            &[("MAIN", SECRET), ("SPARE", value)],
        );
        assert_eq!(codes(&spare), ["genuine", "secret_unusable"]);
        assert_eq!(spare[1], unusable(1));
    }
}

#[test]
fn an_unusable_spare_does_not_hide_that_nothing_is_explained() {
    let secrets = [("MAIN", SECRET), ("SPARE", "")];
    let forged = sign_with(b"guessed", BODY.as_bytes());
    assert_eq!(
        codes(&found(BODY.as_bytes(), &forged, &secrets)),
        ["signature_mismatch", "secret_unusable", "unexplained"]
    );
}

#[test]
fn an_empty_key_is_never_tried() {
    let forged = sign_with(b"", BODY.as_bytes());
    for (value, codes_found) in [
        ("", &["secret_unusable"][..]),
        ("whsec_", &["secret_unusable"]),
        ("whsec_=", &["signature_mismatch", "unexplained"]),
    ] {
        let found = found(BODY.as_bytes(), &forged, &[("MAIN", value)]);
        assert_eq!(codes(&found), codes_found);
    }
}

#[test]
fn a_secret_with_white_space_around_it_is_proven() {
    assert_secret(&format!("{SECRET}\n"), &[SecretFlaw::Whitespace]);
    assert_secret(&format!(" {SECRET}"), &[SecretFlaw::Whitespace]);
}

#[test]
fn a_quoted_secret_is_proven() {
    assert_secret(&format!("\"{SECRET}\""), &[SecretFlaw::Quoted]);
    assert_secret(&format!("'{SECRET}'"), &[SecretFlaw::Quoted]);
    assert_secret(
        &format!("'{SECRET}'\r\n"),
        &[SecretFlaw::Whitespace, SecretFlaw::Quoted],
    );
}

#[test]
fn quotation_marks_of_typographers_are_no_invisible_characters() {
    for configured in [
        format!("“{SECRET}”"),
        format!("‘{SECRET}’"),
        format!("«{SECRET}»"),
        format!("„{SECRET}“"),
    ] {
        assert_secret(&configured, &[SecretFlaw::Quoted]);
    }
    assert_secret(
        &format!("\u{feff}“{SECRET}”"),
        &[SecretFlaw::Invisible, SecretFlaw::Quoted],
    );
}

#[test]
fn base64_of_a_secret_is_proven_with_line_breaks_inside_and_around() {
    let base64 = STANDARD.encode(SECRET);
    for configured in [
        base64.clone(),
        format!("{base64}\n"),
        format!("\"{base64}\""),
        base64.trim_end_matches('=').to_owned(),
        format!("whsec_{base64}"),
    ] {
        assert_secret(&configured, &[SecretFlaw::Base64]);
    }
    let ends_in_line_break = STANDARD.encode(format!("{SECRET}\n"));
    let flaws = [SecretFlaw::Base64, SecretFlaw::Whitespace];
    assert_secret(&ends_in_line_break, &flaws);
    assert_secret(&format!("{ends_in_line_break}\n"), &flaws);
}

#[test]
fn whoever_signs_with_a_secret_of_stripes_is_not_said_to_have_decoded_one() {
    for signed_with in [SECRET.to_owned(), format!("{SECRET}\n")] {
        let configured = STANDARD.encode(&signed_with);
        let header = sign_with(signed_with.as_bytes(), BODY.as_bytes());
        let found = found(BODY.as_bytes(), &header, &[("MAIN", &configured)]);
        assert!(!codes(&found).contains(&"secret_decoded"), "{found:?}");
    }
}

#[test]
fn base64_of_another_secret_is_not_said_to_lack_its_prefix() {
    let configured = STANDARD.encode("whsec_other");
    let found = found(BODY.as_bytes(), &sign(BODY), &[("MAIN", &configured)]);
    assert_eq!(
        codes(&found),
        ["signature_mismatch", "secret_base64", "unexplained"]
    );
}

#[test]
fn what_is_found_about_a_secret_does_not_hide_that_its_namesake_is_unusable() {
    let secrets = [("SAME", "whsec_other\n"), ("SAME", SECRET)];
    let found = found(BODY.as_bytes(), &sign(BODY), &secrets);
    assert_eq!(codes(&found), ["secret_unusable", "secret_not_first"]);
}

#[test]
fn a_secret_with_invisible_characters_is_proven() {
    assert_secret(&format!("\u{feff}{SECRET}"), &[SecretFlaw::Invisible]);
    assert_secret(&SECRET.replace('Z', "Z\u{200b}"), &[SecretFlaw::Invisible]);
}

#[test]
fn a_secret_without_its_prefix_is_proven() {
    let secret = SECRET.strip_prefix("whsec_").unwrap();
    assert_secret(secret, &[SecretFlaw::PrefixMissing]);
}

#[test]
fn a_secret_without_prefix_is_suspected_where_the_prefix_does_not_help() {
    let found = found(BODY.as_bytes(), &sign(BODY), &[("MAIN", "something")]);
    assert_eq!(
        codes(&found),
        ["signature_mismatch", "secret_prefix_missing", "unexplained"]
    );
    assert!(found[1].to_string().ends_with("undone, nothing fits"));
}

#[test]
fn a_sender_that_decodes_the_secret_is_proven() {
    let key = STANDARD_NO_PAD.decode(&SECRET["whsec_".len()..]).unwrap();
    let found = found(BODY.as_bytes(), &sign_with(&key, BODY.as_bytes()), SECRETS);
    assert_eq!(codes(&found), ["signature_mismatch", "secret_decoded"]);
    assert!(found[1].to_string().contains("Svix"));
}

#[test]
fn another_secret_that_fits_is_named() {
    let secrets = [("MAIN", "whsec_other"), ("CLI", SECRET)];
    let found = found(BODY.as_bytes(), &sign(BODY), &secrets);
    let other = Finding::Secret {
        index: 1,
        name: "CLI".into(),
        flaw: SecretFlaw::NotFirst,
        evidence: Evidence::Proven,
    };
    assert_eq!(found[0].code(), "signature_mismatch");
    assert_eq!(found[1..], [other]);
}
