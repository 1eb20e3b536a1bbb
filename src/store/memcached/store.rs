//! The store: its calls, and what they ask of the server.

use std::fmt;
use std::sync::Arc;

use super::connection::ClientError;
use super::items::{Found, Items, MAX_ATTEMPTS, Mode, NAME, Value, failed};
use super::pool::Pool;
use super::recent::Recent;
use crate::clock::Timestamp;
use crate::error::ConfigError;
use crate::store::{
    Entry, Forward, Outcome, Record, Renewal, Store, StoreError, StoreErrorKind, StoreKey, Touch, Version,
};

const DEFAULT_PORT: u16 = 11_211;
const DEFAULT_CONNECTIONS: usize = 32;
const DEFAULT_PREFIX: &str = "session:";

/// The longest prefix: a key has at most 250 bytes, 43 of which are the base64url of the store key.
const MAX_PREFIX: usize = 200;

/// Store in [memcached](https://memcached.org) 1.6 or later: fast, shared by all nodes, and volatile.
///
/// # Sessions in a cache
///
/// memcached keeps what fits into its memory and evicts the least recently used items without notice. A restart loses
/// everything. So **a session can vanish at any time, and with it a login, a cart, or a remembered choice**: the user
/// is anonymous again, as after a timeout. Give it enough memory, monitor `evictions`, and store elsewhere what must
/// not be lost, or use another store.
///
/// A session never comes back stale or after it was deleted: every write after the first is a compare-and-swap on the
/// present state, and only the first write creates. That holds for one server. A proxy or a client-side ring that moves
/// keys to another server and back can bring back stale sessions, and so can a server that restarts with its old memory
/// (`-e`). Do not use those.
///
/// # No lists of sessions
///
/// The store does not [find the sessions of a principal](crate::store::FindPrincipals): it neither lists nor counts nor
/// revokes them. memcached has no index; an index of our own would be an item that can be evicted while its sessions
/// live on, and "log out everywhere" would then leave a session alive. Use another store for lists of devices,
/// revocation and a limit of sessions.
///
/// # Errors
///
/// A record that is larger than an item of the server (`-I`, 1 MiB by default) is rejected with
/// [`StoreErrorKind::TooLarge`](crate::store::StoreErrorKind::TooLarge) before it is sent, and the stored record stays.
/// A full server that must not evict (`-M`) returns [`StoreErrorKind::Full`](crate::store::StoreErrorKind::Full). It
/// accepts every delete, but may have no room for the [`Forward`]; then it is as if the forward had been evicted.
///
/// # Security
///
/// The connection is plain TCP without a password, the default of memcached. Anyone who can connect to the server can
/// read and change every session: run it in a private network.
///
/// # Connections
///
/// At most [32](Self::with_max_connections) connections are open, and further calls wait for one. A call has a
/// connection to itself until its reply arrives; a cancelled call closes it. The store sets no time limits: the layer's
/// [store timeout](crate::SessionLayer::with_store_timeout) applies to the whole call.
///
/// A load, a create, and usually an update, a touch and a delete take one round trip, and a renewal two. A write takes
/// one more if the record is not the one that was last loaded under its key, or is no longer held by any request.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use session_state::{MemcachedStore, SessionLayer};
///
/// let store = MemcachedStore::connect("memcached://localhost:11211").await?.with_key_prefix("shop:")?;
/// let sessions = SessionLayer::server(store);
/// # let _ = sessions;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MemcachedStore {
    items: Items,
    recent: Arc<Recent>,
    address: Arc<str>,
}

impl MemcachedStore {
    /// Creates a store on the server at `address`, such as `localhost:11211` or `memcached://[::1]:11211`. Without a
    /// port it uses port 11211. The first call connects.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the address is not a host with an optional port. Passwords and paths are not supported.
    pub fn new(address: &str) -> Result<Self, ConfigError> {
        let address: Arc<str> = parse_address(address)?.into();
        let pool = Arc::new(Pool::new(String::from(&*address), DEFAULT_CONNECTIONS));
        Ok(Self { items: Items { pool, prefix: DEFAULT_PREFIX.into() }, recent: Arc::new(Recent::new()), address })
    }

