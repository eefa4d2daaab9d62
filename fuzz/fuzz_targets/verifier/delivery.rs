//! A delivery made of pieces that mean something, so that most of them get as far as the MAC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arbitrary::Arbitrary;
use axum_stripe_webhook::Verifier;

use crate::reference;

const SECOND: i128 = 1_000_000_000;

#[derive(Arbitrary, Debug)]
pub struct Delivery<'a> {
    pub secrets: Vec<Secret<'a>>,
    pub rotations: Vec<Rotation<'a>>,
    /// Added when all rotations are done.
    pub late: Option<Secret<'a>>,
    clock: Clock,
    nanos: u32,
    /// `None`: the age is not checked.
    pub tolerance: Option<Tolerance>,
    /// What the signatures are made over, whatever `t` stands in the header.
    signed_at: Time<'a>,
    /// Where such a `t` and a genuine signature stand among the elements; at times they do not.
    time_place: u8,
    signature_place: u8,
    signature_secret: u8,
    elements: Vec<Element<'a>>,
    /// Last, because the last field takes all bytes that are left.
    pub body: &'a [u8],
}

#[derive(Arbitrary, Debug)]
pub enum Secret<'a> {
    /// Of a few, so that they meet again in rotations.
    Numbered(u8),
    /// HMAC hashes keys of more than 64 bytes.
    Long(u8),
    Text(&'a str),
}

