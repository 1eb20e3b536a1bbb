//! The replies of the server.

use std::error::Error as StdError;
use std::fmt;

use redis::{RedisError, Value};

use super::entry;
use super::owner::Owner;
use crate::store::{Entry, Outcome, StoreError};

pub(super) const NAME: &str = "redis";

/// The reply of a script that changes an entry.
pub(super) enum Reply {
    /// The outcome, with the owner of the session if the index of its principal must still be written.
    Ended(Outcome, Option<Owner>),
    /// Nothing was changed: the session must be added to the index first.
    NotIndexed(Owner),
}

/// Reads the reply of a script: that it is done, that there was no entry, or the present entry.
pub(super) fn reply(value: &Value) -> Result<Reply, StoreError> {
    let outcome = match value {
        Value::Int(1) => Outcome::Done,
        Value::Nil => Outcome::Gone,
        Value::BulkString(bytes) => match entry::read(bytes) {
            Ok(Some(Entry::Live(record))) => Outcome::Conflict(Some(record)),
            Ok(Some(Entry::Retired(forward))) => Outcome::Retired(forward),
            Ok(None) => return Err(unexpected()),
            Err(source) => return Err(StoreError::undecodable(NAME, source)),
        },
        Value::Array(values) => return with_owner(values).ok_or_else(unexpected),
        _ => return Err(unexpected()),
    };
    Ok(Reply::Ended(outcome, None))
}

fn with_owner(values: &[Value]) -> Option<Reply> {
    let [Value::Int(is_done), Value::BulkString(owner)] = values else { return None };
    let owner = Owner::from_bytes(owner.as_slice().try_into().ok()?);
    Some(if *is_done == 1 { Reply::Ended(Outcome::Done, Some(owner)) } else { Reply::NotIndexed(owner) })
}

pub(super) fn failed(error: RedisError) -> StoreError {
    // The error for an unknown command repeats its arguments, which contain the session.
    let repeats = error.detail().is_some_and(|detail| detail.contains("with args beginning with"));
    if repeats { StoreError::failed(NAME, UnknownCommand) } else { StoreError::failed(NAME, error) }
}

pub(super) fn unexpected() -> StoreError {
    StoreError::failed(NAME, UnexpectedReply)
}

#[derive(Debug)]
struct UnexpectedReply;

impl fmt::Display for UnexpectedReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server's reply does not match the command")
    }
}

impl StdError for UnexpectedReply {}

#[derive(Debug)]
struct UnknownCommand;

impl fmt::Display for UnknownCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server does not know a command that the store needs: GET, GETRANGE, ZRANGE, EVALSHA or EVAL")
    }
}

impl StdError for UnknownCommand {}
