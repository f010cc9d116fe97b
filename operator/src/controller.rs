//! Brings the cluster to what the resources ask for.
