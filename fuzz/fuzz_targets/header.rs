//! Any bytes as a `Stripe-Signature` header: what parses has one t, bounded signatures and one
//! canonical spelling; what does not parse has the fault that it shows.

#![no_main]

use axum_stripe_webhook::{
    VerifyError,
    signature::{HEADER_BYTES_MAX, HeaderFault, SIGNATURES_MAX, SignatureHeader},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|header: &[u8]| {
    let parsed = SignatureHeader::parse(header);
    surroundings_do_not_matter(header, &parsed);
    match parsed {
        Ok(parsed) => {
            it_stands_there(header, &parsed);
            it_is_written_as_it_is_read(&parsed);
        }
        Err(error) => the_fault_is_there(header, error),
    }
});

/// What counts of a header, for comparison.
fn sum(header: &SignatureHeader<'_>) -> (u64, usize, Vec<[u8; 32]>) {
    let macs = header.macs().copied().collect();
    (header.timestamp(), header.signatures(), macs)
}

fn elements(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    header.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

fn count(header: &[u8], prefix: &[u8]) -> usize {
    elements(header)
        .filter(|element| element.starts_with(prefix))
        .count()
}

/// White space around it and an unknown element behind it change nothing but the length.
fn surroundings_do_not_matter(header: &[u8], parsed: &Result<SignatureHeader<'_>, VerifyError>) {
    let blank = header.trim_ascii().is_empty();
    let behind: &[u8] = if blank { b" " } else { b" ,v2=x" };
    let padded = [b" \t", header, behind].concat();
    if padded.len() > HEADER_BYTES_MAX {
        return;
    }
    match (parsed, SignatureHeader::parse(&padded)) {
        (Ok(parsed), Ok(padded)) => assert_eq!(sum(parsed), sum(&padded)),
        (
            Err(VerifyError::NoSignature { other_elements }),
            Err(VerifyError::NoSignature {
                other_elements: padded,
            }),
        ) => assert_eq!(other_elements + 1, padded),
        (Err(error), Err(padded)) => assert_eq!(*error, padded),
        (parsed, padded) => panic!("{parsed:?} became {padded:?}"),
    }
}

fn it_stands_there(header: &[u8], parsed: &SignatureHeader<'_>) {
    let (timestamp, signatures, macs) = sum(parsed);
    assert!(header.len() <= HEADER_BYTES_MAX);
    assert!((1..=SIGNATURES_MAX).contains(&signatures));
    assert_eq!(count(header, b"v1="), signatures);
    assert_eq!(count(header, b"t="), 1);
    assert!(elements(header).all(|element| element != b"t" && element != b"v1"));
    let t = format!("t={timestamp}");
    assert!(elements(header).any(|element| element == t.as_bytes()));

    let spellings: Vec<_> = macs.iter().map(|mac| format!("v1={}", hex(mac))).collect();
    let mut there = elements(header);
    for spelling in &spellings {
        assert!(there.any(|element| element == spelling.as_bytes()));
    }
    let shown = format!("{parsed:?}");
    assert!(
        spellings
            .iter()
            .all(|spelling| !shown.contains(&spelling[3..]))
    );
}

fn it_is_written_as_it_is_read(parsed: &SignatureHeader<'_>) {
    let value = parsed.to_value();
    let again = SignatureHeader::parse(value.as_bytes()).expect("what we write can be read");
    assert_eq!(sum(&again), sum(parsed));
    assert_eq!(again.to_value(), value);
}

fn the_fault_is_there(header: &[u8], error: VerifyError) {
    let too_long = header.len() > HEADER_BYTES_MAX;
    let blank = header.trim_ascii().is_empty();
    let bare = elements(header).any(|element| element == b"t" || element == b"v1");
    let (times, signatures) = (count(header, b"t="), count(header, b"v1="));
    match error {
        VerifyError::MalformedHeader(fault) => assert!(match fault {
            HeaderFault::TooLong => too_long,
            HeaderFault::BareKey => bare,
            HeaderFault::TimestampMissing => times == 0 && !bare,
            HeaderFault::TimestampRepeated => times > 1,
            HeaderFault::TimestampInvalid => !first_time_is_canonical(header),
            HeaderFault::TooManySignatures => signatures > SIGNATURES_MAX,
            _ => false,
        }),
        VerifyError::MissingHeader => assert!(blank && !too_long),
        VerifyError::NoSignature { other_elements } => {
            assert!(signatures == 0 && times == 1 && !bare);
            assert_eq!(other_elements + times, elements(header).count());
        }
        _ => panic!("a parser verifies nothing, and yet: {error:?}"),
    }
    assert!(!error.to_string().is_empty());
}

/// Without a t there is nothing to be invalid.
fn first_time_is_canonical(header: &[u8]) -> bool {
    let first = elements(header).find_map(|element| element.strip_prefix(b"t="));
    let Some(Ok(digits)) = first.map(std::str::from_utf8) else {
        return first.is_none();
    };
    let number: Result<u64, _> = digits.parse();
    number.is_ok_and(|number| number.to_string() == digits)
}

fn hex(mac: &[u8]) -> String {
    mac.iter().map(|byte| format!("{byte:02x}")).collect()
}
