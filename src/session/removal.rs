//! Removal of parts.

use super::part::location;
use super::session::Session;
use crate::error::Error;
use crate::part::SessionPart;

impl<M: 'static> Session<M> {
    /// Removes the part `T`, even if the stored value does not decode as a `T`. The next [`Part<T>`](crate::Part)
    /// begins with the default. A part that another request is using is removed too.
    ///
    /// # Errors
    ///
    /// [`PartInUse`](crate::ErrorKind::PartInUse) when the request holds the part: drop it first.
    pub fn remove_part<T: SessionPart>(&self) -> Result<(), Error> {
        let shared = &self.shared;
        shared.take_part::<T>()?;
        shared.change(location::<T>(shared).remove());
        shared.release_part(T::NAME);
        Ok(())
    }
}
