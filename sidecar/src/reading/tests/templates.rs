//! Prompts that programs put together: chat templates, agents' notes, declared fields, JSON.

use serde_json::json;

use super::*;

const QUESTION: &str = "Who sold tar on day 6, and to whom?";
const OTHER: &str = "How deep was the channel on day 9?";

fn prompt(prompt: &str) -> SeenTurn {
    turns_of(Surface::Completions, &json!({"prompt": prompt})).remove(0)
}

/// Checks that a turn has this document, and that the question is what is asked in earnest.
fn check(turn: &SeenTurn, document: &str) {
    assert_eq!(turn.document(), document, "{:?}", turn.asks);
    assert_eq!(turn.need, Need::Evidence);
    let earnest: Vec<_> = turn.asks.iter().filter(|(_, weight)| *weight > 0.4).collect();
    assert_eq!(earnest, [&(QUESTION.to_owned(), 1.0)]);
}

#[test]
fn special_tokens_of_chat_templates_belong_to_no_document() {
    let doc = chronicle(300);
    for template in [
        "<s>[INST] <<SYS>>\nAnswer from the ledger only.\n<</SYS>>\n\nDOC\n\nASK [/INST]",
        "<|im_start|>system\nYou are a clerk.<|im_end|>\n<|im_start|>user\nDOC\n\nASK<|im_end|>\n<|im_start|>assistant\n",
        "<|start_header_id|>user<|end_header_id|>\n\nASK\n\nDOC<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "<start_of_turn>user\nContext:\nDOC\n\nQuestion: ASK<end_of_turn>\n<start_of_turn>model\n",
    ] {
        check(
            &prompt(&template.replace("DOC", &doc).replace("ASK", QUESTION)),
            &doc,
        );
    }
}

#[test]
fn a_labelled_instruction_is_what_is_asked_of_the_labelled_input() {
    let doc = chronicle(300);
    let lead =
        "Below is an instruction that describes a task, paired with an input that provides further context.";
    check(
        &prompt(&format!(
            "{lead}\n\n### Instruction:\n{QUESTION}\n\n### Input:\n{doc}\n\n### Response:\n"
        )),
        &doc,
    );
}

#[test]
fn an_observation_in_an_agents_notes_is_a_document() {
    let doc = chronicle(300);
    let notes = format!(
        "Answer the question as best you can. You have these tools:\n\nread_ledger(name: str) -> str\n\nUse this format:\n\n\
         Question: the input question you must answer\nThought: what to do next\nAction: the tool to call\n\
         Observation: the result of the action\n\nBegin!\n\nQuestion: {QUESTION}\nThought: I should read the ledger.\n\
         Action: read_ledger\nObservation: {doc}\nThought:"
    );
    let turn = turn(json!([say("user", notes)]));
    assert_eq!(turn.document(), doc);
    assert!(turn.weight(QUESTION) > 0.9, "{:?}", turn.asks);
    assert!(
        turn.asks
            .iter()
            .all(|(ask, weight)| *weight < 0.4 || ask == QUESTION),
        "{:?}",
        turn.asks
    );
}

#[test]
fn fields_that_a_template_declares_ask_by_their_descriptions() {
    let doc = chronicle(300);
    let system = |output: &str| {
        format!(
            "Your input fields are:\n1. `context` (list[str]): \n2. `question` (str):\nYour output fields are:\n1. {output}\n\
             All interactions will be structured in the following way.\n\n[[ ## context ## ]]\n{{context}}\n\n\
             [[ ## question ## ]]\n{{question}}\n\n[[ ## completed ## ]]\nIn adhering to this structure, your objective is: \n\
             \x20       Given the fields `context`, `question`, produce the fields `answer`."
        )
    };
    let user = format!(
        "[[ ## context ## ]]\n{doc}\n\n[[ ## question ## ]]\n{QUESTION}\n\n\
         Respond with the corresponding output fields, starting with the field `[[ ## answer ## ]]`."
    );
    let asked = turn(json!([
        say("system", system("`answer` (str):")),
        say("user", user)
    ]));
    check(&asked, &doc);
    let extraction = "Your input fields are:\n1. `ledger` (str):\nYour output fields are:\n1. `seller` (str): who sold tar on day 6\n\
                      2. `page` (Optional[int]):\nGiven the fields `ledger`, produce the fields `seller`, `page`.";
    let found = turn(json!([
        say("system", extraction),
        say(
            "user",
            format!("[[ ## ledger ## ]]\n{doc}\n\nRespond with the output fields.")
        )
    ]));
    let earnest: Vec<_> = found.asks.iter().filter(|(_, weight)| *weight > 0.4).collect();
    assert_eq!(
        earnest,
        [&("`seller` (str): who sold tar on day 6".to_owned(), 1.0)]
    );
}

