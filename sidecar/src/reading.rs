//! Reads a request into what may be compressed and what is asked of it, as data. Between `request` and `policy`.
//!
//! A request is cut into turns: what stands between two things that the model said. Each has sites, the texts in which
//! documents stand, and asks, all that may be asked of those: a wrong one costs a little budget, a missing one the
//! answer. Documents are told from instructions by their form, whoever wrote them. What is in doubt is an instruction:
//! it stays word for word.

mod asks;
mod calls;
mod content;
mod context;
mod ends;
mod frame;
mod output;
mod payload;
mod phrases;
mod results;
mod speech;
mod split;
mod system;
mod template;
mod turns;
mod user;
mod view;
mod words;

#[cfg(test)]
mod tests;

pub use asks::MAX_ASKS;
pub(crate) use phrases::has_phrase;
pub use turns::read;
pub use view::{Ask, AskSource, Reading, Site, SiteKind, Turn, Words};
