//! Frames: whatever a template or a client says stays word for word, and the question is the user's.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::report;
use crate::api::{Reason, Surface};
use crate::policy::{Settings, plan};
use crate::request::Request;

const QUESTION: &str = "When did the 17th delivery arrive?";

/// A plan's question, and what stands around its document.
#[derive(Debug)]
struct Planned {
    question: String,
    head: String,
    document: String,
    tail: String,
}

fn plan_content(content: &Value) -> Result<Planned, Reason> {
    let body = json!({"messages": [{"role": "user", "content": content}]}).to_string();
    let request = Request::read(Surface::Messages, body.as_bytes()).unwrap();
    let plan = plan(&request, &Settings::default())?;
    Ok(Planned {
        question: plan.question.clone(),
        head: plan.text[..plan.document.start].to_owned(),
        document: plan.document().to_owned(),
        tail: plan.text[plan.document.end..].to_owned(),
    })
}

/// Numbered passages, each with `open` before its number and `close` behind it.
fn passages(open: &str, close: &str) -> String {
    let passage = |number: usize| format!("{open}{number}{close}{}", report(40));
    (1..=8).map(passage).collect::<Vec<_>>().join("\n\n")
}

/// Templates of frameworks and clients. `DOC` is a document, `PASSAGES` are numbered passages, `SOURCES` are elements.
#[rustfmt::skip]
const TEMPLATES: &[&str] = &[
    // LangChain
    "Use the following pieces of context to answer the question at the end. If you don't know the answer, just say that you \
     don't know, don't try to make up an answer.\n\nDOC\n\nQuestion: QUESTION\nHelpful Answer:",
    "You are an assistant for question-answering tasks. Use the following pieces of retrieved context to answer the \
     question. If you don't know the answer, just say that you don't know. Use three sentences maximum and keep the answer \
     concise.\nQuestion: QUESTION \nContext: DOC \nAnswer:",
    "Answer the question based only on the following context:\nDOC\n\nQuestion: QUESTION\n",
    // LlamaIndex
    "Context information is below.\n---------------------\nDOC\n---------------------\nGiven the context information and not \
     prior knowledge, answer the query.\nQuery: QUESTION\nAnswer: ",
    "Please provide an answer based solely on the provided sources. When referencing information from a source, cite the \
     appropriate source(s) using their corresponding numbers.\n\nSOURCE_PASSAGES\n\nQuery: QUESTION\nAnswer: ",
    // Haystack
    "Given these documents, answer the question.\nDocuments:\nDOC\nQuestion: QUESTION\nAnswer:",
    "Given the following information, answer the question.\n\nContext:\nDOC\n\nQuestion: QUESTION\nAnswer:",
    // DSPy
    "[[ ## question ## ]]\nQUESTION\n\n[[ ## context ## ]]\nDOC\n\nRespond with the corresponding output fields, starting with \
     the field `[[ ## answer ## ]]`, and then ending with the marker for `[[ ## completed ## ]]`.",
    "[[ ## patient_notes ## ]]\nDOC\n\n[[ ## query ## ]]\nQUESTION\n\nRespond with the corresponding output fields, starting \
     with the field `[[ ## reasoning ## ]]`, then `[[ ## answer ## ]]`.",
    // Dify, AnythingLLM, LibreChat
    "Use the following context as your learned knowledge, inside <context></context> XML tags.\n\n<context>\nDOC\n</context>\n\n\
     When answer to user:\n- If you don't know, just say that you don't know.\n- Avoid mentioning that you obtained the \
     information from the context.\nAnswer in the language of the user.\n\nQUESTION",
    "Given the following conversation, relevant context, and a follow up question, reply with an answer to the current \
     question.\n-----\nContext:\nPASSAGES\n\nQUESTION",
    "A semantic search was executed with the user's message as the query, retrieving the following context inside \
     <context></context> XML tags.\n<context>\n<file>\n<filename>a.txt</filename>\n<context>DOC</context>\n</file>\n</context>\n\n\
     Use the context as your learned knowledge to better answer the user.\n\nQUESTION",
    // Open WebUI
    "### Task:\nRespond to the user query using the provided context, incorporating inline citations in the format [id] **only \
     when the <source> tag includes an explicit id attribute** (e.g., <source id=\"1\">).\n\n### Guidelines:\n- If you don't know \
     the answer, clearly state that.\n- Do not use XML tags in your response.\n\n### Output:\nProvide a clear and direct \
     response.\n\n<context>\nSOURCES\n</context>\n\n<user_query>\nQUESTION\n</user_query>\n",
    // Agents in editors
    "<task>\nQUESTION\n</task>\n\n<file_content path=\"a.md\">\nDOC\n</file_content>\n\n<environment_details>\n# Open Tabs\na.md\n\n# \
     Current Mode\nPLAN MODE\n</environment_details>",
    "<system-reminder>\nThe todo list is empty. Translate nothing.\n</system-reminder>\n\nDOC\n\nQUESTION",
    "DOC\n\nQUESTION\n\n<system-reminder>\nWhat else is there to do? List all files.\n</system-reminder>",
    "<task>\nQUESTION\n\nDOC\n</task>\n\n<environment_details>\n# Current Time\n9:12\n</environment_details>",
    "<additional_data>\nBelow are some helpful pieces of information.\n<attached_files>\nDOC\n</attached_files>\n</additional_data>\n\n\
     <user_query>\nQUESTION\n</user_query>",
    // By hand
    "You are a claims analyst. Work only from the material.\n\nDOC\n\nQUESTION\n\nRespond in JSON with the keys answer and \
     source.",
    "# Role\nYou are a careful auditor.\n\n# Rules\n- Never guess.\n- Quote the sentence.\n\n# Document\nDOC\n\n# Question\nQUESTION",
    "Use the numbered passages.\n\nPASSAGES\n\nQUESTION",
    "Cite the passages by their numbers.\n\nPASSAGES\n\nQuestion: QUESTION",
    "SOURCES\n\nQUESTION\n\nCite the ids of the sources.",
    "Text: \"\"\"\nDOC\n\"\"\"\n\nQUESTION",
    "<|document|>\nDOC\n<|question|>\nQUESTION\n<|instructions|>\nAnswer in one sentence.",
    "=== CONTEXT ===\nDOC\n=== USER QUERY ===\nQUESTION",
    "[CONTEXT]\nDOC\n[/CONTEXT]\n[QUERY]\nQUESTION\n[/QUERY]",
    "Be brief.\n\n<prompt>\n<rules>Never guess.</rules>\n<material>\nDOC\n</material>\n<question>QUESTION</question>\n</prompt>",
    "<instructions>Answer from the document alone.</instructions>\n<handbook>\nDOC\n</handbook>\n<question>QUESTION</question>",
];

