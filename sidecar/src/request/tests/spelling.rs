//! Generated texts in bodies: JSON in strings of JSON, in every spelling of escapes, and what another parser
//! sees there.

use std::fmt;

use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// JSON as serde_json's parser sees it, repeated keys included.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    Scalar(String),
    Text(String),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Tree;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Scalar("null".into()))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
                Ok(Tree::Scalar(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
                Ok(Tree::Scalar(value.to_string()))
            }
            fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
                Ok(Tree::Text(value.into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = seq.next_element()? {
                    all.push(one);
                }
                Ok(Tree::Array(all))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = map.next_entry()? {
                    all.push(one);
                }
                Ok(Tree::Object(all))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// Replaces the texts of a string by what `edit` makes of them, those of JSON in it, and of strings in that;
/// `depth` counts from 1. The JSON comes back in one spelling.
pub(super) fn edit_texts(text: &str, depth: usize, edit: &mut dyn FnMut(&str) -> String) -> String {
    let json = text.trim_start().starts_with(['{', '[']) && depth < 4;
    match serde_json::from_str::<Tree>(text) {
        Ok(mut tree) if json && tree.has_text() => {
            tree.edit(depth, edit);
            tree.write(&mut Speller::plain())
        }
        _ => edit(text),
    }
}

impl Tree {
    fn has_text(&self) -> bool {
        match self {
            Self::Scalar(_) => false,
            Self::Text(_) => true,
            Self::Array(all) => all.iter().any(Self::has_text),
            Self::Object(all) => all.iter().any(|(_, one)| one.has_text()),
        }
    }

    fn edit(&mut self, depth: usize, edit: &mut dyn FnMut(&str) -> String) {
        match self {
            Self::Scalar(_) => {}
            Self::Text(text) => *text = edit_texts(text, depth + 1, edit),
            Self::Array(all) => all.iter_mut().for_each(|one| one.edit(depth, edit)),
            Self::Object(all) => all.iter_mut().for_each(|(_, one)| one.edit(depth, edit)),
        }
    }

    /// Writes it as JSON.
    pub(super) fn write(&self, speller: &mut Speller) -> String {
        let space = speller.space();
        let inner = match self {
            Self::Scalar(text) => text.clone(),
            Self::Text(text) => speller.quote(text),
            Self::Array(all) => {
                let all: Vec<_> = all.iter().map(|one| one.write(speller)).collect();
                format!("[{}]", all.join(","))
            }
            Self::Object(all) => {
                let field =
                    |(key, one): &(String, Self)| format!("{}:{}", speller.quote(key), one.write(speller));
                let all: Vec<_> = all.iter().map(field).collect();
                format!("{{{}}}", all.join(","))
            }
        };
        format!("{space}{inner}")
    }
}

/// Chooses one of the spellings that JSON leaves.
pub(super) struct Speller {
    choices: Vec<u8>,
    at: usize,
}

impl Speller {
    pub(super) fn new(choices: Vec<u8>) -> Self {
        Self { choices, at: 0 }
    }

    /// The shortest spelling.
    fn plain() -> Self {
        Self::new(vec![0])
    }

    fn choose(&mut self) -> u8 {
        self.at += 1;
        self.choices
            .get(self.at % self.choices.len().max(1))
            .copied()
            .unwrap_or_default()
    }

    fn space(&mut self) -> &'static str {
        match self.choose() % 8 {
            7 => " \n\t",
            _ => "",
        }
    }

    /// Writes a JSON string.
    pub(super) fn quote(&mut self, text: &str) -> String {
        let mut out = String::from("\"");
        for c in text.chars() {
            let short = match c {
                '"' | '\\' | '/' => Some(c),
                '\n' => Some('n'),
                '\r' => Some('r'),
                '\t' => Some('t'),
                '\u{8}' => Some('b'),
                '\u{c}' => Some('f'),
                _ => None,
            };
            let must = c < ' ' || c == '"' || c == '\\';
            match (self.choose() % 5, short) {
                (1, Some(short)) => out.extend(['\\', short]),
                (2, _) => c
                    .encode_utf16(&mut [0; 2])
                    .iter()
                    .for_each(|unit| out += &format!("\\u{unit:04x}")),
                (3, _) => c
                    .encode_utf16(&mut [0; 2])
                    .iter()
                    .for_each(|unit| out += &format!("\\u{unit:04X}")),
                (_, Some(short)) if must => out.extend(['\\', short]),
                _ if must => out += &format!("\\u{:04x}", u32::from(c)),
                _ => out.push(c),
            }
        }
        out + "\""
    }
}

pub(super) fn speller() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(vec![0]),
        Just(vec![2]),
        prop::collection::vec(any::<u8>(), 1..40)
    ]
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        r#"[a-c/ \n\t\u{1}"\\é漢😀\[\]{},:]{0,12}"#,
        Just("[]".to_owned()),
        Just("{} ".to_owned()),
        Just("[\"x".to_owned()),
        Just("word ".repeat(700)),
    ]
}

fn tree(text: impl Strategy<Value = String> + Clone + 'static) -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        1 => Just(Tree::Scalar("null".into())),
        1 => any::<u64>().prop_map(|n| Tree::Scalar(n.to_string())),
        4 => text.prop_map(Tree::Text),
    ];
    let nested = leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Tree::Array),
            prop::collection::vec(("[ab\"\u{e9}]{0,2}", inner), 0..3).prop_map(Tree::Object),
        ]
    });
    prop::collection::vec(nested, 0..3).prop_map(Tree::Array)
}

/// Texts that hold JSON, whose texts hold JSON, up to five deep, in any spelling.
pub(super) fn text() -> impl Strategy<Value = String> {
    words().prop_recursive(5, 12, 2, |inner| {
        (tree(inner), speller()).prop_map(|(tree, choices)| tree.write(&mut Speller::new(choices)))
    })
}
