//! Renewals.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{doc, serialize_to_bson};
use mongodb::options::{ReadPreference, SelectionCriteria};

use super::document::{self, RENEWED_BY};
use super::query::{NAME, Refused, and, by_key, by_version, check_size, failed, is_taken, live, purge_at, to_forward};
use super::store::MongodbStore;
use crate::clock::Timestamp;
use crate::store::{Entry, Outcome, Renewal, StoreError};

impl MongodbStore {
    pub(super) async fn renew_record(&self, renewal: &Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        check_size(&renewal.record)?;
        // The old key is checked first: a retry must not revive a session that was deleted
        // under its new key meanwhile.
        match self.find(&renewal.old, now).await? {
            None => return Ok(Outcome::Gone),
            Some(Entry::Retired(forward)) => return Ok(Outcome::Retired(forward)),
            Some(Entry::Live(current)) if current.version != renewal.expected => {
                return Ok(Outcome::Conflict(Some(current)));
            }
            Some(Entry::Live(_)) => {}
        }
        let attempt = ObjectId::new();
        let inserted = match self.move_record(renewal, attempt, now).await? {
            Moved::Wholly => return Ok(Outcome::Done),
            Moved::NotFromOld { inserted } => inserted,
            Moved::NotAtAll => {
                let outcome = self.outcome(&renewal.old, now).await?;
                let is_live = matches!(outcome, Outcome::Conflict(_));
                return if is_live { Err(StoreError::failed(NAME, Refused)) } else { Ok(outcome) };
            }
        };
        let outcome = self.outcome(&renewal.old, now).await?;
        let mut left_over = by_key(&renewal.new);
        if outcome == Outcome::Retired(renewal.forward.clone()) {
            if !inserted {
                return Ok(outcome);
            }
            // Another attempt was faster. If its document under the new key has been deleted since, this attempt has
            // inserted it there again.
            left_over.insert(RENEWED_BY, attempt);
        }
        // Otherwise no forward leads to the new key.
        self.sessions.delete_one(left_over).await.map_err(failed)?;
        Ok(outcome)
    }

    /// Writes the record under its new key and the forward under the old one, in one command. Without a record of the
    /// expected version under the old key there is no forward.
    async fn move_record(&self, renewal: &Renewal, attempt: ObjectId, now: Timestamp) -> Result<Moved, StoreError> {
        let Renewal { old, expected, new, record, forward } = renewal;
        let mut record = document::of_record(new, record, purge_at(record.expires_at, now));
        record.insert(RENEWED_BY, attempt);
        let write_concern = serialize_to_bson(&self.write_concern).map_err(|error| StoreError::failed(NAME, error))?;
        // A live record under the new key that is still as a renewal wrote it is left from an earlier attempt. One that
        // was changed, has moved on or has ended meanwhile stays: the filter does not match, and the insert of the
        // upsert fails.
        let as_placed = and(&live(now), doc! { RENEWED_BY: { "$exists": true } });
        let free_or_live = and(&by_key(new), as_placed);
        let command = doc! {
            "update": self.sessions.name(),
            "ordered": true,
            "updates": [
                { "q": free_or_live, "u": record, "upsert": true },
                { "q": by_version(old, *expected, now), "u": to_forward(forward, now) },
            ],
            "writeConcern": write_concern,
        };
        let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
        let answer = self.database.run_command(command).selection_criteria(primary).await.map_err(failed)?;
        if is_taken(&answer) {
            return Ok(Moved::NotAtAll);
        }
        if answer.contains_key("writeErrors") || answer.contains_key("writeConcernError") {
            return Err(StoreError::failed(NAME, Refused));
        }
        match answer.get_i32("n") {
            Ok(2) => Ok(Moved::Wholly),
            Ok(1) => Ok(Moved::NotFromOld { inserted: answer.contains_key("upserted") }),
            _ => Err(StoreError::failed(NAME, Refused)),
        }
    }
}

enum Moved {
    Wholly,
    /// The old key had another version. `inserted` tells that the new key was free.
    NotFromOld {
        inserted: bool,
    },
    /// The new key has a forward, or a document that is being revoked.
    NotAtAll,
}
