//! What the tests share: a tiny BERT made on the spot, and a server on a loopback port with a client.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    unreachable_pub,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use liquid_proto::worker::v1::budget::Limit;
use liquid_proto::worker::v1::extract_request::Part;
use liquid_proto::worker::v1::worker_client::WorkerClient;
use liquid_proto::worker::v1::{Budget, ExtractHeader, ExtractRequest, ExtractResponse};
use liquid_worker::config::Config;
use liquid_worker::runtime::Runtime;
use liquid_worker::server::{BoundServer, ServeError};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize, serialize_to_file};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::Channel;

pub mod http;

const HIDDEN: usize = 8;
const INNER: usize = 16;
const POSITIONS: usize = 64;

/// Writes a BERT with one layer and weights without meaning, and its manifest.
pub fn write_tiny_model(folder: &Path) {
    let vocabulary = tiny_vocabulary();
    std::fs::write(folder.join("tokenizer.json"), tiny_tokenizer(&vocabulary)).unwrap();
    let config = serde_json::json!({
        "model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12, "hidden_size": HIDDEN,
        "intermediate_size": INNER, "max_position_embeddings": POSITIONS, "num_attention_heads": 2,
        "num_hidden_layers": 1, "type_vocab_size": 2, "vocab_size": vocabulary.len(),
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    write_weights(folder, &tiny_tensors(vocabulary.len()));
    write_manifest(folder);
}

/// Writes the ranker of `data/ranker.py`, with the tiny model's tokenizer, and its manifest.
pub fn write_tiny_ranker(folder: &Path) {
    std::fs::write(folder.join("tokenizer.json"), tiny_tokenizer(&tiny_vocabulary())).unwrap();
    let config = serde_json::json!({
        "model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12, "hidden_size": 16,
        "intermediate_size": 32, "max_position_embeddings": 287, "num_attention_heads": 2,
        "num_hidden_layers": 2, "type_vocab_size": 2, "vocab_size": 256,
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let weights = include_bytes!("../data/ranker.safetensors");
    std::fs::write(folder.join("model.safetensors"), weights).unwrap();
    write_named_manifest(folder, "tiny-ranker");
}

/// The chat template of the tiny decoder: every field that it reads is in the prompt.
pub const TEMPLATE: &str = "{% for tool in tools or [] %}[{{ tool.function.name }}]{% endfor %}\
     {% for message in messages %}{{ message.role }}:{{ message.content }}\
     {% for call in message.tool_calls or [] %}[{{ call.function.name }}:{{ call.function.arguments.city }}]{% endfor %}.\
     {% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";

/// Writes a decoder of two layers with random weights, which writes lower case letters, digits and a few signs.
pub fn write_tiny_decoder(folder: &Path) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../decoder/fixtures");
    for file in ["llama/config.json", "llama/model.safetensors", "tokenizer.json"] {
        let name = Path::new(file).file_name().unwrap();
        std::fs::copy(fixtures.join(file), folder.join(name)).unwrap();
    }
    std::fs::write(folder.join("chat_template.jinja"), TEMPLATE).unwrap();
}

/// Writes the tiny decoder for contexts of so many tokens, instead of 256.
pub fn write_tiny_decoder_for(folder: &Path, context_tokens: usize) {
    write_tiny_decoder(folder);
    let path = folder.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["max_position_embeddings"] = context_tokens.into();
    std::fs::write(path, config.to_string()).unwrap();
}

/// Gives a tensor of a folder's weights another type, all zeros, or takes it away.
pub fn change_tensor(folder: &Path, name: &str, dtype: Option<Dtype>) {
    let path = folder.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: BTreeMap<String, TensorView<'_>> = file.tensors().into_iter().collect();
    let old = tensors.remove(name).unwrap();
    let zeros = dtype.map(|dtype| vec![0; old.shape().iter().product::<usize>() * dtype.bitsize() / 8]);
    if let (Some(dtype), Some(zeros)) = (dtype, &zeros) {
        let view = TensorView::new(dtype, old.shape().to_vec(), zeros).unwrap();
        tensors.insert(name.to_owned(), view);
    }
    let changed = serialize(tensors, None).unwrap();
    std::fs::write(path, changed).unwrap();
}

/// Writes the sums of what is in the folder now.
pub fn write_manifest(folder: &Path) {
    write_named_manifest(folder, "tiny");
}

fn write_named_manifest(folder: &Path, name: &str) {
    let files = ["config.json", "tokenizer.json", "model.safetensors"];
    let sum = |name: &str| {
        base16ct::lower::encode_string(&Sha256::digest(std::fs::read(folder.join(name)).unwrap()))
    };
    let files: BTreeMap<_, _> = files.iter().map(|name| (*name, sum(name))).collect();
    let manifest = serde_json::json!({"name": name, "files": files});
    std::fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
}

pub type Tensors = BTreeMap<String, (Dtype, Vec<usize>)>;

/// Returns names and shapes of the tiny model's tensors.
pub fn tiny_tensors(vocabulary: usize) -> Tensors {
    let mut tensors = Tensors::new();
    let mut add = |name: &str, shape: &[usize]| {
        tensors.insert(name.to_owned(), (Dtype::F32, shape.to_vec()));
    };
    add("embeddings.word_embeddings.weight", &[vocabulary, HIDDEN]);
    add("embeddings.position_embeddings.weight", &[POSITIONS, HIDDEN]);
    add("embeddings.token_type_embeddings.weight", &[2, HIDDEN]);
    let layer = "encoder.layer.0";
    for norm in [
        "embeddings",
        &format!("{layer}.attention.output"),
        &format!("{layer}.output"),
    ] {
        add(&format!("{norm}.LayerNorm.weight"), &[HIDDEN]);
        add(&format!("{norm}.LayerNorm.bias"), &[HIDDEN]);
    }
    for (part, outputs, inputs) in [
        ("attention.self.query", HIDDEN, HIDDEN),
        ("attention.self.key", HIDDEN, HIDDEN),
        ("attention.self.value", HIDDEN, HIDDEN),
        ("attention.output.dense", HIDDEN, HIDDEN),
        ("intermediate.dense", INNER, HIDDEN),
        ("output.dense", HIDDEN, INNER),
    ] {
        add(&format!("{layer}.{part}.weight"), &[outputs, inputs]);
        add(&format!("{layer}.{part}.bias"), &[outputs]);
    }
    tensors
}

/// Fills the tensors with numbers between -0.5 and 0.5.
pub fn write_weights(folder: &Path, tensors: &Tensors) {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state) / f64::from(u32::MAX) - 0.5
    };
    let mut bytes = |dtype: Dtype, shape: &[usize]| -> Vec<u8> {
        let width = dtype.bitsize() / 8;
        let value = |x: f64| {
            if width == 4 {
                (x as f32).to_le_bytes().to_vec()
            } else {
                vec![0; width]
            }
        };
        (0..shape.iter().product::<usize>())
            .flat_map(|_| value(next()))
            .collect()
    };
    let data: Vec<_> = tensors
        .iter()
        .map(|(name, (dtype, shape))| (name, *dtype, shape, bytes(*dtype, shape)))
        .collect();
    let views = data.iter().map(|(name, dtype, shape, bytes)| {
        (
            (*name).clone(),
            TensorView::new(*dtype, (*shape).clone(), bytes).unwrap(),
        )
    });
    serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
}

/// Returns every printable character alone and in a word, and a few words; ids as BERT has them for the
/// special ones.
pub fn tiny_vocabulary() -> Vec<String> {
    let mut entries: Vec<String> = (0..100).map(|i| format!("[unused{i}]")).collect();
    entries[0] = "[PAD]".to_owned();
    entries.extend(["[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned));
    let characters: Vec<char> = ('!'..='~').filter(|c| !c.is_ascii_uppercase()).collect();
    entries.extend(characters.iter().map(char::to_string));
    entries.extend(characters.iter().map(|c| format!("##{c}")));
    entries.extend(
        [
            "the",
            "law",
            "of",
            "delaware",
            "agreement",
            "term",
            "##ing",
            "##ed",
        ]
        .map(str::to_owned),
    );
    entries
}

fn tiny_tokenizer(vocabulary: &[String]) -> String {
    let ids: BTreeMap<&str, usize> = vocabulary
        .iter()
        .enumerate()
        .map(|(id, entry)| (entry.as_str(), id))
        .collect();
    serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{"id": 102, "content": "[SEP]", "special": true, "single_word": false, "lstrip": false,
                          "rstrip": false, "normalized": false}],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": ids},
    })
    .to_string()
}

