//! Elects the replica that writes, on a Lease.
