//! The shapes of requests and of answers.

use serde::{Deserialize, Serialize};

/// The shape of a request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Surface {
    /// OpenAI `POST /v1/chat/completions`.
    ChatCompletions,
    /// OpenAI `POST /v1/responses`.
    Responses,
    /// Anthropic `POST /v1/messages`.
    Messages,
    /// OpenAI `POST /v1/completions`, the legacy one: a prompt, which the model goes on with.
    Completions,
    /// The sidecar's own `POST /v1/hybrid_chat`; it is forwarded as an ordinary chat completion.
    HybridChat,
}

impl Surface {
    /// Returns the name used in metrics, logs and manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::Completions => "completions",
            Self::HybridChat => "hybrid_chat",
        }
    }

    /// Returns the shape of the answers to calls on this surface.
    pub fn wire(self) -> Wire {
        match self {
            Self::ChatCompletions | Self::HybridChat => Wire::Chat,
            Self::Responses => Wire::Responses,
            Self::Messages => Wire::Messages,
            Self::Completions => Wire::Completions,
        }
    }
}

impl std::fmt::Display for Surface {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The shape of an answer on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// `chat.completion` and `chat.completion.chunk`.
    Chat,
    /// `response` and its typed events.
    Responses,
    /// Anthropic `message` and its typed events.
    Messages,
    /// `text_completion`, whole and in chunks.
    Completions,
}
