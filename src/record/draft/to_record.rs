//! The record that a draft becomes when it is written: its times, version, generation and size.

use super::Draft;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::record::lifetime::{Age, Timeouts};
use crate::record::size::{check_growth, counted_size};
use crate::record::version::Stamp;
use crate::record::{Generation, Record, Version};

impl Draft {
    /// Returns the times of the record when it is used `now`.
    pub(crate) fn age(&self, timeouts: &Timeouts, now: Timestamp) -> Age {
        let seen = self.base().filter(|record| !self.is_changed() && !timeouts.touch_is_due(record, now));
        Age { last_seen_at: seen.map_or(now, |record| record.last_seen_at), ..self.age_when_written(now) }
    }

    /// Returns the times of the record when it is written `now`.
    fn age_when_written(&self, now: Timestamp) -> Age {
        let base = self.base.as_deref();
        Age {
            created_at: base.filter(|_| self.login.is_none()).map_or(now, |record| record.created_at),
            last_seen_at: now,
            idle_timeout: self.idle_timeout.unwrap_or_else(|| base?.idle_timeout),
            absolute_timeout: self.absolute_timeout.unwrap_or_else(|| base?.absolute_timeout),
        }
    }

    /// Makes the record to store.
    #[inline(always)]
    pub(crate) fn to_record(&self, stamp: Stamp, timeouts: &Timeouts, now: Timestamp) -> Record {
        let base = self.base.as_deref();
        let age = self.age_when_written(now);
        Record {
            handle: self.kept_handle().unwrap_or(stamp.new_handle),
            created_at: age.created_at,
            renewed_at: base.map_or(now, |record| record.renewed_at),
            last_seen_at: now,
            expires_at: timeouts.expires_at(age),
            idle_timeout: age.idle_timeout,
            absolute_timeout: age.absolute_timeout,
            principal: self.principal().cloned(),
            authenticated_at: self.authenticated_at(now),
            label: self.label().cloned(),
            version: base.map_or(Version::NONE, |record| record.version).next(stamp.write_id),
            generation: self.generation(stamp.login_id),
            values: self.overlay.to_values(self.base.as_ref()),
        }
    }

    /// Returns the size of the draft's record, as limits count it.
    pub(crate) fn size(&self) -> usize {
        counted_size(self.overlay.size(self.base.as_ref()), self.principal())
    }

    /// Fails if the record is larger than `limit` and than the loaded one.
    pub(crate) fn check_size(&self, limit: usize) -> Result<(), Error> {
        let loaded = self.base().filter(|_| !self.is_new_identity);
        let before =
            loaded.map_or(0, |record| counted_size(record.values.as_frames().len(), record.principal.as_ref()));
        check_growth(before, self.size(), limit)
    }

    /// Returns the generation of the record, which a login, a takeover and a reauthentication change.
    pub(crate) fn generation(&self, login_id: Option<u32>) -> Generation {
        let before = self.base().map_or(Generation::default(), |record| record.generation);
        login_id.map_or(before, |login_id| before.next(login_id))
    }
}
