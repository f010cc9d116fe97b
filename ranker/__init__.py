"""Training of the evidence ranker: a cross-encoder that reads a question and a window of a document."""
