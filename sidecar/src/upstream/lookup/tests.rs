#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use hickory_resolver::config::NameServerConfig;
use tokio::net::UdpSocket;

use super::*;

/// What a name server says of every name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// It has this IPv4 address, which may not be kept.
    Address([u8; 4]),
    NoSuchName,
    ServerFailure,
    Silence,
}

/// A name server on a loopback port.
pub(crate) struct NameServer {
    port: u16,
    answer: Arc<Mutex<Answer>>,
}

impl NameServer {
    pub(crate) async fn start(answer: Answer) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let answer = Arc::new(Mutex::new(answer));
        let says = Arc::clone(&answer);
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                let answer = *lock(&says);
                if let Some(answer) = respond(&buffer[..length], answer) {
                    socket.send_to(&answer, client).await.unwrap();
                }
            }
        });
        Self { port, answer }
    }

    fn says(&self, answer: Answer) {
        *lock(&self.answer) = answer;
    }

    /// A resolver that asks this server alone.
    pub(crate) fn resolver(&self) -> TokioResolver {
        let mut server = NameServerConfig::udp(IpAddr::from([127, 0, 0, 1]));
        server.connections[0].port = self.port;
        let config = ResolverConfig::from_name_servers(vec![server]);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .build()
            .unwrap()
    }
}

fn respond(query: &[u8], answer: Answer) -> Option<Vec<u8>> {
    // Behind the header of 12 bytes the name, up to its empty label; then type and class.
    let name = query[12..].iter().position(|byte| *byte == 0).unwrap();
    let question = &query[12..12 + name + 5];
    let is_ipv4 = question[name + 1..name + 3] == [0, 1];
    let (code, address) = match answer {
        Answer::Address(address) => (0, Some(address).filter(|_| is_ipv4)),
        Answer::ServerFailure => (2, None),
        Answer::NoSuchName => (3, None),
        Answer::Silence => return None,
    };
    let answers = u8::from(address.is_some());
    let mut response = query[..2].to_vec();
    response.extend([0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0]);
    response.extend(question);
    if let Some(address) = address {
        response.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        response.extend(address);
    }
    Some(response)
}

const HOST: &str = "api.example";
const ADDRESS: [u8; 4] = [192, 0, 2, 7];

#[tokio::test]
async fn the_addresses_of_before_are_used_while_no_name_server_answers() {
    let server = NameServer::start(Answer::Address(ADDRESS)).await;
    let names = Names::with_resolver(server.resolver());
    assert_eq!(names.lookup(HOST).await.unwrap(), [IpAddr::from(ADDRESS)]);
    for outage in [Answer::Silence, Answer::ServerFailure] {
        server.says(outage);
        let begun = Instant::now();
        assert_eq!(
            names.lookup(HOST).await.unwrap(),
            [IpAddr::from(ADDRESS)],
            "{outage:?}"
        );
        // Less than a connection may take by default, lookup included.
        assert!(begun.elapsed() < Duration::from_secs(4), "{outage:?}");
    }
    names.lookup("never-asked.example").await.unwrap_err();
    let other = [192, 0, 2, 8];
    server.says(Answer::Address(other));
    assert_eq!(names.lookup(HOST).await.unwrap(), [IpAddr::from(other)]);
}

#[tokio::test]
async fn a_name_that_is_gone_has_no_address() {
    let server = NameServer::start(Answer::Address(ADDRESS)).await;
    let names = Names::with_resolver(server.resolver());
    names.lookup(HOST).await.unwrap();
    server.says(Answer::NoSuchName);
    names.lookup(HOST).await.unwrap_err();
}

#[tokio::test]
async fn the_hosts_file_is_never_asked() {
    let names = Names::new().unwrap();
    assert_eq!(names.resolver.options().use_hosts_file, ResolveHosts::Never);
}
