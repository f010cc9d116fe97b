//! Reports of what calls have come to: each counted once at most.

use liquid_proto::worker::v1::ReportRequest;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::*;

const TOTALS: CallTotals = CallTotals {
    calls: 3,
    tokens_before: 9_000,
    tokens_after: 2_000,
};

#[tokio::test]
async fn a_report_arrives_at_one_worker() {
    let workers = [
        MockWorker::start([]).await.unwrap(),
        MockWorker::start([]).await.unwrap(),
    ];
    let client = client(&[&workers[0], &workers[1]]);
    assert_eq!(client.report(TOTALS).await, ReportOutcome::Settled);
    let reports: Vec<_> = workers.iter().flat_map(MockWorker::reports).collect();
    let expected = ReportRequest {
        calls: 3,
        tokens_before: 9_000,
        tokens_after: 2_000,
    };
    assert_eq!(reports, [expected]);
}

#[tokio::test]
async fn a_report_that_was_not_counted_is_to_be_sent_again_and_no_other() {
    let worker = MockWorker::start([]).await.unwrap();
    let client = client(&[&worker]);
    for (code, outcome) in [
        (Code::Unimplemented, ReportOutcome::NotCounted),
        (Code::Unavailable, ReportOutcome::NotCounted),
        (Code::InvalidArgument, ReportOutcome::Settled),
        (Code::Internal, ReportOutcome::Settled),
        (Code::DeadlineExceeded, ReportOutcome::Settled),
    ] {
        worker.set_report_failure(Some(code));
        assert_eq!(client.report(TOTALS).await, outcome, "{code:?}");
    }
    assert_eq!(worker.reports().len(), 5);
}

#[tokio::test]
async fn without_a_worker_a_report_is_to_be_sent_again() {
    // A port without a listener, and no address at all.
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    for workers in [vec![gone.to_string()], Vec::new()] {
        let client = Client::start(Settings {
            workers,
            ..settings(&[])
        });
        assert_eq!(client.report(TOTALS).await, ReportOutcome::NotCounted);
    }
}

#[tokio::test]
async fn a_report_that_may_have_arrived_is_not_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::start(Settings {
        workers: vec![listener.local_addr().unwrap().to_string()],
        ..settings(&[])
    });
    // Reads what comes, and breaks the connection off without a word.
    let broken = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = [0; 4096];
            let _ = stream.read(&mut bytes).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert_eq!(client.report(TOTALS).await, ReportOutcome::Settled);
    broken.abort();
}
