//! Events about certificates: on the Secret with the authorities, and on the webhook configuration.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType};

use super::Keeper;
use crate::api::reasons::EventReason;
use crate::events;
use crate::pki::purpose::Purpose;
use crate::pki::rotation::Step;

impl Keeper {
    /// Reports a step of the rotation that people who run the cluster may want to know of.
    pub(super) async fn report_step(&self, purpose: Purpose, step: Step) {
        let note = match step {
            Step::Keep | Step::Complete => return,
            Step::Announce => {
                "a new certificate authority was made and goes into every bundle; it signs nothing yet"
            }
            Step::Promote => "the new certificate authority signs now; every certificate is issued again",
            Step::Drop => "the old certificate authority was taken out of the bundles",
            Step::Replace => {
                "the certificate authority had expired and was replaced at once; calls may fail until its \
                 successor has arrived in every pod"
            }
        };
        let kind = match step {
            Step::Replace => EventType::Warning,
            _ => EventType::Normal,
        };
        let regarding = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Secret".into()),
            name: Some(purpose.secret().into()),
            namespace: Some(self.settings.namespace.clone()),
            ..ObjectReference::default()
        };
        self.publish(kind, EventReason::CertificatesRotated, note, regarding)
            .await;
    }

    /// Reports that the webhook's bundle had been changed by another writer.
    pub(super) async fn report_repair(&self) {
        let regarding = ObjectReference {
            api_version: Some("admissionregistration.k8s.io/v1".into()),
            kind: Some("MutatingWebhookConfiguration".into()),
            name: Some(self.settings.webhook.clone()),
            ..ObjectReference::default()
        };
        let note =
            "the bundle of certificate authorities had been changed by somebody else and is right again";
        self.publish(EventType::Warning, EventReason::BundleRepaired, note, regarding)
            .await;
    }

    async fn publish(&self, kind: EventType, reason: EventReason, note: &str, regarding: ObjectReference) {
        let event = Event {
            type_: kind,
            reason: reason.as_str().into(),
            note: Some(note.into()),
            action: "KeepCertificates".into(),
            secondary: None,
        };
        events::publish(&self.recorder, &regarding, event).await;
    }
}
