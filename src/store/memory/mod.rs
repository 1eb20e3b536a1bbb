//! Sessions in the memory of this process.
//!
//! - `store`: the store and the calls about one session; `shard`: a hash table that removes expired entries.
//! - `index`: the sessions of each principal; `principals`: the calls about them.

mod index;
mod principals;
mod shard;
mod store;

pub use self::store::MemoryStore;