#[derive(Arbitrary, Debug)]
pub struct Rotation<'a> {
    pub secrets: Vec<Secret<'a>>,
    seconds_before_now: i16,
    nanos_before_now: i32,
    overlap: Overlap,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Overlap {
    Seconds(u16),
    /// To now, and a bit.
    ToNow {
        beyond_nanos: i8,
    },
    WithoutEnd,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Clock {
    Today(i16),
    Any(u64),
    Before1970(u16),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Tolerance {
    Default,
    Seconds(u16),
    /// Fractions of a second do not count.
    Any(u64, u32),
}

#[derive(Arbitrary, Debug)]
enum Time<'a> {
    Near(i8),
    Today(i16),
    /// As far from now as the tolerance allows, and a bit.
    AtTolerance {
        future: bool,
        beyond: i8,
    },
    Number(u64),
    /// Now, in a spelling that some number parsers take.
    Odd(u8),
    Text(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
struct Element<'a> {
    before: u8,
    what: What<'a>,
    after: u8,
}

#[derive(Arbitrary, Debug)]
enum What<'a> {
    SignedAt,
    OtherTime(Time<'a>),
    Signature { secret: u8, form: Form<'a> },
    OtherScheme { scheme: u8, secret: u8 },
    Bare { key: u8 },
    Junk(&'a [u8]),
    Filler(u16),
}

#[derive(Arbitrary, Debug)]
enum Form<'a> {
    Genuine,
    UpperCase,
    Changed { at: u8, to: u8 },
    Cut(u8),
    Longer(&'a [u8]),
    Quoted,
    OfOther { body: &'a [u8] },
}

/// Nanoseconds since 1970 that a `SystemTime` can hold.
#[derive(Clone, Copy)]
pub struct Instant(i128);

impl Instant {
    fn new(nanos: i128) -> Self {
        const END: i128 = i64::MAX as i128 * SECOND;
        Self(nanos.clamp(-END, END))
    }

    pub fn nanos(self) -> i128 {
        self.0
    }

    fn seconds(self) -> i128 {
        self.0.div_euclid(SECOND)
    }

    pub fn system_time(self) -> SystemTime {
        let distance = Duration::from_nanos_u128(self.0.unsigned_abs());
        let time = match self.0 >= 0 {
            true => UNIX_EPOCH.checked_add(distance),
            false => UNIX_EPOCH.checked_sub(distance),
        };
        time.expect("instants are within the range")
    }
}

impl Delivery<'_> {
    pub fn now(&self) -> Instant {
        let seconds = match self.clock {
            Clock::Today(offset) => 1_767_225_600 + i128::from(offset),
            Clock::Any(seconds) => seconds.into(),
            Clock::Before1970(seconds) => -i128::from(seconds),
        };
        Instant::new(seconds * SECOND + i128::from(self.nanos) % SECOND)
    }

    pub fn header(&self) -> Vec<u8> {
        let elements = self.elements.iter().map(|element| {
            let what = self.text(&element.what);
            [space(element.before), &what, space(element.after)].concat()
        });
        let mut elements: Vec<_> = elements.collect();
        let mut insert = |place: u8, what| {
            if place < 0xe0 {
                let place = usize::from(place) % (elements.len() + 1);
                elements.insert(place, self.text(&what));
            }
        };
        let (secret, form) = (self.signature_secret, Form::Genuine);
        insert(self.signature_place, What::Signature { secret, form });
        insert(self.time_place, What::SignedAt);
        elements.join(&b',')
    }

    fn text(&self, what: &What<'_>) -> Vec<u8> {
        match what {
            What::SignedAt => [b"t=", &*self.digits(&self.signed_at)].concat(),
            What::OtherTime(time) => [b"t=", &*self.digits(time)].concat(),
            What::Signature { secret, form } => [b"v1=", &*self.signature(*secret, form)].concat(),
            What::OtherScheme { scheme, secret } => {
                let key: &[u8] = of(&[b"v0=", b"v2=", b"V1=", b"v1 =", b"v11=", b""], *scheme);
                [key, &self.signature(*secret, &Form::Genuine)].concat()
            }
            What::Bare { key } => of(&[b"t", b"v1", b"v0", b"t ", b"=", b"=t", b""], *key).to_vec(),
            What::Junk(bytes) => bytes.to_vec(),
            What::Filler(bytes) => vec![b'x'; usize::from(*bytes) % 4200],
        }
    }

    fn digits(&self, time: &Time<'_>) -> Vec<u8> {
        let now = self.now().seconds();
        let tolerance = self.tolerance.map_or(0, Tolerance::seconds);
        let seconds = match time {
            Time::Near(offset) => now + i128::from(*offset),
            Time::Today(offset) => now + i128::from(*offset),
            Time::AtTolerance {
                future: false,
                beyond,
            } => now - i128::from(tolerance) - i128::from(*beyond),
            Time::AtTolerance {
                future: true,
                beyond,
            } => now + i128::from(tolerance) + i128::from(*beyond),
            Time::Number(seconds) => (*seconds).into(),
            Time::Odd(spelling) => return oddly_spelt(now, *spelling),
            Time::Text(text) => return text.to_vec(),
        };
        seconds.to_string().into_bytes()
    }

    fn signature(&self, secret: u8, form: &Form<'_>) -> Vec<u8> {
        let body = match form {
            Form::OfOther { body } => body,
            _ => self.body,
        };
        let digits = self.digits(&self.signed_at);
        let message = [&*digits, b".", body].concat();
        let mut hex = reference::hmac_sha256(self.secret(secret).as_bytes(), &message).into_bytes();
        match form {
            Form::Genuine | Form::OfOther { .. } => {}
            Form::UpperCase => hex.make_ascii_uppercase(),
            Form::Changed { at, to } => hex[usize::from(*at) % 64] = *to,
            Form::Cut(bytes) => hex.truncate(usize::from(*bytes) % 64),
            Form::Longer(bytes) => hex.extend_from_slice(bytes),
            Form::Quoted => hex = [b"\"", &*hex, b"\""].concat(),
        }
        hex
    }

    /// One of all that the verifier has ever heard of, usable or not, or somebody else's.
    fn secret(&self, index: u8) -> String {
        let rotated = self.rotations.iter().flat_map(|rotation| &rotation.secrets);
        let known: Vec<_> = self
            .secrets
            .iter()
            .chain(rotated)
            .chain(&self.late)
            .collect();
        match usize::from(index) % (known.len() + 1) {
            0 => "whsec_of_somebody_else".to_owned(),
            index => known[index - 1].value(),
        }
    }
}

impl Secret<'_> {
    pub fn value(&self) -> String {
        match self {
            Self::Numbered(number) => format!("whsec_{}", number % 5),
            Self::Long(bytes) => "k".repeat(usize::from(*bytes)),
            Self::Text(text) => (*text).to_owned(),
        }
    }
}

impl Rotation<'_> {
    pub fn at(&self, now: Instant) -> Instant {
        let seconds = i128::from(self.seconds_before_now);
        Instant::new(now.0 - seconds * SECOND - i128::from(self.nanos_before_now) % SECOND)
    }

    pub fn overlap(&self, now: Instant) -> Duration {
        match self.overlap {
            Overlap::Seconds(seconds) => Duration::from_secs(seconds.into()),
            Overlap::ToNow { beyond_nanos } => {
                let nanos = now.0 - self.at(now).0 + i128::from(beyond_nanos);
                Duration::from_nanos_u128(nanos.max(0).unsigned_abs())
            }
            Overlap::WithoutEnd => Duration::MAX,
        }
    }
}

impl Tolerance {
    pub fn seconds(self) -> u64 {
        match self {
            Self::Default => 300,
            Self::Seconds(seconds) => seconds.into(),
            Self::Any(seconds, _) => seconds,
        }
    }

    pub fn set(self, verifier: Verifier) -> Verifier {
        match self {
            Self::Default => verifier,
            Self::Seconds(seconds) => verifier.with_tolerance(Duration::from_secs(seconds.into())),
            Self::Any(seconds, nanos) => {
                verifier.with_tolerance(Duration::new(seconds, nanos % 1_000_000_000))
            }
        }
    }
}

fn of<'a>(choices: &[&'a [u8]], index: u8) -> &'a [u8] {
    choices[usize::from(index) % choices.len()]
}

fn oddly_spelt(seconds: i128, spelling: u8) -> Vec<u8> {
    let text = match spelling % 11 {
        0 => format!("0{seconds}"),
        1 => format!("+{seconds}"),
        2 => format!("-{seconds}"),
        3 => format!("{seconds}.0"),
        4 => format!("{seconds}e0"),
        5 => format!("{seconds}_0"),
        6 => format!("{seconds:#x}"),
        7 => format!("{seconds} 0"),
        8 => format!("{seconds}\0"),
        9 => (seconds + (1 << 64)).to_string(),
        _ => seconds.to_string().replace('1', "\u{ff11}"),
    };
    text.into_bytes()
}

/// Mostly none.
fn space(index: u8) -> &'static [u8] {
    match index {
        0xf0..=0xf7 => b" ",
        0xf8 => b"\t",
        0xf9 => b" \t  ",
        0xfa => b"\r\n",
        0xfb => b"\x0b",
        0xfc => b"\x0c",
        0xfd => b"\xc2\xa0",
        0xfe => b"\0",
        0xff => b"=",
        _ => b"",
    }
}