#[test]
fn a_tag_that_is_spoken_of_ends_no_sentence() {
    let doc = chronicle(300);
    let system = format!(
        "The ledger is given in <ledger>. Answer questions about it; quote days.\n<ledger>\n{doc}\n</ledger>"
    );
    check(&turn(json!([say("system", system), say("user", QUESTION)])), &doc);
    let template = format!(
        "### Task:\nRespond to the user query using the provided context, with citations **only when the <source> tag has an id** \
         (e.g., <source id=\"1\">).\n\n<context>\n{doc}\n</context>\n\n{QUESTION}"
    );
    check(&turn(json!([say("user", template)])), &doc);
}

#[test]
fn a_program_puts_question_and_document_into_json() {
    let doc = chronicle(300);
    let payload = json!({"document": doc, "question": QUESTION, "locale": "en-GB"}).to_string();
    let system = say(
        "system",
        "You answer questions about a document. The input is JSON.",
    );
    check(&turn(json!([system, say("user", payload)])), &doc);
    let batch =
        json!({"questions": [{"id": "q1", "text": QUESTION}, {"id": "q2", "text": OTHER}]}).to_string();
    let two = turn(json!([say("user", doc.clone()), say("user", batch)]));
    assert_eq!(
        (two.document(), two.asked()),
        (doc.as_str(), vec![QUESTION, OTHER])
    );
}

#[test]
fn questions_that_come_with_answers_are_a_documents() {
    let pairs: Vec<_> = (0..60)
        .map(|day| json!({"question": format!("Who kept the light on day {day}?"), "answer": chronicle(9)}))
        .collect();
    let turn = turn(json!([
        say("user", serde_json::Value::from(pairs).to_string()),
        say("user", QUESTION)
    ]));
    assert_eq!(turn.asked(), [QUESTION]);
}

#[test]
fn numbered_labels_are_a_list_of_questions() {
    let doc = chronicle(300);
    let turn = turn(json!([say(
        "user",
        format!("Ledger:\n\n{doc}\n\nQ1: {QUESTION}\nQ2: {OTHER}\nA1:")
    )]));
    assert_eq!(turn.asked(), [QUESTION, OTHER]);
    assert!(
        turn.document().ends_with(&doc[doc.len() - 40..]),
        "{}",
        turn.document()
    );
}

#[test]
fn pieces_of_a_document_block_are_passages() {
    let pieces: Vec<_> = (0..12)
        .map(|number| text(&chronicle(number + 9).split_off(150)))
        .collect();
    let block = json!({"type": "document", "source": {"type": "content", "content": pieces}});
    let body = json!({"messages": [say("user", json!([block, text(QUESTION)]))]});
    let turn = &turns_of(Surface::Messages, &body)[0];
    assert_eq!(turn.sites.len(), 12);
    assert!(
        turn.sites
            .iter()
            .all(|site| site.passage && site.kind == SiteKind::Document)
    );
}

#[test]
fn json_in_a_developers_context_is_read_as_its_texts() {
    let records: Vec<_> = (0..12)
        .map(|at| json!({format!("[doc{at}]"): {"content": chronicle(12 + at)}}))
        .collect();
    let context = format!(
        "## Retrieved Documents\n{}\n",
        json!({"retrieved_documents": records})
    );
    let turn = turn(json!([say("developer", context), say("user", QUESTION)]));
    assert_eq!(turn.sites.len(), 12);
    assert!(
        turn.sites
            .iter()
            .all(|site| site.kind == SiteKind::System && site.passage)
    );
}

#[test]
fn a_greeting_before_a_request_and_a_closing_behind_it_belong_to_it() {
    let doc = chronicle(300);
    for head in [
        format!("Hi team,\n\ncan somebody help me with this one? {QUESTION}\n\nBest,\nJo"),
        format!(
            "Good morning! I hope this is the right place.\n\nWhat I would like to know is this. {QUESTION}"
        ),
    ] {
        let turn = turn(json!([say("user", format!("{head}\n\n{doc}"))]));
        assert!(turn.document() == doc, "{head}");
        assert!(
            turn.asked().iter().any(|ask| ask.contains(QUESTION)),
            "{:?}",
            turn.asks
        );
    }
}

