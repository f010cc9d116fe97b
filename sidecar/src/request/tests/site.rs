//! A body with a pack in the document's place.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::json::{in_ascii, json};
use super::read;
use crate::api::Surface;
use crate::request::{Request, RequestError, Site, escape_into};

proptest! {
    #[test]
    fn a_patch_changes_one_string_and_no_other_byte(before in json(), after in json(), text in ".{1,40}", pack in ".{0,40}") {
        let body = format!(
            r#"{{ "x":{before}, "messages" : [ {{"role":"user","content":{}}} ],"n":1.0,"y":{after}}}"#,
            serde_json::to_string(&text).unwrap()
        );
        let bytes = Bytes::from(body.clone());
        let request = read(Surface::ChatCompletions, &body);
        let literal = request.parts[0].text.unwrap();
        let patched = Site::new(&request, &bytes, &literal, 0..text.len()).with(&pack);
        let quoted = literal.range();
        prop_assert!(patched.starts_with(&body.as_bytes()[..quoted.start + 1]));
        prop_assert!(patched.ends_with(&body.as_bytes()[quoted.end - 1..]));
        let parsed: Value = serde_json::from_slice(&patched).unwrap();
        prop_assert_eq!(&parsed["messages"][0]["content"], &Value::from(pack));
        prop_assert_eq!(Site::new(&request, &bytes, &literal, 0..text.len()).unchanged(), bytes.clone());
    }

    #[test]
    fn a_site_without_the_body_gives_it_back(text in r#"[a-c/\n\t\u{1}"\\é😀]{1,40}"#, spelling in 0..3) {
        let usual = serde_json::to_string(&text).unwrap();
        let quoted = match spelling {
            0 => usual,
            1 => in_ascii(&text),
            _ => usual.replace('/', "\\/"),
        };
        let body = format!(r#"{{"messages":[{{"role":"user","content":{quoted}}}],"n":1.0}}"#);
        let bytes = Bytes::from(body.clone());
        let request = read(Surface::ChatCompletions, &body);
        let literal = request.parts[0].text.unwrap();
        let site = Site::new(&request, &bytes, &literal, 0..text.len());
        let with = site.with("a \"pack\"");
        let lengths = (site.document_bytes(), site.around_bytes());
        let site = site.without_body(&text.as_str().into());
        prop_assert_eq!(site.unchanged(), bytes.clone());
        prop_assert_eq!(site.with("a \"pack\""), with);
        prop_assert_eq!((site.document_bytes(), site.around_bytes()), lengths);
        let mut again = Vec::new();
        escape_into(&text, &mut again);
        prop_assert_eq!(site.holds_body(), again != quoted.as_bytes()[1..quoted.len() - 1]);
    }
}

#[test]
fn hybrid_chat_leaves_as_a_chat_completion() {
    let body = r#"{"model":"m", "temperature":0.10,"large_document":"A \"doc\" \u00e9","stream":true,"dry_run":true,
        "extraction_task":"find","seed":1e2,"final_user_prompt":"Why?\n"}"#;
    let request = read(Surface::HybridChat, body);
    assert!(request.dry_run && request.stream);
    let hybrid = request.hybrid.clone().unwrap();
    assert_eq!(hybrid.task.unwrap().raw(), "find");
    let site = Site::whole(&request, &Bytes::from(body), &hybrid.document);
    assert_eq!(
        site.unchanged(),
        r#"{"model":"m", "temperature":0.10,"stream":true,"seed":1e2,"messages":[{"role":"user","content":"A \"doc\" \u00e9\n\nWhy?\n"}]}"#
    );
    assert_eq!(
        site.with("\"pack\"\n"),
        r#"{"model":"m", "temperature":0.10,"stream":true,"seed":1e2,"messages":[{"role":"user","content":"\"pack\"\n\n\nWhy?\n"}]}"#
    );
}

#[test]
fn hybrid_chat_says_what_is_wrong() {
    let error = |body: &str| Request::read(Surface::HybridChat, body.as_bytes()).unwrap_err();
    assert_eq!(
        error(r#"{"final_user_prompt":""}"#),
        RequestError::Missing {
            field: "large_document"
        }
    );
    assert_eq!(
        error(r#"{"large_document":1}"#),
        RequestError::NotAString {
            field: "large_document"
        }
    );
    assert_eq!(
        error(r#"{"messages":[]}"#),
        RequestError::Unexpected { field: "messages" }
    );
    assert_eq!(
        error(r#"{"dry_run":true,"dry_run":false}"#),
        RequestError::Twice { field: "dry_run" }
    );
    assert_eq!(error("[]"), RequestError::NotAnObject);
}
