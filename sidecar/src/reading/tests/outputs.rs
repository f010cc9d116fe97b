//! What tools answer: what may be cut, and what a later step must match exactly.

use super::super::calls::{read_arguments, read_said};
use super::super::output::reason_to_keep;
use super::*;
use crate::request::ToolCall;

fn lines(template: &str, count: usize) -> String {
    (1..=count)
        .map(|number| template.replace('§', &number.to_string()) + "\n")
        .collect()
}

#[test]
fn prose_tables_pages_and_transcripts_may_be_cut() {
    for answer in [
        chronicle(200),
        lines("| berth § | § fathoms | free |", 100),
        lines("§,berth §,2026-01-0§,§.00,paid", 100),
        format!("# Harbour\n\n{}\n\n## Berths\n\n{}", chronicle(40), chronicle(30)),
        format!(
            "<!doctype html>\n<html><body><div><p>{}</p></div></body></html>",
            chronicle(60)
        ),
        lines(
            "Anna: We should dredge the channel near berth § before the winter sets in.",
            80,
        ),
        lines(
            "[00:0§:12] Ben: The keeper says that lamp § went out twice in the last week.",
            80,
        ),
        "港の記録によると、六日目の朝に水深が台帳に記入された。風は北から吹いていた。\n".repeat(60),
        "Кутовий вітер дув з півночі, а доглядач записав глибину каналу до книги.\n".repeat(60),
    ] {
        assert_eq!(
            reason_to_keep(&answer),
            None,
            "{}",
            &answer[..answer.floor_char_boundary(80)]
        );
    }
}

#[test]
fn what_a_later_step_must_match_stays() {
    for answer in [
        "def berth(number):\n    depth = read(number)\n    return depth + 1\n\n".repeat(80),
        lines(
            "src/port/berth_§.rs:1§:    return Err(Error::Depth { berth: § });",
            100,
        ),
        lines("src/port/berth_§.rs-1§-     let depth = read(§)?;", 100),
        lines("-rw-r--r-- 1 kai staff 1§48 Nov 1 10:00 ledger-§.txt", 100),
        lines("├── ledger-§.txt", 100),
        lines("./logs/2026/ledger-§.txt", 100),
        lines(
            "2026-01-01T10:00:0§.120Z INFO port::berth: the keeper has opened gate § and closed it again",
            100,
        ),
        lines(
            "[2026-01-01 10:00:0§] ERROR could not read berth § because the ledger is locked",
            100,
        ),
        lines("tests/test_port.py::test_berth_§ PASSED [ §%]", 100),
        lines("test port::berth_§ ... ok", 100),
        lines("   Compiling berth v§.0.0 (/srv/port)", 100),
        lines("service_§:\n  replicas: 3\n  image: port/berth\n  port: 80§", 60),
        lines("{\"berth\": §, \"free\": true}", 100),
        lines("[berth_§]\ndepth = §\nname = \"north\"", 60),
        lines("  at Port.open (/srv/port/gate.js:§:12)", 60),
        lines("    §\tdef berth(number):", 90),
        "QUJDRA".repeat(2_000),
    ] {
        assert!(reason_to_keep(&answer).is_some(), "{}", &answer[..80]);
    }
}

