//! Removal of a part, whatever is in it.

use super::part::location;
use super::session::Session;
use crate::error::Error;
use crate::part::SessionPart;

impl<M: 'static> Session<M> {
    /// Removes the part `T`, whatever is in it, also what can no longer be read as a `T`. The next
    /// [`Part<T>`](crate::Part) begins with the default. A part that is in use by another request at the same time goes
    /// all the same.
    ///
    /// # Errors
    ///
    /// [`PartInUse`](crate::ErrorKind::PartInUse) when the request holds the part: drop it first.
    pub fn remove_part<T: SessionPart>(&self) -> Result<(), Error> {
        let shared = &self.shared;
        shared.take_part(T::NAME)?;
        shared.change(location::<T>(shared).remove());
        shared.release_part(T::NAME);
        Ok(())
    }
}
