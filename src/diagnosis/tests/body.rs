use super::*;

/// Asserts that, of a damaged body, exactly these flaws are found and proven.
#[track_caller]
fn assert_body(signed: &str, damaged: impl AsRef<[u8]>, flaws: &[BodyFlaw]) {
    let found = found(damaged.as_ref(), &sign(signed), SECRETS);
    let flaws = flaws.iter().map(|flaw| Finding::Body {
        flaw: *flaw,
        evidence: Evidence::Proven,
    });
    assert_eq!(found[0].code(), "signature_mismatch");
    assert_eq!(found[1..], flaws.collect::<Vec<_>>());
}

#[track_caller]
fn assert_proven(damaged: impl AsRef<[u8]>, flaw: BodyFlaw) {
    assert_body(BODY, damaged, &[flaw]);
}

#[track_caller]
fn assert_seen(damaged: impl AsRef<[u8]>, flaw: BodyFlaw) {
    assert_not_proven(damaged, &sign(BODY), flaw, Evidence::Seen);
}

/// Asserts that a flaw is named, and that it is said to explain nothing.
#[track_caller]
fn assert_not_proven(body: impl AsRef<[u8]>, header: &str, flaw: BodyFlaw, evidence: Evidence) {
    let found = found(body.as_ref(), header, SECRETS);
    assert_eq!(found[0].code(), "signature_mismatch");
    let flaw = Finding::Body { flaw, evidence };
    assert_eq!(found[1..], [flaw, Finding::Unexplained]);
}

/// What a JSON library with sorted keys writes.
fn sorted(json: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    serde_json::to_string_pretty(&json).unwrap()
}

fn windows_1252(text: &str) -> Vec<u8> {
    let text = text.replace(" 💶", "");
    let byte = |character| match character {
        '“' => 0x93,
        '”' => 0x94,
        'Œ' => 0x8c,
        other => u8::try_from(other).unwrap(),
    };
    text.chars().map(byte).collect()
}

