//! What an authority of the installation is for: which names it vouches for, how long it lives, and where it is kept.

use liquid_contract::InterceptedHost;
use rcgen::{CidrSubnet, GeneralSubtree, NameConstraints};

use super::Times;

/// How many times as long as the other one an authority lives that applications trust.
const LONGER: u32 = 10;
/// The share of its life that is waited before the next one signs: applications read whom they trust once, when they
/// start.
const WAIT: u32 = 6;

/// What an authority is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Connections between the product's own programs, and to the webhook.
    Internal,
    /// TLS to providers' hosts that ends in sidecars. Applications trust it, so it can vouch for these hosts alone.
    Interception,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 2] = [Self::Internal, Self::Interception];

    /// Returns the name of the Secret with its authorities, in the operator's namespace.
    pub const fn secret(self) -> &'static str {
        match self {
            Self::Internal => "liquid-memory-ca",
            Self::Interception => "liquid-memory-interception-ca",
        }
    }

    /// Finds the purpose of a Secret.
    pub(super) fn of_secret(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.secret() == name)
    }

    /// Returns what the names of its certificates may be; anything if there are no constraints.
    pub(super) fn constraints(self) -> Option<NameConstraints> {
        let hosts = InterceptedHost::ALL.map(|host| GeneralSubtree::DnsName(host.name().into()));
        let addresses = [CidrSubnet::V4([0; 4], [0; 4]), CidrSubnet::V6([0; 16], [0; 16])];
        match self {
            Self::Internal => None,
            Self::Interception => Some(NameConstraints {
                permitted_subtrees: hosts.into(),
                // What is permitted of names says nothing of addresses (RFC 5280, section 4.2.1.10).
                excluded_subtrees: addresses.map(GeneralSubtree::IpAddress).into(),
            }),
        }
    }

    /// Returns the times of its authorities, from those of the settings.
    pub fn times(self, times: Times) -> Times {
        match self {
            Self::Internal => times,
            Self::Interception => {
                let ca = times.ca * LONGER;
                Times {
                    ca,
                    propagation: times.propagation.max(ca / WAIT),
                    ..times
                }
            }
        }
    }
}
