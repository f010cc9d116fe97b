//! The API server's audit log: what each service account has asked for, and whether it was allowed to. The tests compare
//! it with the rights that the chart grants.

use std::fs;

use anyhow::Result;
use serde_json::json;

use super::layout::Layout;
use super::process::flag;

/// Writes the policy that the API server reads.
pub(super) fn configure(layout: &Layout) -> Result<()> {
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        // What came of a request says what it was, too.
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
            {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
            {"level": "None"},
        ],
    });
    fs::write(layout.audit_policy(), policy.to_string())?;
    Ok(())
}

/// The API server's flags for it.
pub(super) fn flags(layout: &Layout) -> [String; 2] {
    [
        flag("audit-policy-file", &layout.audit_policy()),
        flag("audit-log-path", &layout.audit_log()),
    ]
}
