//! BERT, as all-MiniLM-L6-v2 needs it: Devlin et al. 2019 (<https://arxiv.org/abs/1810.04805>), post-norm
//! blocks, exact GELU; the tensor names are those of Hugging Face `BertModel`.
//!
//! | file | what |
//! |---|---|
//! | `config` | sizes, from `config.json` |
//! | `forward` | the forward pass of one batch |
//! | `activation` | GELU and softmax, faster than burn's |
//! | `cpu` | the encoder: windows to batches, batches to cores |
//! | `ranker` | the ranker: pairs of a question and a window, likewise |

mod activation;
mod config;
mod cpu;
mod forward;
mod ranker;

pub(super) use config::Config;
pub use config::ConfigError;
pub(super) use cpu::CpuEncoder;
pub(super) use ranker::{CpuRanker, check as check_ranker};

/// The tensor of the input embeddings, `[vocabulary, hidden]`.
pub(super) const WORD_EMBEDDINGS: &str = "embeddings.word_embeddings.weight";
