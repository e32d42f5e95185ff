//! Dictionaries of the hub: by the path in a repository and by a release's name, what is fetched of them, and without a network.

use std::fs;

use candle_lens::Result;
use candle_lens::prelude::*;

use crate::storage::hub::{hub, paths, unreachable};
use crate::storage::hub_server::{COMMIT, Server};
use crate::support::fixture::path;
use crate::support::sentence::sentence;
use crate::support::tolerance::LAST_DIGITS;

/// A hub with these files of repositories, each taken from a file of the references.
fn server(repo: &str, files: &[(&str, &str)]) -> Server {
    let bytes = |file: &str| fs::read(path("dictionaries").join(file)).expect("there");
    let address = |name: &str| format!("{repo}/resolve/main/{}", name.replace(':', "%3A"));
    let server = Server::new(files.iter().map(|(name, file)| (address(name), bytes(file))));
    let siblings: Vec<_> = files.iter().map(|(name, _)| serde_json::json!({ "rfilename": name })).collect();
    let list = serde_json::json!({ "id": repo, "sha": COMMIT, "siblings": siblings }).to_string();
    server.add(&format!("api/models/{repo}/revision/main"), list.into_bytes());
    server
}

fn options(hub: &candle_lens::storage::Hub) -> DictionaryOptions {
    DictionaryOptions { hub: Some(hub.clone()), ..Default::default() }
}

#[test]
fn a_path_in_a_repository_is_fetched_alone_and_kept() -> Result<()> {
    let files = [
        ("first/cfg.json", "saelens/standard/cfg.json"),
        ("first/sae_weights.safetensors", "saelens/standard/sae_weights.safetensors"),
        ("second/cfg.json", "saelens/gated/cfg.json"),
        ("second/sae_weights.safetensors", "saelens/gated/sae_weights.safetensors"),
    ];
    let server = server("someone/saes", &files);
    let hub = hub(&server, "dictionary_hub", &[]);
    let dictionary = Dictionary::from_pretrained_with("someone/saes:second@main", options(&hub))?;
    assert_eq!((dictionary.architecture(), dictionary.d_sae()), (Architecture::Gated, 32));
    assert_eq!(dictionary.name(), "someone/saes:second@main");
    let asked = paths(&server.asked());
    assert!(asked.iter().all(|path| !path.contains("first")), "{asked:?}");
    // A second time and without a network, from what is kept.
    Dictionary::from_pretrained_with("someone/saes:second", options(&unreachable(&hub, true)))?;
    Dictionary::from_pretrained_with("someone/saes:second", options(&unreachable(&hub, false)))?;
    // A set fetches configurations, and weights when they are asked for.
    let set = DictionarySet::open_with("someone/saes", options(&hub))?;
    assert_eq!(set.names(), ["first", "second"]);
    assert!(set.to_string().contains("first: not opened yet, at blocks.1.hook_resid_pre"), "{set}");
    let asked = paths(&server.asked());
    assert!(asked.iter().all(|path| !path.contains("sae_weights")), "{asked:?}");
    assert_eq!(set.get("first")?.architecture(), Architecture::Standard);
    sentence(Dictionary::from_pretrained_with("someone/saes", options(&hub)), &["holds 2 dictionaries"]);
    sentence(Dictionary::from_pretrained_with("someone/saes:third", options(&hub)), &["third", "has no files there"]);
    Ok(())
}

