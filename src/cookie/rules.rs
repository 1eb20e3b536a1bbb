//! Rules for the names, domains and paths of cookies.

use crate::error::ConfigError;

/// The longest name of a cookie, in bytes. It leaves room for the value, which shares one limit with the name.
pub(super) const MAX_NAME: usize = 256;
/// Browsers ignore an attribute whose value is longer than this many bytes (RFC 6265bis §5.6).
pub(super) const MAX_ATTRIBUTE: usize = 1024;

/// The prefix of a name, which promises attributes of the cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefix {
    HostHttp,
    Host,
    Http,
    Secure,
}

impl Prefix {
    /// The longest first: `__Host-Http-` begins with `__Host-`.
    const ALL: [Self; 4] = [Self::HostHttp, Self::Host, Self::Http, Self::Secure];

    /// Returns the prefix of a name. Browsers look for it without regard to case (RFC 6265bis §5.4).
    pub(super) fn of(name: &str) -> Option<Self> {
        let has = |prefix: &Self| {
            name.get(..prefix.text().len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.text()))
        };
        Self::ALL.into_iter().find(has)
    }

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::HostHttp => "__Host-Http-",
            Self::Host => "__Host-",
            Self::Http => "__Http-",
            Self::Secure => "__Secure-",
        }
    }

    pub(super) const fn is_bound_to_host(self) -> bool {
        matches!(self, Self::HostHttp | Self::Host)
    }
}

pub(super) fn check_name(name: &str) -> Result<(), ConfigError> {
    if name.is_empty() {
        return Err(ConfigError::new("the name of a cookie must not be empty"));
    }
    if name.len() > MAX_NAME {
        return Err(too_long("name", name, MAX_NAME));
    }
    if !name.bytes().all(is_token_byte) {
        return Err(ConfigError::new(format!(
            "cookie name {name:?} must have ascii letters, digits and !#$%&'*+-.^_`|~ only"
        )));
    }
    Ok(())
}

pub(super) fn check_domain(domain: &str) -> Result<(), ConfigError> {
    if domain.len() > MAX_ATTRIBUTE {
        return Err(too_long("domain", domain, MAX_ATTRIBUTE));
    }
    if domain.starts_with('.') {
        return Err(ConfigError::new(format!(
            "cookie domain {domain:?} must not start with a dot: hosts under it are meant without it"
        )));
    }
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if !domain.split('.').all(is_label) {
        return Err(ConfigError::new(format!(
            "cookie domain {domain:?} must be a host name alone, in ascii and without a port"
        )));
    }
    Ok(())
}

pub(super) fn check_path(path: &str) -> Result<(), ConfigError> {
    if path.len() > MAX_ATTRIBUTE {
        return Err(too_long("path", path, MAX_ATTRIBUTE));
    }
    if !path.starts_with('/') {
        return Err(ConfigError::new(format!("cookie path {path:?} must start with a slash")));
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';') {
        return Err(ConfigError::new(format!(
            "cookie path {path:?} must have visible ascii characters other than ; only"
        )));
    }
    Ok(())
}

fn too_long(what: &str, value: &str, limit: usize) -> ConfigError {
    ConfigError::new(format!("the {what} of a cookie has {} bytes and must have at most {limit}", value.len()))
}

/// RFC 9110 §5.6.2.
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

pub(super) fn ends_like_a_chunk(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, end)| !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit()))
}
