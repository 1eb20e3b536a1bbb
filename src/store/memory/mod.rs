//! Sessions in the memory of this process.
//!
//! - `store`: the store, its shards and the calls about one session.
//! - `index`: the sessions of each principal; `principals`: the calls about them.

mod index;
mod principals;
mod store;

pub use self::store::MemoryStore;