#[test]
fn a_release_is_found_by_its_name_with_what_is_known_of_it() -> Result<()> {
    let name = "blocks.8.hook_resid_pre";
    let files = [
        (format!("{name}/cfg.json"), "saelens/version_2/cfg.json"),
        (format!("{name}/sae_weights.safetensors"), "saelens/version_2/sae_weights.safetensors"),
    ];
    let server =
        server("jbloom/GPT2-Small-SAEs-Reformatted", &files.each_ref().map(|(name, file)| (name.as_str(), *file)));
    let hub = hub(&server, "dictionary_release", &[]);
    let dictionary = Dictionary::from_pretrained_with(format!("gpt2-small-res-jb/{name}"), options(&hub))?;
    let expects = dictionary.expects();
    assert_eq!((expects.centred, expects.value_biases_folded), (Some(true), None), "the files say neither");
    assert_eq!((expects.card.l0, expects.card.explained_variance), (Some(60.0), Some(0.9)));
    sentence(
        Dictionary::from_pretrained("gpt2-small-res-jb/blocks.12.hook_resid_pre"),
        &["has no dictionary", "nearest"],
    );
    sentence(Dictionary::from_pretrained("gpt2-small-res-bj"), &["nearest release is \"gpt2-small-res-jb\""]);
    Ok(())
}

// Windows has no such names of files.
#[cfg(not(windows))]
#[test]
fn the_factor_of_a_release_is_folded_into_its_weights() -> Result<()> {
    let folder = "sae_group_gpt2_blocks.0.hook_mlp_out_24576:v1";
    let files = [
        (format!("{folder}/cfg.json"), "saelens/averaged/cfg.json"),
        (format!("{folder}/sae_weights.safetensors"), "saelens/averaged/sae_weights.safetensors"),
    ];
    let server =
        server("tommmcgrath/gpt2-small-mlp-out-saes", &files.each_ref().map(|(name, file)| (name.as_str(), *file)));
    let hub = hub(&server, "dictionary_factor", &[]);
    let load = |norm_factor: Option<f64>| {
        let options = DictionaryOptions { norm_factor, ..options(&hub) };
        Dictionary::from_pretrained_with("gpt2-small-mlp-tm/blocks.0.hook_mlp_out", options)
    };
    let ratio = (load(None)?.w_enc() / load(Some(1.0))?.w_enc())?.mean_all()?.to_scalar::<f32>()?;
    assert!((f64::from(ratio) - 1.049317316132615).abs() < f64::from(LAST_DIGITS), "{ratio}");
    Ok(())
}

#[test]
fn the_factor_of_a_release_is_left_out_where_its_file_multiplies_inputs_by_none() -> Result<()> {
    let folder = "gemma_2b_blocks.12.hook_resid_post_16384";
    let files = [
        (format!("{folder}/cfg.json"), "saelens/standard/cfg.json"),
        (format!("{folder}/sae_weights.safetensors"), "saelens/standard/sae_weights.safetensors"),
    ];
    let server =
        server("jbloom/Gemma-2b-Residual-Stream-SAEs", &files.each_ref().map(|(name, file)| (name.as_str(), *file)));
    let hub = hub(&server, "dictionary_no_factor", &[]);
    let of_release = Dictionary::from_pretrained_with("gemma-2b-res-jb/blocks.12.hook_resid_post", options(&hub))?;
    let alone = Dictionary::from_pretrained(path("dictionaries/saelens/standard").to_string_lossy())?;
    assert_close(&of_release.w_enc(), &alone.w_enc(), 0.0)?;
    Ok(())
}

#[test]
fn what_saelens_overrides_in_the_files_of_a_release_is_overridden_here() -> Result<()> {
    let files = [
        ("mistral_7b_layer_8/cfg.json", "saelens/standard/cfg.json"),
        ("mistral_7b_layer_8/sae_weights.safetensors", "saelens/standard/sae_weights.safetensors"),
    ];
    let server = server("JoshEngels/Mistral-7B-Residual-Stream-SAEs", &files);
    let hub = hub(&server, "dictionary_override", &[]);
    let alone = Dictionary::from_pretrained(path("dictionaries/saelens/standard").to_string_lossy())?;
    assert_eq!(alone.parts().input_norm, InputNorm::None, "the file says that nothing is normalised");
    let of_release = Dictionary::from_pretrained_with("mistral-7b-res-wg/blocks.8.hook_resid_pre", options(&hub))?;
    assert_eq!(of_release.parts().input_norm, InputNorm::ConstantNorm);
    Ok(())
}
