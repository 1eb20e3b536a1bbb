//! The stores, each behind its feature.

use axum::Router;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
use axum::routing::post;
#[cfg(feature = "memcached")]
use session_state::store::MemcachedStore;
#[cfg(feature = "mongodb")]
use session_state::store::MongodbStore;
#[cfg(feature = "mysql")]
use session_state::store::MySqlStore;
#[cfg(feature = "postgres")]
use session_state::store::PostgresStore;
#[cfg(feature = "redis")]
use session_state::store::RedisStore;
#[cfg(feature = "sqlite")]
use session_state::store::SqliteStore;
use session_state::{CookieState, SessionLayer};

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
use crate::cart;
use crate::options::{Engine, Error};

/// Opens the store at an address. A table or an index that is missing is made.
#[cfg(any(
    feature = "sqlite",
    feature = "postgres",
    feature = "mysql",
    feature = "mongodb",
    feature = "redis-cluster"
))]
macro_rules! open {
    (migrated $store:ident $address:expr) => {{
        let store = $store::connect($address).await?;
        store.migrate().await?;
        store
    }};
    (redis_cluster $address:expr) => {{
        // Nodes of a Cluster, with commas between.
        let nodes = $address.trim_start_matches("redis-cluster://").split(',');
        RedisStore::connect_cluster(nodes.map(|node| format!("redis://{node}"))).await?
    }};
}

/// Makes a layer over the store at `address`, and the routes that only it has.
pub(crate) async fn open(engine: Engine, address: &str) -> Result<(SessionLayer, Router), Error> {
    match engine {
        #[cfg(feature = "sqlite")]
        Engine::Sqlite => {
            let store = open!(migrated SqliteStore address);
            let cart = cart::sqlite::prepare(&store).await?;
            let routes = cart::router(post(cart::sqlite::checkout));
            Ok((SessionLayer::server(store).with_part::<cart::Cart>(cart), routes))
        }
        #[cfg(feature = "postgres")]
        Engine::Postgres => {
            let store = open!(migrated PostgresStore address);
            let cart = cart::postgres::prepare(&store).await?;
            let routes = cart::router(post(cart::postgres::checkout));
            Ok((SessionLayer::server(store).with_part::<cart::Cart>(cart), routes))
        }
        #[cfg(feature = "mysql")]
        Engine::MySql => {
            let store = open!(migrated MySqlStore address);
            let cart = cart::mysql::prepare(&store).await?;
            let routes = cart::router(post(cart::mysql::checkout));
            Ok((SessionLayer::server(store).with_part::<cart::Cart>(cart), routes))
        }
        #[cfg(feature = "redis")]
        Engine::Redis => Ok((SessionLayer::server(RedisStore::connect(address).await?), Router::new())),
        #[cfg(feature = "redis-cluster")]
        Engine::RedisCluster => Ok((SessionLayer::server(open!(redis_cluster address)), Router::new())),
        #[cfg(feature = "memcached")]
        Engine::Memcached => Ok((SessionLayer::server(MemcachedStore::connect(address).await?), Router::new())),
        #[cfg(feature = "mongodb")]
        Engine::MongoDb => Ok((SessionLayer::server(open!(migrated MongodbStore address)), Router::new())),
        #[cfg(not(all(
            feature = "sqlite",
            feature = "postgres",
            feature = "mysql",
            feature = "redis-cluster",
            feature = "memcached",
            feature = "mongodb",
        )))]
        _ => Err(not_built(engine, address)),
    }
}

/// Lets the store at `address` remember which sessions that live in the cookie have ended.
pub(crate) async fn remember(state: CookieState, engine: Engine, address: &str) -> Result<CookieState, Error> {
    match engine {
        #[cfg(feature = "sqlite")]
        Engine::Sqlite => Ok(state.with_revocation(open!(migrated SqliteStore address))),
        #[cfg(feature = "postgres")]
        Engine::Postgres => Ok(state.with_revocation(open!(migrated PostgresStore address))),
        #[cfg(feature = "mysql")]
        Engine::MySql => Ok(state.with_revocation(open!(migrated MySqlStore address))),
        #[cfg(feature = "redis")]
        Engine::Redis => Ok(state.with_revocation(RedisStore::connect(address).await?)),
        #[cfg(feature = "redis-cluster")]
        Engine::RedisCluster => Ok(state.with_revocation(open!(redis_cluster address))),
        #[cfg(feature = "memcached")]
        Engine::Memcached => Ok(state.with_revocation(MemcachedStore::connect(address).await?)),
        #[cfg(feature = "mongodb")]
        Engine::MongoDb => Ok(state.with_revocation(open!(migrated MongodbStore address))),
        #[cfg(not(all(
            feature = "sqlite",
            feature = "postgres",
            feature = "mysql",
            feature = "redis-cluster",
            feature = "memcached",
            feature = "mongodb",
        )))]
        _ => {
            drop(state);
            Err(not_built(engine, address))
        }
    }
}

/// The command line has been refused before it comes to this.
#[cfg(not(all(
    feature = "sqlite",
    feature = "postgres",
    feature = "mysql",
    feature = "redis-cluster",
    feature = "memcached",
    feature = "mongodb",
)))]
fn not_built(engine: Engine, address: &str) -> Error {
    format!("the probe was built without {engine:?}, whose address has {} bytes", address.len()).into()
}
