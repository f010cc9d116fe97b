//! Asks a running sidecar from inside its pod, as an exec probe of the kubelet does.
//!
//! Where a service mesh guards the pod's ports, a probe over the network is refused; the loopback address is not guarded.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::str::FromStr;
use std::time::Duration;

/// Longest wait for the connection, and for the answer. The kubelet's own limit is above their sum.
const WAIT: Duration = Duration::from_secs(2);
/// Longest first line of an answer, in bytes.
const LINE: usize = 64;

/// A path of the admin listener, written as `127.0.0.1:9465/livez`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    address: SocketAddr,
    path: String,
}

/// Why a probe fails.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The text is not a target.
    #[error("--probe {0}: write an address, a port and a path, such as 127.0.0.1:9465/livez")]
    Target(String),
    /// Nothing answers.
    #[error("{address} does not answer: {source}; is listen.admin this address?")]
    Silent {
        /// The address that was asked.
        address: SocketAddr,
        /// The error of the connection.
        #[source]
        source: std::io::Error,
    },
    /// The answer is not 200.
    #[error("{path} answers {line:?}")]
    Refused {
        /// The path that was asked.
        path: String,
        /// First line of the answer.
        line: String,
    },
}

impl FromStr for Target {
    type Err = ProbeError;

    fn from_str(text: &str) -> Result<Self, ProbeError> {
        let refuse = || ProbeError::Target(text.into());
        let slash = text.find('/').ok_or_else(refuse)?;
        let (address, path) = text.split_at(slash);
        let printable = path.bytes().all(|byte| byte.is_ascii_graphic());
        let address = address.parse().ok().filter(|_| printable);
        Ok(Self {
            address: address.ok_or_else(refuse)?,
            path: path.into(),
        })
    }
}

impl Target {
    /// Asks for the path and waits for the answer.
    ///
    /// # Errors
    /// Nothing answers within four seconds, or something else than 200 is answered.
    pub fn ask(&self) -> Result<(), ProbeError> {
        let line = self.read_status().map_err(|source| ProbeError::Silent {
            address: self.address,
            source,
        })?;
        match line.split(' ').nth(1) {
            Some("200") => Ok(()),
            _ => Err(ProbeError::Refused {
                path: self.path.clone(),
                line,
            }),
        }
    }

    /// Returns the first line of the answer.
    fn read_status(&self) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.address, WAIT)?;
        stream.set_read_timeout(Some(WAIT))?;
        stream.set_write_timeout(Some(WAIT))?;
        let (path, host) = (&self.path, self.address);
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        // In one piece: a server may answer and close behind the first.
        stream.write_all(request.as_bytes())?;
        let (mut line, mut byte) = (Vec::new(), [0]);
        while line.len() < LINE && stream.read(&mut byte)? == 1 && byte != *b"\r" {
            line.extend(byte);
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use std::net::TcpListener;

    use super::*;

    /// Answers one request with this text; returns what was asked.
    fn asked(answer: &'static str) -> (Result<(), ProbeError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target: Target = format!("{}/livez", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut byte) = (Vec::new(), [0]);
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                request.extend(byte);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        (target.ask(), server.join().unwrap())
    }

    #[test]
    fn a_probe_passes_on_200_and_fails_on_all_else() {
        let (answer, request) = asked("HTTP/1.1 200 OK\r\n\r\nok\n");
        assert!(answer.is_ok(), "{answer:?}");
        assert!(request.starts_with("GET /livez HTTP/1.1\r\n"), "{request}");
        let (answer, _) = asked("HTTP/1.1 503 Service Unavailable\r\n\r\ndraining\n");
        assert_eq!(
            answer.unwrap_err().to_string(),
            "/livez answers \"HTTP/1.1 503 Service Unavailable\""
        );
        assert!(asked("").0.is_err());
    }

    #[test]
    fn a_probe_fails_where_nothing_listens() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let target: Target = format!("{free}/livez").parse().unwrap();
        let error = target.ask().unwrap_err().to_string();
        assert!(error.starts_with(&format!("{free} does not answer")), "{error}");
    }

    #[test]
    fn a_target_is_an_address_and_a_path() {
        assert!("[::1]:9465/livez".parse::<Target>().is_ok());
        for text in [
            "",
            "9465/livez",
            "127.0.0.1:9465",
            "localhost:9465/livez",
            "127.0.0.1:9465/a b",
        ] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains("127.0.0.1:9465/livez"), "{error}");
        }
    }
}
