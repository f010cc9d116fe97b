//! Templates of the families that are served, and what they call.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use serde_json::json;

use super::*;

const SMOLLM2: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

fn template(source: &str) -> ChatTemplate {
    let specials = vec![("bos_token", "<s>".to_owned()), ("eos_token", "</s>".to_owned())];
    ChatTemplate::new(source.to_owned(), specials).unwrap()
}

fn conversation(messages: serde_json::Value) -> Conversation {
    Conversation {
        messages: messages.as_array().unwrap().clone(),
        tools: None,
        add_generation_prompt: true,
    }
}

#[test]
fn smollm2_gets_its_own_system_message_where_there_is_none() {
    let user = json!({"role": "user", "content": "Hello"});
    let prompt = template(SMOLLM2).apply(&conversation(json!([user]))).unwrap();
    assert_eq!(
        prompt,
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
         <|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    );
    let system = json!({"role": "system", "content": "Be brief."});
    let mut own = conversation(json!([system, user]));
    own.add_generation_prompt = false;
    let prompt = template(SMOLLM2).apply(&own).unwrap();
    let expected = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n";
    assert_eq!(prompt, expected);
}

/// The shape of Mistral's and Llama's templates: blocks on lines of their own, special tokens, Python's methods.
#[test]
fn blocks_leave_no_lines_and_pythons_methods_work() {
    let source = "
{{- bos_token }}
{%- for message in messages %}
    {% if message.role == 'user' %}
[INST] {{ message['content'].strip() }} [/INST]
    {%- elif message.get('content') and not message['role'].startswith('tool') %}
{{ message.content | trim }}{{ eos_token }}
    {%- endif %}
{%- endfor %}
{%- if messages[-1].content.split(' ')[0] == 'a' %}{{ messages | length }}{% endif %}
";
    let messages = json!([
        {"role": "user", "content": " one "},
        {"role": "assistant", "content": " two"},
        {"role": "user", "content": "a b"},
    ]);
    let prompt = template(source).apply(&conversation(messages)).unwrap();
    assert_eq!(prompt, "<s>[INST] one [/INST]two</s>[INST] a b [/INST]3");
}

#[test]
fn tools_are_written_as_python_writes_json() {
    let mut with_tools = conversation(json!([{"role": "user", "content": "x"}]));
    let tool = json!({"type": "function", "function": {"name": "f<x>", "n": [1, 2.5, null, true, "é"]}});
    with_tools.tools = Some(vec![tool]);
    let source = "{% if tools is defined and tools %}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}";
    let expected = r#"{"type": "function", "function": {"name": "f<x>", "n": [1, 2.5, null, true, "é"]}}"#;
    assert_eq!(template(source).apply(&with_tools).unwrap(), expected);
    let indented = template("{{ tools[0].function.n | tojson(indent=2) }}")
        .apply(&with_tools)
        .unwrap();
    assert_eq!(indented, "[\n  1,\n  2.5,\n  null,\n  true,\n  \"é\"\n]");
    with_tools.tools = None;
    assert_eq!(template(source).apply(&with_tools).unwrap(), "");
}

#[test]
fn a_template_says_whether_it_takes_tools() {
    let llama = "{% if not tools is defined %}{% set tools = none %}{% endif %}{{ tools | tojson }}";
    for (source, takes) in [
        (SMOLLM2, false),
        ("{% if tools %}x{% endif %}", true),
        (llama, true),
    ] {
        assert_eq!(template(source).takes_tools(), takes, "{source}");
    }
}

#[test]
fn a_template_refuses_in_its_own_words() {
    let source =
        "{% if messages[0].role != 'user' %}{{ raise_exception('roles must alternate') }}{% endif %}";
    let error = template(source).apply(&conversation(json!([{"role": "tool", "content": ""}])));
    let text = error.unwrap_err().to_string();
    assert!(
        text.ends_with("refuses the conversation: roles must alternate"),
        "{text}"
    );
}

#[test]
fn a_template_that_cannot_be_read_or_applied_says_so() {
    let broken = ChatTemplate::new("{% for %}".to_owned(), Vec::new())
        .unwrap_err()
        .to_string();
    assert!(broken.contains("cannot be read"), "{broken}");
    let unknown = template("{{ messages | frobnicate }}");
    let text = unknown.apply(&conversation(json!([]))).unwrap_err().to_string();
    assert!(text.contains("cannot be applied"), "{text}");
}
