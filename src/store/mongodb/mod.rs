//! Sessions in MongoDB.
//!
//! - `store`: the store and its calls. `renew`: the renewal. `principals`: the calls about all sessions of a principal.
//! - `document`: entries as documents. `query`: the filters, the documents and the errors that the calls share.

mod document;
mod principals;
mod query;
mod renew;
mod store;

pub use self::store::MongodbStore;
