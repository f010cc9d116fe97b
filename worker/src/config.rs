//! The worker's configuration: one TOML file, every key by environment too, validated as a whole before
//! anything starts.
//!
//! Later sources win: defaults, the file, `LIQUID_ZONE` (for `grpc.zone`), `LIQUID_WORKER__SECTION__KEY`.

use std::net::SocketAddr;
use std::path::PathBuf;

use liquid_contract::environment::{WORKER_PREFIX, ZONE};
use liquid_contract::{defaults, files, ports};
use liquid_process::Invalid;
use liquid_process::config::{Alias, Configuration};
use liquid_process::logs::Log;
pub use liquid_process::tls::Tls;
use liquid_signing::{KeyError, PublicKey};
use serde::{Deserialize, Serialize};

use crate::model::{Device, MANIFEST};
use crate::tier::Tier;

mod decoder;
mod facts;
#[cfg(test)]
mod tests;

pub use decoder::{Decoder, DecoderPrecision};
pub use facts::Facts;

/// Everything that can be set. A change needs a restart, but for the contents of the files that `[tls]` names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Tiers to serve: any of `lexical`, `static`, `encoder`, `ranker`, `decoder`. Default: all that the models allow, so
    /// `["lexical"]` without one.
    pub tiers: Vec<Tier>,
    /// The address at which sidecars connect.
    pub grpc: Grpc,
    /// The address at which probes and Prometheus connect.
    pub admin: Admin,
    /// Encryption of the connections to `grpc.listen`. Without files the service speaks plain HTTP.
    pub tls: Tls,
    /// The models behind the other tiers than lexical.
    pub model: Model,
    /// The language model that is served over HTTP at `grpc.listen`.
    pub decoder: Decoder,
    /// What the language model reads and writes in the decoder tier.
    pub facts: Facts,
    /// Limits of sizes and of concurrent requests.
    pub limits: Limits,
    /// Sizes of the caches.
    pub cache: Cache,
    /// Times of the drain after SIGTERM.
    pub drain: Drain,
    /// Format and level of the log.
    pub log: Log,
}

/// Section `[grpc]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grpc {
    /// `address:port` of the service. Default `127.0.0.1:50051`.
    pub listen: SocketAddr,
    /// Zone of this machine: sidecars of the same zone (`extract.zone`) ask this worker first. `LIQUID_ZONE` sets it too.
    /// Default: empty, none.
    pub zone: String,
}

impl Default for Grpc {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], ports::WORKER).into(),
            zone: String::new(),
        }
    }
}

/// Section `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// `address:port` for `/livez`, `/readyz` and `/metrics`. Default `127.0.0.1:9464`.
    pub listen: SocketAddr,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], ports::WORKER_ADMIN).into(),
        }
    }
}

/// Section `[model]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Model {
    /// Folder with `manifest.json` and the files that it lists. Default none: only the lexical tier is served.
    pub folder: Option<PathBuf>,
    /// SHA-256 of the folder's `manifest.json`, in hexadecimal. Default: any model will do. Another one is
    /// refused.
    pub sha256: Option<String>,
    /// Folder of the ranker: `manifest.json` and the files that it lists, with the tokenizer of `model.folder`. Default:
    /// the folder `liquid-ranker` beside `model.folder` or in it, if there is one; else the ranker tier is not served.
    pub ranker: Option<PathBuf>,
    /// SHA-256 of the `manifest.json` in the ranker's folder, likewise.
    pub ranker_sha256: Option<String>,
    /// Whether models have to be signed: `off` (default), or `required`, where each folder of a model, `decoder.folder`
    /// too, needs a `SHA256SUMS` over all its files and a `SHA256SUMS.sig` by `model.public_key`. With another one the
    /// worker does not become ready, and ends.
    pub verify: Verify,
    /// Public key of who signs models: Ed25519, as PEM or the line within it. Needed for `verify = "required"`.
    pub public_key: Option<String>,
    /// Device that runs encoder, ranker and decoder: `cpu` (default), `cuda` (the first NVIDIA GPU) or `cuda:N`. GPUs need a
    /// worker that is built with the feature `cuda`.
    pub device: Device,
}

/// Whether models have to be signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// Signatures are not looked at.
    #[default]
    Off,
    /// A model without a signature of the key is refused.
    Required,
}

