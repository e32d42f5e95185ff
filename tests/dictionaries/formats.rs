//! Dictionaries in the formats of other libraries, against what those libraries compute
//! (tests/fixtures/dictionaries_formats.py).

use std::path::{Path, PathBuf};

use candle_lens::Result;
use candle_lens::candle::{DType, IndexOp};
use candle_lens::prelude::*;

use crate::support::fixture::{Reference, path};
use crate::support::{assert_close, scratch};

/// Sums of at most 32 products of numbers of size 1, in another order.
const ROUNDING: f32 = 1e-5;

fn fixture(name: &str) -> String {
    path(&format!("dictionaries/formats/{name}")).to_str().expect("UTF-8").into()
}

fn expected(name: &str) -> Reference {
    Reference::load(&format!("dictionaries/formats/{name}/expected.safetensors"))
}

/// One dictionary: its features, what it makes of x, and the error that it leaves.
#[track_caller]
fn agrees(dictionary: &Dictionary, x: &Tensor, f: &Tensor, xhat: &Tensor) -> Result<()> {
    let name = dictionary.name();
    let acts = dictionary.encode(x)?;
    assert!(acts.active() > 0, "{name}");
    assert_close(&acts.dense()?, f, ROUNDING, &format!("features of {name}"));
    let y = dictionary.reconstruct(x)?;
    assert_close(&y, xhat, ROUNDING, &format!("what {name} makes of x"));
    assert_close(&(x - &y)?, &(x - xhat)?, ROUNDING, &format!("the error of {name}"));
    Ok(())
}

/// Opens one dictionary, holds it against its reference, and tells what it is and expects.
#[track_caller]
fn read(name: &str) -> Result<(Dictionary, String)> {
    let dictionary = Dictionary::from_pretrained(fixture(name))?;
    let reference = expected(name);
    agrees(&dictionary, reference.get("x"), reference.get("f"), reference.get("xhat"))?;
    let expects = dictionary.expects();
    let point = |point: Option<HookPoint>| point.map_or("-".into(), |point| point.to_string());
    let flags = [expects.centred, expects.value_biases_folded, expects.norms_folded];
    let flags: String = flags.map(|flag| flag.map_or('-', |flag| if flag { 'y' } else { 'n' })).iter().collect();
    let (reads, writes) = (point(expects.hook_in), point(expects.writes()));
    let model = expects.model.unwrap_or("-".into());
    Ok((dictionary.clone(), format!("{} {reads} {writes} {model} {flags}", dictionary.architecture())))
}

#[test]
fn attention_saes_and_transcoders_in_pickles() -> Result<()> {
    let (sae, is) = read("attention")?;
    assert_eq!(is, "standard blocks.1.attn.hook_z blocks.1.attn.hook_z gpt2-small yyy");
    assert_eq!((sae.expects().context_size, sae.expects().head), (Some(128), None));
    let (transcoder, is) = read("transcoder_circuits")?;
    assert_eq!(is, "transcoder blocks.1.ln2.hook_normalized blocks.1.hook_mlp_out gpt2-small yyy");
    assert_eq!((transcoder.name().as_str(), transcoder.d_sae()), ("blocks.1.ln2.hook_normalized", 32));
    let (_, is) = read("transcoder_circuits_sae")?;
    assert_eq!(is, "standard blocks.2.hook_resid_pre blocks.2.hook_resid_pre gpt2-small yyy");
    Ok(())
}

/// Of a single file, what is in it decides, whatever its name; the point is then that of the object in its pickle.
#[test]
fn a_transcoder_under_another_name() -> Result<()> {
    let folder = scratch("dictionary_under_another_name");
    let file = "final_sparse_autoencoder_gpt2-small_blocks.1.ln2.hook_normalized_32.pt";
    let other = folder.join("mine.pt");
    std::fs::copy(Path::new(&fixture("transcoder_circuits")).join(file), &other).expect("it can be copied");
    let dictionary = Dictionary::from_pretrained(other.to_string_lossy())?;
    assert_eq!(dictionary.expects().hook_out, Some("mlp_out1".parse()?));
    let reference = expected("transcoder_circuits");
    agrees(&dictionary, reference.get("x"), reference.get("f"), reference.get("xhat"))
}

