//! What the manifest's offsets and sum are about: the text as the application sent it.

use super::*;

/// Compresses a call whose first user text is `text`; the manifest of its pack.
async fn manifest_of(text: &str) -> Arc<Manifest> {
    let worker = MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap();
    let compressor = start(&worker, |_| {}).await;
    let messages = json!([{"role": "user", "content": text}, {"role": "user", "content": QUESTION}]);
    let outcome = compressor.compress(chat(messages)).await;
    outcome.decision().pack.clone().unwrap()
}

/// The kept passages, read from the text by what the manifest says of them.
fn kept<'a>(manifest: &Manifest, text: &'a str) -> Vec<&'a str> {
    let at = |offset: u64| (manifest.packs[0].source.start + offset) as usize;
    manifest.packs[0]
        .kept
        .iter()
        .map(|span| &text[at(span.start)..at(span.end)])
        .collect()
}

const EVIDENCE: [&str; 2] = [
    "The turbine arrived on \"Monday\", 3 May.",
    "The turbine was paid late.",
];

#[tokio::test]
async fn white_space_around_a_document_is_a_part_of_it() {
    for (before, behind) in [("", ""), ("\n\n \t", ""), ("\u{feff}\u{a0}", "\n \n")] {
        let text = format!("{before}{}{behind}", document());
        let manifest = manifest_of(&text).await;
        assert_eq!(manifest.packs[0].source.start, 0);
        assert_eq!(manifest.packs[0].source.bytes as usize, text.len());
        assert_eq!(manifest.packs[0].source.sha256, hex(&Sha256::digest(&text)));
        assert_eq!(kept(&manifest, &text), EVIDENCE);
    }
}

#[tokio::test]
async fn between_instructions_the_manifest_tells_where_the_document_starts() {
    for (before, behind) in [
        (
            "Ünder this tag stands a report.\n<document>\n  \n",
            "\n \n</document>\n",
        ),
        ("Context:\n", "\n"),
    ] {
        let text = format!("{before}{}{behind}", document());
        let manifest = manifest_of(&text).await;
        assert_eq!(manifest.packs[0].source.start as usize, before.len());
        assert_eq!(manifest.packs[0].source.sha256, hex(&Sha256::digest(document())));
        assert_eq!(kept(&manifest, &text), EVIDENCE);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
