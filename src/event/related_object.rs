use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::envelope::{is_key, lenient_object};

/// Longest path that is taken. Stripe's have the length of two or three ids.
const PATH_BYTES_MAX: usize = 2048;

/// What a thin event is about.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct RelatedObject {
    /// The object's id.
    pub id: String,
    /// The object's type, such as `checkout.session`.
    #[serde(rename = "type")]
    pub object_type: String,
    /// The path to fetch it from, such as `/v1/checkout/sessions/cs_123`; none if the event gives
    /// anything but a path.
    ///
    /// Appended or joined to the address of Stripe's API it stays on that host, so that an API key
    /// cannot be sent elsewhere.
    #[serde(default, deserialize_with = "path")]
    pub url: Option<String>,
}

impl RelatedObject {
    pub(super) fn read(raw: &RawValue) -> Option<Self> {
        let are_keys = |related: &Self| is_key(&related.id) && is_key(&related.object_type);
        lenient_object(raw).filter(are_keys)
    }
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let url: Option<String> = Option::deserialize(deserializer)?;
    Ok(url.filter(|url| is_path(url)))
}

/// `//host` and `/\host` lead to another host, and so do white space and control characters, which
/// readers of URLs drop, between the two.
fn is_path(url: &str) -> bool {
    let of_a_path = |character: char| character.is_ascii_graphic() && character != '\\';
    let is_bounded = url.len() <= PATH_BYTES_MAX;
    is_bounded && url.starts_with('/') && !url.starts_with("//") && url.chars().all(of_a_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_is_fetched_from() {
        let path = "/v2/core/accounts/acct_1?include=a";
        for (url, is_path) in [
            (path, true),
            ("https://example.com/", false),
            ("@example.com/", false),
            (".example.com", false),
            ("//example.com/", false),
            ("/\\example.com/", false),
            ("/\t/example.com/", false),
            ("/v1/a b", false),
            ("", false),
        ] {
            let json = serde_json::json!({"id": "cs_1", "type": "checkout.session", "url": url});
            let related: RelatedObject = serde_json::from_value(json).unwrap();
            assert_eq!(related.url.as_deref(), is_path.then_some(url));
        }
    }
}
