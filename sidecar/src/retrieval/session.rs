//! One call in which the model may ask: the tool that it was offered, what it may ask about, and how often.

use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::Context;
use super::body::Outline;
use super::lookup::{Library, LookupResult, Reply};
use super::splice::Splicer;
use super::{Answer, Question, Turn, tool};
use crate::api::Wire;
use crate::compress::{Compressor, PackedDocument, offload};
use crate::report::Retrievals;

/// More questions of one answer are not answered.
const MAX_QUESTIONS: usize = 8;

/// What a session is made of.
#[derive(Debug)]
pub struct Offer {
    /// The shape of the request and of its answer.
    pub wire: Wire,
    /// Whether a provider that may answer speaks another API.
    pub translated: bool,
    /// The request, with its packs.
    pub body: Bytes,
    /// The documents that were packed; no others are answered.
    pub documents: Vec<PackedDocument>,
    /// Has the documents and asks the workers.
    pub compressor: Compressor,
    /// Counts what is asked.
    pub retrievals: Retrievals,
}

/// A call in which the tool was offered.
#[derive(Debug)]
pub struct Session {
    wire: Wire,
    tool: String,
    body: Bytes,
    library: Library,
    /// How many of the model's answers have asked.
    asked: u32,
    /// The usage that the upstream reported for those, as it names it.
    usage: Value,
    max_rounds: u32,
    retrievals: Retrievals,
}

impl Offer {
    /// Offers the tool; `None` where that cannot be, and the request is to leave as it is.
    pub fn accept(self) -> Option<Session> {
        if self.documents.is_empty() || self.wire == Wire::Completions {
            return None;
        }
        let text = std::str::from_utf8(&self.body).ok()?;
        let outline = Outline::read(self.wire, text)?;
        if self.translated && outline.structured {
            return None;
        }
        let tool = tool::name(&outline.names);
        let body = outline.with_tool(text, &tool::definition(self.wire, &tool));
        let policy = &self.compressor.settings().policy;
        let (max_rounds, max_tokens) = (policy.retrieval.max_rounds, policy.retrieval.max_answer_tokens);
        let tier = policy.tier;
        Some(Session {
            wire: self.wire,
            tool,
            body,
            asked: 0,
            usage: Value::Null,
            max_rounds,
            retrievals: self.retrievals,
            library: Library {
                compressor: self.compressor,
                documents: self.documents,
                max_tokens,
                tier,
                request_id: format!("lq_{:016x}", fastrand::u64(..)),
            },
        })
    }
}

impl Session {
    /// Returns the request as it is to be sent now.
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// Returns the shape of request and answer.
    pub fn wire(&self) -> Wire {
        self.wire
    }

    /// Returns whether the next answer may ask: the one after the last round is told that nothing more can be asked,
    /// and the one after that is the last.
    fn may_ask(&self) -> bool {
        self.asked <= self.max_rounds
    }

    /// Reads an answer that is whole.
    pub fn read(&mut self, answer: &[u8]) -> Answer {
        let context = Context {
            wire: self.wire,
            tool: &self.tool,
            may_ask: self.asked <= self.max_rounds,
        };
        let answer = Answer::read(context, answer, &mut self.usage);
        if let Answer::Final(end) = &answer {
            self.note_dropped(end.dropped);
        }
        answer
    }

    /// Makes a splicer for the answers of this call, where they are streams.
    pub fn splicer(&self) -> Splicer {
        Splicer::new(self.wire, self.tool.clone(), self.may_ask())
    }

    /// Counts questions that are not answered.
    pub fn note_dropped(&self, questions: usize) {
        for _ in 0..questions {
            self.retrievals.count(LookupResult::Dropped.as_str());
        }
    }

    /// Answers what the model asked: the request that follows has its turn and the answers. Returns whether the model
    /// may ask again.
    pub async fn answer(&mut self, turn: Turn) -> bool {
        let session = &*self;
        let questions = turn.questions.iter().enumerate();
        let replies =
            futures::future::join_all(questions.map(|(at, question)| session.reply(at, question))).await;
        for reply in &replies {
            self.retrievals.count(reply.result.as_str());
        }
        self.asked += 1;
        let turns = self.turns(turn, &replies);
        let (wire, body) = (self.wire, self.body.clone());
        let patched = offload(body.len(), move || {
            let text = std::str::from_utf8(&body).ok()?;
            Some(Outline::read(wire, text)?.with_turns(text, &turns))
        });
        if let Some(body) = patched.await {
            self.body = body;
        }
        self.may_ask()
    }

    /// Answers the question that stands at a place of an answer.
    async fn reply(&self, at: usize, question: &Question) -> Reply {
        let exhausted = |text| Reply::new(LookupResult::Exhausted, text);
        if self.asked >= self.max_rounds {
            return exhausted(
                "Error: nothing more can be asked. Answer from what you have read, and say what is missing.",
            );
        }
        if at >= MAX_QUESTIONS {
            return exhausted("Error: too many questions at once. Ask again.");
        }
        self.library.answer(question).await
    }

    /// Writes what the model said and what it is answered, as the API has it.
    fn turns(&self, turn: Turn, replies: &[Reply]) -> Vec<Value> {
        let mut turns = turn.said;
        let answers = turn.questions.iter().zip(replies);
        match self.wire {
            Wire::Chat | Wire::Completions => turns.extend(answers.map(|(question, reply)| {
                json!({"role": "tool", "tool_call_id": question.id, "content": reply.text})
            })),
            Wire::Responses => turns.extend(answers.map(|(question, reply)| {
                json!({"type": "function_call_output", "call_id": question.id, "output": reply.text})
            })),
            Wire::Messages => {
                let results: Vec<Value> = answers
                    .map(|(question, reply)| {
                        let mut result = json!({
                            "type": "tool_result", "tool_use_id": question.id, "content": reply.text,
                        });
                        if reply.is_error() {
                            result["is_error"] = true.into();
                        }
                        result
                    })
                    .collect();
                turns.push(json!({"role": "user", "content": results}));
            }
        }
        turns
    }
}
