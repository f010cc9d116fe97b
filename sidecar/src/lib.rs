//! The sidecar: takes OpenAI and Anthropic calls, forwards the evidence. Modules in the order in which data flows.
