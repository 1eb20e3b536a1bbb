//! The stores, each behind its feature.

use axum::Router;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
use axum::routing::post;
use session_state::SessionLayer;
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

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
use crate::cart;
use crate::options::{Engine, Error};

/// Makes a layer over the store at `address`, and the routes that only it has. A table or an index that is missing is made.
pub(crate) async fn open(engine: Engine, address: &str) -> Result<(SessionLayer, Router), Error> {
    match engine {
        #[cfg(feature = "sqlite")]
        Engine::Sqlite => {
            let store = SqliteStore::connect(address).await?;
            store.migrate().await?;
            let cart = cart::sqlite::prepare(&store).await?;
            let routes = cart::router(post(cart::sqlite::checkout));
            Ok((SessionLayer::server(store).with_part::<cart::Cart>(cart), routes))
        }
        #[cfg(feature = "postgres")]
        Engine::Postgres => {
            let store = PostgresStore::connect(address).await?;
            store.migrate().await?;
            let cart = cart::postgres::prepare(&store).await?;
            let routes = cart::router(post(cart::postgres::checkout));
            Ok((SessionLayer::server(store).with_part::<cart::Cart>(cart), routes))
        }
        #[cfg(feature = "mysql")]
        Engine::MySql => {
            let store = MySqlStore::connect(address).await?;
            store.migrate().await?;
            let cart = cart::mysql::prepare(&store).await?;
            let routes = cart::router(post(cart::mysql::checkout));
            Ok((SessionLayer::server(store).with_part::<cart::Cart>(cart), routes))
        }
        #[cfg(feature = "redis")]
        Engine::Redis => Ok((SessionLayer::server(RedisStore::connect(address).await?), Router::new())),
        // Nodes of a Cluster, with commas between.
        #[cfg(feature = "redis-cluster")]
        Engine::RedisCluster => {
            let nodes = address.trim_start_matches("redis-cluster://").split(',');
            let store = RedisStore::connect_cluster(nodes.map(|node| format!("redis://{node}"))).await?;
            Ok((SessionLayer::server(store), Router::new()))
        }
        #[cfg(feature = "memcached")]
        Engine::Memcached => Ok((SessionLayer::server(MemcachedStore::connect(address).await?), Router::new())),
        #[cfg(feature = "mongodb")]
        Engine::MongoDb => {
            let store = MongodbStore::connect(address).await?;
            store.migrate().await?;
            Ok((SessionLayer::server(store), Router::new()))
        }
        #[cfg(not(all(
            feature = "sqlite",
            feature = "postgres",
            feature = "mysql",
            feature = "redis-cluster",
            feature = "memcached",
            feature = "mongodb",
        )))]
        // The command line has been refused before it comes to this.
        _ => Err(format!("the probe was built without {engine:?}, whose address has {} bytes", address.len()).into()),
    }
}
