//! The calls about all sessions of a principal.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{Collation, IndexOptions, UpdateModifications};
use mongodb::{Collection, IndexModel};

use super::document::{self, EXPIRES_AT, HANDLE, ID, PRINCIPAL, PURGE_AT, REVOKED_BY, VALUES, binary, millis};
use super::query::{self, NAME, and, failed, purge_at};
use crate::clock::Timestamp;
use crate::store::{DecodeRecordError, Forward, Handle, Record, StoreError};

const SESSIONS: &str = "sessions";

/// How long revoked documents are kept at least for the revocation to read them.
const READ_WINDOW: Duration = Duration::from_secs(10 * 60);

/// Returns the index over principals. It contains only documents with a principal, so no forwards.
pub(super) fn index() -> IndexModel {
    let options = IndexOptions::builder()
        .partial_filter_expression(doc! { PRINCIPAL: { "$gte": "" } })
        .collation(bytewise())
        .build();
    IndexModel::builder().keys(doc! { PRINCIPAL: 1, HANDLE: 1 }).options(options).build()
}

/// Lists sessions. During a renewal a session has two documents, which are adjacent in the index: the new one is
/// written before the old one becomes a forward.
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

/// Ends the sessions first, with one command that also writes the ID of this revocation: each document becomes a
/// forward, or expires, so that no other call takes it for a session. Then reads the documents with this ID, and
/// removes the rest of the sessions.
///
/// A session that is renewed while the server updates the documents may be missed. The read then finds it live, under
/// one of its two keys, and the revocation starts over. A renewal that finds no session under its old key deletes the
/// new one by itself.
pub(super) async fn revoke(
    sessions: &Collection<Document>,
    principal: &str,
    handles: &[Handle],
    forward: Option<&Forward>,
    now: Timestamp,
) -> Result<Vec<Handle>, StoreError> {
    let handles: Vec<Bson> = handles.iter().map(|handle| binary(handle.as_bytes())).collect();
    let of_principal = doc! { PRINCIPAL: principal, HANDLE: { "$in": handles } };
    let revocation = ObjectId::new();
    let (is_live, is_ended) = (query::live(now), doc! { REVOKED_BY: revocation });
    let live = and(&of_principal, is_live.clone());
    let ended = and(&of_principal, is_ended.clone());
    let either = and(&of_principal, doc! { "$or": [is_live, is_ended] });
    let end = end(revocation, forward, now);
    let mut removed = HashSet::new();
    loop {
        sessions.update_many(live.clone(), end.clone()).collation(bytewise()).await.map_err(failed)?;
        let finding = sessions.find(either.clone()).projection(doc! { HANDLE: 1, REVOKED_BY: 1 });
        let mut documents = finding.collation(bytewise()).await.map_err(failed)?;
        let mut all_ended = true;
        while documents.advance().await.map_err(failed)? {
            let document = documents.deserialize_current().map_err(failed)?;
            if document.get_object_id(REVOKED_BY).is_ok_and(|by| by == revocation) {
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
        finish(sessions, ended, forward, now).await?;
    }
    Ok(removed.into_iter().collect())
}

/// Returns the update that ends a session. A forward keeps the fields that the revocation finds it by.
fn end(revocation: ObjectId, forward: Option<&Forward>, now: Timestamp) -> UpdateModifications {
    // Late enough that the engine does not delete the documents before they are read.
    let soon = now.after(READ_WINDOW);
    let Some(forward) = forward else {
        let past = millis(Timestamp::from_millis(0));
        let ended = doc! { EXPIRES_AT: past, PURGE_AT: purge_at(soon, now), REVOKED_BY: revocation };
        return doc! { "$set": ended }.into();
    };
    let mut ended = document::of_forward(forward, purge_at(forward.expires_at.max(soon), now));
    for kept in [ID, PRINCIPAL, HANDLE] {
        ended.insert(kept, format!("${kept}"));
    }
    ended.insert(REVOKED_BY, revocation);
    vec![doc! { "$replaceWith": ended }].into()
}

/// Deletes the documents of revoked sessions, or removes from their forwards what those of renewals do not have.
async fn finish(
    sessions: &Collection<Document>,
    ended: Document,
    forward: Option<&Forward>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(forward) = forward else {
        return sessions.delete_many(ended).collation(bytewise()).await.map(drop).map_err(failed);
    };
    let rest = doc! {
        "$unset": { PRINCIPAL: "", HANDLE: "", REVOKED_BY: "" },
        "$set": { PURGE_AT: purge_at(forward.expires_at, now) },
    };
    sessions.update_many(ended, rest).collation(bytewise()).await.map(drop).map_err(failed)
}

/// Returns the filter for the live records of a principal.
fn live_of(principal: &str, now: Timestamp) -> Document {
    and(&doc! { PRINCIPAL: principal }, query::live(now))
}

/// Returns the collation that compares byte by byte, whatever the default of the collection.
fn bytewise() -> Collation {
    Collation::builder().locale("simple").build()
}
