//! Finds the evidence for a question in a document. Modules in the order in which data flows.
