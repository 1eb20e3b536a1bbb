//! The parts that a request has in use.

use std::any::{TypeId, type_name};

use crate::error::Error;
use crate::part::SessionPart;
use crate::state::PlacedPart;

/// The types of parts that a request has in use.
#[derive(Debug, Default)]
pub(super) struct PartsInUse(Vec<UsedPart>);

#[derive(Debug)]
struct UsedPart {
    name: &'static str,
    part: TypeId,
    type_name: &'static str,
}

impl PartsInUse {
    /// Marks a part as in use. `placed` is the part of this name with a placement of its own.
    ///
    /// # Errors
    ///
    /// `PartInUse` if the part is in use already, `DuplicatePartName` if another type of this name is in use or has a
    /// placement of its own.
    pub(super) fn take<T: SessionPart>(&mut self, placed: Option<&PlacedPart>) -> Result<(), Error> {
        let (name, part, type_name) = (T::NAME, TypeId::of::<T>(), type_name::<T>());
        let used = self.0.iter().find(|used| used.name == name);
        let known = used.map(|used| (used.part, used.type_name));
        match known.or(placed.map(|placed| (placed.part, placed.type_name))) {
            Some((other, other_name)) if other != part => {
                return Err(Error::duplicate_part_name(name, [other_name, type_name]));
            }
            _ if used.is_some() => return Err(Error::part_in_use(name)),
            _ => self.0.push(UsedPart { name, part, type_name }),
        }
        Ok(())
    }

    pub(super) fn release(&mut self, name: &'static str) {
        self.0.retain(|used| used.name != name);
    }
}
