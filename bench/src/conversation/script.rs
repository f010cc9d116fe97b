//! The conversations: several questions on one document, and an agent that reads many.

use std::collections::HashSet;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::evidence::data::{Item, Set};

/// Turns that are shown; the labelled questions behind the first are spread over them.
pub(super) const SHOWN: [usize; 7] = [1, 2, 3, 5, 10, 15, 20];

/// What the model is taken to answer, in turns. Short, and nothing that could be mistaken for evidence.
const ANSWERS: [&str; 4] = [
    "It is dealt with in the text; the passage above says how.",
    "The text has one passage on this, and it is clear.",
    "Yes, with the limits that the passage names.",
    "Only in part: the passage leaves the rest open.",
];

/// A conversation as an application sends it, a turn at a time.
pub(super) struct Script {
    /// The identifier of its first question.
    pub(super) name: String,
    /// The members of the body before the messages.
    head: Value,
    pub(super) turns: Vec<Turn>,
}

/// What one more call adds.
pub(super) struct Turn {
    /// Messages, as JSON.
    messages: Vec<Value>,
    /// The labelled evidence for what is asked; empty without a label.
    pub(super) evidence: Vec<String>,
}

impl Script {
    /// Writes the body of the call at a turn, counted from 0.
    pub(super) fn body(&self, turn: usize) -> Vec<u8> {
        let mut body = self.head.clone();
        let turns = self.turns.iter().take(turn + 1);
        body["messages"] = turns.flat_map(|turn| turn.messages.iter().cloned()).collect();
        body.to_string().into_bytes()
    }
}

/// Makes up to `count` chats of a set, each with `turns` questions on a document of its own: the labelled ones, and
/// questions that other documents of the set were asked.
pub(super) fn chats(set: &Set, count: usize, turns: usize) -> Result<Vec<Script>> {
    let documents = by_document(&set.items);
    let chats = documents.iter().take(count).enumerate();
    chats
        .map(|(number, labelled)| chat(set, number, labelled, turns))
        .collect()
}

/// Groups items by document, in the order of the set.
fn by_document(items: &[Item]) -> Vec<Vec<&Item>> {
    let mut groups: Vec<Vec<&Item>> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for item in items {
        let place = *places.entry(item.document.as_str()).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(item),
            None => groups.push(vec![item]),
        }
    }
    groups
}

fn chat(set: &Set, number: usize, labelled: &[&Item], turns: usize) -> Result<Script> {
    let asked = questions(set, number, labelled, turns);
    ensure!(
        asked.len() == turns,
        "{} different questions are fewer than {turns} turns",
        asked.len()
    );
    let document = &labelled[0].document;
    let turns = asked.into_iter().enumerate().map(|(at, item)| {
        let question = &item.question;
        let messages = match at.checked_sub(1) {
            None => vec![
                json!({"role": "system", "content": "You answer questions about documents."}),
                json!({"role": "user", "content": [
                    {"type": "text", "text": document}, {"type": "text", "text": question}]}),
            ],
            Some(before) => vec![
                json!({"role": "assistant", "content": ANSWERS[before % ANSWERS.len()]}),
                json!({"role": "user", "content": question}),
            ],
        };
        let own = &item.document == document;
        Turn {
            messages,
            evidence: if own { item.evidence.clone() } else { Vec::new() },
        }
    });
    Ok(Script {
        name: labelled[0].id.clone(),
        head: json!({"model": "gpt-5.6"}),
        turns: turns.collect(),
    })
}