/// Returns a configuration on free loopback ports that drains at once.
pub fn config() -> Config {
    let mut config = Config::default();
    config.grpc.listen = ([127, 0, 0, 1], 0).into();
    config.admin.listen = ([127, 0, 0, 1], 0).into();
    config.drain.notice_ms = 0;
    config
}

/// A worker in this process.
pub struct TestServer {
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    pub ended: JoinHandle<Result<(), ServeError>>,
}

impl TestServer {
    /// Starts a worker and waits until it is ready.
    pub async fn start(config: Config) -> Self {
        let runtime = Runtime::start(&config).unwrap();
        Self::start_with(config, runtime).await
    }

    /// Starts a worker around this runtime, and waits until it is ready.
    pub async fn start_with(config: Config, runtime: Runtime) -> Self {
        let server = Self::spawn(config, async { Ok(runtime) }).await;
        server.until_ready(200).await;
        server
    }

    /// Starts a worker whose runtime is still to come.
    pub async fn spawn(
        config: Config,
        load: impl Future<Output = Result<Runtime, ServeError>> + Send + 'static,
    ) -> Self {
        let bound = BoundServer::bind(config).await.unwrap();
        let (grpc, admin) = bound.addresses().unwrap();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(bound.serve_with(load, async {
            let _ = stopped.await;
        }));
        Self {
            grpc,
            admin,
            stop: Some(stop),
            ended,
        }
    }

