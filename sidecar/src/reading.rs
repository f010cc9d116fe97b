//! Reads a request into what may be compressed and what is asked of it, as data. Between `request` and `policy`.

mod content;
mod frame;
mod phrases;
mod split;

pub(crate) use content::{Content, classify};
pub(crate) use frame::{Asked, Frame};
pub(crate) use phrases::{has_phrase, only_points};
pub use split::{Marks, Split, split_by_marks, split_by_reading};
pub(crate) use split::{is_about_form, is_note};
