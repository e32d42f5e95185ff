//! Files that this crate has saved, changed and sealed with the checksum that belongs to the change.

use std::collections::BTreeMap;
use std::path::Path;

use ::safetensors::View;
use candle_lens::candle::{Device, Tensor, safetensors};
use serde_json::Value;

pub type Tensors = BTreeMap<String, Tensor>;

/// Changes what a file says of itself, and its tensors; the checksum is right again afterwards.
pub fn change(path: &Path, about: impl FnOnce(&mut Value), tensors: impl FnOnce(&mut Tensors)) {
    let bytes = std::fs::read(path).expect("it was saved");
    let (_, header) = ::safetensors::SafeTensors::read_metadata(&bytes).expect("it is whole");
    let entries = header.metadata().clone().expect("it says what it is");
    let mut metadata: BTreeMap<String, String> = entries.into_iter().collect();
    let mut said: Value = serde_json::from_str(&metadata["about"]).expect("JSON");
    about(&mut said);
    metadata.insert("about".into(), said.to_string());
    let mut named: Tensors = safetensors::load_buffer(&bytes, &Device::Cpu).expect("it is whole").into_iter().collect();
    tensors(&mut named);
    let mut crc = flate2::Crc::new();
    ["about", "kind", "version", "written"].iter().for_each(|key| crc.update(metadata[*key].as_bytes()));
    for (name, tensor) in &named {
        crc.update(format!("{name} {:?} {:?}", tensor.dtype(), tensor.dims()).as_bytes());
        crc.update(&tensor.data());
    }
    metadata.insert("crc32".into(), format!("{:08x}", crc.sum()));
    let whole = ::safetensors::serialize(&named, Some(metadata.into_iter().collect())).expect("tensors");
    std::fs::write(path, whole).expect("the scratch folder can be written");
}