/// Lists the questions of a chat, a turn each: a labelled one first, the other labelled ones in turns that are shown
/// and differ from chat to chat, and between them questions on other documents, none twice.
fn questions<'a>(set: &'a Set, number: usize, labelled: &[&'a Item], turns: usize) -> Vec<&'a Item> {
    let mut slots: Vec<Option<&Item>> = vec![None; turns];
    let later: Vec<usize> = SHOWN[1..].iter().map(|&turn| turn - 1).collect();
    let shift = number % later.len();
    let shown = later[shift..].iter().chain(&later[..shift]).copied();
    let order = std::iter::once(0).chain(shown).chain(1..turns);
    let mut places = order.filter(|&place| place < turns);
    let mut asked = HashSet::new();
    for &item in labelled {
        if !asked.insert(item.question.as_str()) {
            continue;
        }
        if let Some(slot) = places
            .find(|&place| slots[place].is_none())
            .and_then(|place| slots.get_mut(place))
        {
            *slot = Some(item);
        }
    }
    // The chats of a set ask different ones: each starts where its own questions are.
    let start = labelled[0].index;
    let others = set.items.iter().cycle().skip(start).take(set.items.len());
    let mut others =
        others.filter(|item| item.document != labelled[0].document && asked.insert(item.question.as_str()));
    let filled = slots.into_iter().map(|slot| slot.or_else(|| others.next()));
    filled.map_while(|item| item).collect()
}

/// Makes an agent that reads `count` documents, drawn from all sets in turns and sorted by length: each call's result
/// is longer than the one before, and all of them stay in the conversation.
pub(super) fn agent(sets: &[Set], count: usize) -> Result<Script> {
    let groups: Vec<Vec<Vec<&Item>>> = sets.iter().map(|set| by_document(&set.items)).collect();
    let most = groups.iter().map(Vec::len).max().unwrap_or(0);
    let drawn = (0..most).flat_map(|at| groups.iter().filter_map(move |set| set.get(at)?.first().copied()));
    let mut items: Vec<&Item> = drawn.take(count).collect();
    ensure!(
        items.len() == count,
        "the sets have {} documents, and the agent reads {count}",
        items.len()
    );
    items.sort_by_key(|item| item.document.len());
    let read = json!({"type": "function", "function": {
        "name": "read_document", "description": "Returns a document's text.",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}});
    let turns = items.iter().enumerate().map(|(at, item)| {
        let id = format!("call_{}", at + 1);
        let arguments = json!({"path": format!("files/{}.txt", item.id)}).to_string();
        let mut messages = Vec::new();
        if at == 0 {
            messages.push(json!({"role": "system", "content": "You are an agent with tools."}));
            messages.push(
                json!({"role": "user", "content": "Work through the open questions of the list, one \
                document each, and report what you find."}),
            );
        }
        messages.push(
            json!({"role": "assistant", "content": format!("Next: {}", item.question),
            "tool_calls": [{"id": id, "type": "function",
                "function": {"name": "read_document", "arguments": arguments}}]}),
        );
        messages.push(json!({"role": "tool", "tool_call_id": id, "content": item.document}));
        Turn {
            messages,
            evidence: item.evidence.clone(),
        }
    });
    Ok(Script {
        name: format!("{count} documents"),
        turns: turns.collect(),
        head: json!({"model": "gpt-5.6", "tools": [read]}),
    })
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::evidence::data::Half;

    /// Two questions on each of 15 documents.
    fn set() -> Set {
        let item = |index: usize| Item {
            index,
            half: Half::First,
            id: format!("item {index}"),
            document: format!("document {}", index / 2).repeat(index / 2 + 1),
            question: format!("question {index}"),
            answers: Vec::new(),
            evidence: vec![format!("evidence {index}")],
        };
        Set {
            name: "set".to_owned(),
            items: (0..30).map(item).collect(),
        }
    }

    #[test]
    fn a_chat_asks_its_labelled_questions_in_shown_turns_and_none_twice() {
        let chats = chats(&set(), 6, 20).expect("chats");
        for (number, chat) in chats.iter().enumerate() {
            let labelled = |turn: &&Turn| !turn.evidence.is_empty();
            let places = (1..=20).filter(|turn| labelled(&&chat.turns[turn - 1]));
            assert_eq!(places.collect::<Vec<_>>(), [1, SHOWN[1 + number]]);
            let last = |turn: &Turn| turn.messages.last().expect("a message").to_string();
            let asked: HashSet<String> = chat.turns.iter().map(last).collect();
            assert_eq!(asked.len(), 20);
        }
        assert!(super::chats(&set(), 1, 31).is_err(), "30 questions are different");
    }

    #[test]
    fn each_body_begins_with_the_one_before() {
        let set = set();
        for script in [
            chats(&set, 1, 20).expect("a chat").remove(0),
            agent(&[set], 15).expect("an agent"),
        ] {
            let bodies: Vec<Vec<u8>> = (0..script.turns.len()).map(|turn| script.body(turn)).collect();
            for pair in bodies.windows(2) {
                let messages = pair[0].strip_suffix(b"]}").expect("messages");
                assert!(pair[1].starts_with(messages) && pair[1].len() > pair[0].len());
            }
        }
    }

    #[test]
    fn an_agent_reads_longer_documents_later() {
        let agent = agent(&[set()], 15).expect("an agent");
        let results: Vec<usize> = agent
            .turns
            .iter()
            .map(|turn| turn.messages.last().expect("a result").to_string().len())
            .collect();
        assert!(results.is_sorted() && results.len() == 15);
        assert!(super::agent(&[set()], 16).is_err());
    }
}
