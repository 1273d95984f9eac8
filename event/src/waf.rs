//! Actors for a firewall in front of the site.

use crate::address::is_inside;
use ipnet::IpNet;
use serde_json::{Value, json};

/// Addresses that one IP set takes (AWS WAF Developer Guide, "AWS WAF quotas").
pub const IP_SET_MAX: usize = 10_000;

/// Which addresses an IP set holds: it is for one version only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpVersion {
    V4,
    V6,
}

impl std::str::FromStr for IpVersion {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<IpVersion, &'static str> {
        match text {
            "ipv4" => Ok(IpVersion::V4),
            "ipv6" => Ok(IpVersion::V6),
            _ => Err("use ipv4 or ipv6: an IP set holds one of them"),
        }
    }
}

/// The body of AWS WAF's `CreateIPSet` (WAFV2 API reference) for a regional application, as
/// `aws wafv2 create-ip-set --cli-input-json` takes it; the first [`IP_SET_MAX`] networks. Those inside one's
/// own network are left out.
pub fn ip_set<'n>(name: &str, version: IpVersion, networks: impl IntoIterator<Item = &'n IpNet>) -> Value {
    let is_meant = |network: &&IpNet| matches!(network, IpNet::V4(_)) == (version == IpVersion::V4);
    // WAF refuses a network of all addresses, and no actor is one.
    let some = |network: &&IpNet| network.prefix_len() > 0;
    let is_outside = |network: &&IpNet| !is_inside(network.addr());
    let networks = networks.into_iter().filter(is_meant).filter(some).filter(is_outside).take(IP_SET_MAX);
    let version = if version == IpVersion::V4 { "IPV4" } else { "IPV6" };
    json!({
        "Name": name,
        "Scope": "REGIONAL",
        "Description": "Actors of incidents found by 2SeC",
        "IPAddressVersion": version,
        "Addresses": networks.map(IpNet::to_string).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ip_set_holds_the_networks_of_one_version() {
        let networks = [
            "192.0.2.7/32",
            "2001:db8::/64",
            "198.51.100.0/24",
            "0.0.0.0/0",
            "10.0.0.9/32",
            "127.0.0.1/32",
            "169.254.1.0/24",
            "::/64",
            "fd00::/64",
        ]
        .map(|text| text.parse().unwrap());
        let set = |version| ip_set("attackers", version, &networks)["Addresses"].clone();
        assert_eq!(set(IpVersion::V4), json!(["192.0.2.7/32", "198.51.100.0/24"]));
        assert_eq!(set(IpVersion::V6), json!(["2001:db8::/64"]));
        let whole = ip_set("attackers", IpVersion::V6, &networks);
        assert_eq!((&whole["IPAddressVersion"], &whole["Scope"]), (&json!("IPV6"), &json!("REGIONAL")));
    }
}
