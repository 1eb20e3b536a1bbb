//! The least client code for each engine.

use std::time::{SystemTime, UNIX_EPOCH};

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, doc};
use redis::aio::MultiplexedConnection;
use sqlx::Row as _;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

use crate::{Client, DATA, Error, IDLE, KEY, Request, expect};

/// Milliseconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as i64)
}

fn idle() -> i64 {
    IDLE.as_millis() as i64
}

/// A session as it is read. It has all that a session of the crate has.
#[expect(dead_code, reason = "a page would use the fields")]
struct Session {
    handle: Vec<u8>,
    version: i64,
    generation: i64,
    created_at: i64,
    renewed_at: i64,
    last_seen_at: i64,
    expires_at: i64,
    idle_timeout: Option<i64>,
    absolute_timeout: Option<i64>,
    principal: Option<String>,
    authenticated_at: Option<i64>,
    label: Option<String>,
    data: String,
}

macro_rules! sql_clients {
    ($($name:ident { $($statement:ident: $text:literal,)* })*) => {$(
        pub struct $name(sqlx::Pool<sqlx::$name>);

        impl $name {
            $(const $statement: &str = $text;)*

            pub async fn connect(url: &str) -> Result<Self, Error> {
                let options = sqlx::pool::PoolOptions::new().test_before_acquire(false);
                Ok(Self(options.connect(url).await?))
            }
        }

        impl Client for $name {
            async fn create(&mut self) -> Result<(), Error> {
                sqlx::query("DROP TABLE IF EXISTS by_hand").execute(&self.0).await?;
                sqlx::query(Self::TABLE).execute(&self.0).await?;
                let now = now();
                let insert = sqlx::query(Self::INSERT).bind(&KEY[..]).bind(&KEY[..16]).bind(now).bind(now).bind(now);
                let insert = insert.bind(now + idle()).bind(DATA);
                expect(insert.execute(&self.0).await?.rows_affected() == 1)
            }

            async fn serve(&mut self, request: Request, version: u64) -> Result<(), Error> {
                let (version, now) = (version as i64, now());
                let load = sqlx::query(Self::LOAD).bind(&KEY[..]).bind(now);
                let row = load.fetch_optional(&self.0).await?.ok_or("no session")?;
                let session = Session {
                    handle: row.try_get(0)?,
                    version: row.try_get(1)?,
                    generation: row.try_get(2)?,
                    created_at: row.try_get(3)?,
                    renewed_at: row.try_get(4)?,
                    last_seen_at: row.try_get(5)?,
                    expires_at: row.try_get(6)?,
                    idle_timeout: row.try_get(7)?,
                    absolute_timeout: row.try_get(8)?,
                    principal: row.try_get(9)?,
                    authenticated_at: row.try_get(10)?,
                    label: row.try_get(11)?,
                    data: row.try_get(12)?,
                };
                let change = match request {
                    Request::Load => return expect(session.version == version),
                    Request::Update => {
                        let update = sqlx::query(Self::UPDATE).bind(version + 1).bind(session.generation);
                        let update = update.bind(session.renewed_at).bind(now).bind(now + idle());
                        let update = update.bind(session.idle_timeout).bind(session.absolute_timeout);
                        let update = update.bind(session.principal).bind(session.authenticated_at);
                        update.bind(session.label).bind(session.data).bind(&KEY[..]).bind(version).bind(now)
                    }
                    Request::Touch => {
                        sqlx::query(Self::TOUCH).bind(now).bind(now + idle()).bind(&KEY[..]).bind(version).bind(now)
                    }
                };
                expect(change.execute(&self.0).await?.rows_affected() == 1)
            }
        }
    )*};
}