    /// Creates a store like [`new`](Self::new), and connects to check that the server is there.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the address is invalid or the server cannot be reached.
    pub async fn connect(address: &str) -> Result<Self, StoreError> {
        let store = Self::new(address).map_err(|error| StoreError::failed(NAME, error))?;
        store.items.pool.warm_up().await.map_err(failed)?;
        Ok(store)
    }

    /// Sets the prefix of all keys. The default is `session:`.
    ///
    /// Applications that share a server need different prefixes.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the prefix is longer than 200 bytes or contains characters other than visible ASCII.
    pub fn with_key_prefix(mut self, prefix: &str) -> Result<Self, ConfigError> {
        if prefix.len() > MAX_PREFIX {
            let message = format!("the key prefix has {} bytes, and the limit is {MAX_PREFIX}", prefix.len());
            return Err(ConfigError::new(message));
        }
        if !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ConfigError::new(format!(
                "the key prefix {prefix:?} must consist of visible ASCII characters"
            )));
        }
        self.items.prefix = prefix.into();
        Ok(self)
    }

    /// Sets the maximum number of open connections, at least one. The default is 32.
    ///
    /// A connection serves one call at a time, so this also limits the concurrent calls. Existing clones keep their
    /// pool.
    #[must_use]
    pub fn with_max_connections(mut self, max_connections: usize) -> Self {
        self.items.pool = Arc::new(Pool::new(String::from(&*self.address), max_connections));
        self
    }

    /// Returns the entry, unless it has expired at `now`, and remembers a record for the write that may follow.
    async fn find(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Found>, StoreError> {
        let found = self.items.fetch(key).await?.filter(|found| !found.entry.is_expired(now));
        if let Some(Found { cas, entry: Entry::Live(record) }) = &found {
            self.recent.remember(key, *cas, record);
        }
        Ok(found)
    }

    /// Returns the live record of the expected version, or of any version, or the outcome if there is none.
    async fn expected(
        &self,
        key: &StoreKey,
        expected: Option<Version>,
        now: Timestamp,
    ) -> Result<Expected, StoreError> {
        Ok(match self.find(key, now).await? {
            None => Err(Outcome::Gone),
            Some(Found { entry: Entry::Retired(forward), .. }) => Err(Outcome::Retired(forward)),
            Some(Found { cas, entry: Entry::Live(record) }) => match expected {
                Some(version) if record.version != version => Err(Outcome::Conflict(Some(record))),
                _ => Ok((cas, record)),
            },
        })
    }

    /// Returns the record that was remembered, if it has the expected version.
    fn remembered(&self, key: &StoreKey, expected: Option<Version>, now: Timestamp) -> Option<CasRecord> {
        let is_expected = |record: &Record| expected.is_none_or(|version| record.version == version);
        self.recent.take(key).filter(|(_, record)| is_expected(record) && !record.is_expired(now))
    }

    /// Changes the live record of the expected version, or of any version, by the result of `next`.
    ///
    /// This is a compare-and-swap: after a concurrent write it starts over with the present record.
    async fn change<'v>(
        &self,
        key: &StoreKey,
        expected: Option<Version>,
        now: Timestamp,
        next: impl Fn(&Record) -> Change<'v> + Send,
    ) -> Result<Outcome, StoreError> {
        let mut remembered = self.remembered(key, expected, now);
        for _ in 0..MAX_ATTEMPTS {
            let known = match remembered.take() {
                Some(known) => Ok(known),
                None => self.expected(key, expected, now).await?,
            };
            let (cas, record) = match known {
                Ok(known) => known,
                Err(outcome) => return Ok(outcome),
            };
            let is_done = match next(&record) {
                Change::Put(value) => self.items.put(key, &value, Mode::Swap(cas), now).await?.is_some(),
                Change::Remove => self.items.remove(key, Some(cas)).await?,
            };
            if is_done {
                return Ok(Outcome::Done);
            }
        }
        Err(failed(ClientError::Contended))
    }
}

