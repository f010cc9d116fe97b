//! Every header name that the sidecar reads or writes and that the `http` crate has no constant for.

use http::HeaderName;

/// Starts every header of the sidecar's own. None of them is sent to an upstream.
pub const OWN_PREFIX: &str = "x-liquid-";

// Request headers: what one caller asks for.

/// `off`, `auto` or `force`: how willing the sidecar is to compress this call.
pub const MODE: &str = "x-liquid-mode";
/// A number from 1 to 1000: keep at most one word in so many.
pub const RATIO: &str = "x-liquid-ratio";
/// A whole number from 1 to 10000000: keep at most so many tokens.
pub const MAX_TOKENS: &str = "x-liquid-max-tokens";
/// `lexical`, `static`, `encoder` or `ranker`: the engine that the worker is asked for.
pub const TIER: &str = "x-liquid-tier";
/// `quotes`, `facts` or `both`: what stands in a document's place. Facts need workers with a language model.
pub const PACK_STYLE: &str = "x-liquid-pack-style";
/// `1` or `true`: return the decision, what was read and asked, the packs and the request, and send nothing upstream.
pub const DRY_RUN: &str = "x-liquid-dry-run";
/// The client's token, where the sidecar asks who calls: the provider's key goes in the header of its own. Without it the
/// token is read where SDKs put a key.
pub const TOKEN: &str = "x-liquid-token";
/// The caller's name for the call: at most 128 visible ASCII characters, passed on to the worker.
pub const REQUEST_ID: &str = "x-request-id";

// Response headers: what was decided about the call.

/// `compressed`, `passed` or `rejected`.
pub const DECISION: HeaderName = HeaderName::from_static("x-liquid-decision");
/// The decision's reason, such as `question` or `too_short`; `encoded_body` or `unread` for a body that was not read.
pub const REASON: HeaderName = HeaderName::from_static("x-liquid-reason");
/// Estimated prompt tokens of the request as it came.
pub const TOKENS_BEFORE: HeaderName = HeaderName::from_static("x-liquid-tokens-before");
/// Estimated prompt tokens of the request as it went upstream.
pub const TOKENS_AFTER: HeaderName = HeaderName::from_static("x-liquid-tokens-after");
/// The manifest's id, for `GET /liquid/packs/{id}`.
pub const PACK_ID: HeaderName = HeaderName::from_static("x-liquid-pack-id");
/// What became of each text that holds a document, in the order in which the model reads them, as
/// `tool_result compressed question 5210/903`: where it stands, what happened, why, estimated tokens before and after.
/// At most 16, separated by commas; none where the body has fewer bytes than `min_document_tokens`.
pub const SITES: HeaderName = HeaderName::from_static("x-liquid-sites");
/// Milliseconds that the sidecar spent before it asked the upstream.
pub const OVERHEAD_MS: HeaderName = HeaderName::from_static("x-liquid-overhead-ms");
/// The worker's error, where there was one; cut at 200 characters.
pub const ERROR: HeaderName = HeaderName::from_static("x-liquid-error");

// Headers of the providers and of their SDKs.

/// Tells the SDKs whether to try again; they obey it before anything else.
pub const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// The wait before the next try, in milliseconds; OpenAI's precise form of `retry-after`.
pub const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
/// The version of Anthropic's API, which its clients name in every call.
pub const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
/// Azure's header for the key.
pub const API_KEY: HeaderName = HeaderName::from_static("api-key");
/// Anthropic's header for the key.
pub const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Gemini's header for the key.
pub const X_GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
/// Names the proxies that a request has passed through (RFC 8586).
pub const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// Every request header that may carry a caller's key.
pub const CREDENTIALS: [HeaderName; 4] = [http::header::AUTHORIZATION, API_KEY, X_API_KEY, X_GOOG_API_KEY];
