//! Sessions in memcached.
//!
//! - `store`: the store and its calls. `recent`: the CAS numbers of the records that requests hold.
//! - `items`: entries under their keys; `entry`: entries as bytes.
//! - `pool`: the connections to the server; `connection`: one of them, and the meta commands.

mod connection;
mod items;
mod pool;
mod recent;
mod store;

pub use self::store::MemcachedStore;
