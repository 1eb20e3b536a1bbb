//! Parts in tables: rows that are written in one transaction with the session's record.

use std::sync::Arc;

use serde_json::Value;

use super::super::outside::load_rows;
use super::super::{Config, Work};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::part::{Collection, Patch, RowDatabase, RowWrites};
use crate::record::Handle;
use crate::record::outside::{Outside, OutsidePart};
use crate::store::{Answer, Outcome, RecordCall};

/// The rows that are written together with a record.
pub(super) struct Rows {
    database: Arc<dyn RowDatabase>,
    writes: Vec<RowWrites>,
}

impl Rows {
    /// Makes a call of the store and writes the rows, both or neither.
    pub(super) fn write<'a>(
        self: Box<Self>,
        store: &'static str,
        operation: &'static str,
        call: RecordCall<'a>,
        now: Timestamp,
    ) -> Answer<'a, Outcome> {
        Answer::later(store, operation, async move { self.database.write(call, &self.writes, now).await })
    }
}

impl Work {
    /// Returns the rows that differ from those that were loaded, if any do.
    #[inline]
    pub(super) fn rows(&self, config: &Config) -> Result<Option<Box<Rows>>, Error> {
        self.draft.outside().map_or(Ok(None), |outside| Self::rows_of(config, outside))
    }

    #[cold]
    fn rows_of(config: &Config, outside: &Outside) -> Result<Option<Box<Rows>>, Error> {
        let mut rows: Option<Box<Rows>> = None;
        for part in outside.iter().filter(|part| part.is_changed()) {
            let Some(mapped) = config.outside.iter().find(|place| place.name == part.name).and_then(|p| p.tables())
            else {
                continue;
            };
            let (before, after) = (parse(part.name, &part.base)?, parse(part.name, &part.value)?);
            let writes = mapped.difference(before.as_ref(), after.as_ref())?;
            if !writes.is_empty() {
                let new = || Box::new(Rows { database: Arc::clone(mapped.database()), writes: Vec::new() });
                rows.get_or_insert_with(new).writes.push(writes);
            }
        }
        Ok(rows)
    }
}

/// Reads the rows of parts again that the request has asked for. `None` if there are none. Parts in stores have been
/// written by now, and are as they were.
pub(super) async fn reload(config: &Config, work: &Work, session: Handle) -> Result<Option<Box<Outside>>, Error> {
    let Some(mut outside) = work.draft.outside().map(|outside| Box::new(outside.committed())) else { return Ok(None) };
    for place in &config.outside {
        let (Some(mapped), Some(_)) = (place.tables(), outside.find(place.name)) else { continue };
        outside.load(place.name, load_rows(config, &**mapped, session).await?, None);
    }
    Ok(Some(outside))
}

/// Whether another request has changed a row that this one changes too.
pub(super) fn meet(config: &Config, work: &Work, newer: Option<&Outside>) -> Result<bool, Error> {
    let Some((ours, newer)) = work.draft.outside().zip(newer) else { return Ok(false) };
    for place in config.outside.iter().filter(|place| place.tables().is_some()) {
        let parts = ours.find(place.name).filter(|part| part.is_changed()).zip(newer.find(place.name));
        if let Some((ours, newer)) = parts
            && is_in_the_way(ours, &newer.base, &place.collections)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_in_the_way(ours: &OutsidePart, newer: &Option<Arc<[u8]>>, collections: &[Collection]) -> Result<bool, Error> {
    let value = |json: &Option<Arc<[u8]>>| parse(ours.name, json).map(|value| value.unwrap_or_else(no_rows));
    let before = value(&ours.base)?;
    let ours_changed = Patch::between_parts(&before, value(&ours.value)?, collections);
    let theirs = Patch::between_parts(&before, value(newer)?, collections);
    Ok(ours_changed.zip(theirs).is_some_and(|(ours, theirs)| ours.overlaps(&theirs)))
}

fn no_rows() -> Value {
    Value::Object(serde_json::Map::new())
}

fn parse(part: &str, json: &Option<Arc<[u8]>>) -> Result<Option<Value>, Error> {
    json.as_ref()
        .map(|json| serde_json::from_slice(json).map_err(|error| Error::decode(part, error.into())))
        .transpose()
}
