//! Names that stand for several workers and change what they stand for, as a headless Service's does.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use liquid_testing::{MockWorker, WorkerBehaviour};

use super::{query, settings};
use crate::extract::client::Client;
use crate::extract::lookup::Resolver;
use crate::extract::{ExtractError, Settings};

/// Stands in for DNS: what every name resolves to now; `None` is a name server that is out of order.
#[derive(Debug, Default)]
struct Table(Mutex<Option<Vec<SocketAddr>>>);

impl Table {
    fn set(&self, workers: Option<&[&MockWorker]>) {
        *self.0.lock().unwrap() =
            workers.map(|workers| workers.iter().map(|worker| worker.address()).collect());
    }
}

impl Resolver for Table {
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        // A literal address is no question for DNS, in a system's resolver neither.
        let literal = name.parse().ok().map(|address| vec![address]);
        let found = literal.or_else(|| self.0.lock().unwrap().clone());
        async move { found.ok_or_else(|| io::Error::other("no such name")) }.boxed()
    }
}

fn client(table: &Arc<Table>, workers: &[&str]) -> Client {
    client_every(20, table, workers)
}

/// A client that looks names up by itself this often, in milliseconds.
fn client_every(resolve_interval_ms: u64, table: &Arc<Table>, workers: &[&str]) -> Client {
    let settings = Settings {
        workers: workers.iter().map(|&name| name.to_owned()).collect(),
        resolve_interval_ms,
        ..settings(&[])
    };
    Client::with_resolver(settings, Arc::clone(table) as Arc<dyn Resolver>)
}

async fn known(client: &Client, workers: &[&MockWorker]) {
    let wanted: BTreeSet<String> = workers
        .iter()
        .map(|worker| worker.address().to_string())
        .collect();
    let found = async {
        while wanted
            != client
                .workers()
                .into_iter()
                .map(|worker| worker.address)
                .collect()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), found)
        .await
        .unwrap();
}

async fn start() -> MockWorker {
    MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap()
}

#[tokio::test]
async fn every_address_of_a_name_is_used() {
    let (one, two, three) = (start().await, start().await, start().await);
    let table = Arc::new(Table::default());
    table.set(Some(&[&one, &two, &three]));
    let client = client(&table, &["workers.example:50051"]);
    for number in 0..60 {
        client
            .extract(query(&format!("supplier {number}")))
            .await
            .unwrap();
    }
    let answered = [one.answered(), two.answered(), three.answered()];
    assert!(answered.iter().all(|answered| *answered > 0), "{answered:?}");
    assert_eq!(answered.iter().sum::<u32>(), 60);
}

#[tokio::test]
async fn new_pods_are_asked_and_vanished_ones_are_not() {
    let (old, stays, new) = (start().await, start().await, start().await);
    let table = Arc::new(Table::default());
    table.set(Some(&[&old, &stays]));
    let client = client(&table, &["workers.example:50051"]);
    known(&client, &[&old, &stays]).await;
    client.extract(query("supplier")).await.unwrap();

    table.set(Some(&[&stays, &new]));
    known(&client, &[&stays, &new]).await;
    let before = old.answered();
    for number in 0..40 {
        client
            .extract(query(&format!("supplier {number}")))
            .await
            .unwrap();
    }
    assert_eq!(old.answered(), before);
    assert!(new.answered() > 0);

    // A name server that is out of order takes nobody away.
    table.set(None);
    tokio::time::sleep(Duration::from_millis(100)).await;
    known(&client, &[&stays, &new]).await;
    assert!(client.extract(query("supplier 99")).await.is_ok());
}

#[tokio::test]
async fn a_failing_name_keeps_its_own_addresses_only() {
    let (named, literal) = (start().await, start().await);
    let table = Arc::new(Table::default());
    table.set(Some(&[&named]));
    let address = literal.address().to_string();
    let client = client(&table, &["workers.example:50051", &address]);
    known(&client, &[&named, &literal]).await;
    table.set(None);
    tokio::time::sleep(Duration::from_millis(100)).await;
    known(&client, &[&named, &literal]).await;
    table.set(Some(&[]));
    known(&client, &[&literal]).await;
}

#[tokio::test]
async fn workers_may_come_after_the_sidecar() {
    let table = Arc::new(Table::default());
    let client = client(&table, &["workers.example:50051"]);
    let error = client.extract(query("supplier")).await.unwrap_err();
    assert!(matches!(error, ExtractError::Unavailable { .. }));
    assert!(error.to_string().contains("extract.workers"), "{error}");
    let worker = start().await;
    table.set(Some(&[&worker]));
    known(&client, &[&worker]).await;
    assert!(client.extract(query("supplier")).await.is_ok());
}

#[tokio::test]
async fn a_call_that_finds_nobody_has_the_names_looked_up() {
    let busy = WorkerBehaviour::Fail(tonic::Code::Unavailable, Duration::from_secs(600));
    let (goes, comes) = (MockWorker::start([busy]).await.unwrap(), start().await);
    let table = Arc::new(Table::default());
    table.set(Some(&[&goes]));
    let client = client_every(600_000, &table, &["workers.example:50051"]);
    known(&client, &[&goes]).await;
    table.set(Some(&[&comes]));
    // Nothing is asked of anybody: nothing is looked up.
    tokio::time::sleep(Duration::from_millis(700)).await;
    known(&client, &[&goes]).await;

    // The call waits for whom the lookup finds.
    assert!(client.extract(query("supplier")).await.is_ok());
    known(&client, &[&comes]).await;
    assert!(client.extract(query("supplier")).await.is_ok());
}
