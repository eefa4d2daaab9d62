use crate::signature::SecretFault;

/// What is wrong with a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretFlaw {
    /// [`SigningSecret::new`](crate::SigningSecret::new) refuses it.
    Unusable(SecretFault),
    /// White space stands around it.
    Whitespace,
    /// Quotation marks stand around it.
    Quoted,
    /// It holds characters that a secret of Stripe's does not have and that cannot be seen.
    Invisible,
    /// It does not begin with `whsec_`.
    PrefixMissing,
    /// The signature was made with the key that is base64 in it.
    Decoded,
    /// It fits, and is not the one that was expected.
    NotFirst,
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderFlaw {
    /// The header's name stands in its value.
    NameIncluded,
    /// It is escaped, for a URL, for HTML or for JSON.
    Escaped,
    /// Quotation marks stand around it.
    Quoted,
    /// Its elements are separated by `;`.
    Semicolons,
    /// It has upper-case letters.
    UpperCase,
    /// Several headers were joined into one.
    Joined,
    /// No `v1` has 64 hex digits.
    SignatureForm,
}

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyFlaw {
    /// It is empty.
    Empty,
    /// It is compressed.
    Compressed,
    /// It is an event inside the envelope of EventBridge or Event Grid.
    CloudEnvelope,
    /// It holds U+FFFD, which stands for bytes that were lost.
    Replaced,
    /// Its JSON breaks off.
    Truncated,
    /// It is not a JSON object.
    NotObject,
    /// It is JSON that Stripe did not write so, and that cannot be put back.
    Reserialised,
    /// Its white space was changed.
    Reformatted,
    /// The escapes in its strings were changed, and perhaps its white space too.
    Reescaped,
    /// A byte order mark was put before it.
    ByteOrderMark,
    /// Its lines end in CR LF.
    CrLf,
    /// White space stands behind it.
    EndAdded,
    /// The line break at its end was cut off.
    EndRemoved,
    /// Its UTF-8 was read as Latin-1 or Windows-1252 and encoded again.
    Mojibake,
    /// It was encoded as Latin-1 or Windows-1252.
    Latin1,
    /// It was encoded as UTF-16.
    Utf16,
    /// It is base64.
    Base64,
    /// It is a JSON string which holds the body.
    JsonString,
    /// It is encoded as a form or a URL.
    PercentEncoded,
    /// It is the event of an API gateway or a Lambda function, which holds the body.
    ProxyEvent,
}