/// Section `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Longest document, in bytes. Default 67108864 (64 MiB), at most 4294967295.
    pub max_document_bytes: u64,
    /// Longest question, and longest asks of a request together, in bytes. Default 16384.
    pub max_question_bytes: u64,
    /// Most things that a request may ask. Default 16, at most 64.
    pub max_asks: u32,
    /// Most texts that a document may be made of. Default 512, at most 65536.
    pub max_texts: u32,
    /// Largest chunk of a document, in bytes. Default 1048576.
    pub max_chunk_bytes: u64,
    /// Bytes of all documents that arrive, wait or are being read. Default 536870912 (512 MiB).
    pub max_buffered_bytes: u64,
    /// Most tokens that the encoder reads for one request; more keep a little more evidence and take longer.
    /// Default 0: 8000 on a processor, no limit on a GPU.
    pub encode_tokens: usize,
    /// Most tokens that the ranker tier reads for one request, those of what is asked counted with each window; more
    /// keep a little more evidence and take longer. Where it covers the whole document twice, the encoder reads it too,
    /// and both count. Default 0: 8000 on a processor, up to 16000 for several documents, no limit on a GPU.
    pub ranker_tokens: usize,
    /// Requests that may wait for a free slot. Default 64.
    pub queue: usize,
    /// Requests of the lexical and static tiers that run at a time. Default 0: as many as cores.
    pub cheap_slots: usize,
    /// Requests of the encoder and ranker tiers that run at a time; they share one device. Default 0: twice the cores.
    pub encoder_slots: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_document_bytes: 64 << 20,
            max_question_bytes: 16 << 10,
            max_asks: 16,
            max_texts: 512,
            max_chunk_bytes: 1 << 20,
            max_buffered_bytes: 512 << 20,
            encode_tokens: 0,
            ranker_tokens: 0,
            queue: 64,
            cheap_slots: 0,
            encoder_slots: 0,
        }
    }
}

/// Section `[cache]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// Bytes of answers to keep. Default 67108864 (64 MiB); 0 keeps none.
    pub results_bytes: usize,
    /// Bytes of hidden states and logits to keep, for further questions about a document. Default 67108864 (64 MiB);
    /// 0 keeps none.
    pub states_bytes: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            results_bytes: 64 << 20,
            states_bytes: 64 << 20,
        }
    }
}

/// Section `[drain]`: what happens after SIGTERM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// Time for balancers to see that the worker is not ready, in milliseconds; requests are still served.
    /// Default 2000.
    pub notice_ms: u64,
    /// Time for requests to end after that, in milliseconds. Default 25000.
    pub timeout_ms: u64,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            notice_ms: 2_000,
            timeout_ms: u64::from(defaults::DRAIN_SECONDS) * 1000,
        }
    }
}

impl Configuration for Config {
    const PREFIX: &'static str = WORKER_PREFIX;
    const LISTS: &'static [&'static str] = &["tiers", "tls.client_identities"];
    const ALIASES: &'static [Alias] = &[Alias {
        name: ZONE,
        variable: "LIQUID_WORKER__GRPC__ZONE",
    }];

    fn validate(&self) -> Vec<Invalid> {
        let mut found: Vec<Invalid> = within("limits", self.limits.validate()).collect();
        if self.model.folder.is_none() && self.tiers.iter().any(|tier| tier.needs_model()) {
            let remedy = "static, encoder and ranker need model.folder; set it, or serve lexical only";
            found.push(Invalid::new("tiers", format!("{:?}", self.tiers), remedy));
        } else if self.tiers.contains(&Tier::Ranker) && !self.can_rank() {
            let remedy = "ranker needs model.ranker; set it, or leave the tier out";
            found.push(Invalid::new("tiers", format!("{:?}", self.tiers), remedy));
        }
        found.extend(within("model", self.model.validate()));
        if self.decoder.folder.is_none() && self.tiers.contains(&Tier::Decoder) {
            let remedy = "decoder needs decoder.folder; set it, or leave the tier out";
            found.push(Invalid::new("tiers", format!("{:?}", self.tiers), remedy));
        }
        found.extend(within("decoder", self.decoder.validate()));
        found.extend(within("facts", self.facts.validate()));
        if self.grpc.listen == self.admin.listen && self.admin.listen.port() != 0 {
            let remedy = "is grpc.listen too; set another port";
            found.push(Invalid::new("admin.listen", self.admin.listen, remedy));
        }
        found.extend(within("tls", self.tls.validate()));
        found.extend(self.log.validate("liquid_worker"));
        found
    }
}

/// Names the fields of a section's findings from the root.
fn within(section: &str, found: Vec<Invalid>) -> impl Iterator<Item = Invalid> {
    found.into_iter().map(move |invalid| invalid.within(section))
}

