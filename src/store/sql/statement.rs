//! Statements with named parameters, and the values bound to them.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Timestamp, whole_millis};
use crate::record::{Generation, Handle, Record, StoreKey, Version};
use crate::store::Forward;

/// The syntax of placeholders and texts in one engine.
pub(crate) trait Syntax {
    /// Whether a placeholder has a number, so that the same one can stand in several places.
    const NUMBERED: bool = false;

    fn placeholder(number: usize) -> Cow<'static, str>;

    /// Returns a principal or a label as it is stored.
    fn name_to_sql(name: &str) -> Cow<'_, str> {
        name.into()
    }

    fn name_from_sql(name: &str) -> Cow<'_, str> {
        name.into()
    }
}

/// A statement in the syntax of one engine: its text, and the parameters of its placeholders in order.
#[derive(Debug)]
pub(crate) struct Statement {
    text: Arc<str>,
    parameters: Box<[Parameter]>,
}

/// The parameters of statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parameter {
    Key,
    Expected,
    Now,
    LastSeenNow,
    ExpiresNow,
    Limit,
    NewKey,
    Handle,
    Version,
    Generation,
    CreatedAt,
    RenewedAt,
    LastSeenAt,
    ExpiresAt,
    IdleTimeout,
    AbsoluteTimeout,
    Principal,
    AuthenticatedAt,
    Label,
    Data,
    Successor,
    GraceUntil,
    ForwardExpiresAt,
    Session,
    SessionGeneration,
    Rows,
    After,
    /// The handle at this index of [`Call::sessions`].
    SessionAt(u8),
    /// The key at this index of [`Call::keys`].
    KeyAt(u8),
}

impl Parameter {
    /// Returns the parameter that a template calls `name`.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "key" => Self::Key,
            "expected" => Self::Expected,
            "now" => Self::Now,
            "last_seen_now" => Self::LastSeenNow,
            "expires_now" => Self::ExpiresNow,
            "limit" => Self::Limit,
            "new_key" => Self::NewKey,
            "handle" => Self::Handle,
            "version" => Self::Version,
            "generation" => Self::Generation,
            "created_at" => Self::CreatedAt,
            "renewed_at" => Self::RenewedAt,
            "last_seen_at" => Self::LastSeenAt,
            "expires_at" => Self::ExpiresAt,
            "idle_timeout" => Self::IdleTimeout,
            "absolute_timeout" => Self::AbsoluteTimeout,
            "principal" => Self::Principal,
            "authenticated_at" => Self::AuthenticatedAt,
            "label" => Self::Label,
            "data" => Self::Data,
            "successor" => Self::Successor,
            "grace_until" => Self::GraceUntil,
            "forward_expires_at" => Self::ForwardExpiresAt,
            "session" => Self::Session,
            "session_generation" => Self::SessionGeneration,
            "rows" => Self::Rows,
            "after" => Self::After,
            _ => return None,
        })
    }

    /// Returns the parameters of the list that a template calls `name`.
    fn each_named(name: &str) -> Option<[Self; MAX_SESSIONS]> {
        let each: fn(u8) -> Self = match name {
            "sessions" => Self::SessionAt,
            "keys" => Self::KeyAt,
            _ => return None,
        };
        let mut numbers = 0..;
        Some([(); MAX_SESSIONS].map(|()| each(numbers.next().unwrap_or_default())))
    }
}

/// How many sessions the list of one statement has. A shorter list is filled up with its last session.
pub(crate) const MAX_SESSIONS: usize = 100;

impl Statement {
    /// Makes a statement from a template, in which a colon stands before the name of a parameter.
    pub(crate) fn new<D: Syntax>(template: &str) -> Self {
        let mut pieces = template.split(':');
        let mut text = pieces.next().unwrap_or_default().to_owned();
        let mut parameters = Vec::new();
        for piece in pieces {
            let end = piece.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(piece.len());
            let (name, rest) = piece.split_at(end);
            let mut placeholder = |parameter| D::placeholder(number::<D>(&mut parameters, parameter));
            match (Parameter::named(name), Parameter::each_named(name)) {
                (Some(parameter), _) => text.push_str(&placeholder(parameter)),
                (None, Some(each)) => text.push_str(&each.map(placeholder).join(", ")),
                (None, None) => text.extend([":", name]),
            }
            text.push_str(rest);
        }
        Self { text: text.into(), parameters: parameters.into() }
    }

    pub(crate) fn text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    pub(crate) fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }
}

/// A statement that deletes sessions, and another that also inserts a forward in place of each.
#[derive(Debug)]
pub(crate) struct Delete {
    pub(super) alone: Statement,
    pub(super) with_forward: Statement,
}

impl Delete {
    /// Returns the statement for a call with a forward or without one.
    pub(super) fn for_call(&self, call: &Call<'_>) -> &Statement {
        if call.forward.is_some() { &self.with_forward } else { &self.alone }
    }
}

/// Returns the number of the placeholder for a parameter, and adds the parameter if it is new.
fn number<D: Syntax>(parameters: &mut Vec<Parameter>, parameter: Parameter) -> usize {
    let known = parameters.iter().position(|known| D::NUMBERED && *known == parameter);
    known.unwrap_or_else(|| {
        parameters.push(parameter);
        parameters.len() - 1
    }) + 1
}

