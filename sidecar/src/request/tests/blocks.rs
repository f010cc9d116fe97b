//! Documents that stand beside the texts of a message.

use super::read;
use crate::api::Surface;
use crate::request::PartKind;

#[test]
fn reads_documents_in_blocks_of_their_own() {
    let parts = |block: &str| {
        let body = format!(r#"{{"messages":[{{"role":"user","content":[{block}]}}]}}"#);
        let request = read(Surface::Messages, &body);
        let parts = request.parts.iter();
        parts
            .map(|part| {
                (
                    part.kind,
                    part.text.map(|text| text.raw().to_owned()),
                    part.cache_marked,
                )
            })
            .collect::<Vec<_>>()
    };
    let text = |kind, text: &str| (kind, Some(text.to_owned()), false);
    for (block, expected) in [
        (
            r#"{"type":"document","title":"t","source":{"type":"text","media_type":"text/plain","data":"d"}}"#,
            vec![text(PartKind::Document, "d")],
        ),
        (
            r#"{"source":{"data":"d","type":"text"},"citations":{"enabled":true},"type":"document"}"#,
            vec![text(PartKind::CitedDocument, "d")],
        ),
        (
            r#"{"type":"document","source":{"type":"content","content":[{"type":"text","text":"a"},{"type":"image"},
                {"type":"text","text":"b"}]},"citations":{"enabled":false}}"#,
            vec![text(PartKind::Document, "a"), text(PartKind::Document, "b")],
        ),
        (
            r#"{"type":"search_result","source":"https://a","title":"t","content":[{"type":"text","text":"r"}]}"#,
            vec![text(PartKind::Document, "r")],
        ),
        (
            r#"{"type":"document","source":{"type":"text","data":"d"},"cache_control":{"type":"ephemeral"}}"#,
            vec![(PartKind::Document, Some("d".to_owned()), true)],
        ),
        (
            r#"{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0="}}"#,
            vec![(PartKind::Attachment, None, false)],
        ),
        (
            r#"{"type":"document","source":{"type":"url","url":"https://a"}}"#,
            vec![(PartKind::Attachment, None, false)],
        ),
        (
            r#"{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"r"}]}"#,
            vec![text(PartKind::ToolResult, "r")],
        ),
        (
            r#"{"type":"document"}"#,
            vec![(PartKind::Attachment, None, false)],
        ),
    ] {
        assert_eq!(parts(block), expected, "{block}");
    }
}
