use super::severity::Severity;

/// One thing that a probe finds, or finds to be in order. [`CHECKS`] has them all.
#[derive(Debug)]
#[non_exhaustive]
pub struct Check {
    /// The name, for tools: it stays what it is.
    pub code: &'static str,
    /// How bad it is to be found.
    pub severity: Severity,
    /// What is the case when it is found.
    pub title: &'static str,
    /// What comes of it.
    pub why: &'static str,
    /// What to do.
    pub remedy: &'static str,
    /// What a probe must have been given to look.
    pub needs: Needs,
}

/// What a check cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Needs {
    /// The address alone.
    Nothing,
    /// The endpoint's signing secret: [`Probe::secret`](super::Probe::secret).
    Secret,
    /// A count of effects: [`Probe::count`](super::Probe::count).
    Count,
    /// Both.
    SecretAndCount,
}

impl Needs {
    pub(super) fn secret(self) -> bool {
        matches!(self, Self::Secret | Self::SecretAndCount)
    }

    pub(super) fn count(self) -> bool {
        matches!(self, Self::Count | Self::SecretAndCount)
    }
}

impl Check {
    /// The check of this code.
    #[must_use]
    pub fn find(code: &str) -> Option<&'static Self> {
        CHECKS.iter().copied().find(|check| check.code == code)
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self.code == other.code
    }
}

macro_rules! checks {
    ($($name:ident $code:literal $severity:ident $needs:ident $title:literal $why:literal $remedy:literal;)*) => {
        $(pub(super) static $name: Check = Check {
            code: $code,
            severity: Severity::$severity,
            title: $title,
            why: $why,
            remedy: $remedy,
            needs: Needs::$needs,
        };)*

        /// Every check, in the order in which a probe looks.
        pub static CHECKS: &[&Check] = &[$(&$name),*];
    };
}

