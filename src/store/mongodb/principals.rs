//! The sessions of a principal.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{Collation, IndexOptions};
use mongodb::{Collection, IndexModel};

use super::document::{self, EXPIRES_AT, HANDLE, ID, PRINCIPAL, PURGE_AT, REVOKED_BY, VALUES, binary, millis};
use super::{NAME, failed, purge_at};
use crate::clock::Timestamp;
use crate::store::{DecodeRecordError, Handle, Record, StoreError};

const SESSIONS: &str = "sessions";

/// How long what was ended is there to be read.
const TO_READ: Duration = Duration::from_secs(10 * 60);

/// The index by which sessions are found. Only what has a principal is in it, which no forward has.
pub(super) fn index() -> IndexModel {
    let options = IndexOptions::builder()
        .partial_filter_expression(doc! { PRINCIPAL: { "$gte": "" } })
        .collation(bytewise())
        .build();
    IndexModel::builder().keys(doc! { PRINCIPAL: 1, HANDLE: 1 }).options(options).build()
}

/// While a session is being renewed it has two documents, which are next to each other in the index: the new one is there
/// before the old one becomes a forward.
pub(super) async fn list(
    sessions: &Collection<Document>,
    principal: &str,
    after: Option<&Handle>,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<Arc<Record>>, StoreError> {
    let mut records: Vec<Arc<Record>> = Vec::new();
    let mut after = after.copied();
    while records.len() < limit {
        let most = i64::try_from(limit - records.len()).unwrap_or(i64::MAX);
        let mut filter = live_of(principal, now);
        if let Some(after) = after {
            filter.insert(HANDLE, doc! { "$gt": binary(after.as_bytes()) });
        }
        let finding = sessions.find(filter).sort(doc! { HANDLE: 1 }).limit(most).projection(doc! { VALUES: 0 });
        let mut documents = finding.collation(bytewise()).await.map_err(failed)?;
        let mut found = 0;
        while documents.advance().await.map_err(failed)? {
            let document = documents.deserialize_current().map_err(failed)?;
            let record = document::without_values(document).map_err(|error| StoreError::undecodable(NAME, error))?;
            found += 1;
            if after != Some(record.handle) {
                after = Some(record.handle);
                records.push(Arc::new(record));
            }
        }
        if found < most {
            break;
        }
    }
    Ok(records)
}

pub(super) async fn count(
    sessions: &Collection<Document>,
    principal: &str,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let steps = [
        doc! { "$match": live_of(principal, now) },
        doc! { "$group": { ID: format!("${HANDLE}") } },
        doc! { "$group": { ID: Bson::Null, SESSIONS: { "$sum": 1 } } },
    ];
    let mut answer = sessions.aggregate(steps).collation(bytewise()).await.map_err(failed)?;
    if !answer.advance().await.map_err(failed)? {
        return Ok(0);
    }
    let sum = answer.deserialize_current().map_err(failed)?;
    let sum = sum.get_i32(SESSIONS).map(i64::from).or_else(|_| sum.get_i64(SESSIONS)).ok();
    sum.and_then(|sum| sum.try_into().ok()).ok_or_else(|| StoreError::undecodable(NAME, DecodeRecordError::malformed()))
}

/// Ends the sessions first, all in one command: what has a deadline that has passed is dead to every other call, and its
/// mark tells who ended it. Then they are read, and removed.
///
/// A session that is renewed while the server goes from one to the next may escape it. One that is still live is found
/// when they are read, under one key or the other, and then all of it is done again. A renewal that finds its old key
/// dead removes the new one by itself.
pub(super) async fn revoke(
    sessions: &Collection<Document>,
    principal: &str,
    handles: &[Handle],
    now: Timestamp,
) -> Result<Vec<Handle>, StoreError> {
    let handles: Vec<Bson> = handles.iter().map(|handle| binary(handle.as_bytes())).collect();
    let of_principal = doc! { PRINCIPAL: principal, HANDLE: { "$in": handles } };
    let (mark, past) = (ObjectId::new(), millis(Timestamp::from_millis(0)));
    let (is_live, is_ended) = (doc! { EXPIRES_AT: { "$gt": millis(now) } }, doc! { REVOKED_BY: mark });
    let live = both(&of_principal, is_live.clone());
    let ended = both(&of_principal, is_ended.clone());
    let either = both(&of_principal, doc! { "$or": [is_live, is_ended] });
    // Not removed by the engine before they are read, and not kept for long should that fail.
    let soon = purge_at(now.after(TO_READ), now);
    let end = doc! { "$set": { EXPIRES_AT: past, PURGE_AT: soon, REVOKED_BY: mark } };
    let mut removed = HashSet::new();
    loop {
        sessions.update_many(live.clone(), end.clone()).collation(bytewise()).await.map_err(failed)?;
        let finding = sessions.find(either.clone()).projection(doc! { HANDLE: 1, REVOKED_BY: 1 });
        let mut documents = finding.collation(bytewise()).await.map_err(failed)?;
        let mut all_ended = true;
        while documents.advance().await.map_err(failed)? {
            let document = documents.deserialize_current().map_err(failed)?;
            if document.get_object_id(REVOKED_BY).is_ok_and(|by| by == mark) {
                removed.insert(document::handle(&document).map_err(|error| StoreError::undecodable(NAME, error))?);
            } else {
                all_ended = false;
            }
        }
        if all_ended {
            break;
        }
    }
    if !removed.is_empty() {
        sessions.delete_many(ended).collation(bytewise()).await.map_err(failed)?;
    }
    Ok(removed.into_iter().collect())
}

fn both(one: &Document, other: Document) -> Document {
    let mut both = one.clone();
    both.extend(other);
    both
}

/// The live records of a principal.
fn live_of(principal: &str, now: Timestamp) -> Document {
    doc! { PRINCIPAL: principal, EXPIRES_AT: { "$gt": millis(now) } }
}

/// Compares byte by byte, whatever the collection was made with.
fn bytewise() -> Collation {
    Collation::builder().locale("simple").build()
}