impl MemcachedStore {
    /// Writes the record of a renewal under its new key. Returns its CAS number, `None` if an earlier attempt has
    /// placed it, or the outcome if the old key no longer has the expected version.
    async fn place(
        &self,
        old: &StoreKey,
        expected: Version,
        new: &StoreKey,
        record: &Record,
        now: Timestamp,
    ) -> Result<Result<Option<u64>, Outcome>, StoreError> {
        let (value, mut mode) = (Value::of_record(record), Mode::Add);
        for _ in 0..MAX_ATTEMPTS {
            if let Some(cas) = self.items.put(new, &value, mode, now).await? {
                return Ok(Ok(Some(cas)));
            }
            mode = match self.items.fetch(new).await? {
                None => Mode::Add,
                // It is left from an earlier attempt to renew an earlier version, if the server has no forward under
                // the old key yet. Otherwise another request has changed it.
                Some(Found { cas, entry: Entry::Live(found) }) if found.version != record.version => {
                    if let Err(outcome) = self.expected(old, Some(expected), now).await? {
                        return Ok(Err(outcome));
                    }
                    Mode::Swap(cas)
                }
                // An earlier attempt has placed it, and the session may have moved on since.
                Some(_) => return Ok(Ok(None)),
            };
        }
        Err(failed(ClientError::Contended))
    }
}

impl fmt::Debug for MemcachedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemcachedStore").field("address", &self.address).field("prefix", &self.items.prefix).finish()
    }
}

impl Store for MemcachedStore {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        Ok(self.find(key, now).await?.map(|found| found.entry))
    }

    async fn put(
        &self,
        key: &StoreKey,
        expected: Option<Version>,
        entry: Entry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        match (expected, entry) {
            (None, Entry::Live(record)) => self.create(key, record, now).await,
            (None, entry) => {
                let is_free = |found: &Found| found.entry.is_expired(now);
                Ok(self.items.insert(key, Value::of(&entry), is_free, now).await?.is_some())
            }
            (expected, entry) => {
                let value = Value::of(&entry);
                Ok(self.change(key, expected, now, |_| Change::Put(value.borrow())).await? == Outcome::Done)
            }
        }
    }

    async fn create(&self, key: &StoreKey, record: Arc<Record>, now: Timestamp) -> Result<bool, StoreError> {
        let inserted =
            self.items.insert(key, Value::of_record(&record), |found| found.entry.is_expired(now), now).await?;
        if let Some(cas) = inserted {
            self.recent.remember(key, cas, &record);
        }
        Ok(inserted.is_some())
    }

    async fn update(
        &self,
        key: &StoreKey,
        expected: Version,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let value = Value::of_record(&record);
        self.change(key, Some(expected), now, |_| Change::Put(value.borrow())).await
    }

    async fn touch(&self, key: &StoreKey, touch: Touch, now: Timestamp) -> Result<Outcome, StoreError> {
        self.change(key, Some(touch.expected), now, |record| Change::Put(Value::of_record(&touch.of(record)))).await
    }

    /// Writes the record under its new key, then replaces the old one by a forward, and deletes the new one if that
    /// fails.
    async fn renew(&self, renewal: Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        let Renewal { old, expected, new, record, forward } = renewal;
        // The old key is checked first: a retry must not revive a session that was deleted under its new key meanwhile.
        let known = match self.remembered(&old, Some(expected), now) {
            Some(known) => Ok(known),
            None => self.expected(&old, Some(expected), now).await?,
        };
        let (cas, current) = match known {
            Ok(known) => known,
            Err(outcome) => return Ok(outcome),
        };
        let inserted = match self.place(&old, expected, &new, &record, now).await? {
            Ok(inserted) => inserted,
            Err(outcome) => return Ok(outcome),
        };
        self.recent.remember(&old, cas, &current);
        let retired = Value::of_forward(&forward);
        let outcome = self.change(&old, Some(expected), now, |_| Change::Put(retired.borrow())).await?;
        match (&outcome, inserted) {
            (Outcome::Done, Some(cas)) => self.recent.remember(&new, cas, &record),
            (Outcome::Retired(found), _) if *found == forward => {}
            (_, None) => {}
            // No forward leads to the new key.
            (_, Some(_)) => drop(self.items.remove(&new, None).await?),
        }
        Ok(outcome)
    }

    async fn delete(&self, key: &StoreKey, forward: Option<Forward>, now: Timestamp) -> Result<Outcome, StoreError> {
        let remove = || self.change(key, None, now, |_| Change::Remove);
        let Some(forward) = forward else { return remove().await };
        let retired = Value::of_forward(&forward);
        match self.change(key, None, now, |_| Change::Put(retired.borrow())).await {
            // The session ends all the same. The server may have removed it together with the value that it rejected.
            Err(error) if error.kind() == StoreErrorKind::Full => match remove().await? {
                Outcome::Gone => Ok(Outcome::Done),
                outcome => Ok(outcome),
            },
            outcome => outcome,
        }
    }
}

