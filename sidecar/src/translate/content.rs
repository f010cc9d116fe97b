//! Content parts as Anthropic's content blocks.
//!
//! Rules: "Messages" (API reference: text blocks hold more than white space), "Vision" (JPEG, PNG, GIF and WebP
//! as base64, or an https URL) and "PDF support" of Anthropic's documentation.

use serde_json::{Map, Value, json};

use super::RequestError;
use super::text::is_blank;

/// Media types of images that Anthropic takes.
const IMAGES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// The kinds of blocks that a place in the conversation may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowed {
    /// Text, images and documents: the user's turns and results of tools.
    Everything,
    /// Text: the system prompt and the assistant's turns.
    Text,
}

/// Translates a message's content. Text without a character that can be seen makes no block.
pub(super) fn blocks(content: &Value, allowed: Allowed) -> Result<Vec<Value>, RequestError> {
    match content {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(text_block(text).into_iter().collect()),
        Value::Array(parts) => {
            let blocks = parts.iter().map(|part| block(part, allowed));
            let blocks: Result<Vec<Option<Value>>, RequestError> = blocks.collect();
            Ok(blocks?.into_iter().flatten().collect())
        }
        _ => Err(RequestError::invalid(
            "messages",
            "content is neither text nor a list of parts",
        )),
    }
}

/// Makes a text block.
pub(super) fn text_block(text: &str) -> Option<Value> {
    (!is_blank(text)).then(|| json!({"type": "text", "text": text}))
}

fn block(part: &Value, allowed: Allowed) -> Result<Option<Value>, RequestError> {
    let field = |name: &str| part.get(name).and_then(Value::as_str);
    let kind = if part.is_string() {
        Some("text")
    } else {
        field("type")
    };
    let block = match (kind, allowed) {
        (Some("text" | "refusal"), _) => {
            let text = part.as_str().or(field("text")).or(field("refusal"));
            text.and_then(text_block)
        }
        (Some("image_url"), Allowed::Everything) => {
            let url = part.pointer("/image_url/url").or(part.get("image_url"));
            Some(image(url.and_then(Value::as_str).unwrap_or_default())?)
        }
        (Some("file"), Allowed::Everything) => Some(document(part)?),
        (Some("image_url" | "file"), Allowed::Text) => {
            return Err(unsupported(
                "Anthropic takes images and files in the user's messages and in results of tools only; move it there",
            ));
        }
        _ => {
            return Err(unsupported(
                "only parts of type text, image_url and file are translated; leave other parts out",
            ));
        }
    };
    Ok(block.map(|block| with_marker(block, part)))
}

fn unsupported(reason: &'static str) -> RequestError {
    RequestError::Unsupported {
        field: "messages.content",
        reason,
    }
}

/// Keeps a cache marker, which some OpenAI clients set for Anthropic's models.
fn with_marker(mut block: Value, part: &Value) -> Value {
    let marker = part
        .get("cache_control")
        .filter(|marker| marker["type"] == "ephemeral");
    if let (Some(marker), Some(block)) = (marker, block.as_object_mut()) {
        block.insert("cache_control".into(), marker.clone());
    }
    block
}

fn image(url: &str) -> Result<Value, RequestError> {
    let Some(data) = DataUrl::parse(url)? else {
        let is_https = url
            .get(..8)
            .is_some_and(|start| start.eq_ignore_ascii_case("https://"));
        return if is_https && url.len() > 8 {
            Ok(json!({"type": "image", "source": {"type": "url", "url": url}}))
        } else {
            Err(unsupported(
                "an image is translated from an https URL or a data URL; send the image itself as a data URL",
            ))
        };
    };
    if !IMAGES.contains(&data.media_type.as_str()) {
        return Err(unsupported(
            "Anthropic takes JPEG, PNG, GIF and WebP images; convert the image to one of them",
        ));
    }
    Ok(json!({"type": "image", "source": data.source()}))
}

fn document(part: &Value) -> Result<Value, RequestError> {
    let data = part.pointer("/file/file_data").and_then(Value::as_str);
    let data = data.map(DataUrl::parse).transpose()?.flatten();
    match data {
        Some(data) if data.media_type == "application/pdf" => {
            Ok(json!({"type": "document", "source": data.source()}))
        }
        Some(_) => Err(RequestError::Unsupported {
            field: "messages.content.file",
            reason: "of files only PDF is translated; send text as a text part",
        }),
        None => Err(RequestError::Unsupported {
            field: "messages.content.file",
            reason: "a file is translated only with its content in file_data, as a data URL",
        }),
    }
}

/// The content of a data URL in base64 (RFC 2397).
struct DataUrl {
    media_type: String,
    data: String,
}

impl DataUrl {
    /// Reads a data URL; `None` for a URL of another scheme.
    fn parse(url: &str) -> Result<Option<Self>, RequestError> {
        let scheme = url.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:"));
        let Some(rest) = scheme.map(|scheme| &url[scheme.len()..]) else {
            return Ok(None);
        };
        let error = || unsupported("a data URL must hold base64, as in data:image/png;base64,iVBORw0…");
        let (head, data) = rest.split_once(',').ok_or_else(error)?;
        let mut parameters = head.split(';').map(|part| part.trim().to_ascii_lowercase());
        let media_type = match parameters.next().unwrap_or_default().as_str() {
            // Not registered, and written by many.
            "image/jpg" => "image/jpeg".to_owned(),
            other => other.to_owned(),
        };
        let is_base64 = parameters.next_back().is_some_and(|last| last == "base64");
        let data = is_base64.then(|| padded(data)).flatten().ok_or_else(error)?;
        Ok(Some(Self { media_type, data }))
    }

    fn source(self) -> Map<String, Value> {
        [
            ("type", "base64".to_owned()),
            ("media_type", self.media_type),
            ("data", self.data),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect()
    }
}

/// Brings base64 into the one form that every decoder takes: the standard alphabet, no line breaks, padded.
/// `None` for what is not base64, or empty.
fn padded(data: &str) -> Option<String> {
    let mut out = String::with_capacity(data.len() + 3);
    for byte in data
        .trim_end_matches(|each: char| each == '=' || each.is_ascii_whitespace())
        .bytes()
    {
        match byte {
            b'-' => out.push('+'),
            b'_' => out.push('/'),
            b'+' | b'/' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ if byte.is_ascii_whitespace() => {}
            _ => return None,
        }
    }
    let padding = match out.len() % 4 {
        0 => "",
        2 => "==",
        3 => "=",
        _ => return None,
    };
    out.push_str(padding);
    (!out.is_empty()).then_some(out)
}
