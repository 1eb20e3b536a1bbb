//! Makes the calls of one request to a store again and again, through an adapter of this crate or by hand:
//! `adapters <url> <ours|hand> <load|update|touch> <requests>`. `adapters.py` counts its instructions.
//!
//! A request loads the session, and then changes or touches it. The one by hand is the least client code that keeps the
//! deadline and compares versions. Both make the same round trips.

mod by_hand;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use session_state::store::{Entry, Handle, Outcome, Record, Store, StoreKey, Touch, Values, Version};
use session_state::{
    Clock as _, MemcachedStore, MongodbStore, MySqlStore, PostgresStore, RedisStore, SqliteStore, SystemClock,
};

const USAGE: &str = "usage: adapters <url> <ours|hand> <load|update|touch> <requests>";

/// The key and the values of the session.
const KEY: [u8; 32] = [7; 32];
const DATA: &str = r#"{"visits":7,"name":"visitor 7","cart":[{"sku":"shortbread","qty":2},{"sku":"linzer","qty":1}]}"#;
const IDLE: Duration = Duration::from_secs(30 * 60);

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Request {
    Load,
    Update,
    Touch,
}

/// A client of a store with one session.
trait Client {
    /// Stores the session with version 1.
    async fn create(&mut self) -> Result<(), Error>;

    /// Serves a request. An update writes the version after `version`.
    async fn serve(&mut self, request: Request, version: u64) -> Result<(), Error>;
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [url, whose @ ("ours" | "hand"), request, requests] => run(url, whose == "ours", request, requests).await,
        _ => Err(USAGE.into()),
    };
    if let Err(error) = done {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn run(url: &str, ours: bool, request: &str, requests: &str) -> Result<(), Error> {
    let request = match request {
        "load" => Request::Load,
        "update" => Request::Update,
        "touch" => Request::Touch,
        _ => return Err(USAGE.into()),
    };
    let requests = requests.parse()?;
    let scheme = url.split(':').next().unwrap_or_default();
    match (scheme, ours) {
        ("sqlite", true) => {
            let store = SqliteStore::connect(url).await?;
            store.migrate().await?;
            serve(Ours(store), request, requests).await
        }
        ("postgres", true) => {
            let store = PostgresStore::connect(url).await?;
            store.migrate().await?;
            serve(Ours(store), request, requests).await
        }
        ("mysql", true) => {
            let store = MySqlStore::connect(url).await?;
            store.migrate().await?;
            serve(Ours(store), request, requests).await
        }
        ("mongodb", true) => {
            let store = MongodbStore::connect(url).await?;
            store.migrate().await?;
            serve(Ours(store), request, requests).await
        }
        ("redis", true) => serve(Ours(RedisStore::connect(url).await?), request, requests).await,
        ("memcached", true) => serve(Ours(MemcachedStore::connect(url).await?), request, requests).await,
        ("sqlite", false) => serve(by_hand::Sqlite::connect(url).await?, request, requests).await,
        ("postgres", false) => serve(by_hand::Postgres::connect(url).await?, request, requests).await,
        ("mysql", false) => serve(by_hand::MySql::connect(url).await?, request, requests).await,
        ("mongodb", false) => serve(by_hand::Mongodb::connect(url).await?, request, requests).await,
        ("redis", false) => serve(by_hand::Redis::connect(url).await?, request, requests).await,
        ("memcached", false) => serve(by_hand::Memcached::connect(url).await?, request, requests).await,
        _ => Err(format!("there is no store for the scheme of {url}").into()),
    }
}

async fn serve(mut client: impl Client, request: Request, requests: u64) -> Result<(), Error> {
    client.create().await?;
    for n in 1..=requests {
        client.serve(request, if request == Request::Update { n } else { 1 }).await?;
    }
    Ok(())
}

struct Ours<S>(S);

impl<S: Store> Client for Ours<S> {
    async fn create(&mut self) -> Result<(), Error> {
        let (key, now) = (StoreKey::from_bytes(KEY), SystemClock.now());
        self.0.delete(&key, None, now).await?;
        let mut record = Record::new(Handle::from_bytes([7; 16]), now, now.after(IDLE));
        record.values = Values::from_json(DATA)?;
        expect(self.0.create(&key, Arc::new(record), now).await?)
    }

    async fn serve(&mut self, request: Request, version: u64) -> Result<(), Error> {
        let (key, now) = (StoreKey::from_bytes(KEY), SystemClock.now());
        let Some(Entry::Live(record)) = self.0.load(&key, now).await? else { return Err("no session".into()) };
        let expected = Version::from_u64(version);
        let (last_seen_at, expires_at) = (now, now.after(IDLE));
        match request {
            Request::Load => expect(record.version == expected),
            Request::Update => {
                let version = Version::from_u64(version + 1);
                let mut changed = Record::clone(&record);
                (changed.version, changed.last_seen_at, changed.expires_at) = (version, last_seen_at, expires_at);
                expect(self.0.update(&key, expected, Arc::new(changed), now).await? == Outcome::Done)
            }
            Request::Touch => {
                let touch = Touch { expected, last_seen_at, expires_at };
                expect(self.0.touch(&key, touch, now).await? == Outcome::Done)
            }
        }
    }
}

fn expect(is_done: bool) -> Result<(), Error> {
    if is_done { Ok(()) } else { Err("the call had no effect".into()) }
}
