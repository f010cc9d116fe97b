//! The TLS server that the API server calls.
