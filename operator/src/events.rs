//! How Events are written, whatever they are about.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, Recorder};

/// Longest note, in bytes: the API server's limit.
pub(crate) const NOTE_BYTES: usize = 1024;

/// Writes an Event. One that cannot be written is logged; it changes nothing.
pub(crate) async fn publish(recorder: &Recorder, regarding: &ObjectReference, event: Event) {
    if let Err(error) = recorder.publish(&event, regarding).await {
        tracing::warn!(%error, reason = event.reason, "an Event could not be written");
    }
}

/// Cuts a text to so many bytes, at a character's boundary, and marks the cut.
pub(crate) fn shorten(text: &mut String, bytes: usize) {
    const MARK: &str = "...";
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes - MARK.len()));
        text.push_str(MARK);
    }
}
