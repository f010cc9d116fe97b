//! Events about injection, written beside the answer: a review never waits for them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder};
use serde_json::Value;
use tokio::sync::mpsc;

use super::metrics::WebhookMetrics;
use crate::events::{self, NOTE_BYTES, shorten};
use crate::inject::{Note, Reason};

/// Number of Events that may wait. More are dropped and counted: the pods matter more.
const QUEUE: usize = 256;

/// An Event about injection that is to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The object that the Event is about.
    pub regarding: ObjectReference,
    /// Reason of the Event.
    pub reason: Reason,
    /// Whether somebody should look at it.
    pub warning: bool,
    /// Note of the Event, one sentence.
    pub text: String,
}

/// A bounded queue of Events. Putting one never waits.
#[derive(Clone)]
pub struct Outbox {
    sender: mpsc::Sender<Notice>,
    metrics: Arc<WebhookMetrics>,
}

impl Outbox {
    /// Creates the queue, and the end at which its Events come out.
    pub fn new(metrics: Arc<WebhookMetrics>) -> (Self, mpsc::Receiver<Notice>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self { sender, metrics }, receiver)
    }

    /// Queues one Event for each reason.
    pub fn put(&self, regarding: &ObjectReference, notes: &[Note]) {
        for notice in merge_notes(regarding, notes) {
            if self.sender.try_send(notice).is_err() {
                self.metrics.count_dropped_event();
            }
        }
    }
}

/// Merges notes into one Event for each reason: Events of one object and reason are counted, not listed.
fn merge_notes(regarding: &ObjectReference, notes: &[Note]) -> Vec<Notice> {
    let mut notices: Vec<Notice> = Vec::new();
    for note in notes {
        match notices.iter_mut().find(|notice| notice.reason == note.reason) {
            Some(notice) => {
                notice.text.push_str("; ");
                notice.text.push_str(&note.text);
            }
            None => notices.push(Notice {
                regarding: regarding.clone(),
                reason: note.reason,
                warning: note.is_warning(),
                text: note.text.clone(),
            }),
        }
    }
    for notice in &mut notices {
        shorten(&mut notice.text, NOTE_BYTES);
    }
    notices
}

/// Writes Events until every [`Outbox`] is dropped.
pub async fn publish(recorder: Recorder, mut notices: mpsc::Receiver<Notice>) {
    while let Some(notice) = notices.recv().await {
        let event = Event {
            type_: match notice.warning {
                true => EventType::Warning,
                false => EventType::Normal,
            },
            reason: notice.reason.as_str().into(),
            note: Some(notice.text),
            action: "Inject".into(),
            secondary: None,
        };
        events::publish(&recorder, &notice.regarding, event).await;
    }
}

/// Finds the object that Events about a pod name: its owner, which lives longer and has a name, else the pod
/// itself if it has a name.
pub fn find_regarding(pod: &Value, namespace: &str, name: Option<&str>) -> Option<ObjectReference> {
    let owners = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let is_controller = |owner: &&Value| owner.get("controller") == Some(&Value::Bool(true));
    let owner = owners.and_then(|owners| owners.iter().find(is_controller).or(owners.first()));
    if let Some(owner) = owner {
        let field = |key: &str| owner.get(key).and_then(Value::as_str).map(str::to_owned);
        return Some(ObjectReference {
            api_version: field("apiVersion"),
            kind: field("kind"),
            name: field("name"),
            uid: field("uid"),
            namespace: Some(namespace.into()),
            ..ObjectReference::default()
        });
    }
    let own = pod.pointer("/metadata/name").and_then(Value::as_str);
    let name = own.or(name).filter(|name| !name.is_empty())?;
    Some(ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: Some(name.into()),
        namespace: Some(namespace.into()),
        ..ObjectReference::default()
    })
}