#[test]
fn classes_of_dictionary_learning() -> Result<()> {
    for (class, architecture) in [
        ("standard", "standard"),
        ("new", "standard"),
        ("gated", "gated"),
        ("jumprelu", "jumprelu"),
        ("topk", "topk"),
        ("batchtopk", "jumprelu"),
        ("matryoshka", "jumprelu"),
    ] {
        let (dictionary, is) = read(&format!("dictionary_learning_{class}"))?;
        let point = "blocks.1.hook_resid_post";
        assert_eq!(is, format!("{architecture} {point} {point} EleutherAI/pythia-160m-deduped nnn"), "{class}");
        assert_eq!(dictionary.expects().context_size, Some(1024));
    }
    Ok(())
}

#[test]
fn sparse_coders_of_sparsify() -> Result<()> {
    let (mlp, out, post) = ("blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out", "blocks.1.hook_resid_post");
    for (name, architecture, reads, writes) in [
        ("topk", "topk", post, post),
        ("groupmax", "groupmax", post, post),
        ("signed", "abstopk", post, post),
        ("transcoder", "transcoder", mlp, out),
        ("skip", "skip_transcoder", mlp, out),
    ] {
        let (_, is) = read(&format!("sparsify_{name}"))?;
        assert_eq!(is, format!("{architecture} {reads} {writes} - nnn"));
    }
    Ok(())
}

#[test]
fn autoencoders_of_openai() -> Result<()> {
    let (topk, is) = read("openai/resid_post_mlp_v5_32k")?;
    assert_eq!(is, "topk blocks.1.hook_resid_post blocks.1.hook_resid_post gpt2-small n--");
    assert_eq!(topk.parts().input_norm, InputNorm::LayerNorm);
    let (relu, is) = read("openai/mlp_post_act_v4")?;
    assert_eq!(is, "standard blocks.1.mlp.hook_post blocks.1.mlp.hook_post gpt2-small n--");
    assert_eq!(relu.parts().input_norm, InputNorm::None);
    // Both from the folder above, by their locations.
    let set = DictionarySet::open(fixture("openai"))?;
    let mut names = set.names();
    names.sort();
    assert_eq!(names, ["mlp_post_act_v4/1", "resid_post_mlp_v5_32k/1"]);
    Ok(())
}

#[test]
fn transcoder_sets_of_circuit_tracer() -> Result<()> {
    for (name, architecture, reads) in [
        ("transcoder_set", "transcoder", "ln2.hook_normalized"),
        ("transcoder_set_skip", "skip_transcoder", "mlp.hook_in"),
    ] {
        let (set, reference) = (DictionarySet::open(fixture(name))?, expected(name));
        assert_eq!(set.names(), ["layer_0", "layer_1", "layer_2"]);
        for layer in 0..3 {
            let dictionary = set.get(&format!("layer_{layer}"))?;
            assert_eq!(dictionary.architecture().as_str(), architecture);
            let expects = dictionary.expects();
            assert_eq!(expects.hook_in, Some(format!("blocks.{layer}.{reads}").parse()?));
            assert_eq!(expects.hook_out, Some(format!("blocks.{layer}.hook_mlp_out").parse()?));
            assert_eq!((expects.centred, expects.norms_folded), (Some(false), Some(false)));
            let of = |name: &str| reference.get(name).i(layer);
            agrees(&dictionary, &of("x")?, &of("f")?, &of("xhat")?)?;
        }
        // One file of it.
        let one = Dictionary::from_pretrained(format!("{}/layer_2.safetensors", fixture(name)))?;
        assert_eq!(one.expects().hook_in.and_then(|point| point.layer()), Some(2));
    }
    Ok(())
}

/// Each layer writes its own and those behind it: what all layers write together is what circuit-tracer reconstructs.
#[test]
fn cross_layer_transcoders_of_circuit_tracer() -> Result<()> {
    for name in ["cross_layer", "cross_layer_jumprelu"] {
        let (set, reference) = (DictionarySet::open(fixture(name))?, expected(name));
        let mut sums: Vec<Tensor> = Vec::new();
        let layers = set.all()?;
        assert_eq!(layers.len(), 3);
        for dictionary in &layers {
            sums.push(reference.get("xhat").i(0)?.zeros_like()?.broadcast_add(&dictionary.parts().b_dec)?);
        }
        for (layer, dictionary) in layers.iter().enumerate() {
            assert_eq!(dictionary.architecture(), Architecture::CrossLayerTranscoder);
            assert_eq!(dictionary.n_writes(), 3 - layer);
            let f = dictionary.encode(&reference.get("x").i(layer)?)?.dense()?;
            assert_close(&f, &reference.get("f").i(layer)?, ROUNDING, &format!("{name}, features of layer {layer}"));
            for write in 0..3 - layer {
                let written = f.matmul(&dictionary.w_dec().i((.., write))?)?;
                sums[layer + write] = (&sums[layer + write] + written)?;
            }
        }
        assert_close(&Tensor::stack(&sums, 0)?, reference.get("xhat"), ROUNDING, name);
    }
    Ok(())
}