#[test]
fn what_was_asked_before_is_asked_of_the_document_that_comes_alone() {
    let doc = format!(
        "{}\n\nExhibit C Berths [List of berths where the boats are registered]\n\nExhibit C",
        chronicle(300)
    );
    let turns = turns(json!([
        say("system", "You review ledgers."),
        say("user", QUESTION),
        say("assistant", "Happy to help. Please paste the ledger."),
        say("user", doc)
    ]));
    assert_eq!((turns[1].asked()[0], turns[1].need), (QUESTION, Need::Evidence));
}

#[test]
fn examples_before_a_document_leave_a_translators_task_what_it_is() {
    let turns = turns(json!([
        say("system", "Translate ledgers into German."),
        say("user", "The boats are in."),
        say("assistant", "Die Boote sind da."),
        say("user", chronicle(300))
    ]));
    assert_eq!(turns[1].need, Need::Transform);
}

#[test]
fn a_table_to_fill_in_belongs_to_the_request_before_it() {
    let doc = chronicle(300);
    let table = format!("| point | finding |\n|---|---|\n| {QUESTION} | |\n| {OTHER} | |");
    for lead in ["\n\nLedger:\n\n", "\n\n"] {
        let turn = turn(json!([say(
            "user",
            format!("Fill in this table from the ledger.\n\n{table}{lead}{doc}")
        )]));
        assert!(turn.document().len() <= doc.len() + lead.len(), "{:?}", turn.asks);
        assert!(
            turn.asked().iter().any(|ask| ask.contains(OTHER)),
            "{:?}",
            turn.asks
        );
    }
}

#[test]
fn behind_a_labelled_document_the_question_needs_no_label() {
    let doc = chronicle(300);
    let order = "Tell me who sold tar on day 6.";
    let turn = turn(json!([say("user", format!("Context:\n{doc}\n\n{order}"))]));
    assert_eq!((turn.document(), turn.asked()), (doc.as_str(), vec![order]));
}

#[test]
fn yaml_says_what_is_asked_of_the_text_in_it() {
    let question = "Who sold tar on day 6, and to whom?";
    let doc = chronicle(200);
    let indented = doc.replace('\n', "\n  ");
    for (prompt, held) in [
        (
            format!("---\ntitle: Ledger\nquestion: {question}\n---\n\n{doc}"),
            &doc,
        ),
        (
            format!("question: {question}\nledger: |\n  {indented}\n"),
            &indented,
        ),
        (
            format!("```yaml\nledger: |\n  {indented}\n```\n\n{question}"),
            &indented,
        ),
    ] {
        let turn = turn(json!([say("user", prompt.clone())]));
        assert_eq!(turn.asked(), [question], "{}", &prompt[..60]);
        assert!(turn.document().contains(held.as_str()), "{}", &prompt[..60]);
        assert_eq!(turn.sites[0].keep, None);
    }
    let settings: String = (0..200)
        .map(|n| format!("berth_{n}:\n  depth: {n}\n  open: true\n"))
        .collect();
    let turn = turn(json!([say(
        "user",
        format!("```yaml\n{settings}```\n\nHow deep is berth 7?")
    )]));
    assert_eq!(turn.sites[0].keep, Some(Reason::Code));
}

#[test]
fn toml_says_what_is_asked_of_the_text_in_it() {
    let question = "Who sold tar on day 6, and to whom?";
    let doc = chronicle(200);
    let line = serde_json::to_string(&doc).unwrap();
    for (prompt, held) in [
        (
            format!("question = \"{question}\"\nledger = \"\"\"\n{doc}\n\"\"\"\n"),
            &doc,
        ),
        (
            format!("[ledger]\ntext = '''{doc}'''\n\n[request]\nlang = \"en\"\nquery = '{question}'\n"),
            &doc,
        ),
        (
            format!("# From the shop.\ntask = \"{question}\"\nbody = {line}\n"),
            &line[1..line.len() - 1].to_owned(),
        ),
    ] {
        let turn = turn(json!([say("user", prompt.clone())]));
        assert_eq!(
            (turn.document(), turn.asked()),
            (held.as_str(), vec![question]),
            "{}",
            &prompt[..40]
        );
        assert_eq!(turn.sites[0].keep, None);
    }
    let passages: String = (0..12)
        .map(|n| format!("[[hits]]\nid = {n}\ntext = \"\"\"\n{}\"\"\"\n", chronicle(n + 12)))
        .collect();
    let turn_of = |prompt: String| turn(json!([say("user", prompt)]));
    let hits = turn_of(format!("question = \"{question}\"\n{passages}"));
    assert!(
        hits.asked().contains(&question) && hits.document().contains(&chronicle(20)),
        "{:?}",
        hits.asks
    );
    let settings: String = (0..200)
        .map(|n| format!("[berth_{n}]\nprompt = \"How deep is berth {n}?\"\nopen = true\n"))
        .collect();
    let asked = turn_of(settings).asked().len();
    assert!(asked == 0, "settings ask nothing of a document");
}