#[test]
fn a_tools_document_is_asked_by_the_goal_the_call_and_what_the_model_said() {
    let doc = chronicle(200);
    let messages = |arguments: Value| {
        json!([
            say("system", "You are an agent with tools."),
            say("user", "Who sold tar on day 6?"),
            json!({"role": "assistant", "content": "I look into the ledger for sales of tar.", "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "read", "arguments": arguments.to_string()}}]}),
            result("c", doc.clone())
        ])
    };
    let turns = super::turns(messages(json!({"path": "ledger/1.txt", "query": "tar sales"})));
    let turn = &turns[1];
    assert_eq!(
        (turn.sites[0].kind, turn.document()),
        (SiteKind::ToolResult, doc.as_str())
    );
    assert_eq!(
        turn.asked(),
        [
            "tar sales",
            "Who sold tar on day 6?",
            "I look into the ledger for sales of tar."
        ]
    );
    assert_eq!((turn.need, turn.words.clone()), (Need::Evidence, None));
    let turns = super::turns(messages(json!({"path": "ledger/1.txt"})));
    assert_eq!(turns[1].asked()[0], "Who sold tar on day 6?");
}

#[test]
fn long_texts_in_json_are_sites_and_the_json_is_none() {
    let doc = chronicle(100);
    let one = json!({"ok": true, "path": "a/b.txt", "content": [{"type": "text", "text": doc}]}).to_string();
    let rows = (0..9).map(|rank| json!({"rank": rank, "url": format!("https://example.org/{rank}"), "title": "A ledger", "text": chronicle(8 + rank)}));
    let several = Value::from_iter(rows).to_string();
    let nested = json!({"result": one}).to_string();
    let config = json!({"a": {"port": 1, "name": "north", "routes": ["/v1/list", "/v1/get"]}}).to_string();
    let code =
        json!({"content": "def berth(n):\n    depth = read(n)\n    return depth\n\n".repeat(40)}).to_string();
    for (answer, sites, passage, keep) in [
        (one, 1, false, None),
        (several, 9, true, None),
        (nested, 1, false, None),
        (config, 0, false, None),
        (code, 1, false, Some(Reason::Code)),
    ] {
        let turns = turns(json!([
            say("user", "Who sold tar?"),
            call("c", "find", json!({})),
            result("c", answer.clone())
        ]));
        let found = &turns[1].sites;
        assert_eq!(found.len(), sites, "{answer}");
        assert!(found.iter().all(|site| site.passage == passage
            && site.keep == keep
            && !site.document.starts_with(['{', '['])));
    }
}

#[test]
fn arguments_that_read_like_words_are_asked() {
    let arguments = |arguments: &str| {
        let call = ToolCall {
            message: 0,
            id: "c".into(),
            name: "t".into(),
            arguments: arguments.to_owned().into(),
        };
        read_arguments(&call)
            .into_iter()
            .map(|said| said.text)
            .collect::<Vec<_>>()
    };
    for (json, expected) in [
        (r#"{"query":"tar sales on day 6"}"#, vec!["tar sales on day 6"]),
        (r#"{"q":"tar"}"#, vec!["tar"]),
        (
            r#"{"reason":"find who sold the tar","path":"a/b.txt"}"#,
            vec!["find who sold the tar"],
        ),
        (
            r#"{"queries":["price of tar","depth of channel"]}"#,
            vec!["price of tar", "depth of channel"],
        ),
        (
            r#"{"frage":"Wer verkaufte Teer?","seite":3}"#,
            vec!["Wer verkaufte Teer?"],
        ),
        (r#"{"検索":"六日目のタール"}"#, vec!["六日目のタール"]),
        (r#"{"path":"files/the ledger.txt"}"#, vec![]),
        (
            r#"{"target":"files/ledger.txt","id":"a1b2c3","deep":true}"#,
            vec![],
        ),
        (r#"{"cmd":"pytest -v tests"}"#, vec![]),
        (r#"{"run":"ls -la | grep tar"}"#, vec![]),
        (r#"{"address":"https://example.org/a b"}"#, vec![]),
        (r#"{"pattern":"Retry Error"}"#, vec![]),
        ("not json at all but words", vec!["not json at all but words"]),
        ("", vec![]),
    ] {
        assert_eq!(arguments(json), expected, "{json}");
    }
}

#[test]
fn of_what_the_model_said_its_last_sentences_count() {
    let long = format!("{} Now I need the price of tar.", chronicle(40));
    let said = read_said(&long).unwrap().text;
    assert!(
        said.ends_with("Now I need the price of tar.")
            && said.len() <= 600
            && said.starts_with(char::is_uppercase)
    );
    assert!(read_said(" \n").is_none());
}
