//! The network sockets of processes and where they lead, as the kernel lists them in `/proc`.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, ensure};

use crate::stack::Service;

/// The kernel's tables of sockets, in `/proc/PID/net`.
const TABLES: [&str; 4] = ["tcp", "tcp6", "udp", "udp6"];

/// The sockets of some processes at one time.
pub(super) struct Sockets {
    /// The other end of each; unspecified for one that listens.
    remote: Vec<IpAddr>,
}

impl Sockets {
    /// Reads the sockets of services.
    pub(super) fn of(services: &[Service]) -> Result<Self> {
        let mut remote = Vec::new();
        for service in services {
            let process = format!("/proc/{}", service.id());
            let own = inodes(&process)?;
            for table in TABLES {
                let Ok(text) = fs::read_to_string(format!("{process}/net/{table}")) else {
                    // A kernel without IPv6 has half of them.
                    continue;
                };
                let lines = text.lines().skip(1).filter_map(read_line);
                remote.extend(
                    lines
                        .filter(|line| own.contains(&line.inode))
                        .map(|line| line.remote),
                );
            }
        }
        Ok(Self { remote })
    }

    /// Returns how many there are.
    pub(super) fn count(&self) -> usize {
        self.remote.len()
    }

    /// Checks that none leads to another machine, and that there are some.
    pub(super) fn check(&self) -> Result<()> {
        ensure!(!self.remote.is_empty(), "no sockets are listed in /proc");
        let inside = |address: &&IpAddr| !(address.to_canonical().is_loopback() || address.is_unspecified());
        let outside: Vec<&IpAddr> = self.remote.iter().filter(inside).collect();
        ensure!(outside.is_empty(), "sockets lead to {outside:?}");
        Ok(())
    }
}

/// The numbers of a process's sockets.
fn inodes(process: &str) -> Result<BTreeSet<u64>> {
    let folder = format!("{process}/fd");
    let files = fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))?;
    let links = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
    let number = |link: std::path::PathBuf| {
        let link = link.to_string_lossy().into_owned();
        link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    Ok(links.filter_map(number).collect())
}

struct Line {
    remote: IpAddr,
    inode: u64,
}

/// Reads a line: number, local and remote address, state, two queues, timer, user, ... the inode as the tenth word.
fn read_line(line: &str) -> Option<Line> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (address, _) = words.get(2)?.split_once(':')?;
    Some(Line {
        remote: read_address(address)?,
        inode: words.get(9)?.parse().ok()?,
    })
}

/// Reads an address: words of four bytes in this machine's order, in hexadecimal.
fn read_address(text: &str) -> Option<IpAddr> {
    let words = (0..text.len())
        .step_by(8)
        .map(|at| u32::from_str_radix(text.get(at..at + 8)?, 16).ok());
    let bytes: Vec<u8> = words
        .collect::<Option<Vec<_>>>()?
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect();
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        _ => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
    }
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read() {
        let line = "  1: 0100007F:C4A3 0A01A8C0:2253 01 00000000:00000000 00:00000000 00000000  0  0 815 1 0 20 4 30 10 -1";
        let line = read_line(line).unwrap();
        assert_eq!((line.remote, line.inode), ("192.168.1.10".parse().unwrap(), 815));
        let mapped = read_address("0000000000000000FFFF00000100007F").unwrap();
        assert_eq!(mapped.to_canonical(), IpAddr::from([127, 0, 0, 1]));
        assert!(read_line("sl local_address rem_address").is_none());
    }

    #[test]
    fn a_socket_to_another_machine_is_found() {
        let remote = |addresses: &[&str]| Sockets {
            remote: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        };
        assert!(
            remote(&["127.0.0.1", "0.0.0.0", "::", "::1", "::ffff:127.0.0.1"])
                .check()
                .is_ok()
        );
        let error = remote(&["127.0.0.1", "192.0.2.1"]).check().unwrap_err();
        assert!(error.to_string().contains("192.0.2.1"));
        assert!(remote(&[]).check().is_err());
    }
}
