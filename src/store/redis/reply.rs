//! What the server answers.

use std::error::Error as StdError;
use std::fmt;

use redis::{RedisError, Value};

use super::super::{Entry, Outcome, StoreError};
use super::index::Owner;
use super::{NAME, entry};

/// What a script comes to that changes what is under a key.
pub(super) enum Reply {
    /// How it ended. With whose the session is or was, if the index of that principal does not know yet.
    Ended(Outcome, Option<Owner>),
    /// Nothing was changed: the index has to know first.
    IndexFirst(Owner),
}

/// Reads what a script answers: that it is done, that nothing was there, or what is there instead.
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
    Some(if *is_done == 1 { Reply::Ended(Outcome::Done, Some(owner)) } else { Reply::IndexFirst(owner) })
}

pub(super) fn failed(error: RedisError) -> StoreError {
    // The server repeats the arguments of a command that it does not know, and with them the session.
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
        f.write_str("the server's reply is not one that the command has")
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