sql_clients! {
    Sqlite {
        TABLE: "CREATE TABLE by_hand (id BLOB PRIMARY KEY, handle BLOB, version BIGINT NOT NULL, generation BIGINT NOT NULL, \
            created_at BIGINT NOT NULL, renewed_at BIGINT NOT NULL, last_seen_at BIGINT NOT NULL, \
            expires_at BIGINT NOT NULL, idle_timeout BIGINT, absolute_timeout BIGINT, principal TEXT, \
            authenticated_at BIGINT, label TEXT, data TEXT NOT NULL)",
        INSERT: "INSERT INTO by_hand VALUES (?, ?, 1, 1, ?, ?, ?, ?, NULL, NULL, NULL, NULL, NULL, ?)",
        LOAD: "SELECT handle, version, generation, created_at, renewed_at, last_seen_at, expires_at, idle_timeout, \
            absolute_timeout, principal, authenticated_at, label, data FROM by_hand WHERE id = ? AND expires_at > ?",
        UPDATE: "UPDATE by_hand SET version = ?, generation = ?, renewed_at = ?, last_seen_at = ?, expires_at = ?, idle_timeout = ?, \
            absolute_timeout = ?, principal = ?, authenticated_at = ?, label = ?, data = ? \
            WHERE id = ? AND version = ? AND expires_at > ?",
        TOUCH: "UPDATE by_hand SET last_seen_at = MAX(last_seen_at, ?), expires_at = MAX(expires_at, ?) \
            WHERE id = ? AND version = ? AND expires_at > ?",
    }
    Postgres {
        TABLE: "CREATE TABLE by_hand (id BYTEA PRIMARY KEY, handle BYTEA, version BIGINT NOT NULL, generation BIGINT NOT NULL, \
            created_at BIGINT NOT NULL, renewed_at BIGINT NOT NULL, last_seen_at BIGINT NOT NULL, \
            expires_at BIGINT NOT NULL, idle_timeout BIGINT, absolute_timeout BIGINT, principal TEXT, \
            authenticated_at BIGINT, label TEXT, data TEXT NOT NULL)",
        INSERT: "INSERT INTO by_hand VALUES ($1, $2, 1, 1, $3, $4, $5, $6, NULL, NULL, NULL, NULL, NULL, $7)",
        LOAD: "SELECT handle, version, generation, created_at, renewed_at, last_seen_at, expires_at, idle_timeout, \
            absolute_timeout, principal, authenticated_at, label, data FROM by_hand WHERE id = $1 AND expires_at > $2",
        UPDATE: "UPDATE by_hand SET version = $1, generation = $2, renewed_at = $3, last_seen_at = $4, expires_at = $5, idle_timeout = $6, \
            absolute_timeout = $7, principal = $8, authenticated_at = $9, label = $10, data = $11 \
            WHERE id = $12 AND version = $13 AND expires_at > $14",
        TOUCH: "UPDATE by_hand SET last_seen_at = GREATEST(last_seen_at, $1), expires_at = GREATEST(expires_at, $2) \
            WHERE id = $3 AND version = $4 AND expires_at > $5",
    }
    MySql {
        TABLE: "CREATE TABLE by_hand (id BINARY(32) PRIMARY KEY, handle BINARY(16), version BIGINT NOT NULL, generation BIGINT NOT NULL, \
            created_at BIGINT NOT NULL, renewed_at BIGINT NOT NULL, last_seen_at BIGINT NOT NULL, \
            expires_at BIGINT NOT NULL, idle_timeout BIGINT, absolute_timeout BIGINT, principal LONGTEXT, \
            authenticated_at BIGINT, label LONGTEXT, data LONGTEXT NOT NULL)",
        INSERT: "INSERT INTO by_hand VALUES (?, ?, 1, 1, ?, ?, ?, ?, NULL, NULL, NULL, NULL, NULL, ?)",
        LOAD: "SELECT handle, version, generation, created_at, renewed_at, last_seen_at, expires_at, idle_timeout, \
            absolute_timeout, principal, authenticated_at, label, data FROM by_hand WHERE id = ? AND expires_at > ?",
        UPDATE: "UPDATE by_hand SET version = ?, generation = ?, renewed_at = ?, last_seen_at = ?, expires_at = ?, idle_timeout = ?, \
            absolute_timeout = ?, principal = ?, authenticated_at = ?, label = ?, data = ? \
            WHERE id = ? AND version = ? AND expires_at > ?",
        TOUCH: "UPDATE by_hand SET last_seen_at = GREATEST(last_seen_at, ?), expires_at = GREATEST(expires_at, ?) \
            WHERE id = ? AND version = ? AND expires_at > ?",
    }
}

/// The item is the version in eight bytes, and the values. The server ends it.
pub struct Redis {
    connection: MultiplexedConnection,
    update: String,
    touch: String,
}

impl Redis {
    const KEY: &str = "by_hand:session";
    const UPDATE: &str = "if redis.call('GETRANGE', KEYS[1], 0, 7) ~= ARGV[1] then return 0 end \
        redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1";
    const TOUCH: &str = "if redis.call('GETRANGE', KEYS[1], 0, 7) ~= ARGV[1] then return 0 end \
        redis.call('PEXPIRE', KEYS[1], ARGV[2]) return 1";

    pub async fn connect(url: &str) -> Result<Self, Error> {
        let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
        let mut loaded = Vec::new();
        for script in [Self::UPDATE, Self::TOUCH] {
            loaded.push(redis::cmd("SCRIPT").arg("LOAD").arg(script).query_async(&mut connection).await?);
        }
        let [update, touch] = loaded.try_into().map_err(|_| "two scripts")?;
        Ok(Self { connection, update, touch })
    }

    fn item(version: u64, data: &[u8]) -> Vec<u8> {
        [&version.to_be_bytes(), data].concat()
    }
}

