use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use http::{Uri, uri::Scheme};
use tokio::{net::lookup_host, time::timeout};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};

/// How long resolving a name, and then a connection and its TLS, may take: a few round trips.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// How long an answer may take unless set: three times what Checkout waits for.
pub const ANSWER_TIME_MAX_DEFAULT: Duration = Duration::from_secs(30);

/// Most addresses of a name that are tried. A host has one or two of each family.
const ADDRESSES_MAX: usize = 8;

/// Whose endpoint it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ownership {
    /// Nobody has said: only endpoints on this machine are taken.
    LoopbackOnly,
    /// The caller declares it to be their own, and to be meant for tests.
    Declared,
}

/// An endpoint, by its URL, and the addresses it had when it was resolved: no other is ever connected to.
///
/// It is a [`tower_service::Service`] of requests with any body: each is sent over a connection of its
/// own, to **the target's own path and query**; those of the request do not count. No redirect is
/// followed. Of the answer's body the first [`ANSWER_BYTES_MAX`](super::ANSWER_BYTES_MAX) bytes are kept.
#[derive(Clone)]
pub struct Target {
    place: Arc<Place>,
    answer_time_max: Duration,
}

pub(super) struct Place {
    pub(super) addresses: Vec<SocketAddr>,
    /// The place among them of the one that was reached.
    pub(super) reached: AtomicUsize,
    /// As the `Host` header wants it.
    pub(super) authority: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Target {
    /// Takes an `http` or `https` URL, and resolves its name once.
    ///
    /// # Errors
    ///
    /// [`TargetError`]: among others when an address is not on this machine and nobody has declared
    /// the endpoint to be their own.
    pub async fn resolve(url: &str, ownership: Ownership) -> Result<Self, TargetError> {
        let uri: Uri = url.parse().map_err(|_| TargetError::NotUrl)?;
        let is_tls = is_tls(&uri)?;
        let authority = uri.authority().ok_or(TargetError::NotUrl)?;
        if authority.as_str().contains('@') {
            return Err(TargetError::UserInfo);
        }
        let host = authority.host();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let has_port = authority.as_str().len() > host.len();
        let port = match authority.port_u16() {
            Some(port) => port,
            // One that is out of range is no reason to attack another server.
            None if has_port => return Err(TargetError::NotUrl),
            None => {
                if is_tls {
                    443
                } else {
                    80
                }
            }
        };
        let addresses = addresses(bare, port).await?;
        let is_here = addresses.iter().all(|address| is_loopback(address.ip()));
        if ownership == Ownership::LoopbackOnly && !is_here {
            return Err(TargetError::NotLoopback);
        }
        let place = Place {
            addresses,
            reached: AtomicUsize::new(0),
            authority: authority.as_str().to_owned(),
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
            tls: if is_tls { Some(tls(bare)?) } else { None },
        };
        Ok(Self {
            place: Arc::new(place),
            answer_time_max: ANSWER_TIME_MAX_DEFAULT,
        })
    }

    /// Sets how long an answer may take; [`ANSWER_TIME_MAX_DEFAULT`] unless set.
    #[must_use]
    pub fn answer_time_max(mut self, limit: Duration) -> Self {
        self.answer_time_max = limit;
        self
    }

    pub(super) fn place(&self) -> &Arc<Place> {
        &self.place
    }

    pub(super) fn answer_limit(&self) -> Duration {
        self.answer_time_max
    }

    /// Whether what is sent can be read on the way.
    pub(super) fn is_open_to_the_network(&self) -> bool {
        let addresses = self.place.addresses.iter();
        let is_away = |address: &SocketAddr| !is_loopback(address.ip());
        self.place.tls.is_none() && addresses.into_iter().any(is_away)
    }
}

/// The URL without its query, which may hold a token.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.place.tls.as_ref().map_or("http", |_| "https");
        write!(f, "{scheme}://{}{}", self.place.authority, self.place.path)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("url", &format_args!("{self}"))
            .field("addresses", &self.place.addresses)
            .field("answer_time_max", &self.answer_time_max)
            .finish()
    }
}

