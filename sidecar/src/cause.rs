//! Walks the sources of an error: what wraps the cause mostly says only that the transport failed.

use std::error::Error;

/// Returns the text of the innermost source, or of the error itself if it has none.
pub(crate) fn innermost(error: &(dyn Error + 'static)) -> String {
    sources(error)
        .last()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

/// Finds the outermost error of type `E` among an error and its sources.
pub(crate) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::once(error)
        .chain(sources(error))
        .find_map(<dyn Error>::downcast_ref)
}

/// Lists the sources of an error, without the error itself.
fn sources<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}
