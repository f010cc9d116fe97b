//! The resource `LiquidMemoryProxy` (`liquidmemory.dev/v1alpha1`): its fields, rules and status.