    /// Waits until `/readyz` answers with this status.
    pub async fn until_ready(&self, status: u16) {
        for _ in 0..1000 {
            if self.get("/readyz").await.0 == status {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("/readyz did not become {status}");
    }

    /// Sends a GET to the admin listener; returns status and body.
    pub async fn get(&self, path: &str) -> (u16, String) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(self.admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    /// Stops the worker, as SIGTERM stops the binary.
    pub fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Returns a client of the HTTP routes.
    pub fn http(&self, version: http::Version) -> http::HttpClient {
        http::HttpClient::plain(self.grpc, version)
    }

    pub async fn client(&self) -> WorkerClient<Channel> {
        WorkerClient::connect(format!("http://{}", self.grpc))
            .await
            .unwrap()
    }

    pub async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.grpc))
            .unwrap()
            .connect()
            .await
            .unwrap()
    }
}

/// Returns a header that asks for a tenth of the document.
pub fn header(question: &str) -> ExtractHeader {
    let budget = Budget {
        limit: Some(Limit::Ratio(10.0)),
    };
    ExtractHeader {
        question: question.to_owned(),
        budget: Some(budget),
        ..ExtractHeader::default()
    }
}

pub fn message(part: Part) -> ExtractRequest {
    ExtractRequest { part: Some(part) }
}

/// Cuts a request into messages, the document in chunks of `size` bytes.
pub fn messages(header: ExtractHeader, document: &[u8], size: usize) -> Vec<ExtractRequest> {
    let chunks = document
        .chunks(size)
        .map(|chunk| message(Part::DocumentChunk(chunk.to_vec())));
    std::iter::once(message(Part::Header(header)))
        .chain(chunks)
        .collect()
}

/// Sends one whole request.
pub async fn extract(
    client: &mut WorkerClient<Channel>,
    header: ExtractHeader,
    document: &str,
) -> Result<ExtractResponse, Status> {
    let messages = messages(header, document.as_bytes(), 64 * 1024);
    client
        .extract(futures::stream::iter(messages))
        .await
        .map(tonic::Response::into_inner)
}

/// Writes a document of about `words` words about many things; one sentence names the governing law.
pub fn document(words: usize) -> String {
    let mut text = String::from("SUPPLY AGREEMENT\n\n");
    for i in 0..words / 12 {
        if i == words / 24 {
            text.push_str("The governing law of this agreement is the law of Delaware. ");
        }
        let sentence = format!(
            "Item {i} of lot {} weighs {} grams and ships on day {}. ",
            i % 97,
            i % 1013,
            i % 365
        );
        text.push_str(&sentence);
        if i % 5 == 4 {
            text.push_str("\n\n");
        }
    }
    text
}
