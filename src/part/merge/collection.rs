//! Lists of rows.

/// A field of a part that is a list of rows, which are identified by some of their fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Collection {
    pub(crate) field: String,
    pub(crate) key: Vec<String>,
}
