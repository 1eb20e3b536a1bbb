//! The style as a test, instead of in reviews.
//!
//! Each check is a function from files to complaints, and is tested on a broken sample before it runs over the sources.

mod circles;
mod commands;
mod fences;
mod forbidden;
mod layers;
mod lengths;
mod manifests;
mod paths;
mod sources;
