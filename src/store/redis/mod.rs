//! Sessions in Redis or Valkey.
//!
//! - `store`: the store, its connection and the prefix of its keys. `connect`: stores with a connection of their own.
//! - `connection`: a connection that reconnects.
//! - `entry`: entries as bytes; `owner`: the owner in an entry, and the members of an index.
//! - `script`: the scripts, in `lua/`; `args`: their arguments; `reply`: their replies.
//! - `write`, `renew`: the calls about one session. `index`: the index of a principal; `principals`: the calls about
//!   it.

mod args;
mod connect;
mod connection;
mod entry;
mod index;
mod owner;
mod principals;
mod renew;
mod reply;
mod script;
mod store;
mod write;

pub use self::connection::RedisConnection;
pub use self::store::RedisStore;