fn layers(folder: &str) -> Result<Vec<Dictionary>> {
    DictionarySet::open(folder)?.all()
}

fn written(folder: &Path, layer: usize) -> Result<Vec<(String, Tensor)>> {
    let file = Tensors::open(folder.join(format!("layer_{layer}.safetensors")))?;
    file.names().into_iter().map(|name| Ok((name.clone(), file.tensor(&name)?))).collect()
}

/// A set that circuit-tracer wrote is written again tensor by tensor as it was.
#[test]
fn a_set_is_written_as_circuit_tracer_writes_it() -> Result<()> {
    for name in ["transcoder_set", "transcoder_set_skip"] {
        let folder = scratch(&format!("written_{name}"));
        Dictionary::save_transcoder_set(&folder, &layers(&fixture(name))?)?;
        for layer in 0..3 {
            let (ours, theirs) = (written(&folder, layer)?, written(Path::new(&fixture(name)), layer)?);
            assert_eq!(ours.len(), theirs.len());
            for ((name, ours), (expected, theirs)) in ours.iter().zip(&theirs) {
                assert_eq!(name, expected);
                assert_close(ours, theirs, 0.0, name);
            }
        }
        let config = std::fs::read_to_string(folder.join("config.yaml")).expect("it was written");
        assert!(config.contains("model_kind: transcoder_set") && config.contains("feature_output_hook: hook_mlp_out"));
    }
    Ok(())
}

/// What a transcoder subtracts from its input goes into `b_enc`, and a threshold below 0 is ReLU.
#[test]
fn what_circuit_tracer_has_no_place_for_is_converted() -> Result<()> {
    let transcoder = Dictionary::from_pretrained(fixture("transcoder_circuits"))?;
    let expects = Expects::between("blocks.0.ln2.hook_normalized".parse()?, "mlp_out0".parse()?);
    let transcoder = transcoder.with_expects(expects)?;
    let folder = scratch("converted_transcoder");
    Dictionary::save_transcoder_set(&folder, std::slice::from_ref(&transcoder))?;
    let again = &layers(folder.to_str().expect("UTF-8"))?[0];
    assert!(again.parts().b_in.is_none());
    let reference = expected("transcoder_circuits");
    agrees(again, reference.get("x"), reference.get("f"), reference.get("xhat"))?;
    let threshold = (Tensor::arange(0f32, 32., &Device::Cpu)? / 16.)?.affine(1.0, -1.0)?;
    let parts = DictionaryParts { activation: Activation::JumpRelu { threshold }, ..transcoder.parts() };
    let jump = Dictionary::new(parts)?;
    Dictionary::save_transcoder_set(&folder, std::slice::from_ref(&jump))?;
    let again = &layers(folder.to_str().expect("UTF-8"))?[0];
    let x = reference.get("x");
    agrees(again, x, &jump.encode_dense(x)?, &jump.reconstruct(x)?)
}

/// Half precision stays as it is in the file.
#[test]
fn dtypes_are_kept() -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        let folder = scratch(&format!("set_in_{dtype:?}"));
        let all: Vec<Dictionary> = layers(&fixture("transcoder_set_skip"))?;
        Dictionary::save_transcoder_set(&folder, &all)?;
        for layer in 0..3 {
            let half = written(&folder, layer)?.into_iter().map(|(name, tensor)| Ok((name, tensor.to_dtype(dtype)?)));
            let half: std::collections::HashMap<String, Tensor> = half.collect::<Result<_>>()?;
            let file: PathBuf = folder.join(format!("layer_{layer}.safetensors"));
            candle_lens::candle::safetensors::save(&half, file)?;
        }
        let again = layers(folder.to_str().expect("UTF-8"))?;
        assert!(again.iter().all(|dictionary| dictionary.dtype() == dtype && dictionary.w_dec().dtype() == dtype));
        let (x, first) = (expected("transcoder_set_skip").get("x").i(0)?, &again[0]);
        let same = Dictionary::from_pretrained_with(
            format!("{}/layer_0.safetensors", folder.display()),
            DictionaryOptions { dtype: Some(DType::F32), ..Default::default() },
        )?;
        // Sums of half-precision weights are sums in f32.
        assert_close(&first.encode(&x)?.dense()?, &same.encode(&x)?.dense()?, ROUNDING, "features");
    }
    Ok(())
}