/// A value that is bound to a placeholder.
#[derive(Debug)]
pub(crate) enum Value<'v> {
    Integer(Option<i64>),
    Bytes(Option<&'v [u8]>),
    Text(Option<Cow<'v, str>>),
}

/// A record with its values as text.
#[derive(Clone, Copy)]
pub(crate) struct Row<'c> {
    pub(crate) record: &'c Record,
    pub(crate) data: &'c str,
}

/// The values of one call of a store. A statement binds those that it names.
#[derive(Clone, Copy, Default)]
pub(crate) struct Call<'c> {
    pub(crate) key: Option<&'c StoreKey>,
    /// `None` accepts any version.
    pub(crate) expected: Option<Version>,
    pub(crate) now: Timestamp,
    pub(crate) last_seen_now: Timestamp,
    pub(crate) expires_now: Timestamp,
    pub(crate) limit: usize,
    pub(crate) new_key: Option<&'c StoreKey>,
    pub(crate) row: Option<Row<'c>>,
    pub(crate) forward: Option<&'c Forward>,
    /// The session whose rows of other tables are read or written.
    pub(crate) session: Option<&'c Handle>,
    /// The generation that this session must have for its rows to be read.
    pub(crate) session_generation: Option<Generation>,
    /// Rows of other tables, as JSON.
    pub(crate) rows: Option<&'c str>,
    /// The principal whose sessions are meant, if it is not that of `row`.
    pub(crate) principal: Option<&'c str>,
    /// The session after which a list continues.
    pub(crate) after: Option<&'c Handle>,
    /// The sessions to revoke.
    pub(crate) sessions: &'c [Handle],
    /// The keys of these sessions.
    pub(crate) keys: &'c [StoreKey],
}

impl<'c> Call<'c> {
    pub(crate) fn value<D: Syntax>(&self, parameter: Parameter) -> Value<'c> {
        let record = self.row.map(|row| row.record);
        let key = |key: Option<&'c StoreKey>| Value::Bytes(key.map(|key| &key.as_bytes()[..]));
        let time = |time: Option<Timestamp>| Value::Integer(time.map(time_to_sql));
        let timeout = |timeout: Option<Duration>| time(timeout.map(whole_millis).map(Timestamp::from_millis));
        let name = |name: Option<&'c str>| Value::Text(name.map(D::name_to_sql));
        match parameter {
            Parameter::Key => key(self.key),
            Parameter::NewKey => key(self.new_key),
            Parameter::Expected => Value::Integer(self.expected.map(|version| version.as_u64().cast_signed())),
            Parameter::Now => time(Some(self.now)),
            Parameter::LastSeenNow => time(Some(self.last_seen_now)),
            Parameter::ExpiresNow => time(Some(self.expires_now)),
            Parameter::Limit => Value::Integer(Some(i64::try_from(self.limit).unwrap_or(i64::MAX))),
            Parameter::Handle => Value::Bytes(record.map(|record| &record.handle.as_bytes()[..])),
            Parameter::Version => Value::Integer(record.map(|record| record.version.as_u64().cast_signed())),
            Parameter::Generation => Value::Integer(record.map(|record| record.generation.as_u64().cast_signed())),
            Parameter::CreatedAt => time(record.map(|record| record.created_at)),
            Parameter::RenewedAt => time(record.map(|record| record.renewed_at)),
            Parameter::LastSeenAt => time(record.map(|record| record.last_seen_at)),
            Parameter::ExpiresAt => time(record.map(|record| record.expires_at)),
            Parameter::IdleTimeout => timeout(record.and_then(|record| record.idle_timeout)),
            Parameter::AbsoluteTimeout => timeout(record.and_then(|record| record.absolute_timeout)),
            Parameter::Principal => {
                name(self.principal.or_else(|| record.and_then(|record| record.principal.as_deref())))
            }
            Parameter::AuthenticatedAt => time(record.and_then(|record| record.authenticated_at)),
            Parameter::Label => name(record.and_then(|record| record.label.as_deref())),
            Parameter::Data => Value::Text(self.row.map(|row| Cow::Borrowed(row.data))),
            Parameter::Successor => {
                Value::Bytes(self.forward.and_then(|forward| forward.successor.as_ref()).map(|sealed| &sealed[..]))
            }
            Parameter::GraceUntil => time(self.forward.map(|forward| forward.grace_until)),
            Parameter::ForwardExpiresAt => time(self.forward.map(|forward| forward.expires_at)),
            Parameter::Session => Value::Bytes(self.session.map(|session| &session.as_bytes()[..])),
            Parameter::SessionGeneration => {
                Value::Integer(self.session_generation.map(|generation| generation.as_u64().cast_signed()))
            }
            Parameter::Rows => Value::Text(self.rows.map(Cow::Borrowed)),
            // The empty text is less than every handle.
            Parameter::After => Value::Bytes(Some(self.after.map_or(&[], |after| &after.as_bytes()[..]))),
            Parameter::SessionAt(n) => {
                Value::Bytes(nth_or_last(self.sessions, n).map(|session| &session.as_bytes()[..]))
            }
            Parameter::KeyAt(n) => key(nth_or_last(self.keys, n)),
        }
    }
}

fn nth_or_last<T>(list: &[T], n: u8) -> Option<&T> {
    list.get(usize::from(n)).or_else(|| list.last())
}

/// Saturates at the latest time that the engine can store.
fn time_to_sql(time: Timestamp) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