#[test]
fn a_heading_over_words_that_ask_is_not_asked() {
    let question = "Who sold tar on day 6, and to whom?";
    let order = "Find who sold tar on day 6.";
    let doc = chronicle(200);
    for heading in [
        "# Goal",
        "## Task",
        "### What I need",
        "**Goal**",
        "# Ziel:",
        "## Your objective",
    ] {
        for asked in [question, order] {
            for prompt in [
                format!(
                    "# Role\nYou read ledgers.\n\n{heading}\n{asked}\n\n# Material\n{doc}\n\n# Output\nTwo sentences."
                ),
                format!("{doc}\n\n{heading}\n{asked}"),
            ] {
                let turn = turn(json!([say("user", prompt)]));
                assert_eq!(turn.asked()[0], asked, "{heading}: {:?}", turn.asks);
            }
        }
    }
    let turn = turn(json!([say(
        "user",
        format!("{doc}\n\n# Tar\nWho sold it on day 6?")
    )]));
    assert_eq!(
        turn.asked()[0],
        "# Tar\nWho sold it on day 6?",
        "a heading of what is asked says of what"
    );
}

#[test]
fn a_prompt_that_leaves_the_model_to_go_on_names_who_speaks() {
    let question = "Who sold tar on day 6, and to whom?";
    let doc = chronicle(200);
    for prompt in [
        format!(
            "### System:\nYou read ledgers.\n\n### Document:\n{doc}\n\n### User:\n{question}\n\n### Assistant:\n"
        ),
        format!(
            "system:\nYou read ledgers.\n\n# Documents\n{doc}\n\n# Talk\nuser:\n{question}\n\nassistant:\n"
        ),
        format!("Document:\n{doc}\n\nUser: {question}\nAssistant:"),
        format!("===== BEGIN =====\n{doc}\n===== END =====\n\n{question}"),
    ] {
        let turn = turn(json!([say("user", prompt.clone())]));
        assert_eq!(turn.asks[0], (question.to_owned(), 1.0), "{}", &prompt[..40]);
        assert!(
            turn.asks.iter().skip(1).all(|(_, weight)| *weight < 0.35),
            "{:?}",
            turn.asks
        );
        assert!(turn.document().len() + 40 > doc.len());
    }
}

#[test]
fn payloads_and_files_of_several_forms_are_read() {
    let question = "Who sold tar on day 6, and to whom?";
    let doc = chronicle(200);
    let alpaca = json!({"instruction": question, "input": doc, "output": ""}).to_string();
    let file = format!("```docs/ledger.md (1-40)\n{doc}\n```\n\n{question}");
    for prompt in [alpaca, file] {
        let turn = turn(json!([say("user", prompt)]));
        assert_eq!((turn.document(), turn.asked()), (doc.as_str(), vec![question]));
        assert_eq!(turn.sites[0].keep, None);
    }
    let source = "```src/app.py\nimport os\n```";
    let turn = turn(json!([say(
        "user",
        format!(
            "{}\n\n{question}",
            source.replace("import os", &"value = load(3)\n".repeat(300))
        )
    )]));
    assert_eq!(turn.sites[0].keep, Some(Reason::Code));
    let lines: Vec<_> = (0..20)
        .map(|n| json!({"id": n, "text": chronicle(n + 4)}).to_string())
        .collect();
    let turns = turns(json!([
        say("user", question),
        call("c", "search", json!({"q": "tar"})),
        result("c", lines.join("\n"))
    ]));
    assert_eq!(turns[1].sites.len(), 20);
    assert!(
        turns[1]
            .sites
            .iter()
            .all(|site| site.passage && site.keep.is_none())
    );
}
