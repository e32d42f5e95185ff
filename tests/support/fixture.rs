//! The reference files of tests/fixtures, and how numbers are compared with them.

use std::collections::HashMap;
use std::path::PathBuf;

use candle_lens::candle::{DType, Device, Tensor};
use candle_lens::model::{HookedTransformer, Processing};
use candle_lens::storage::Tensors;
use candle_lens::tokens::Tokens;

/// The largest difference that counts as agreement, as in tests/fixtures/manifest.json.
pub const TOLERANCE: f64 = 1e-4;

/// A file or folder of tests/fixtures.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The folder of the tiny GPT-2, as `transformers` saved it.
pub fn tiny_gpt2() -> PathBuf {
    path("tiny_gpt2")
}

/// The tiny GPT-2 with this processing.
pub fn tiny_model(processing: Processing) -> HookedTransformer {
    let folder = tiny_gpt2();
    HookedTransformer::from_pretrained_with(folder.to_str().expect("the path is UTF-8"), processing)
        .expect("the tiny GPT-2 loads")
}

/// A JSON file of tests/fixtures.
pub fn json(name: &str) -> serde_json::Value {
    let bytes = std::fs::read(path(name)).expect("the reference file is there");
    serde_json::from_slice(&bytes).expect("the reference file is JSON")
}

/// The tensors of one reference file.
pub struct Reference {
    tensors: HashMap<String, Tensor>,
}

impl Reference {
    pub fn load(name: &str) -> Self {
        let tensors = candle_lens::candle::safetensors::load(path(name), &Device::Cpu).expect("the reference loads");
        Self { tensors }
    }

    pub fn get(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("the reference has no {name}"))
    }

    pub fn tokens(&self, name: &str) -> Tokens {
        Tokens::from_tensor(self.get(name)).expect("the reference's ids are tokens")
    }

    /// Names under a prefix, with the prefix taken off, in order.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let mut names: Vec<_> =
            self.tensors.keys().filter_map(|name| name.strip_prefix(prefix)).map(String::from).collect();
        names.sort();
        names
    }
}

/// Collects how far numbers are from their references, so that a failure names the worst of all.
#[derive(Default)]
pub struct Agreement {
    compared: usize,
    worst: f64,
    worst_name: String,
}

impl Agreement {
    /// Compares two tensors of one shape, element by element.
    pub fn check(&mut self, name: &str, got: &Tensor, expected: &Tensor) {
        assert_eq!(got.dims(), expected.dims(), "the shape of {name}");
        let (got, expected) = (numbers(got), numbers(expected));
        self.check_numbers(name, got.into_iter().zip(expected));
    }

    /// Compares pairs of got and expected. Equal infinities agree; NaN agrees with nothing.
    pub fn check_numbers(&mut self, name: &str, pairs: impl Iterator<Item = (f64, f64)>) {
        self.compared += 1;
        for (got, expected) in pairs {
            let error = if got == expected { 0.0 } else { (got - expected).abs() };
            if error.is_nan() || error > self.worst {
                (self.worst, self.worst_name) = (if error.is_nan() { f64::INFINITY } else { error }, name.to_string());
            }
        }
    }

    /// Fails unless all agreed within the tolerance; tells how many there were and which was worst.
    pub fn finish(self, what: &str) {
        assert!(self.compared > 0, "{what}: nothing was compared");
        let worst = if self.worst == 0.0 { "all equal".into() } else { format!("the worst is {}", self.worst_name) };
        println!("{what}: {} compared, {worst} (by {:.1e})", self.compared, self.worst);
        assert!(self.worst <= TOLERANCE, "{what}: {} differs by {:.2e}", self.worst_name, self.worst);
    }
}

/// The elements in order.
pub fn numbers(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.to_dtype(DType::F64).and_then(|tensor| tensor.flatten_all());
    flat.and_then(|flat| flat.to_vec1()).expect("a tensor of numbers")
}

/// The numbers of a stored tensor, whose shape and dtype are those that the file announces.
pub fn stored_numbers(file: &Tensors, name: &str) -> Vec<f64> {
    let tensor = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(tensor.dims(), file.shape(name).unwrap(), "{name}");
    assert_eq!(tensor.dtype(), file.dtype(name).unwrap(), "{name}");
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}