impl Config {
    /// Returns the tiers to serve, cheapest first; never empty.
    pub fn served_tiers(&self) -> Vec<Tier> {
        let asked = |tier: &Tier| self.tiers.is_empty() || self.tiers.contains(tier);
        let possible = |tier: &Tier| match tier {
            Tier::Lexical => true,
            Tier::Static | Tier::Encoder => self.model.folder.is_some(),
            Tier::Ranker => self.can_rank(),
            Tier::Decoder => self.decoder.folder.is_some(),
        };
        let served: Vec<Tier> = Tier::ALL.into_iter().filter(asked).filter(possible).collect();
        match served.is_empty() {
            true => vec![Tier::Lexical],
            false => served,
        }
    }

    /// Returns true if there is a ranker beside an encoder.
    fn can_rank(&self) -> bool {
        self.model.folder.is_some() && self.model.ranker_folder().is_some()
    }

    /// Returns true if a tier is served that needs the model.
    pub fn needs_model(&self) -> bool {
        self.served_tiers().iter().any(|tier| tier.needs_model())
    }
}

impl Model {
    /// Returns the ranker's folder: the one that is set, else the one that comes with the encoder's, if there is one.
    pub fn ranker_folder(&self) -> Option<PathBuf> {
        let beside = || {
            let folder = self.folder.as_deref()?;
            let places = [folder.parent(), Some(folder)].into_iter().flatten();
            let mut places = places.map(|place| place.join(files::RANKER_FOLDER));
            places.find(|place| place.join(MANIFEST).is_file())
        };
        self.ranker.clone().or_else(beside)
    }

    /// Returns the key that has to have signed every model, if one has to.
    ///
    /// # Errors
    /// [`KeyError`] if `public_key` is none.
    pub fn signer(&self) -> Result<Option<PublicKey>, KeyError> {
        match self.verify {
            Verify::Off => Ok(None),
            Verify::Required => self.public_key.as_deref().unwrap_or_default().parse().map(Some),
        }
    }

    fn validate(&self) -> Vec<Invalid> {
        let mut found = Vec::new();
        if let Err(error) = self.signer() {
            let value = self.public_key.as_deref().unwrap_or_default();
            found.push(Invalid::new("public_key", value, error.to_string()));
        }
        for (field, sum) in [("sha256", &self.sha256), ("ranker_sha256", &self.ranker_sha256)] {
            if let Some(sum) = sum
                && !(sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit()))
            {
                let remedy = "write what `sha256sum manifest.json` prints in the model's folder: 64 hexadecimal digits";
                found.push(Invalid::new(field, sum, remedy));
            }
        }
        if let (Some(ranker), None) = (&self.ranker, &self.folder) {
            let remedy = "a ranker needs the encoder beside it; set model.folder too";
            found.push(Invalid::new("ranker", ranker.display(), remedy));
        }
        found
    }
}

impl Limits {
    /// Returns `encode_tokens`, unless it is left to the device.
    pub fn most_encoded(&self) -> Option<usize> {
        (self.encode_tokens > 0).then_some(self.encode_tokens)
    }

    /// Returns `ranker_tokens`, unless it is left to the device.
    pub fn most_ranked(&self) -> Option<usize> {
        (self.ranker_tokens > 0).then_some(self.ranker_tokens)
    }

    fn validate(&self) -> Vec<Invalid> {
        let mut found = Vec::new();
        let mut refuse = |field, value: u64, remedy: String| found.push(Invalid::new(field, value, remedy));
        let positive = [
            ("max_document_bytes", self.max_document_bytes),
            ("max_question_bytes", self.max_question_bytes),
            ("max_chunk_bytes", self.max_chunk_bytes),
            ("max_asks", self.max_asks.into()),
            ("max_texts", self.max_texts.into()),
        ];
        for (field, _) in positive.into_iter().filter(|(_, value)| *value == 0) {
            refuse(field, 0, "set at least 1".to_owned());
        }
        for (field, value, most) in [
            ("max_document_bytes", self.max_document_bytes, u64::from(u32::MAX)),
            ("max_chunk_bytes", self.max_chunk_bytes, 64 << 20),
            ("max_asks", self.max_asks.into(), 64),
            ("max_texts", self.max_texts.into(), 65_536),
        ] {
            if value > most {
                refuse(field, value, format!("set at most {most}"));
            }
        }
        if self.max_buffered_bytes < self.max_document_bytes {
            let remedy = "set at least max_document_bytes, or no document of that length could ever be sent";
            refuse("max_buffered_bytes", self.max_buffered_bytes, remedy.to_owned());
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        for (field, slots) in [
            ("cheap_slots", self.cheap_slots),
            ("encoder_slots", self.encoder_slots),
        ] {
            if slots > 64 * cores {
                let remedy = "set at most 64 for each core, or 0 for the default";
                refuse(field, slots as u64, remedy.to_owned());
            }
        }
        found
    }
}