/// Code, what was found, and what to do.
pub(super) type Texts = (&'static str, &'static str, &'static str);

impl SecretFlaw {
    pub(super) fn texts(self) -> Texts {
        match self {
            Self::Unusable(_) => (
                "secret_unusable",
                "set-up refuses the secret",
                "copy the endpoint's signing secret (whsec_…)",
            ),
            Self::Whitespace => (
                "secret_whitespace",
                "white space stands around the secret and becomes part of the key",
                "remove it; a file read as a whole ends in a line break",
            ),
            Self::Quoted => (
                "secret_quoted",
                "quotation marks stand around the secret and become part of the key",
                "remove them; not everything that reads an .env file does",
            ),
            Self::Invisible => (
                "secret_invisible",
                "the secret has characters that cannot be seen",
                "type it, or copy it through an editor that shows them",
            ),
            Self::PrefixMissing => (
                "secret_prefix_missing",
                "the secret does not begin with whsec_",
                "configure all of it: the prefix is part of the key",
            ),
            Self::Decoded => (
                "secret_decoded",
                "the sender signed with the base64-decoded secret, as Svix and Standard Webhooks \
                 do and Stripe does not",
                "have that sender sign with the whole string, or verify it by its own scheme",
            ),
            Self::NotFirst => (
                "secret_not_first",
                "the signature fits this secret, not the one that was expected",
                "configure this one for the endpoint, or as a further one",
            ),
        }
    }
}

impl HeaderFlaw {
    pub(super) fn texts(self) -> Texts {
        match self {
            Self::NameIncluded => (
                "header_name_included",
                "the header's name stands in its value",
                "give the value alone",
            ),
            Self::Escaped => (
                "header_escaped",
                "the header is escaped for a URL, for HTML or for JSON",
                "pass it on as it came",
            ),
            Self::Quoted => (
                "header_quoted",
                "quotation marks stand around the header",
                "remove them",
            ),
            Self::Semicolons => (
                "header_semicolons",
                "the header's elements are separated by semicolons",
                "pass it on as it came, with commas",
            ),
            Self::UpperCase => (
                "header_upper_case",
                "the header has upper-case letters, and signatures are lower-case",
                "have the proxy leave the value of headers alone",
            ),
            Self::Joined => (
                "header_joined",
                "two header lines were joined into one",
                "find what adds a second Stripe-Signature (two proxies, a replay) and stop it",
            ),
            Self::SignatureForm => (
                "header_signature_form",
                "no v1 in the header has 64 hex digits",
                "pass all of it on; some logs cut or mask long values",
            ),
        }
    }
}

impl BodyFlaw {
    pub(super) fn is_tried(self) -> bool {
        !matches!(
            self,
            Self::Empty
                | Self::Compressed
                | Self::CloudEnvelope
                | Self::Replaced
                | Self::Truncated
                | Self::NotObject
                | Self::Reserialised
        )
    }

    pub(super) fn texts(self) -> Texts {
        match self {
            Self::Empty => (
                "body_empty",
                "the body is empty",
                "find what read it first; a body can be read once",
            ),
            Self::Compressed => (
                "body_compressed",
                "the body is compressed",
                "decompress it first: Stripe signs and sends it uncompressed",
            ),
            Self::CloudEnvelope => (
                "body_cloud_envelope",
                "the body is the envelope of Amazon EventBridge or Azure Event Grid",
                "those carry no signature of Stripe's: point a webhook endpoint here instead",
            ),
            Self::Replaced => (
                "body_replacement_characters",
                "the body has replacement characters (U+FFFD), as decoding with losses leaves them",
                "what they replaced is gone: pass on bytes, not text",
            ),
            Self::Truncated => (
                "body_truncated",
                "the body's JSON breaks off",
                "look for a limit on its size, or a recording that was cut",
            ),
            Self::NotObject => (
                "body_not_object",
                "the body is not a JSON object",
                "pass on the bytes that came; \"[object Object]\" is a parsed body made a string",
            ),
            Self::Reserialised => (
                "body_reserialised",
                "the body is not laid out as Stripe lays it out, and no layout fits",
                "verify the bytes before anything parses them: sorted keys and rewritten numbers \
                 cannot be undone; or else the secret is wrong",
            ),
            Self::Reformatted => (
                "body_reformatted",
                "the body was parsed and written again with other white space",
                "verify the bytes before anything parses them",
            ),
            Self::Reescaped => (
                "body_reescaped",
                "the body was parsed and written again with other escapes in its strings",
                "verify the bytes before anything parses them",
            ),
            Self::ByteOrderMark => (
                "body_byte_order_mark",
                "a byte order mark stands before the body",
                "pass on bytes; some editors and text writers add it",
            ),
            Self::CrLf => (
                "body_crlf",
                "the body's lines end in CR LF",
                "pass on bytes, in no text mode; git and editors convert files too",
            ),
            Self::EndAdded => (
                "body_end_added",
                "white space was added behind the body",
                "pass on bytes; editors and echo add a line break",
            ),
            Self::EndRemoved => (
                "body_end_removed",
                "the line break at the body's end was cut off",
                "pass on bytes, untrimmed",
            ),
            Self::Mojibake => (
                "body_mojibake",
                "the body's UTF-8 was read as Latin-1 or Windows-1252 and encoded again",
                "pass on bytes, or decode them as UTF-8",
            ),
            Self::Latin1 => (
                "body_latin1",
                "the body was encoded as Latin-1 or Windows-1252",
                "pass on bytes, or encode them as UTF-8",
            ),
            Self::Utf16 => (
                "body_utf16",
                "the body was encoded as UTF-16",
                "pass on bytes, or encode them as UTF-8; PowerShell's > writes UTF-16",
            ),
            Self::Base64 => (
                "body_base64",
                "the body is base64",
                "decode it before it is verified; gateways encode what they take for binary",
            ),
            Self::JsonString => (
                "body_json_string",
                "the body is a JSON string that holds the body",
                "pass on bytes; something made JSON of what was JSON already",
            ),
            Self::PercentEncoded => (
                "body_percent_encoded",
                "the body is encoded as a form or a URL",
                "pass on bytes; something took it for a form",
            ),
            Self::ProxyEvent => (
                "body_proxy_event",
                "the body is the event of an API gateway or a Lambda function",
                "verify the body inside it, base64-decoded if isBase64Encoded is true",
            ),
        }
    }
}
