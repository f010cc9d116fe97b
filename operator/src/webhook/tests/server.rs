//! The server: its certificate, what it answers, and how it ends.

use rustls::pki_types::PrivateKeyDer;

use super::*;
use crate::pki::Leaf;
use crate::webhook::server::{self, Ending};
use crate::webhook::tls::WebhookTls;

struct Running {
    address: SocketAddr,
    serving: Arc<ServingCertificate>,
    authorities: watch::Sender<Option<Arc<Authorities>>>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn start(cluster: Cluster, ending: Ending) -> Running {
    let metrics = Arc::new(WebhookMetrics::default());
    let profile = Profile::webhook("hook", "system", "cluster.local");
    let serving = ServingCertificate::new(profile, times(), Arc::clone(&metrics));
    let (authorities, current) = watch::channel(None);
    let stop = ending.stop.clone();
    let (keeping, stopped) = (Arc::clone(&serving), stop.clone());
    let known = current.clone();
    tokio::spawn(async move { keeping.run(current, stopped).await });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = server::build_router(Arc::new(new_handler(cluster).0), Arc::default());
    let tls = WebhookTls::new(Arc::clone(&serving), known).unwrap();
    let task = tokio::spawn(server::serve(listener, tls, router, metrics, ending));
    Running {
        address,
        serving,
        authorities,
        stop,
        task,
    }
}

/// Ends without notice.
fn at_once() -> Ending {
    Ending {
        notice: Duration::ZERO,
        ..Ending::new(CancellationToken::new())
    }
}

type Sender = http1::SendRequest<Full<Bytes>>;

/// Opens a connection as the API server does: trusting this bundle and no other.
async fn connect(address: SocketAddr, bundle: &str) -> Result<Sender, std::io::Error> {
    connect_as(address, bundle, None).await
}

/// Opens a connection, and shows this certificate if it is asked for one.
async fn connect_as(
    address: SocketAddr,
    bundle: &str,
    leaf: Option<&Leaf>,
) -> Result<Sender, std::io::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match leaf {
        None => config.with_no_client_auth(),
        Some(leaf) => {
            let certificate = CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
            config.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    let stream = TcpStream::connect(address).await?;
    let host = ServerName::try_from(HOST).unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(host, stream).await?;
    let opened = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = opened.map_err(std::io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Sends a review on a connection.
async fn send(sender: &mut Sender, body: &str) -> Result<Response<String>, std::io::Error> {
    let request = Request::post("/inject?timeout=5s")
        .header("host", HOST)
        .header("content-type", "application/json")
        .body(Full::<Bytes>::from(body.to_owned()))
        .unwrap();
    let sent = sender.send_request(request).await;
    let (head, body) = sent.map_err(std::io::Error::other)?.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    Ok(Response::from_parts(
        head,
        String::from_utf8(body.to_vec()).unwrap(),
    ))
}

/// Sends a review on a connection of its own.
async fn call(address: SocketAddr, bundle: &str, body: &str) -> Result<(StatusCode, String), std::io::Error> {
    let answer = send(&mut connect(address, bundle).await?, body).await?;
    Ok((answer.status(), answer.into_body()))
}

async fn shown(running: &Running, authorities: &Authorities) {
    running
        .authorities
        .send_replace(Some(Arc::new(authorities.clone())));
    let body = request(&pod(), &[]).to_string();
    for _ in 0..200 {
        if call(running.address, authorities.current.certificate(), &body)
            .await
            .is_ok()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the new certificate is not shown");
}

#[tokio::test]
async fn serves_over_tls_and_swaps_its_certificate() {
    let running = start(one_proxy(), at_once()).await;
    let body = request(&pod(), &[]).to_string();
    let old = Authorities::generate(Timestamp::now(), &times()).unwrap();
    assert!(!running.serving.is_ready());
    call(running.address, &old.bundle(), &body).await.unwrap_err();
    shown(&running, &old).await;
    assert!(running.serving.is_ready());
    let (status, text) = call(running.address, &old.bundle(), &body).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    let review: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(review["kind"], "AdmissionReview");
    assert_eq!(review["response"]["allowed"], true);

    let announced = old.after(Step::Announce, &times(), Timestamp::now()).unwrap();
    let promoted = announced
        .after(Step::Promote, &times(), Timestamp::now())
        .unwrap();
    shown(&running, &promoted).await;
    // Who has the bundle of the announcement trusts both, before and after.
    call(running.address, &announced.bundle(), &body).await.unwrap();
    call(running.address, &old.bundle(), &body).await.unwrap_err();

    running.stop.cancel();
    running.task.await.unwrap();
}

#[tokio::test]
async fn answers_everything_that_can_be_read_with_a_decision() {
    let running = start(one_proxy(), at_once()).await;
    let authorities = Authorities::generate(Timestamp::now(), &times()).unwrap();
    shown(&running, &authorities).await;
    let bundle = authorities.bundle();
    for object in [json!(null), json!([]), json!({ "spec": { "containers": 5 } })] {
        let body = request(&object, &[]).to_string();
        let (status, text) = call(running.address, &bundle, &body).await.unwrap();
        assert_eq!(status, StatusCode::OK);
        let review: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(review["response"]["allowed"], false, "{text}");
    }
    for (body, why) in [
        ("", "not an AdmissionReview: "),
        ("{}", "not an AdmissionReview: missing field"),
        (
            "{\"apiVersion\":\"admission.k8s.io/v1beta1\",\"kind\":\"AdmissionReview\"}",
            "AdmissionReview of admission.k8s.io/v1beta1: send AdmissionReview of admission.k8s.io/v1",
        ),
        (
            "{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\"}",
            "AdmissionReview without a request",
        ),
    ] {
        let (status, text) = call(running.address, &bundle, body).await.unwrap();
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(text.starts_with(why), "{text}");
    }
    let (status, _) = call(running.address, &bundle, &"x".repeat(9 << 20))
        .await
        .unwrap();
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

fn says_close(answer: &Response<String>) -> bool {
    answer
        .headers()
        .get(CONNECTION)
        .is_some_and(|value| value == "close")
}

#[tokio::test]
async fn from_the_stop_on_each_answer_is_the_last_of_its_connection() {
    let ending = Ending {
        notice: Duration::from_secs(600),
        ..at_once()
    };
    let running = start(one_proxy(), ending).await;
    let authorities = Authorities::generate(Timestamp::now(), &times()).unwrap();
    shown(&running, &authorities).await;
    let (bundle, body) = (authorities.bundle(), request(&pod(), &[]).to_string());
    let mut kept = connect(running.address, &bundle).await.unwrap();
    for _ in 0..2 {
        let answer = send(&mut kept, &body).await.unwrap();
        assert!(!says_close(&answer));
    }
    running.stop.cancel();
    // A kept connection is not closed before the API server uses it, and new ones are still accepted.
    let mut new = connect(running.address, &bundle).await.unwrap();
    for connection in [&mut kept, &mut new] {
        let answer = send(connection, &body).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(says_close(&answer));
        send(connection, &body).await.unwrap_err();
    }
    running.task.abort();
}

#[tokio::test]
async fn after_the_notice_what_runs_is_answered_and_what_is_new_is_refused() {
    let ending = Ending {
        drain: Duration::from_secs(60),
        ..at_once()
    };
    let running = start(one_proxy(), ending).await;
    let authorities = Authorities::generate(Timestamp::now(), &times()).unwrap();
    shown(&running, &authorities).await;
    // A ConfigMap that does not come: the review runs until its deadline.
    let mut slow = pod();
    slow["spec"]["containers"] =
        json!([{ "name": "one", "envFrom": [{ "configMapRef": { "name": "slow" } }] }]);
    let (address, bundle) = (running.address, authorities.bundle());
    let mut sender = connect(address, &bundle).await.unwrap();
    let runs = tokio::spawn(async move { send(&mut sender, &request(&slow, &[]).to_string()).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    running.stop.cancel();
    while TcpStream::connect(address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!runs.is_finished(), "refused only after the last answer");
    let answer = runs.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    running.task.await.unwrap();
}

#[test]
fn a_pod_may_end_as_slowly_as_the_server() {
    let deployment = include_str!("../../../../deploy/charts/liquid-memory/templates/deployment.yaml");
    let grace = deployment.lines().find_map(|line| {
        line.trim()
            .strip_prefix("terminationGracePeriodSeconds: ")?
            .parse()
            .ok()
    });
    let Ending { notice, drain, .. } = Ending::new(CancellationToken::new());
    // The admin port ends last, within two seconds.
    assert!(Duration::from_secs(grace.unwrap()) > notice + drain + Duration::from_secs(2));
}

/// Asks for a worker with this certificate; the status.
async fn wake(running: &Running, authorities: &Authorities, leaf: Option<&Leaf>) -> StatusCode {
    let mut sender = connect_as(running.address, &authorities.bundle(), leaf)
        .await
        .unwrap();
    let request = Request::post("/wake")
        .header("host", HOST)
        .body(Full::<Bytes>::default())
        .unwrap();
    sender.send_request(request).await.unwrap().status()
}

#[tokio::test]
async fn only_a_proxys_own_sidecars_can_have_a_worker_started() {
    let running = start(one_proxy(), at_once()).await;
    let authorities = Authorities::generate(Timestamp::now(), &times()).unwrap();
    shown(&running, &authorities).await;
    let issue = |profile: &Profile| {
        let (now, life) = (Timestamp::now(), times().leaf);
        authorities.current.issue(profile, now, life).unwrap()
    };
    let sidecar = issue(&Profile::sidecar("shop", "docs"));
    // No replica leads yet.
    assert_eq!(
        wake(&running, &authorities, Some(&sidecar)).await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(wake(&running, &authorities, None).await, StatusCode::FORBIDDEN);
    let stranger = Authorities::generate(Timestamp::now(), &times()).unwrap();
    let forged = stranger
        .current
        .issue(&Profile::sidecar("shop", "docs"), Timestamp::now(), times().leaf)
        .unwrap();
    let refused = async {
        let mut sender = connect_as(running.address, &authorities.bundle(), Some(&forged)).await?;
        send(&mut sender, "{}").await
    };
    assert!(refused.await.is_err(), "a certificate of a stranger is taken");
}
