//! The style as a test: what a reviewer would otherwise have to notice.
//!
//! Each check is a function from files to complaints, and is shown to bite on a broken sample before it runs over the
//! sources.

mod circles;
mod forbidden;
mod layers;
mod lengths;
mod paths;
mod sources;
