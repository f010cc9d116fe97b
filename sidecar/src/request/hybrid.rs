//! `/v1/hybrid_chat`, our own surface: `large_document`, `extraction_task`, `final_user_prompt`, and any
//! field of a chat completion. It leaves as an ordinary chat completion whose one user message holds document
//! (or pack) and prompt; every other field leaves as it came.

use std::ops::Range;

use bytes::Bytes;

use super::RequestError;
use super::demand::Demand;
use super::json::{Kind, Reader};
use super::literal::Literal;
use super::read::string;
use super::template::Segment;
use super::view::{Part, Request, Role};
use crate::api::Surface;

/// The fields of a `/v1/hybrid_chat` body.
#[derive(Debug, Clone)]
pub struct Hybrid<'a> {
    /// `large_document`.
    pub document: Literal<'a>,
    /// `extraction_task`: what to look for; the prompt when it is missing.
    pub task: Option<Literal<'a>>,
    /// `final_user_prompt`.
    pub prompt: Literal<'a>,
    /// Where runs of other fields stand in the body, from the first key's quote to the last value's end.
    others: Vec<Range<usize>>,
}

const OURS: [&str; 4] = [
    "large_document",
    "extraction_task",
    "final_user_prompt",
    "dry_run",
];

/// Reads a `/v1/hybrid_chat` body.
pub(super) fn read(text: &str) -> Result<Request<'_>, RequestError> {
    let mut reader = Reader::new(text);
    let mut request = Request::empty(Surface::HybridChat);
    let mut demand = Demand::default();
    let (mut document, mut task, mut prompt) = (None, None, None);
    let (mut others, mut seen): (Vec<(usize, Range<usize>)>, _) = (Vec::new(), Vec::new());
    if reader.kind()? != Kind::Object {
        return Err(RequestError::NotAnObject);
    }
    reader.object(|reader, key| {
        if key.name == "messages" {
            return Err(RequestError::Unexpected { field: "messages" });
        }
        if let Some(name) = OURS.iter().copied().find(|name| *name == key.name) {
            if seen.contains(&name) {
                return Err(RequestError::Twice { field: name });
            }
            seen.push(name);
        }
        match &*key.name {
            "large_document" => document = Some(required(reader, "large_document")?),
            "extraction_task" => task = string(reader)?,
            "final_user_prompt" => prompt = Some(required(reader, "final_user_prompt")?),
            "dry_run" => request.dry_run = reader.skip_text()? == "true",
            name => {
                let range = reader.skip()?;
                match name {
                    "model" => request.model = model(&text[range.clone()]),
                    "stream" => request.stream = &text[range.clone()] == "true",
                    _ => drop(demand.read(&mut Reader::new(&text[range.clone()]), name)?),
                }
                keep(&mut others, seen.len(), key.start..range.end);
            }
        }
        Ok(())
    })?;
    reader.finish()?;
    let document = document.ok_or(RequestError::Missing {
        field: "large_document",
    })?;
    let prompt = prompt.ok_or(RequestError::Missing {
        field: "final_user_prompt",
    })?;
    for text in [document, prompt] {
        request.push(Part::said(Role::User, text));
    }
    let others = others.into_iter().map(|(_, range)| range).collect();
    request.fields = demand.into_fields();
    request.hybrid = Some(Hybrid {
        document,
        task,
        prompt,
        others,
    });
    Ok(request)
}

/// Adds a field to the last run of fields, unless one of ours (counted in `ours`) stands between.
fn keep(others: &mut Vec<(usize, Range<usize>)>, ours: usize, field: Range<usize>) {
    match others.last_mut() {
        Some((before, run)) if *before == ours => run.end = field.end,
        _ => others.push((ours, field)),
    }
}

fn required<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<Literal<'a>, RequestError> {
    string(reader)?.ok_or(RequestError::NotAString { field })
}

fn model(value: &str) -> Option<std::borrow::Cow<'_, str>> {
    let mut reader = Reader::new(value);
    string(&mut reader)
        .ok()
        .flatten()
        .map(|literal| literal.decode_lossy())
}

impl Hybrid<'_> {
    /// The chat completion that goes upstream.
    pub(super) fn segments(&self, body: &Bytes) -> Vec<Segment> {
        let mut before = vec![b'{'];
        for range in &self.others {
            before.extend_from_slice(body.get(range.clone()).unwrap_or_default());
            before.push(b',');
        }
        before.extend_from_slice(br#""messages":[{"role":"user","content":""#);
        let fixed = |bytes: Bytes| Segment { bytes, origin: None };
        let text = |literal: Literal<'_>| {
            let quoted = literal.range();
            Segment {
                bytes: body.slice(quoted.start + 1..quoted.end - 1),
                origin: Some(quoted.start + 1),
            }
        };
        vec![
            fixed(before.into()),
            text(self.document),
            fixed(Bytes::from_static(br"\n\n")),
            text(self.prompt),
            fixed(Bytes::from_static(br#""}]}"#)),
        ]
    }
}
