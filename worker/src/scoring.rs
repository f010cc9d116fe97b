//! Gives every unit of a document one number: how well it answers the question.
//!
//! Second step of an extraction, between `document` and `select`. Signals are computed over windows of whole
//! units, handed down to the units, standardised over the document, added up, and smoothed along the document.
//! Each signal is linear in the document's length.

mod lexical;
mod question;
mod smooth;
mod windows;

pub use lexical::Lexical;
pub use question::Question;
pub use smooth::{add_scaled, smooth, standardise};
pub use windows::{Window, spread, windows};