impl Client for Redis {
    async fn create(&mut self) -> Result<(), Error> {
        let (item, idle) = (Self::item(1, DATA.as_bytes()), idle());
        Ok(redis::cmd("SET").arg(Self::KEY).arg(item).arg("PX").arg(idle).query_async(&mut self.connection).await?)
    }

    async fn serve(&mut self, request: Request, version: u64) -> Result<(), Error> {
        let item: Vec<u8> = redis::cmd("GET").arg(Self::KEY).query_async(&mut self.connection).await?;
        let (found, data) = item.split_at_checked(8).ok_or("a short item")?;
        let expected = version.to_be_bytes();
        let mut change = redis::cmd("EVALSHA");
        match request {
            Request::Load => return expect(found == expected),
            Request::Update => {
                let item = Self::item(version + 1, data);
                change.arg(&self.update).arg(1).arg(Self::KEY).arg(&expected[..]).arg(item).arg(idle())
            }
            Request::Touch => change.arg(&self.touch).arg(1).arg(Self::KEY).arg(&expected[..]).arg(idle()),
        };
        expect(change.query_async::<i64>(&mut self.connection).await? == 1)
    }
}

/// The server's own number of an item is its version, and the server ends it.
pub struct Memcached {
    connection: BufStream<TcpStream>,
    line: Vec<u8>,
}

impl Memcached {
    const KEY: &str = "by_hand";

    pub async fn connect(url: &str) -> Result<Self, Error> {
        let stream = TcpStream::connect(url.trim_start_matches("memcached://")).await?;
        stream.set_nodelay(true)?;
        Ok(Self { connection: BufStream::new(stream), line: Vec::new() })
    }

    async fn send(&mut self, command: &str, data: Option<&[u8]>) -> Result<&str, Error> {
        self.connection.write_all(command.as_bytes()).await?;
        if let Some(data) = data {
            self.connection.write_all(data).await?;
            self.connection.write_all(b"\r\n").await?;
        }
        self.connection.flush().await?;
        self.line.clear();
        self.connection.read_until(b'\n', &mut self.line).await?;
        Ok(std::str::from_utf8(&self.line)?)
    }

    fn set(cas: &str, data: &[u8]) -> String {
        format!("ms {} {} T{}{cas}\r\n", Self::KEY, data.len(), IDLE.as_secs())
    }
}

impl Client for Memcached {
    async fn create(&mut self) -> Result<(), Error> {
        let command = Self::set("", DATA.as_bytes());
        expect(self.send(&command, Some(DATA.as_bytes())).await?.starts_with("HD"))
    }

    async fn serve(&mut self, request: Request, _: u64) -> Result<(), Error> {
        let head = self.send(&format!("mg {} v c\r\n", Self::KEY), None).await?;
        let mut words = head.split_ascii_whitespace();
        let (Some("VA"), Some(length), Some(cas)) = (words.next(), words.next(), words.next()) else {
            return Err("no session".into());
        };
        let (cas, mut data) = (cas.replace('c', " C"), vec![0; length.parse::<usize>()? + 2]);
        self.connection.read_exact(&mut data).await?;
        data.truncate(data.len() - 2);
        match request {
            Request::Load => Ok(()),
            Request::Update | Request::Touch => {
                let command = Self::set(&cas, &data);
                expect(self.send(&command, Some(&data)).await?.starts_with("HD"))
            }
        }
    }
}

pub struct Mongodb(mongodb::Collection<Document>);

impl Mongodb {
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let client = mongodb::Client::with_uri_str(url).await?;
        Ok(Self(client.database("session_state").collection("by_hand")))
    }

    fn id() -> Binary {
        Binary { subtype: BinarySubtype::Generic, bytes: KEY.into() }
    }
}

impl Client for Mongodb {
    async fn create(&mut self) -> Result<(), Error> {
        let now = now();
        self.0.delete_one(doc! { "_id": Self::id() }).await?;
        self.0
            .insert_one(doc! {
                "_id": Self::id(), "version": 1_i64, "created_at": now, "last_seen_at": now, "expires_at": now + idle(),
                "data": DATA,
            })
            .await?;
        Ok(())
    }

    async fn serve(&mut self, request: Request, version: u64) -> Result<(), Error> {
        let (version, now) = (version as i64, now());
        let load = self.0.find_one(doc! { "_id": Self::id(), "expires_at": { "$gt": now } });
        let found = load.await?.ok_or("no session")?;
        let data = found.get_str("data")?;
        let condition = doc! { "_id": Self::id(), "version": version, "expires_at": { "$gt": now } };
        let change = match request {
            Request::Load => return expect(found.get_i64("version")? == version),
            Request::Update => doc! { "$set": {
                "version": version + 1, "last_seen_at": now, "expires_at": now + idle(), "data": data,
            } },
            Request::Touch => doc! { "$max": { "last_seen_at": now, "expires_at": now + idle() } },
        };
        expect(self.0.update_one(condition, change).await?.matched_count == 1)
    }
}
