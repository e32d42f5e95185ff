//! What a part was made with: parts can be joined where these are the same.

use candle_core::DType;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::files::VERSION;
use crate::model::{HookedTransformer, ModelProvenance};

/// The model, the program and the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Made {
    pub model: ModelProvenance,
    /// CRC-32 of the weights as they are, of models whose files are not known.
    weights: Option<String>,
    /// What the caller says of the work.
    pub about: String,
    /// The vector instructions and the device, on which the last bits of sums depend.
    pub machine: String,
    version: String,
}

impl Made {
    pub(super) fn by(model: &HookedTransformer, about: &str) -> Result<Self> {
        let provenance = model.provenance();
        let weights = if provenance.crc32.is_some() { None } else { Some(checksum(model)?) };
        let machine = format!("{} on {}", instructions(), device(model));
        Ok(Self { model: provenance, weights, about: about.into(), machine, version: VERSION.into() })
    }

    /// In what the other differs so that both cannot be joined, one clause for each.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        let mut clauses: Vec<String> = self.model.other_weights(&other.model);
        if self.weights != other.weights {
            clauses.push("its weights have another checksum".into());
        }
        if self.about != other.about {
            clauses.push(format!("it is described as {:?}, the other as {:?}", self.about, other.about));
        }
        if self.version != other.version {
            clauses.push(format!("it was made by candle-lens {}, the other by {}", self.version, other.version));
        }
        clauses
    }
}

/// The CRC-32 of all parameters as f32, by name.
fn checksum(model: &HookedTransformer) -> Result<String> {
    let mut crc = flate2::Crc::new();
    for (name, tensor) in model.state_dict()? {
        crc.update(name.as_bytes());
        for number in tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()? {
            crc.update(&number.to_le_bytes());
        }
    }
    Ok(format!("{:08x}", crc.sum()))
}

fn device(model: &HookedTransformer) -> &'static str {
    match model.device() {
        candle_core::Device::Cpu => "the CPU",
        candle_core::Device::Cuda(_) => "a CUDA device",
        candle_core::Device::Metal(_) => "a Metal device",
    }
}

/// The vector instructions by which gemm and pulp choose how they add up.
fn instructions() -> String {
    let arch = std::env::consts::ARCH;
    #[cfg(target_arch = "x86_64")]
    for (name, there) in [
        ("AVX-512", std::arch::is_x86_feature_detected!("avx512f")),
        ("AVX2", std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")),
    ] {
        if there {
            return format!("{arch} with {name}");
        }
    }
    arch.into()
}
