//! The tier as a runtime and a server have it.

use liquid_worker::config::Config;
use liquid_worker::engine::Tier;
use liquid_worker::model::{LoadError, ManifestError};
use liquid_worker::runtime::{Runtime, StartError};

use super::{document, folders, support};

#[tokio::test]
async fn a_server_with_a_ranker_serves_and_describes_the_tier() {
    use liquid_proto::worker::v1::{DescribeRequest, ExtractHeader, Tier};
    let (encoder, ranker) = folders();
    let mut config = support::config();
    config.model.folder = Some(encoder.path().to_owned());
    config.model.ranker = Some(ranker.path().to_owned());
    let server = support::TestServer::start(config).await;
    let mut client = server.client().await;
    let described = client.describe(DescribeRequest {}).await.unwrap().into_inner();
    assert_eq!(described.tiers().next_back(), Some(Tier::Ranker));
    let [_, ranker] = &described.models[..] else {
        panic!("{:?}", described.models)
    };
    assert_eq!(
        (ranker.name.as_str(), ranker.tiers().collect()),
        ("tiny-ranker", vec![Tier::Ranker])
    );
    let header = |tier: Tier| ExtractHeader {
        tier: tier.into(),
        ..support::header("What is the governing law?")
    };
    for tier in [Tier::Ranker, Tier::Unspecified, Tier::Decoder] {
        let answer = support::extract(&mut client, header(tier), &document())
            .await
            .unwrap();
        assert_eq!(answer.tier(), Tier::Ranker, "{tier:?}");
    }
    let (_, metrics) = server.get("/metrics").await;
    assert!(
        metrics.contains("tier=\"ranker\",reason=\"as_asked\""),
        "{metrics}"
    );
}

#[test]
fn another_ranker_than_the_one_asked_for_is_refused() {
    let (encoder, ranker) = folders();
    let mut config = Config::default();
    config.model.folder = Some(encoder.path().to_owned());
    config.model.ranker = Some(ranker.path().to_owned());
    config.model.ranker_sha256 = Some("0".repeat(64));
    let error = Runtime::start(&config).map(|_| ()).unwrap_err();
    assert!(
        matches!(
            error,
            StartError::Model(LoadError::Manifest(ManifestError::OtherModel { .. }))
        ),
        "{error}"
    );
    // Where the tier is not served nothing is loaded for it.
    config.tiers = vec![Tier::Encoder];
    assert!(Runtime::start(&config).unwrap().ranker().is_none());
}