checks! {
    NO_TLS "no_tls" High Nothing
        "deliveries travel unencrypted"
        "whoever stands in between reads every event, and can replay it until its signature is too old"
        "serve https; Stripe delivers live events to nothing else";
    NOT_VERIFIED "not_verified" Critical Nothing
        "nothing is verified"
        "whoever finds the address can report payments that nobody made"
        "verify the signature over the raw body before anything else, with the endpoint's secret";
    UNSIGNED_ACCEPTED "unsigned_accepted" Critical Nothing
        "what has no signature is accepted"
        "a forger leaves the header out, and the check with it"
        "refuse a delivery whose Stripe-Signature is missing or blank, with 400";
    WRONG_SECRET_ACCEPTED "wrong_secret_accepted" Critical Nothing
        "any signature is accepted"
        "a forger sends a header that looks right: only that it is there is checked"
        "compare the HMAC of timestamp and raw body with v1, in constant time";
    GUESSABLE_SECRET "guessable_secret" Critical Nothing
        "a signature with a key that anybody would guess is accepted"
        "an unset setting turns into an empty key or a word like null, a placeholder stays in place, and forgers try those first"
        "refuse to start without a secret, set the endpoint's own, and take placeholders out";
    GARBAGE_ACCEPTED "garbage_accepted" High Nothing
        "garbage that nobody has signed is accepted"
        "an error on the way to the check counts as success: it fails open, and what fails can be found"
        "answer 2xx only to what was verified; every error of parsing or verifying is a refusal";
    FORGERY_BREAKS_SERVER "forgery_breaks_server" Medium Nothing
        "a forgery is answered with a server error, or not at all"
        "anybody can fill the log with errors and set off alarms, and what breaks may break further"
        "refuse what does not verify with 400, whatever it is made of";
    PARSED_BEFORE_VERIFIED "parsed_before_verified" Medium Nothing
        "the body is parsed before it is verified"
        "the parser is open to everybody, and a body that is written again from what was parsed has lost the signed bytes"
        "take the raw bytes, verify them, and parse only then";
    ECHOES_INPUT "echoes_input" Low Nothing
        "an answer repeats what was sent"
        "a forger learns how far the forgery came, and others may be shown what it holds"
        "answer with a status and no more than a fixed text";
    FORGERY_HAD_EFFECT "forgery_had_effect" Critical Count
        "a forgery that is refused has effects all the same"
        "the work is done before the check, or beside it: the refusal comes too late"
        "verify first, and begin nothing until that is done";
    SERVER_DIED "server_died" Critical Nothing
        "the server no longer answers"
        "one request of anybody's takes the service away from everybody"
        "bound what is read and how deep it may nest, and parse nothing that is not verified";
    OVERSIZED_TAKEN "oversized_taken" Medium Nothing
        "a body of any size is taken in full"
        "a forger fills the memory, or at least the line, with bodies that no event has"
        "bound the body, at a few MiB at most, and answer 413 as soon as it is longer";
    SLOW_BODY_HELD "slow_body_held" Medium Nothing
        "a body that does not arrive is waited for"
        "a few hundred slow connections of one machine occupy the server"
        "give the body a time limit, and answer 408";
    V0_ACCEPTED "v0_accepted" High Secret
        "a signature of another scheme than v1 is accepted"
        "schemes other than v1 do not count: whoever takes them can be talked down to the weakest"
        "look at v1 alone";
    STALE_ACCEPTED "stale_accepted" High Secret
        "an old signature is accepted"
        "a delivery that was once recorded can be replayed for ever"
        "refuse a signature whose t is more than five minutes away, and take the t that the MAC covers";
    FUTURE_ACCEPTED "future_accepted" Medium Secret
        "a signature from the future is accepted"
        "a delivery signed by a clock that is ahead, or in milliseconds, can be replayed until then"
        "compare the distance of t from now in both directions: most of Stripe's libraries only look back";
    OTHER_BODY_ACCEPTED "other_body_accepted" Critical Secret
        "the signature of one body is accepted on another"
        "whoever has recorded one delivery can make up events"
        "compute the HMAC over the raw body that is then parsed, and over nothing else";
    CHANGED_BODY_ACCEPTED "changed_body_accepted" Critical Secret
        "a body is accepted although it was changed"
        "amounts and orders can be altered in what was recorded"
        "compute the HMAC over the raw body, every byte of it";
    CHANGED_SIGNATURE_ACCEPTED "changed_signature_accepted" Critical Secret
        "a signature is accepted although it was changed or cut short"
        "a comparison that stops early, or takes the shorter for the whole, can be tried through"
        "compare all 32 bytes of the MAC, in constant time";
    CHANGED_TIMESTAMP_ACCEPTED "changed_timestamp_accepted" Critical Secret
        "a timestamp is accepted although it was changed"
        "what was recorded becomes fresh again with another t"
        "compute the HMAC over t, a dot and the body, with t as it was sent";
    TWO_HEADERS_ACCEPTED "two_headers_accepted" Low Secret
        "a delivery with two signature headers is accepted, one of them forged"
        "of two programs that look at it each may believe another line"
        "refuse more than one Stripe-Signature line";
    QUERY_SIGNATURE_ACCEPTED "query_signature_accepted" Medium Secret
        "a signature in the query string is accepted"
        "addresses stand in logs, for whoever reads them to replay"
        "take the signature from the Stripe-Signature header alone";
    UNDERSCORE_HEADER_ACCEPTED "underscore_header_accepted" Low Secret
        "a signature in a header called Stripe_Signature is accepted"
        "what a proxy does to the real header does not hold for this one, which is taken for the same"
        "have the proxy drop headers with an underscore";
    GENUINE_REFUSED "genuine_refused" Critical Secret
        "a genuine delivery is refused"
        "Stripe retries for three days, gives up, and disables the endpoint: paid orders are lost"
        "give both sides the same secret and verify the raw bytes; `diagnosis` says what differs in a recorded one";
    BODY_RESERIALISED "body_reserialised" Critical Secret
        "the body is written again before it is verified"
        "Stripe signs its own layout of the JSON: every real delivery is refused, and only what is laid out as the server would fits by luck"
        "verify the bytes as they came, before a JSON middleware reads them";
    SLOW_ANSWER "slow_answer" Medium Secret
        "an answer takes more than ten seconds"
        "Checkout lets the buyer wait that long, and Stripe counts a late answer as none and delivers again"
        "store the event, answer, and work it off afterwards";
    DUPLICATE_REFUSED "duplicate_refused" Medium Secret
        "a duplicate is refused"
        "Stripe delivers again what it takes for failed, for days, and disables endpoints that fail"
        "answer a duplicate with 200";
    DOUBLED "doubled" Critical SecretAndCount
        "a duplicate has its effects again"
        "Stripe delivers events more than once: two parcels for one payment"
        "remember the event's id in the transaction that has the effects";
    UNKNOWN_TYPE_REFUSED "unknown_type_refused" High Secret
        "a type of event that is not known is refused"
        "an endpoint that fails gets disabled, and invoices wait up to 72 h for an answer to invoice.created"
        "answer 200 to what is not handled";
    ROLLED_SECRET_REFUSED "rolled_secret_refused" High Secret
        "a delivery with two signatures is refused, one of which fits"
        "while a secret is being rolled Stripe signs with both, and every delivery would be refused"
        "try every v1 against every secret";
    NEW_VERSION_REFUSED "new_version_refused" High Secret
        "an event of an unknown API version, or with unknown fields, is refused"
        "the next upgrade of the API stops the whole integration"
        "ignore fields that are not known, and warn of versions instead of refusing them";
    LARGE_REFUSED "large_refused" Medium Secret
        "a large event is refused"
        "invoices with many lines are that large, and are lost"
        "raise the body's limit to a few MiB, in every proxy in front too";
    CLOCK_TOO_STRICT "clock_too_strict" Low Secret
        "a signature of four minutes ago is refused"
        "a slow network or a clock that is a little off loses genuine deliveries"
        "tolerate five minutes, as Stripe's libraries do, and set the clock";
    TEST_EVENT_REFUSED "test_event_refused" Low Secret
        "the Dashboard's test event is refused"
        "whoever tries the endpoint out from the Dashboard sees it fail; its id is always the same"
        "answer 200 to evt_00000000000000, and do not deduplicate it";
    THIN_REFUSED "thin_refused" Low Secret
        "a thin event is refused"
        "Stripe recommends thin events for new integrations"
        "take objects of v2.core.event too; it is in order if no destination sends thin events here";
    COPIES_FAIL "copies_fail" Medium Secret
        "copies of an event at the same time fail"
        "Stripe may deliver an event twice at once; errors are retried for days and count against the endpoint"
        "answer 200 or 409 to a copy, and let a redelivery succeed";
    DOUBLED_IN_PARALLEL "doubled_in_parallel" Critical SecretAndCount
        "copies at the same time have their effects more than once"
        "each copy looks, sees nothing and works: the check and the mark are two steps"
        "insert the event's id under a unique key, in the transaction that has the effects";
}