fn form_encoded(text: &str, space: &str) -> String {
    let encode = |byte: u8| match byte {
        b' ' => space.to_owned(),
        byte if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[test]
fn a_body_that_was_written_again_is_proven_whatever_stripes_layout_of_empty_containers() {
    let objects = BODY.replace(": {},", ": {\n      },");
    let arrays = BODY.replace(": [],", ": [\n\n      ],");
    let both = objects.replace(": [],", ": [\n\n      ],");
    for signed in [BODY, &objects, &arrays, &both] {
        for damaged in [
            minified(signed),
            minified(signed).replace(',', ", "),
            signed.replace("  ", "    "),
            signed.replace("  ", "\t"),
        ] {
            assert_body(signed, &damaged, &[BodyFlaw::Reformatted]);
        }
    }
    assert_body(&minified(BODY), BODY, &[BodyFlaw::Reformatted]);
}

#[test]
fn escapes_that_were_changed_are_proven_in_both_directions() {
    let plain = BODY.to_owned();
    let slash = plain.replace('/', "\\/");
    let html = plain
        .replace('&', "\\u0026")
        .replace('<', "\\u003c")
        .replace('>', "\\u003e");
    let ascii = plain
        .replace('ë', "\\u00eb")
        .replace('“', "\\u201c")
        .replace('”', "\\u201d")
        .replace('Œ', "\\u0152")
        .replace('💶', "\\ud83d\\udcb6");
    let upper = ascii.replace("\\u00eb", "\\u00EB");
    for changed in [&slash, &html, &ascii, &upper] {
        assert_proven(changed, BodyFlaw::Reescaped);
        assert_proven(minified(changed), BodyFlaw::Reescaped);
    }
    for signed in [&slash, &html, &ascii] {
        assert_body(signed, &plain, &[BodyFlaw::Reescaped]);
        assert_body(signed, minified(&plain), &[BodyFlaw::Reescaped]);
    }
}

#[test]
fn sorted_keys_and_rewritten_numbers_are_seen() {
    assert_seen(sorted(BODY), BodyFlaw::Reserialised);
    assert_seen(
        minified(BODY).replace("1.50", "1.5"),
        BodyFlaw::Reserialised,
    );
}

#[test]
fn a_byte_order_mark_is_proven() {
    assert_proven(format!("\u{feff}{BODY}"), BodyFlaw::ByteOrderMark);
}

#[test]
fn line_ends_of_windows_are_proven() {
    assert_proven(BODY.replace('\n', "\r\n"), BodyFlaw::CrLf);
}

#[test]
fn an_end_that_was_added_or_removed_is_proven() {
    assert_proven(format!("{BODY}\n"), BodyFlaw::EndAdded);
    assert_proven(format!("{BODY}\r\n"), BodyFlaw::EndAdded);
    let signed = format!("{BODY}\n");
    assert_body(&signed, BODY, &[BodyFlaw::EndRemoved]);
}

#[test]
fn what_an_editor_does_is_proven_all_together() {
    let damaged = format!("\u{feff}{BODY}\n").replace('\n', "\r\n");
    let flaws = [BodyFlaw::EndAdded, BodyFlaw::CrLf, BodyFlaw::ByteOrderMark];
    assert_body(BODY, damaged, &flaws);
}

#[test]
fn utf_8_that_was_read_as_latin_1_or_windows_1252_is_proven() {
    let latin_1: String = BODY.bytes().map(char::from).collect();
    assert_proven(latin_1, BodyFlaw::Mojibake);
    let signed = BODY.replace(" 💶", "");
    let mojibake = signed
        .replace('ë', "Ã«")
        .replace('“', "â€œ")
        .replace('”', "â€\u{9d}")
        .replace('Œ', "Å’");
    assert_body(&signed, mojibake, &[BodyFlaw::Mojibake]);
}

#[test]
fn data_that_looks_like_mojibake_does_not_hide_how_the_body_was_written_again() {
    let genuine = BODY.replace("Zoë “Œuvre” 💶", "JosÃ©");
    assert_body(&genuine, minified(&genuine), &[BodyFlaw::Reformatted]);
    let damaged = format!("\u{feff}{}", minified(&genuine));
    let flaws = [BodyFlaw::ByteOrderMark, BodyFlaw::Reformatted];
    assert_body(&genuine, damaged, &flaws);
    let escaped = minified(&genuine).replace('/', "\\/");
    assert_body(&genuine, escaped, &[BodyFlaw::Reescaped]);
}

#[test]
fn data_that_looks_damaged_does_not_hide_that_nothing_is_explained() {
    for (data, flaw, evidence) in [
        ("JosÃ©", BodyFlaw::Mojibake, Evidence::Refuted),
        ("Jos\u{fffd}", BodyFlaw::Replaced, Evidence::Seen),
    ] {
        let genuine = BODY.replace("Zoë “Œuvre” 💶", data);
        let header = sign_with(b"whsec_other", genuine.as_bytes());
        assert_not_proven(genuine, &header, flaw, evidence);
    }
}

#[test]
fn a_body_encoded_as_latin_1_or_windows_1252_is_proven() {
    let signed = BODY.replace(" 💶", "");
    assert_body(&signed, windows_1252(BODY), &[BodyFlaw::Latin1]);
}

#[test]
fn utf_16_is_proven_with_and_without_byte_order_mark() {
    let units: Vec<u16> = BODY.encode_utf16().collect();
    let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
    for damaged in [
        [&[0xff, 0xfe], &little[..]].concat(),
        [&[0xfe, 0xff], &big[..]].concat(),
        little,
        big,
    ] {
        assert_proven(damaged, BodyFlaw::Utf16);
    }
}

#[test]
fn base64_is_proven_padded_or_not_and_in_lines() {
    let base64 = STANDARD.encode(BODY);
    let lines: Vec<_> = base64.as_bytes().chunks(76).collect();
    assert_proven(lines.join(&b"\r\n"[..]), BodyFlaw::Base64);
    assert_proven(base64.trim_end_matches('='), BodyFlaw::Base64);
    assert_proven(&base64, BodyFlaw::Base64);
}

#[test]
fn a_json_string_is_proven() {
    assert_proven(serde_json::to_string(BODY).unwrap(), BodyFlaw::JsonString);
}

#[test]
fn form_and_url_encoding_are_proven() {
    let form = form_encoded(BODY, "+");
    for damaged in [
        form.replace("%7B", "%7b").replace("%0A", "%0a"),
        format!("{form}="),
        format!("payload={form}&more=1"),
        form_encoded(BODY, "%20"),
        form_encoded(BODY, "%20").replace("%2B", "+"),
        form,
    ] {
        assert_proven(damaged, BodyFlaw::PercentEncoded);
    }
}

#[test]
fn a_proxy_event_is_proven_and_its_base64_with_it() {
    let base64 = STANDARD.encode(BODY);
    for (body, is_base64) in [(BODY, false), (&base64, true)] {
        let event = serde_json::json!({
            "headers": {"stripe-signature": "x"}, "body": body, "isBase64Encoded": is_base64,
        });
        assert_proven(event.to_string(), BodyFlaw::ProxyEvent);
    }
}

#[test]
fn a_cloud_envelope_is_seen_with_and_without_header() {
    for envelope in [
        r#"{"detail-type": "customer.created", "detail": {"object": "event"}}"#,
        r#"{"specversion": "1.0", "data": {"object": "event"}}"#,
    ] {
        assert_seen(envelope, BodyFlaw::CloudEnvelope);
        let found = found(envelope.as_bytes(), "", SECRETS);
        assert_eq!(codes(&found), ["missing_header", "body_cloud_envelope"]);
    }
}

#[test]
fn what_cannot_be_undone_is_seen() {
    assert_seen("", BodyFlaw::Empty);
    assert_seen(" \n", BodyFlaw::Empty);
    assert_seen(b"\x1f\x8b\x08\0", BodyFlaw::Compressed);
    assert_seen(&BODY[..BODY.len() / 2], BodyFlaw::Truncated);
    assert_seen("[object Object]", BodyFlaw::NotObject);
    assert_seen("[1]", BodyFlaw::NotObject);
    let lossy = String::from_utf8_lossy(&windows_1252(BODY)).into_owned();
    assert_seen(lossy, BodyFlaw::Replaced);
}

#[test]
fn a_signed_body_that_is_no_event_is_seen_after_all() {
    for (body, text) in [
        ("{}", "its object is missing or has another form"),
        ("[1]", "an object"),
        ("{\n", "not JSON (line 2, column 0)"),
        (r#"{"object": "charge"}"#, "not an event"),
    ] {
        let diagnosis = diagnose(body.as_bytes(), sign(body).as_bytes(), SECRETS, now());
        assert!(diagnosis.is_genuine());
        assert_eq!(codes(diagnosis.findings()), ["genuine", "body_not_event"]);
        let shown = diagnosis.to_string();
        assert!(
            shown.contains(text) && shown.contains("answers 400"),
            "{shown}"
        );
    }
}

#[test]
fn deep_nesting_neither_overflows_the_stack_nor_fills_memory() {
    let open = format!("{{\"id\":{}", "[".repeat(1_000_000));
    let closed = format!("{open}{}}}", "]".repeat(1_000_000));
    assert_seen(&open, BodyFlaw::Truncated);
    assert_seen(&closed, BodyFlaw::Reserialised);
    assert_body(&closed, format!("{closed} "), &[BodyFlaw::EndAdded]);
}

#[test]
fn what_is_written_again_is_bounded_in_depth_and_size() {
    let nested = |depth, inner: &str| format!("{}{inner}{}", "[".repeat(depth), "]".repeat(depth));
    let pretty = |json: &str| {
        let layout = rewrite::STRIPES_LAYOUTS[0];
        rewrite::rewrite(json.as_bytes(), layout, rewrite::Escapes::Kept)
    };
    assert!(pretty(&nested(128, "1")).is_some());
    assert_eq!(pretty(&nested(129, "1")), None);
    assert_eq!(pretty(&nested(100, &vec!["1"; 100_000].join(","))), None);
}