/// A record under a key, with its CAS number.
type CasRecord = (u64, Arc<Record>);

type Expected = Result<CasRecord, Outcome>;

/// The change of a record.
enum Change<'v> {
    Put(Value<'v>),
    Remove,
}

/// Returns the address as `host:port`.
fn parse_address(address: &str) -> Result<String, ConfigError> {
    let host_and_port = address.strip_prefix("memcached://").unwrap_or(address);
    let host_and_port = host_and_port.strip_suffix('/').unwrap_or(host_and_port);
    let (host, port) = match host_and_port.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
        _ => (host_and_port, Some(DEFAULT_PORT)),
    };
    let name = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match name {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)),
    };
    // The error omits the address, which may contain a password.
    let rule = "the address of memcached must be a host and a port, such as memcached://localhost:11211";
    port.filter(|_| is_host).map(|port: u16| format!("{host}:{port}")).ok_or(ConfigError::new(rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_with_an_optional_port() {
        for (address, expected) in [
            ("localhost", "localhost:11211"),
            ("localhost:1", "localhost:1"),
            ("memcached://cache-1.internal:11212", "cache-1.internal:11212"),
            ("memcached://10.0.0.1/", "10.0.0.1:11211"),
            ("[::1]", "[::1]:11211"),
            ("memcached://[fe80::1]:5", "[fe80::1]:5"),
        ] {
            assert_eq!(parse_address(address).as_deref(), Ok(expected), "{address}");
        }
    }

    #[test]
    fn an_invalid_address_is_rejected_and_not_shown() {
        for address in [
            "",
            ":11211",
            "localhost:",
            "localhost:port",
            "localhost:65536",
            "::1",
            "[::1",
            "[localhost]:1",
            "memcached://user:secret@localhost",
            "memcached://localhost/secret",
            "redis://secret:1",
            "local host",
            "localhost\r\nflush_all\r\n",
        ] {
            let error = parse_address(address).expect_err(address).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_prefix_leaves_room_for_the_key_and_cannot_end_a_command() {
        let store = MemcachedStore::new("localhost").expect("an address");
        let with = |prefix: &str| store.clone().with_key_prefix(prefix);
        for prefix in [" ", "a b", "a\r\n", "a\0", "\u{7f}", "é", &"x".repeat(201)] {
            assert!(with(prefix).is_err(), "{prefix:?}");
        }
        for prefix in ["", "shop:", &"x".repeat(200)] {
            let store = with(prefix).expect("a good prefix");
            let key = store.items.key(&StoreKey::from_bytes([0xff; 32]));
            assert_eq!(key.len(), prefix.len() + 43);
            assert!(key.starts_with(prefix) && key.len() <= 250);
        }
    }
}
