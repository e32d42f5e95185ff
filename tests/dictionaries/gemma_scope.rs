//! Gemma Scope and Gemma Scope 2: what the loaders of SAELens and circuit-tracer make of the same files.

use std::fs;
use std::path::PathBuf;

use candle_lens::Result;
use candle_lens::prelude::*;

use crate::support::damage::torture;
use crate::support::fixture::{Reference, path};
use crate::support::sentence::sentence;
use crate::support::tolerance::REORDERED;
use crate::support::{assert_close, scratch};

fn folder(name: &str) -> PathBuf {
    path("dictionaries/gemma_scope").join(name)
}

fn load(name: &str) -> Result<Dictionary> {
    Dictionary::from_pretrained(folder(name).to_str().expect("UTF-8"))
}

#[test]
fn every_kind_of_file_computes_what_its_authors_loader_computes() -> Result<()> {
    let expected = Reference::load("dictionaries/gemma_scope/expected.safetensors");
    let two = "gemma-scope-2-1b-pt";
    for (name, hook_in, hook_out) in [
        ("gemma-scope-2b-pt-res/layer_1/width_16k/average_l0_7", "blocks.1.hook_resid_post", None),
        ("gemma-scope-2b-pt-res/embedding/width_4k/average_l0_3", "hook_embed", None),
        ("gemma-scope-9b-it-att/layer_2/width_16k/average_l0_9", "blocks.2.attn.hook_z", None),
        ("gemma-scope-2b-pt-mlp/layer_0/width_16k/average_l0_5", "blocks.0.hook_mlp_out", None),
        (
            "gemma-scope-2b-pt-transcoders/layer_1/width_16k/average_l0_6",
            "blocks.1.ln2.hook_normalized",
            Some("blocks.1.hook_mlp_out"),
        ),
        (&format!("{two}/resid_post_all/layer_2_width_16k_l0_small"), "blocks.2.hook_resid_post", None),
        (&format!("{two}/attn_out/layer_1_width_16k_l0_big"), "blocks.1.attn.hook_z", None),
        (
            &format!("{two}/transcoder_all/layer_1_width_16k_l0_small"),
            "blocks.1.mlp.hook_in",
            Some("blocks.1.hook_mlp_out"),
        ),
        (
            &format!("{two}/transcoder_all/layer_1_width_16k_l0_small_affine"),
            "blocks.1.mlp.hook_in",
            Some("blocks.1.hook_mlp_out"),
        ),
    ] {
        let dictionary = load(name)?;
        let get = |part: &str| expected.get(&format!("{}.{part}", name.replace('/', ".")));
        assert_close(&dictionary.encode_dense(get("x"))?, get("f"), REORDERED, &format!("features of {name}"));
        assert_close(&dictionary.reconstruct(get("x"))?, get("y"), REORDERED, &format!("output of {name}"));
        let expects = dictionary.expects();
        assert_eq!(expects.hook_in.map(|point| point.to_string()).as_deref(), Some(hook_in), "{name}");
        assert_eq!(expects.hook_out.map(|point| point.to_string()).as_deref(), hook_out, "{name}");
        assert_eq!((expects.prepend_bos, expects.context_size), (Some(true), Some(1024)));
    }
    let expects = load("gemma-scope-2b-pt-res/layer_1/width_16k/average_l0_7")?.expects();
    assert_eq!((expects.model.as_deref(), expects.card.l0), (Some("gemma-2-2b"), Some(7.0)));
    let expects = load("gemma-scope-9b-it-att/layer_2/width_16k/average_l0_9")?.expects();
    assert_eq!(expects.model.as_deref(), Some("gemma-2-9b-it"));
    assert_eq!(load(&format!("{two}/attn_out"))?.expects().model.as_deref(), Some("gemma-3-1b-pt"));
    Ok(())
}

#[test]
fn a_cross_layer_transcoder_keeps_what_it_writes_from_its_own_layer_on() -> Result<()> {
    let expected = Reference::load("dictionaries/gemma_scope/expected.safetensors");
    let set = DictionarySet::open(folder("gemma-scope-2-1b-pt/clt").to_str().expect("UTF-8"))?;
    assert_eq!(set.len(), 3);
    for layer in 0..3 {
        let [dictionary] = &set.layer(layer)?[..] else { panic!("one of each layer") };
        assert_eq!(dictionary.architecture(), Architecture::CrossLayerTranscoder);
        assert_eq!((dictionary.n_writes(), dictionary.parts().w_skip.is_some()), (3 - layer, true));
        assert_close(&dictionary.w_dec(), expected.get(&format!("clt.{layer}.W_dec")), 0.0, "decoders");
        let features = dictionary.encode_dense(&expected.get("clt.x").get(layer)?)?;
        assert_close(&features, &expected.get("clt.f").get(layer)?, REORDERED, "features");
    }
    Ok(())
}

#[test]
fn a_file_whose_names_say_nothing_needs_the_point() -> Result<()> {
    let to = scratch("gemma-scope-alone");
    let from = folder("gemma-scope-2b-pt-transcoders/layer_1/width_16k/average_l0_6/params.npz");
    fs::copy(from, to.join("params.npz")).expect("copied");
    let name = to.to_str().expect("UTF-8");
    sentence(Dictionary::from_pretrained(name), &["does not say which point", "hook_out for a transcoder"]);
    let options = DictionaryOptions {
        hook_in: Some("blocks.3.ln2.hook_normalized".parse()?),
        hook_out: Some("mlp_out3".parse()?),
        ..Default::default()
    };
    let file = to.join("params.npz");
    let dictionary = Dictionary::from_pretrained_with(file.to_str().expect("UTF-8"), options)?;
    assert_eq!(dictionary.architecture(), Architecture::Transcoder);
    Ok(())
}

#[test]
fn damaged_files_are_refused_or_read_as_something_else() {
    for (name, file, seed) in [
        ("gemma-scope-2b-pt-res/layer_1/width_16k/average_l0_7", "params.npz", 1),
        ("gemma-scope-2-1b-pt/transcoder_all/layer_1_width_16k_l0_small_affine", "params.safetensors", 2),
        ("gemma-scope-2-1b-pt/clt/width_262k_l0_big_affine", "params_layer_1.safetensors", 3),
    ] {
        let to = scratch(&format!("gemma-scope-damaged-{seed}")).join(name);
        fs::create_dir_all(&to).expect("made");
        let whole = fs::read(folder(name).join(file)).expect("there");
        let read = || -> Result<()> {
            let dictionary = Dictionary::from_pretrained(to.to_str().expect("UTF-8"))?;
            dictionary.encode(&Tensor::zeros((2, dictionary.d_in()), DType::F32, &Device::Cpu)?).map(drop)
        };
        torture(seed, 150, &to.join(file), &whole, read);
    }
}