/// Why an endpoint is not probed. No text shows the URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// It is no URL with a host.
    #[error("not a URL: give the endpoint's address, as http://127.0.0.1:3000/webhooks/stripe")]
    NotUrl,
    /// It begins with something else than `http` or `https`.
    #[error("not an address of HTTP: it must begin with http:// or https://")]
    NotHttp,
    /// It holds a user or a password.
    #[error("the URL holds a user or a password, which would not be sent: leave it out")]
    UserInfo,
    /// Its name has no address.
    #[error("the host's name cannot be resolved: is it spelt right?")]
    Unresolved(#[source] io::Error),
    /// It is not on this machine.
    #[error(
        "the endpoint is not on this machine: a probe attacks it and causes real effects there, so \
         declare that it is your own and meant for tests"
    )]
    NotLoopback,
    /// The machine trusts nobody.
    #[error(
        "no root certificate was found on this machine: install the system's, as ca-certificates"
    )]
    NoRoots,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up for this host")]
    Tls(#[source] tokio_rustls::rustls::Error),
}

fn is_tls(uri: &Uri) -> Result<bool, TargetError> {
    match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => Ok(true),
        Some(scheme) if *scheme == Scheme::HTTP => Ok(false),
        Some(_) => Err(TargetError::NotHttp),
        None => Err(TargetError::NotUrl),
    }
}

async fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, TargetError> {
    let resolved = timeout(CONNECT_TIME_MAX, lookup_host((host, port))).await;
    let resolved = resolved
        .map_err(io::Error::from)
        .and_then(|resolved| resolved)
        .map_err(TargetError::Unresolved)?;
    let addresses: Vec<_> = resolved.take(ADDRESSES_MAX).collect();
    if addresses.is_empty() {
        let nothing = io::Error::from(io::ErrorKind::NotFound);
        return Err(TargetError::Unresolved(nothing));
    }
    Ok(addresses)
}

/// An IPv4 address in the clothes of IPv6 counts as what it is.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn tls(host: &str) -> Result<(TlsConnector, ServerName<'static>), TargetError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(TargetError::NoRoots);
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TargetError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(host.to_owned()).map_err(|_| TargetError::NotUrl)?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_none_is_refused_with_the_remedy() {
        for (url, remedy) in [
            ("", "give the endpoint's address"),
            ("/webhooks/stripe", "give the endpoint's address"),
            ("http://127.0.0.1:99999/", "give the endpoint's address"),
            ("ftp://127.0.0.1/", "must begin with http:// or https://"),
            ("http://user:marker@127.0.0.1/", "leave it out"),
        ] {
            let error = Target::resolve(url, Ownership::Declared).await.unwrap_err();
            let text = format!("{error}");
            assert!(
                text.contains(remedy) && !text.contains("marker"),
                "{url}: {text}"
            );
        }
    }

    #[tokio::test]
    async fn nothing_but_loopback_is_taken_undeclared() {
        for url in [
            "http://192.0.2.1/",
            "http://[2001:db8::1]/",
            "http://0.0.0.0/",
        ] {
            let refused = Target::resolve(url, Ownership::LoopbackOnly).await;
            assert!(matches!(refused, Err(TargetError::NotLoopback)), "{url}");
            let target = Target::resolve(url, Ownership::Declared).await.unwrap();
            assert!(target.is_open_to_the_network());
        }
        for url in ["http://127.0.0.1:1/", "http://[::ffff:127.0.0.1]/"] {
            let target = Target::resolve(url, Ownership::LoopbackOnly).await.unwrap();
            assert!(!target.is_open_to_the_network());
        }
    }

    #[tokio::test]
    async fn a_query_is_not_shown() {
        let url = "http://127.0.0.1:3000/hook?token=marker";
        let target = Target::resolve(url, Ownership::LoopbackOnly).await.unwrap();
        assert_eq!(target.to_string(), "http://127.0.0.1:3000/hook");
        assert!(!format!("{target:?}").contains("marker"));
    }
}
