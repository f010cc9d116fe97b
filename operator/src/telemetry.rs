//! Probes, metrics and logs of the operator.
