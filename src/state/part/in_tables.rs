//! Parts in tables: rows written in one transaction with the session's record.

use std::sync::Arc;

use serde_json::Value;

use super::super::config::Config;
use super::super::loaded::Binding;
use super::super::retry::Calls;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::part::{MappedPart, RowDatabase, RowWrites, overlap};
use crate::record::external::{ExternalParts, Medium};
use crate::record::json_text::JsonText;
use crate::store::{Answer, ErasedStore, Outcome, RecordCall};

/// Rows to write together with a record.
pub(crate) struct Rows {
    database: Arc<dyn RowDatabase>,
    writes: Vec<RowWrites>,
}

impl Rows {
    /// Returns the rows that differ from those that were loaded, if any do.
    pub(crate) fn of(config: &Config, external: &ExternalParts) -> Result<Option<Box<Self>>, Error> {
        Self::collect(config, external, false)
    }

    /// Returns the rows of all parts that have changed, in the place of those that are stored.
    pub(crate) fn replacing(config: &Config, external: &ExternalParts) -> Result<Option<Box<Self>>, Error> {
        Self::collect(config, external, true)
    }

    fn collect(config: &Config, external: &ExternalParts, replaces: bool) -> Result<Option<Box<Self>>, Error> {
        let mut rows: Option<Box<Self>> = None;
        for part in external.iter().filter(|part| part.medium == Medium::Tables && part.is_changed()) {
            let Some(mapped) = config.part_named(part.name).and_then(|placed| placed.tables()) else { continue };
            let (before, after) = (parse(part.name, &part.base)?, parse(part.name, &part.value)?);
            let writes = if replaces || part.is_reset() {
                mapped.replacement(after.as_ref())?
            } else {
                mapped.difference(before.as_ref(), after.as_ref())?
            };
            if !writes.is_empty() {
                let new = || Box::new(Self { database: Arc::clone(mapped.database()), writes: Vec::new() });
                rows.get_or_insert_with(new).writes.push(writes);
            }
        }
        Ok(rows)
    }

    /// Makes a call of the store and writes the rows in one transaction.
    pub(crate) fn write<'a>(
        self: Box<Self>,
        store: &'static str,
        operation: &'static str,
        call: RecordCall<'a>,
        now: Timestamp,
    ) -> Answer<'a, Outcome> {
        Answer::later(store, operation, async move { self.database.write(call, &self.writes, now).await })
    }
}

/// Loads the rows of a part as a JSON text. Returns `None` if a login has changed the session's generation since.
pub(crate) async fn load_rows(
    config: &Config,
    store: &dyn ErasedStore,
    mapped: &dyn MappedPart,
    session: Binding,
) -> Result<Option<JsonText>, Error> {
    let load = |store: &dyn ErasedStore| {
        Answer::later(store.name(), "load_rows", mapped.load(session.session, session.generation))
    };
    let rows = Calls::new(config, store).ask(load).await?;
    Ok(rows.map(|rows| JsonText::Own(rows.into())))
}

/// Returns `true` if `newer`, written by another request, has changed a row that this request changes too.
pub(crate) fn meets(config: &Config, ours: &ExternalParts, newer: &ExternalParts) -> Result<bool, Error> {
    for ours in ours.iter().filter(|part| part.medium == Medium::Tables && part.is_changed()) {
        let Some(mapped) = config.part_named(ours.name).and_then(|placed| placed.tables()) else { continue };
        let Some(newer) = newer.find(ours.name) else { continue };
        let [before, ours, theirs] = [&ours.base, &ours.value, &newer.base].map(|text| as_str(ours.name, text));
        if overlap(before?, ours?, theirs?, mapped.collections()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn as_str<'t>(part: &str, text: &'t Option<JsonText>) -> Result<Option<&'t str>, Error> {
    let text = text.as_ref().map(|text| str::from_utf8(text.as_bytes())).transpose();
    text.map_err(|error| Error::decode(part, error.into()))
}

fn parse(part: &str, json: &Option<JsonText>) -> Result<Option<Value>, Error> {
    json.as_ref()
        .map(|json| serde_json::from_slice(json.as_bytes()).map_err(|error| Error::decode(part, error.into())))
        .transpose()
}