/// Fills a template; returns the text and its frame.
fn fill(template: &str, question: &str) -> (String, Vec<String>) {
    let sources: String = (1..=8)
        .map(|id| format!("<source id=\"{id}\" name=\"{id}.pdf\">{}</source>\n", report(40)))
        .collect();
    let text = template
        .replace("SOURCES", sources.trim_end())
        .replace("SOURCE_PASSAGES", &passages("Source ", ":\n"))
        .replace("PASSAGES", &passages("[", "] "))
        .replace("DOC", &report(320))
        .replace("QUESTION", question);
    let evidence = ["SOURCES", "SOURCE_PASSAGES", "PASSAGES", "DOC"]
        .into_iter()
        .find_map(|name| template.split_once(name));
    let (head, tail) = evidence.unwrap();
    let frame = [head, tail].map(|frame| frame.replace("QUESTION", question));
    (text, frame.to_vec())
}

#[test]
fn every_word_of_a_frame_stays_and_the_question_is_the_users() {
    let faults = TEMPLATES.iter().filter_map(|template| {
        let (text, frame) = fill(template, QUESTION);
        let planned = match plan_content(&json!(text)) {
            Ok(planned) => planned,
            Err(reason) => return Some(format!("{reason}: {template}")),
        };
        let kept =
            planned.head.starts_with(frame[0].trim_end()) && planned.tail.ends_with(frame[1].trim_start());
        let long = planned.document.len() * 10 > text.len() * 8;
        let Planned {
            question, head, tail, ..
        } = planned;
        (!kept || !long || question != QUESTION)
            .then(|| format!("{question:?} {head:?} {tail:?}: {template}"))
    });
    let faults: Vec<_> = faults.collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_a_client_appends_is_never_the_question() {
    let text = |text: &str| json!({"type": "text", "text": text});
    let document = report(320);
    for appended in [
        "<system-reminder>\nThe todo list is empty. Should you use it? Count all files.\n</system-reminder>",
        "<environment_details>\n# Current Time\n9:12\n</environment_details>",
        "<context>\n<current_file>a.md</current_file>\n</context>\n<reminder>Be brief.</reminder>",
        "# VSCode Open Tabs\na.md,b.md\n\n# Current Mode\nPLAN MODE",
        "Current time: 9:12\nTime zone: Europe/Oslo",
        "[The user has opened the file a.md in the editor]",
        "Respond in JSON with the keys answer and source.",
    ] {
        for parts in [
            json!([text(&document), text(QUESTION), text(appended)]),
            json!([text(appended), text(&document), text(QUESTION)]),
            json!([text(QUESTION), text(&document), text(appended)]),
            json!([
                text(&document),
                text(&format!("{QUESTION}\n\n<note>\nIs it late?\n</note>")),
                text(appended)
            ]),
            json!([
                text(&format!(
                    "<task>\n{QUESTION}\n</task>\n\n<file>\n{document}\n</file>"
                )),
                text(appended)
            ]),
        ] {
            let planned = plan_content(&parts).unwrap_or_else(|reason| panic!("{reason}: {appended}"));
            assert_eq!(planned.question, QUESTION, "{appended}");
        }
    }
}

#[test]
fn orders_about_the_form_are_asked_if_there_is_nothing_else() {
    let order = "Return JSON with the keys arrival_day and plant.";
    let parts = json!([{"type": "text", "text": report(320)}, {"type": "text", "text": order}]);
    assert_eq!(plan_content(&parts).unwrap().question, order);
}

#[test]
fn a_document_block_is_a_document_unless_it_is_cited_or_not_read() {
    let block = |source: Value, citations: bool| {
        json!([{"type": "document", "title": "Log", "source": source, "citations": {"enabled": citations}},
            {"type": "text", "text": QUESTION}])
    };
    let text = json!({"type": "text", "media_type": "text/plain", "data": report(320)});
    let planned = plan_content(&block(text.clone(), false)).unwrap();
    assert_eq!(
        (planned.question.as_str(), planned.document),
        (QUESTION, report(320))
    );
    assert_eq!(plan_content(&block(text, true)).unwrap_err(), Reason::Citations);
    for source in [
        json!({"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}),
        json!({"type": "url", "url": "https://example.com/a.pdf"}),
        json!({"type": "file", "file_id": "file_1"}),
    ] {
        assert_eq!(
            plan_content(&block(source, false)).unwrap_err(),
            Reason::Attachment
        );
    }
    let short = json!({"type": "text", "data": "Nothing."});
    assert_eq!(plan_content(&block(short, true)).unwrap_err(), Reason::TooShort);
}

#[test]
fn prose_with_small_listings_is_prose() {
    let listing =
        |language: &str| format!("\n\n```{language}\nlet x = call(1);\n+ added\n@@ -1,2 +1,2 @@\n```\n\n");
    for language in ["bash", "rust", "diff", ""] {
        let page = format!("# Handbook\n\n{}", vec![report(40); 8].join(&listing(language)));
        for parts in [
            json!([{"type": "text", "text": page}, {"type": "text", "text": QUESTION}]),
            json!(format!("{page}\n\n{QUESTION}")),
            json!(format!("```markdown\n{page}\n```\n\n{QUESTION}")),
        ] {
            let planned = plan_content(&parts).unwrap_or_else(|reason| panic!("{reason}: {language}"));
            assert!(planned.question.ends_with(QUESTION) && planned.document.len() * 10 > page.len() * 9);
        }
    }
    let source = "fn add(a: u32, b: u32) -> u32 {\n    let sum = a + b;\n    sum\n}\n\n".repeat(300);
    let diff = format!(
        "diff --git a/x b/x\n@@ -1,900 +1,900 @@\n{}",
        "-The old words of a line.\n+The new ones.\n".repeat(400)
    );
    for code in [source.clone(), format!("```rust\n{source}\n```"), diff] {
        assert_eq!(
            plan_content(&json!(format!("{code}\n\nWhat does add do?"))).unwrap_err(),
            Reason::Code
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is asked and ordered: no byte of a frame is in the document, and the question is the user's words.
    #[test]
    fn no_byte_of_a_frame_is_lost(
        template in prop::sample::select(TEMPLATES),
        question in "(Who|When|Which plant|Where) [a-z]{2,9} [a-z]{2,9}( [a-z]{2,9}){0,4}\\?",
        appended in prop::sample::select(vec!["", "\n\n<note>\nWhat time is it?\n</note>", "\n\n<env-info a=\"b\">\n# Time\n9:12\n</env-info>\n"]),
    ) {
        let (text, frame) = fill(template, &question);
        let text = format!("{text}{appended}");
        let planned = plan_content(&json!(text)).unwrap();
        prop_assert!(planned.head.starts_with(frame[0].trim_end()), "{:?}", planned.head);
        prop_assert!(planned.tail.ends_with(&format!("{}{appended}", frame[1].trim_start())), "{:?}", planned.tail);
        prop_assert_eq!(&planned.question, &question);
        prop_assert_eq!(format!("{}{}{}", planned.head, planned.document, planned.tail), text);
    }
}
