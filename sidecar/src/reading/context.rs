//! Documents inside instructions: context in a system text, or in a prompt of the user's that is mostly instructions.
//! By tags, markers, fences and labels, and without marks behind a head that points at what follows. House rules,
//! policies, personas and examples are no context; in doubt a text is none.

use std::ops::Range;

use super::ends::{trim, without_requests};
use super::phrases::has_phrase;
use super::speech::{is_request_by_form, is_standing, share_of_rules};
use super::split::tags::{Pair, inner_document, pairs};
use super::split::{
    is_document_label, is_document_name, is_ruler, is_speakers_turn, lines, split_between_marks,
};

/// Shorter texts hold no context worth a look, in bytes; shorter documents are none.
const SHORTEST_TEXT: usize = 1_000;
const SHORTEST: usize = 600;
/// The longest head before a context without marks, and how many places in it are tried.
const HEAD: usize = 6_000;
const TRIES: usize = 12;
/// Bytes behind a paragraph in which its speaker is looked for.
const NEAR: usize = 16 << 10;
/// The longest title before a text, in bytes and words.
const TITLE: usize = 60;
const TITLE_WORDS: usize = 8;
/// Between two elements of one kind, in bytes.
const GAP: usize = 80;
/// Share of sentences that order: of what is named a context, of what is not, and behind a head that points.
const RULES_IN_CONTEXT: f32 = 0.6;
const RULES_ELSEWHERE: f32 = 0.3;
const RULES_BEHIND_HEAD: f32 = 0.3;

/// Finds the documents within instructions, in order.
pub(super) fn find_contexts(text: &str) -> Vec<Range<usize>> {
    if text.len() < SHORTEST_TEXT {
        return Vec::new();
    }
    let tagged = by_tags(text);
    if !tagged.is_empty() {
        return tagged;
    }
    let marked = || {
        let split = split_between_marks(text)?;
        is_context(&text[split.document.clone()], RULES_ELSEWHERE).then_some(split.document)
    };
    let labelled = by_label(text);
    let found = match (labelled, behind_head(text)) {
        // The one that starts first: a document has labels of its own.
        (Some(one), Some(other)) => Some(if other.start < one.start { other } else { one }),
        (one, other) => one.or_else(marked).or(other),
    };
    found
        .filter(|range| range.len() >= SHORTEST)
        .into_iter()
        .collect()
}

/// Finds elements, and runs of elements of one name, that hold documents.
pub(super) fn by_tags(text: &str) -> Vec<Range<usize>> {
    let elements = pairs(text);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = elements.get(at) {
        let mut end = at + 1;
        while let (Some(before), Some(next)) = (elements.get(end - 1), elements.get(end))
            && next.name == first.name
            && text[before.outer.end..next.outer.start].trim().len() <= GAP
        {
            end += 1;
        }
        let last = elements.get(end - 1).unwrap_or(first);
        let range = if end - at > 1 {
            first.outer.start..last.outer.end
        } else {
            inner_document(text, first.inner.clone())
        };
        if holds_context(text, first, range.clone()) {
            found.push(trim(text, range));
        }
        at = end;
    }
    found
}

fn holds_context(text: &str, element: &Pair<'_>, range: Range<usize>) -> bool {
    if range.len() < SHORTEST || element.question_name().is_some() {
        return false;
    }
    let inner = &text[range];
    if is_document_name(element.name) {
        return is_context(inner, RULES_IN_CONTEXT);
    }
    !has_one(element.name, RULE_NAMES)
        && !has_one(element.name, SETTING_NAMES)
        && is_context(inner, RULES_ELSEWHERE)
}

fn is_context(text: &str, rules: f32) -> bool {
    share_of_rules(text) <= rules && !is_dialogue_of_examples(text)
}

/// Words that name rules, personas and examples, never a document to answer from; lower case, each the start of a word.
#[rustfmt::skip]
const RULE_NAMES: &[&str] = &[
    "rule", "guideline", "persona", "character", "example", "few shot", "regel", "richtlinie", "beispiel", "règle", "exemple", "consigne",
    "regla", "ejemplo", "regole", "esempi", "regra", "exemplo", "voorbeeld", "przykład", "zasad", "пример", "правил", "приклад", "örnek",
    "kural", "exempel", "contoh", "aturan", "ví dụ", "quy tắc", "مثال", "أمثلة", "قواعد", "דוגמ", "כללים", "उदाहरण", "नियम", "示例", "例子",
    "规则", "規則", "ルール", "예시", "예제", "규칙",
];

/// Further names of elements that hold no document.
#[rustfmt::skip]
const SETTING_NAMES: &[&str] = &[
    "polic", "role", "style", "tone", "tool", "function", "format", "schema", "output", "constraint", "behavio", "safety", "identity",
    "reminder", "environment", "rolle", "rôle",
];

/// Returns true if words name rules, a persona or examples.
fn names_rules(words: &str) -> bool {
    has_one(words, RULE_NAMES)
}

fn has_one(words: &str, phrases: &[&str]) -> bool {
    let lower = words.to_lowercase().replace(['_', '-'], " ");
    phrases.iter().any(|phrase| has_phrase(&lower, phrase))
}

