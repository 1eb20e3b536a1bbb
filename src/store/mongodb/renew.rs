//! The move of a session to a new key.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{doc, serialize_to_bson};
use mongodb::options::{ReadPreference, SelectionCriteria};

use super::document::{self, EXPIRES_AT, RENEWED_BY, millis};
use super::{MongodbStore, NAME, Refused, by_key, by_version, check_size, failed, purge_at};
use crate::clock::Timestamp;
use crate::store::{Entry, Outcome, Renewal, StoreError};

pub(super) async fn renew(store: &MongodbStore, renewal: &Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
    check_size(&renewal.record)?;
    // The old key is looked at first: a renewal that is made again must not bring back a session that has ended
    // under its new key meanwhile.
    match store.find(&renewal.old, now).await? {
        None => return Ok(Outcome::Gone),
        Some(Entry::Retired(forward)) => return Ok(Outcome::Retired(forward)),
        Some(Entry::Live(current)) if current.version != renewal.expected => {
            return Ok(Outcome::Conflict(Some(current)));
        }
        Some(Entry::Live(_)) => {}
    }
    let attempt = ObjectId::new();
    let inserted = match move_record(store, renewal, attempt, now).await? {
        Moved::Wholly => return Ok(Outcome::Done),
        Moved::NotFromOld { inserted } => inserted,
    };
    let outcome = store.outcome(&renewal.old, now).await?;
    let mut left_over = by_key(&renewal.new);
    if outcome == Outcome::Retired(renewal.forward.clone()) {
        if !inserted {
            return Ok(outcome);
        }
        // Another attempt was faster. If what it had put under the new key has been removed since, this one has put it
        // there again.
        left_over.insert(RENEWED_BY, attempt);
    }
    // Otherwise nothing leads to the new key, whatever has been done to it.
    store.sessions.delete_one(left_over).await.map_err(failed)?;
    Ok(outcome)
}

enum Moved {
    Wholly,
    /// The old key had another version. `inserted`: nothing was under the new one.
    NotFromOld {
        inserted: bool,
    },
}

/// Puts the record under its new key and the forward under the old one, in one command. Without a record of the expected
/// version under the old key there is no forward.
async fn move_record(
    store: &MongodbStore,
    renewal: &Renewal,
    attempt: ObjectId,
    now: Timestamp,
) -> Result<Moved, StoreError> {
    let Renewal { old, expected, new, record, forward } = renewal;
    let mut record = document::of_record(new, record, purge_at(record.expires_at, now));
    record.insert(RENEWED_BY, attempt);
    let forward = document::of_forward(old, forward, purge_at(forward.expires_at, now));
    let write_concern = serialize_to_bson(&store.write_concern).map_err(|error| StoreError::failed(NAME, error))?;
    // What is live there is what an earlier attempt left: nobody else has the key. What has been revoked meanwhile is not
    // brought back: the server refuses to insert beside it.
    let mut free_or_live = by_key(new);
    free_or_live.insert(EXPIRES_AT, doc! { "$gt": millis(now) });
    let command = doc! {
        "update": store.sessions.name(),
        "ordered": true,
        "updates": [
            { "q": free_or_live, "u": record, "upsert": true },
            { "q": by_version(old, *expected, now), "u": forward },
        ],
        "writeConcern": write_concern,
    };
    let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
    let answer = store.database.run_command(command).selection_criteria(primary).await.map_err(failed)?;
    if answer.contains_key("writeErrors") || answer.contains_key("writeConcernError") {
        return Err(StoreError::failed(NAME, Refused));
    }
    match answer.get_i32("n") {
        Ok(2) => Ok(Moved::Wholly),
        Ok(1) => Ok(Moved::NotFromOld { inserted: answer.contains_key("upserted") }),
        _ => Err(StoreError::failed(NAME, Refused)),
    }
}
