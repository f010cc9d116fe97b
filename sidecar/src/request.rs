//! Reads a call's body into a view that knows where every text stands that may be replaced. Before `policy`.