/// Returns true for an exchange of two speakers that shows a model how to answer: `User: ... Assistant: ...`.
fn is_dialogue_of_examples(text: &str) -> bool {
    let near = &text[..text.floor_char_boundary(8 << 10)];
    let starts = |names: &[&str]| {
        let lines = near.lines().filter(|line| {
            let lower = line.trim_start().get(..12).unwrap_or(line).to_lowercase();
            names.iter().any(|name| lower.starts_with(name))
        });
        lines.count() >= 2
    };
    starts(&["user:", "human:", "q:", "input:", "customer:"])
        && starts(&["assistant:", "ai:", "a:", "output:", "agent:"])
}

/// Finds what stands behind a line that names a document: `Context:`.
fn by_label(text: &str) -> Option<Range<usize>> {
    let near = text.floor_char_boundary(HEAD.min(text.len()));
    let labels = lines(text, 0..near).filter(|line| is_document_label(&text[line.clone()]));
    labels.take(TRIES).find_map(|line| {
        let said = &text[line.clone()];
        // What follows on the label's own line is the document's.
        let own = said.find([':', '：']).map_or(line.len(), |at| at + 1);
        let own = said.ceil_char_boundary(own);
        let range = trim(text, without_requests(text, line.start + own..text.len()));
        (range.len() * 2 > text.len() && is_context(&text[range.clone()], RULES_IN_CONTEXT)).then_some(range)
    })
}

/// Finds what stands behind a head that points at it.
fn behind_head(text: &str) -> Option<Range<usize>> {
    let near = text.floor_char_boundary(HEAD.min(text.len()));
    let places = lines(text, 0..near).filter_map(|line| {
        let said = text[line.clone()].trim();
        let ends = said.is_empty() || is_ruler(said) || said.ends_with([':', '：']);
        (ends && line.end < text.len() && line.start > 0 || said.ends_with([':', '：'])).then_some(line.end)
    });
    places.take(TRIES).find_map(|at| {
        let (head, rest) = (text.get(..at)?, text.get(at..)?.trim());
        if !(points_at_what_follows(head) || is_title(head.trim()))
            || rest.len() < SHORTEST_TEXT
            || rest.len() < head.len()
        {
            return None;
        }
        let first = rest.split("\n\n").next().unwrap_or_default();
        let first = &first[..first.floor_char_boundary(300)];
        if is_ruler(first.lines().next().unwrap_or_default())
            || (is_request_by_form(first) && !is_speakers_turn(near_behind(rest, first.len()), first))
            || is_standing(first)
        {
            return None;
        }
        let range = trim(text, without_requests(text, at..text.len()));
        let is_context = range.len() * 2 > text.len() && is_context(&text[range.clone()], RULES_BEHIND_HEAD);
        is_context.then_some(range)
    })
}

/// Words by which a head points at a document behind it; lower case, each the start of a word.
#[rustfmt::skip]
const POINTERS: &[&str] = &[
    "following", "what follows", "as follows", "that follow", "below", "beneath", "context", "document", "passage", "excerpt", "information", "source", "text",
    "article", "transcript", "retrieved", "material", "knowledge", "snippet", "report", "content", "memor", "notes", "history", "entries", "records", "folgend", "unten", "unterhalb",
    "nachstehend", "kontext", "dokument", "auszug", "auszüge", "angaben", "quelle", "unterlage", "suivant", "suit", "ci-dessous", "ci-après", "contexte",
    "extrait", "texte", "siguiente", "continuación", "contexto", "fragmento", "fuente", "texto", "seguent", "di seguito",
    "contesto", "documento", "estratt", "fonti", "testo", "seguinte", "abaixo", "trecho", "fonte", "volgende", "onderstaande", "hieronder",
    "bronnen", "tekst", "następując", "poniż", "fragment", "źród", "следующ", "ниже", "контекст", "документ", "фрагмент", "источник",
    "текст", "наступн", "нижче", "уривк", "джерел", "aşağıda", "bağlam", "belge", "metin", "metn", "kaynak", "följande", "nedan", "sammanhang", "källor",
    "underlag", "berikut", "di bawah", "konteks", "dokumen", "sumber", "sau đây", "dưới đây", "ngữ cảnh", "tài liệu", "nguồn", "đoạn", "التالي",
    "أدناه", "السياق", "المستند", "الوثيق", "المصادر", "النص", "الآتي", "הבא", "להלן", "ההקשר", "המסמך", "מקורות", "הטקסט", "निम्न", "नीचे",
    "संदर्भ", "दस्तावेज", "अंश", "स्रोत", "以下", "下面", "下列", "上下文", "文档", "文件", "资料", "材料", "文本", "資料", "次の", "文脈", "コンテキスト",
    "文書", "ドキュメント", "다음", "아래", "문맥", "컨텍스트", "문서", "자료",
];

fn points_at_what_follows(head: &str) -> bool {
    let last = head
        .trim()
        .rsplit('\n')
        .find(|line| line.contains(char::is_alphanumeric));
    has_one(head, POINTERS) && !last.is_some_and(names_rules)
}

/// Returns true for a single line that names what stands behind it: `Lease, part 3:`. What names rules or settings of an
/// assistant names no document.
fn is_title(head: &str) -> bool {
    let short = head.len() <= TITLE && head.split_whitespace().count() <= TITLE_WORDS;
    short
        && head.ends_with([':', '：'])
        && !head.contains('\n')
        && !is_request_by_form(head)
        && !is_standing(head)
        && !has_one(head, RULE_NAMES)
        && !has_one(head, SETTING_NAMES)
}

/// Returns some of a text from an offset on.
fn near_behind(text: &str, at: usize) -> &str {
    let behind = text.get(at..).unwrap_or_default();
    &behind[..behind.floor_char_boundary(NEAR.min(behind.len()))]
}
