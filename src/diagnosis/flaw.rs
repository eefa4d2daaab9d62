use crate::{event::EventError, signature::SecretFault};

/// Code, what was found, and what to do.
pub(super) type Texts = (&'static str, &'static str, &'static str);

/// An enum of flaws, each with its [`Texts`], of which the first two are its documentation.
macro_rules! flaws {
    ($(#[$meta:meta])* $name:ident {
        $($flaw:ident $(($of:ty))? => $code:literal, $what:literal, $advice:literal;)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $name {
            $(#[doc = concat!("`", $code, "`: ", $what, ".")] $flaw $(($of))?,)*
        }

        impl $name {
            pub(super) fn texts(self) -> Texts {
                match self {
                    $(Self::$flaw { .. } => ($code, $what, $advice),)*
                }
            }
        }
    };
}

flaws! {
    /// What is wrong with a secret.
    SecretFlaw {
        Unusable(SecretFault) =>
            "secret_unusable",
            "set-up refuses the secret",
            "copy the endpoint's signing secret (whsec_…)";
        Base64 =>
            "secret_base64",
            "the secret is base64 of one that begins with whsec_",
            "decode it before it is given to the service, as Kubernetes does with what stands \
             under data";
        Whitespace =>
            "secret_whitespace",
            "white space stands around the secret and becomes part of the key",
            "remove it; a file read as a whole ends in a line break";
        Quoted =>
            "secret_quoted",
            "quotation marks stand around the secret and become part of the key",
            "remove them; not everything that reads an .env file does";
        Invisible =>
            "secret_invisible",
            "the secret has characters that cannot be seen",
            "type it, or copy it through an editor that shows them";
        PrefixMissing =>
            "secret_prefix_missing",
            "the secret does not begin with whsec_",
            "configure all of it: the prefix is part of the key";
        Decoded =>
            "secret_decoded",
            "the sender signed with the base64-decoded secret, as Svix and Standard Webhooks \
             do and Stripe does not",
            "have that sender sign with the whole string, or verify it by its own scheme";
        NotFirst =>
            "secret_not_first",
            "the signature fits this secret, not the one that was expected",
            "configure this one for the endpoint, or as a further one";
    }
}

flaws! {
    /// What is wrong with a header.
    HeaderFlaw {
        NameIncluded =>
            "header_name_included",
            "the header's name stands in its value",
            "give the value alone";
        Escaped =>
            "header_escaped",
            "the header is escaped for a URL, for HTML or for JSON",
            "pass it on as it came";
        Quoted =>
            "header_quoted",
            "quotation marks stand around the header",
            "remove them";
        Semicolons =>
            "header_semicolons",
            "the header's elements are separated by semicolons",
            "pass it on as it came, with commas";
        UpperCase =>
            "header_upper_case",
            "the header has upper-case letters, and signatures are lower-case",
            "have the proxy leave the value of headers alone";
        Joined =>
            "header_joined",
            "two header lines were joined into one",
            "find what adds a second Stripe-Signature (two proxies, a replay) and stop it";
        SignatureForm =>
            "header_signature_form",
            "no v1 in the header has 64 hex digits",
            "pass all of it on; some logs cut or mask long values";
    }
}

flaws! {
    /// What is wrong with a body.
    BodyFlaw {
        NotEvent(EventError) =>
            "body_not_event",
            "the body is signed and not an event",
            "a service answers 400 to it, though it is signed";
        Empty =>
            "body_empty",
            "the body is empty",
            "find what read it first; a body can be read once";
        Compressed =>
            "body_compressed",
            "the body is compressed",
            "decompress it first: Stripe signs and sends it uncompressed";
        CloudEnvelope =>
            "body_cloud_envelope",
            "the body is the envelope of Amazon EventBridge or Azure Event Grid",
            "those carry no signature of Stripe's: point a webhook endpoint here instead";
        Replaced =>
            "body_replacement_characters",
            "the body has replacement characters (U+FFFD), as decoding with losses leaves them",
            "what they replaced is gone: pass on bytes, not text";
        Truncated =>
            "body_truncated",
            "the body's JSON breaks off",
            "look for a limit on its size, or a recording that was cut";
        NotObject =>
            "body_not_object",
            "the body is not a JSON object",
            "pass on the bytes that came; \"[object Object]\" is a parsed body made a string";
        Reserialised =>
            "body_reserialised",
            "the body is not laid out as Stripe lays it out, and no layout fits",
            "verify the bytes before anything parses them: sorted keys and rewritten numbers \
             cannot be undone; or else the secret is wrong";
        Reformatted =>
            "body_reformatted",
            "the body was parsed and written again with other white space",
            "verify the bytes before anything parses them";
        Reescaped =>
            "body_reescaped",
            "the body was parsed and written again with other escapes in its strings",
            "verify the bytes before anything parses them";
        ByteOrderMark =>
            "body_byte_order_mark",
            "a byte order mark stands before the body",
            "pass on bytes; some editors and text writers add it";
        CrLf =>
            "body_crlf",
            "the body's lines end in CR LF",
            "pass on bytes, in no text mode; git and editors convert files too";
        EndAdded =>
            "body_end_added",
            "white space was added behind the body",
            "pass on bytes; editors and echo add a line break";
        EndRemoved =>
            "body_end_removed",
            "the line break at the body's end was cut off",
            "pass on bytes, untrimmed";
        Mojibake =>
            "body_mojibake",
            "the body's UTF-8 was read as Latin-1 or Windows-1252 and encoded again",
            "pass on bytes, or decode them as UTF-8";
        Latin1 =>
            "body_latin1",
            "the body was encoded as Latin-1 or Windows-1252",
            "pass on bytes, or encode them as UTF-8";
        Utf16 =>
            "body_utf16",
            "the body was encoded as UTF-16",
            "pass on bytes, or encode them as UTF-8; PowerShell's > writes UTF-16";
        Base64 =>
            "body_base64",
            "the body is base64",
            "decode it before it is verified; gateways encode what they take for binary";
        JsonString =>
            "body_json_string",
            "the body is a JSON string that holds the body",
            "pass on bytes; something made JSON of what was JSON already";
        PercentEncoded =>
            "body_percent_encoded",
            "the body is encoded as a form or a URL",
            "pass on bytes; something took it for a form";
        ProxyEvent =>
            "body_proxy_event",
            "the body is the event of an API gateway or a Lambda function",
            "verify the body inside it, base64-decoded if isBase64Encoded is true";
    }
}
