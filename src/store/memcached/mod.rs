//! Sessions in memcached.

mod connection;
mod entry;
mod items;
mod pool;
mod recent;

use std::fmt;
use std::sync::Arc;

use super::{Entry, Outcome, Record, Renewal, Store, StoreError, StoreKey};
use crate::clock::Timestamp;
use crate::error::ConfigError;
use connection::ClientError;
use items::{Found, Items, MAX_TRIES, Mode, Value, failed};
use pool::Pool;
use recent::Recent;

const NAME: &str = "memcached";

const DEFAULT_PORT: u16 = 11_211;
const DEFAULT_CONNECTIONS: usize = 32;
const DEFAULT_PREFIX: &str = "session:";

/// Of the 250 bytes that a key may have, what is left beside the 43 of ours.
const LONGEST_PREFIX: usize = 200;

/// Keeps sessions in [memcached](https://memcached.org) 1.6 or later: fast, shared by all nodes, and forgetful.
///
/// # What a cache means for sessions
///
/// memcached keeps what fits into its memory and throws out the rest, oldest use first, without telling anybody. When it
/// is restarted everything is gone. So **a session can vanish at any moment, and with it a login, a cart, or a
/// remembered choice**: the visitor is anonymous again, as after a timeout. Give it enough memory, watch its
/// `evictions`, and keep what must not be lost elsewhere; where that is too little, take another store.
///
/// What does not happen: a session never comes back wrong, old or after it was ended. Every write but the first names
/// the exact state that it replaces (compare-and-swap), and none but the first creates. That holds for one server. A
/// proxy or a client-side ring that sends a key to another server while its own is away, and back again later, brings
/// back what was there before; so does a server that is started with its old memory (`-e`). Don't keep sessions there.
///
/// # No lists of sessions
///
/// The store does not [find the sessions of a principal](Store::FINDS_PRINCIPALS): it neither lists nor counts nor revokes
/// them. memcached has no index; one of our own would be an item like any other, which may be thrown out while the sessions
/// in it live on. "Log out everywhere" would then say that it did, and leave somebody logged in. For lists of devices, for
/// revocation and for a limit of sessions take another store.
///
/// # Errors
///
/// A record that is larger than an item of the server (`-I`, 1 MiB by default) is refused with
/// [`StoreErrorKind::TooLarge`](super::StoreErrorKind::TooLarge) before it is sent, and what was stored stays. A server
/// that may not evict (`-M`) and is full gives [`StoreErrorKind::Full`](super::StoreErrorKind::Full).
///
/// # Security
///
/// The connection is plain TCP without a password, as memcached has it by default. Whoever reaches the server can read
/// and change every session, so it belongs into a network where nobody else is.
///
/// # Connections
///
/// At most [32](Self::with_max_connections) are open at a time, and calls wait for one; a call has one for itself until
/// its answer is there. A call that is dropped before takes its connection with it. The store sets no time limits; the
/// layer's [store timeout](crate::SessionLayer::with_store_timeout) holds for the whole call.
///
/// A load, a create, and in most cases an update, a touch and a delete take one round trip, a renewal takes two. A write
/// to a session that is not the one that was loaded last under its key, or whose record nobody holds any more, asks
/// first and takes one more.
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
    /// Makes a store on the server at `address`, such as `localhost:11211` or `memcached://[::1]:11211`. The port is
    /// 11211 unless it is named. The first call connects.
    ///
    /// # Errors
    ///
    /// When the address is not a host, or a host and a port. There are no passwords and no paths.
    pub fn new(address: &str) -> Result<Self, ConfigError> {
        let address: Arc<str> = parse_address(address)?.into();
        let pool = Arc::new(Pool::new(String::from(&*address), DEFAULT_CONNECTIONS));
        Ok(Self { items: Items { pool, prefix: DEFAULT_PREFIX.into() }, recent: Arc::new(Recent::new()), address })
    }

    /// Makes a store as [`new`](Self::new) does, and connects, which shows whether there is a server.
    ///
    /// # Errors
    ///
    /// When the address cannot be read or the server not reached.
    pub async fn connect(address: &str) -> Result<Self, StoreError> {
        let store = Self::new(address).map_err(|error| StoreError::failed(NAME, error))?;
        store.items.pool.warm_up().await.map_err(failed)?;
        Ok(store)
    }

    /// Sets what goes before every key. The default is `session:`.
    ///
    /// Applications that share a server each need a prefix of their own.
    ///
    /// # Errors
    ///
    /// When the prefix is longer than 200 bytes or has anything but visible ASCII characters.
    pub fn with_key_prefix(mut self, prefix: &str) -> Result<Self, ConfigError> {
        if prefix.len() > LONGEST_PREFIX {
            let message = format!("the key prefix has {} bytes where memcached leaves {LONGEST_PREFIX}", prefix.len());
            return Err(ConfigError::new(message));
        }
        if !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ConfigError::new(format!("the key prefix {prefix:?} is not made of visible ASCII characters")));
        }
        self.items.prefix = prefix.into();
        Ok(self)
    }

    /// Limits how many connections are open at a time, at least one. The default is 32.
    ///
    /// A connection serves one call at a time, so this is also how many calls the server works on. Clones made before
    /// keep their own.
    #[must_use]
    pub fn with_max_connections(mut self, max_connections: usize) -> Self {
        self.items.pool = Arc::new(Pool::new(String::from(&*self.address), max_connections));
        self
    }

    /// Returns what is there at `now`, and remembers a record for the write that may follow.
    async fn find(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Found>, StoreError> {
        let found = self.items.fetch(key).await?.filter(|found| !found.is_expired(now));
        if let Some(Found { cas, entry: Entry::Live(record) }) = &found {
            self.recent.remember(key, *cas, record);
        }
        Ok(found)
    }

    /// Returns the live record of the expected version, or of any, or how the call ends if there is none.
    async fn expected(&self, key: &StoreKey, expected: Option<u64>, now: Timestamp) -> Result<Expected, StoreError> {
        Ok(match self.find(key, now).await? {
            None => Err(Outcome::Gone),
            Some(Found { entry: Entry::Retired(forward), .. }) => Err(Outcome::Retired(forward)),
            Some(Found { cas, entry: Entry::Live(record) }) => match expected {
                Some(version) if record.version != version => Err(Outcome::Conflict(Some(record))),
                _ => Ok((cas, record)),
            },
        })
    }

    /// Does the same from memory, if the record is remembered.
    fn remembered(&self, key: &StoreKey, expected: Option<u64>, now: Timestamp) -> Option<Known> {
        let is_expected = |record: &Record| expected.is_none_or(|version| record.version == version);
        self.recent.take(key).filter(|(_, record)| is_expected(record) && !record.is_expired(now))
    }

    /// Changes the live record of the expected version, or of any, into what `next` makes of it.
    ///
    /// What `next` is given is what stands there at the moment of the change: if others are faster, it is asked again.
    async fn change<'v>(
        &self,
        key: &StoreKey,
        expected: Option<u64>,
        now: Timestamp,
        next: impl Fn(&Record) -> Next<'v> + Send,
    ) -> Result<Outcome, StoreError> {
        let mut remembered = self.remembered(key, expected, now);
        for _ in 0..MAX_TRIES {
            let known = match remembered.take() {
                Some(known) => Ok(known),
                None => self.expected(key, expected, now).await?,
            };
            let (cas, record) = match known {
                Ok(known) => known,
                Err(outcome) => return Ok(outcome),
            };
            let is_done = match next(&record) {
                Next::Put(value) => self.items.put(key, &value, Mode::Swap(cas), now).await?.is_some(),
                Next::Remove => self.items.remove(key, Some(cas)).await?,
            };
            if is_done {
                return Ok(Outcome::Done);
            }
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

    async fn create(&self, key: &StoreKey, record: Arc<Record>, now: Timestamp) -> Result<bool, StoreError> {
        let inserted = self.items.insert(key, Value::of_record(&record), |found| found.is_expired(now), now).await?;
        if let Some(cas) = inserted {
            self.recent.remember(key, cas, &record);
        }
        Ok(inserted.is_some())
    }

    async fn update(
        &self,
        key: &StoreKey,
        expected: u64,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let value = Value::of_record(&record);
        self.change(key, Some(expected), now, |_| Next::Put(value.borrow())).await
    }

    async fn touch(
        &self,
        key: &StoreKey,
        expected: u64,
        last_seen_at: Timestamp,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let touched = |record: &Record| Record {
            last_seen_at: record.last_seen_at.max(last_seen_at),
            expires_at: record.expires_at.max(expires_at),
            ..record.clone()
        };
        self.change(key, Some(expected), now, |record| Next::Put(Value::of_record(&touched(record)))).await
    }

    /// Puts the record under its new key, then turns the old one into a forward, and takes the new one away again if
    /// that is too late.
    async fn renew(&self, renewal: Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        let Renewal { old, expected, new, record, forward } = renewal;
        // The old key is looked at first: a renewal that is made again must not bring back a session that has ended
        // under its new key meanwhile.
        let known = match self.remembered(&old, Some(expected), now) {
            Some(known) => Ok(known),
            None => self.expected(&old, Some(expected), now).await?,
        };
        let (cas, current) = match known {
            Ok(known) => known,
            Err(outcome) => return Ok(outcome),
        };
        // Whatever is under the new key is what an earlier attempt left there: nobody else has it.
        let inserted = self.items.insert(&new, Value::of_record(&record), |_| true, now).await?;
        self.recent.remember(&old, cas, &current);
        let retired = Value { bytes: entry::encode_forward(&forward).into(), expires_at: forward.expires_at };
        let outcome = self.change(&old, Some(expected), now, |_| Next::Put(retired.borrow())).await?;
        match (&outcome, inserted) {
            (Outcome::Done, Some(cas)) => self.recent.remember(&new, cas, &record),
            (Outcome::Done, None) => {}
            (Outcome::Retired(found), _) if *found == forward => {}
            // Nothing leads to the new key, whatever has been done to it.
            _ => drop(self.items.remove(&new, None).await?),
        }
        Ok(outcome)
    }

    async fn delete(&self, key: &StoreKey, now: Timestamp) -> Result<Outcome, StoreError> {
        self.change(key, None, now, |_| Next::Remove).await
    }
}

/// A record as it stands under a key, with the number of this state.
type Known = (u64, Arc<Record>);

type Expected = Result<Known, Outcome>;

/// What becomes of a record.
enum Next<'v> {
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
    // The address is not shown: somebody may have written a password into it.
    let rule = "the address of memcached must be a host and a port, such as memcached://localhost:11211";
    port.filter(|_| is_host).map(|port: u16| format!("{host}:{port}")).ok_or(ConfigError::new(rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_perhaps_a_port() {
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
    fn what_is_no_address_is_refused_and_not_shown() {
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
