//! Requests at the ends of a text in any language.
