//! The Jacobian lens against TransformerLens 4.3's (tests/fixtures/jacobian.py), by identities, and by finite differences of the
//! model with everything held that is not linear.

use candle_lens::Result;
use candle_lens::candle::{DType, Device, IndexOp, Tensor};
use candle_lens::hooks::{Edit, HookPlan};
use candle_lens::labelled::Labelled;
use candle_lens::lenses::{JacobianLens, JacobianOptions, Lens, LensOptions, LogitLens};
use candle_lens::model::{
    Frozen, HookedTransformer, HookedTransformerConfig, LoadOptions, NormalizationType, PositionalEmbeddingType,
    Processing, RunOptions,
};
use candle_lens::random::Random;
use candle_lens::storage::Tensors;
use candle_lens::tokens::{PaddingSide, Tokens};

use crate::support::fixture::{Agreement, Reference, path};
use crate::support::scratch;
use crate::support::sentence::sentence;
use crate::support::tolerance::{LAST_DIGITS, REORDERED, TWO_WAYS};

/// The models of the references, each with its folder.
const MODELS: [(&str, &str); 3] =
    [("gpt2", "jacobian/model"), ("llama", "families/llama"), ("gpt_neox", "families/gpt_neox")];

/// Differences of sums of numbers near 1 that are not held in f64.
const DIFFERENCES: f32 = 1e-3;

/// The precision of f16 for numbers near 1.
const OF_F16: f32 = 2e-3;

pub fn raw(folder: &str) -> HookedTransformer {
    raw_as(folder, DType::F32)
}

pub fn raw_as(folder: &str, dtype: DType) -> HookedTransformer {
    let options = LoadOptions { processing: Some(Processing::NONE), dtype, ..Default::default() };
    let folder = path(folder);
    let name = folder.to_str().expect("the path is UTF-8");
    HookedTransformer::from_pretrained_with(name, options).expect("the model loads")
}

pub fn references() -> impl Iterator<Item = (&'static str, HookedTransformer, Tokens, Reference)> {
    MODELS.into_iter().map(|(name, folder)| {
        let reference = Reference::load("jacobian/reference.safetensors");
        (name, raw(folder), reference.tokens(&format!("{name}.tokens")), reference)
    })
}

pub fn far(a: &Tensor, b: &Tensor) -> Result<f32> {
    let (a, b) = (a.to_dtype(DType::F32)?, b.to_dtype(DType::F32)?);
    Ok((a - b)?.abs()?.max_all()?.to_scalar::<f32>()?)
}

#[test]
fn lenses_are_those_of_transformer_lens() -> Result<()> {
    let mut agreement = Agreement::default();
    for (name, model, tokens, reference) in references() {
        // Passes of one coordinate, of some, of all.
        for tokens_at_once in [1, 24 * 5, 4096] {
            let options = JacobianOptions { tokens_at_once, ..Default::default() };
            let lens = JacobianLens::fit(&model, &tokens, options)?;
            assert_eq!(lens.layers(), (0..model.cfg().n_layers - 1).collect::<Vec<_>>());
            for layer in lens.layers() {
                let expected = reference.get(&format!("{name}.lens.{layer}"));
                agreement.check(&format!("{name}, layer {layer}"), &lens.matrix(layer as isize)?, expected);
            }
        }
        for prompt in 0..2 {
            let lens = JacobianLens::fit(&model, vec![tokens.row(prompt)], JacobianOptions::default())?;
            let expected = reference.get(&format!("{name}.prompts.{prompt}.0"));
            agreement.check(&format!("{name}, prompt {prompt}"), &lens.matrix(0)?, expected);
        }
    }
    agreement.finish("Jacobian lenses");
    Ok(())
}

#[test]
fn readings_are_those_of_transformer_lens() -> Result<()> {
    let mut agreement = Agreement::default();
    for (name, model, tokens, reference) in references() {
        let lens = JacobianLens::fit(&model, &tokens, JacobianOptions::default())?;
        let whole = (0..model.cfg().d_vocab as u32).map(Into::into).collect();
        let options = LensOptions { tokens: whole, ..Default::default() };
        let reading = lens.read(&model, vec![tokens.row(0)], options)?;
        let logits = reading.chosen()?.logit.to_tensor()?;
        // Behind each block, the last one included.
        assert_eq!(logits.dim(0)?, model.cfg().n_layers, "{name}");
        for layer in 0..model.cfg().n_layers {
            let expected = reference.get(&format!("{name}.readout.{layer}"));
            agreement.check(&format!("{name}, layer {layer}"), &logits.i((layer, 0))?, expected);
        }
    }
    agreement.finish("readings");
    Ok(())
}

/// The lens of identities is the logit lens.
#[test]
fn identities_make_the_logit_lens() -> Result<()> {
    for (name, model) in kinds()? {
        let identity = Tensor::eye(model.cfg().d_model, DType::F32, &Device::Cpu)?;
        let lens = JacobianLens::new(&model, (0..2).map(|layer| (layer, identity.clone())))?;
        let options = || LensOptions { k: 3, target: 4u32.into(), ..Default::default() };
        let tokens = Tokens::padded(vec![vec![1, 5, 9, 2, 7], vec![3, 3]], 0, PaddingSide::Right)?;
        let (ours, logit) = (lens.read(&model, &tokens, options())?, LogitLens.read(&model, &tokens, options())?);
        // The logit lens reads the embedding, too.
        let behind = |of: &Labelled| of.to_tensor().and_then(|all| Ok(all.narrow(0, 1, 3)?));
        let pairs = [
            (ours.target()?.logit, logit.target()?.logit),
            (ours.probabilities.clone(), logit.probabilities.clone()),
            (ours.kl()?, logit.kl()?),
        ];
        for (ours, logit) in pairs {
            let (ours, logit) = (ours.to_tensor()?.flatten_all()?, behind(&logit)?.flatten_all()?);
            let pairs = ours.to_vec1::<f32>()?.into_iter().zip(logit.to_vec1::<f32>()?);
            assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < REORDERED || a.is_nan() && b.is_nan()), "{name}");
        }
    }
    Ok(())
}

#[test]
fn published_files_are_read() -> Result<()> {
    let (model, reference) = (raw("jacobian/model"), Reference::load("jacobian/reference.safetensors"));
    for file in ["jacobian/lens.pt", "jacobian/checkpoint.pt"] {
        let lens = JacobianLens::load(path(file), &model)?;
        assert_eq!((lens.layers(), lens.prompts(), lens.skipped()), (vec![0, 1, 2], 2, 0), "{file}");
        for layer in lens.layers() {
            let apart = far(&lens.matrix(layer as isize)?, reference.get(&format!("gpt2.lens.{layer}")))?;
            assert!(apart < LAST_DIGITS, "{file}, layer {layer}: {apart}");
        }
        assert!(lens.to_string().contains("positions from: 16"), "{lens}");
    }
    assert!(JacobianLens::load(path("jacobian/lens.pt"), &model)?.to_string().contains("random tokens"));
    // Tensors under numbers are called by their digits.
    assert_eq!(Tensors::open_under(path("jacobian/lens.pt"), "J")?.names(), ["0", "1", "2"]);
    // In half precision, and without a word about whose it is.
    let bare = JacobianLens::load(path("jacobian/bare.pt"), &model)?;
    assert!(far(&bare.matrix(0)?, reference.get("gpt2.lens.0"))? < OF_F16);
    assert_eq!(bare.to_string(), "Jacobian lens: layers 0 to 2 of 4, d_model 16, the mean over 2 prompts");
    sentence(JacobianLens::load(path("jacobian/lens.pt"), &raw("families/llama")), &["4 layers", "has 2"]);
    sentence(JacobianLens::load(path("jacobian/bare.pt"), &raw("families/llama")), &["layer 1", "another model"]);
    sentence(JacobianLens::load(path("checkpoints/trained.pth"), &model), &["J or jacobian_sum"]);
    sentence(JacobianLens::load("jacobian/nothing.pt", &model), &["does not exist", "owner/repo"]);
    sentence(JacobianLens::load(path("jacobian/model/model.safetensors"), &model), &["candle-lens saved"]);
    Ok(())
}

#[test]
fn lenses_are_saved_and_merged() -> Result<()> {
    let (model, tokens) =
        (raw("jacobian/model"), Reference::load("jacobian/reference.safetensors").tokens("gpt2.tokens"));
    let fit = |prompts: Vec<Vec<u32>>| JacobianLens::fit(&model, prompts, JacobianOptions::default());
    let (both, parts) =
        (fit(vec![tokens.row(0), tokens.row(1)])?, [fit(vec![tokens.row(0)])?, fit(vec![tokens.row(1)])?]);
    let merged = JacobianLens::merged(parts)?;
    assert_eq!(merged.prompts(), 2);
    let file = scratch("jacobian").join("lens.safetensors");
    merged.save(&file)?;
    let loaded = JacobianLens::load(&file, &model)?;
    assert_eq!(loaded.to_string(), merged.to_string());
    for layer in both.layers() {
        let layer = layer as isize;
        assert!(far(&both.matrix(layer)?, &merged.matrix(layer)?)? < LAST_DIGITS);
        assert_eq!(far(&loaded.matrix(layer)?, &merged.matrix(layer)?)?, 0.);
    }
    let other = JacobianLens::fit(&model, &tokens, JacobianOptions { first: 4, ..Default::default() })?;
    sentence(JacobianLens::merged([both, other]), &["fitted alike"]);
    sentence(JacobianLens::merged([]), &["at least one"]);
    // Of other sizes, and of other weights in the same ones.
    let changed =
        HookedTransformer::from_pretrained_with(path("tiny_gpt2").to_str().expect("UTF-8"), Processing::NONE)?;
    sentence(loaded.vectors(&changed, [7u32], 0), &["4 layers"]);
    let (others, _) = HookedTransformer::trainable((*model.cfg()).clone(), 1, &Device::Cpu)?;
    sentence(loaded.vectors(&others, [7u32], 0), &["not fitted on this model"]);
    Ok(())
}

/// Small models of different kinds: norms, positions, gates, grouped queries, parallel blocks.
pub fn kinds() -> Result<Vec<(&'static str, HookedTransformer)>> {
    let small = || HookedTransformerConfig {
        n_layers: 3,
        d_model: 8,
        n_heads: 4,
        d_mlp: Some(12),
        d_vocab: 11,
        n_ctx: 12,
        initializer_range: Some(0.5),
        ..Default::default()
    };
    let rotary = || HookedTransformerConfig {
        normalization_type: NormalizationType::RMS,
        positional_embedding_type: PositionalEmbeddingType::Rotary,
        rotary_dim: Some(2),
        gated_mlp: true,
        act_fn: candle_lens::model::ActFn::Silu,
        n_key_value_heads: Some(2),
        ..small()
    };
    let kinds = vec![
        ("layer norm", small()),
        ("RMS, rotary, gated, grouped", rotary()),
        ("attention only", HookedTransformerConfig { attn_only: true, d_mlp: None, ..small() }),
        ("parallel", HookedTransformerConfig { parallel_attn_mlp: true, ..small() }),
    ];
    kinds
        .into_iter()
        .map(|(name, cfg)| Ok((name, HookedTransformer::trainable(cfg, 3, &Device::Cpu)?.0.without_weight_gradients())))
        .collect()
}

/// With patterns, scales and what MLPs write held, the model is affine behind a layer, and the lens is its slope: each coordinate of
/// each position moved by 1, and what comes of it at later positions added up.
#[test]
fn with_everything_held_the_lens_is_the_finite_difference() -> Result<()> {
    const FIRST: usize = 2;
    for (name, model) in kinds()? {
        let tokens = Tokens::from_rows(vec![vec![1, 5, 9, 2, 7, 3, 10]])?;
        let options = JacobianOptions { first: FIRST, ..Default::default() };
        let held = model.with_frozen([Frozen::AttentionPatterns, Frozen::NormScales, Frozen::Mlps]);
        let lens = JacobianLens::fit(&held, &tokens, &options)?;
        assert!(lens.to_string().contains("frozen: AttentionPatterns, NormScales, Mlps"), "{lens}");
        let (_, cache) = model.run_with_cache(&tokens)?;
        let d_model = model.cfg().d_model;
        let end = |plan: HookPlan| -> Result<Tensor> {
            let options = RunOptions { stop_at_layer: Some(3), ..Default::default() };
            model.run(&tokens, plan, options)?.resid()
        };
        for layer in lens.layers() {
            let mut hold = HookPlan::new();
            for later in layer + 1..3 {
                let names = ["pattern", "mlp_out", "ln1.hook_scale", "ln2.hook_scale"];
                for point in names.map(|point| format!("blocks.{later}.{}", hooked(point))) {
                    if cache.contains(&point) {
                        hold = hold.edit(&point, Edit::replace(cache.get(&point)?));
                    }
                }
            }
            let before = end(hold.clone())?;
            let mut slope = vec![vec![0f32; d_model]; d_model];
            let counted = FIRST..tokens.pos() - 1;
            for at in counted.clone() {
                for j in 0..d_model {
                    let mut one = vec![0f32; d_model];
                    one[j] = 1.;
                    let push = Edit::add(Tensor::new(one, &Device::Cpu)?).pos(at);
                    let after = end(hold.clone().edit(("resid_post", layer), push))?;
                    let moved = (after - &before)?.i((0, FIRST..tokens.pos() - 1))?.sum(0)?.to_vec1::<f32>()?;
                    (0..d_model).for_each(|i| slope[i][j] += moved[i] / counted.len() as f32);
                }
            }
            let slope = Tensor::new(slope, &Device::Cpu)?;
            let apart = far(&lens.matrix(layer as isize)?, &slope)?;
            assert!(apart < TWO_WAYS, "{name}, layer {layer}: {apart}");
        }
    }
    Ok(())
}

fn hooked(point: &str) -> String {
    match point {
        "pattern" => "attn.hook_pattern".into(),
        "mlp_out" => "hook_mlp_out".into(),
        scale => scale.into(),
    }
}

/// Without freezing it is the slope at the run: small steps both ways.
#[test]
fn the_lens_is_the_slope_of_the_model() -> Result<()> {
    const STEP: f64 = 1e-2;
    for (name, model) in kinds()? {
        let tokens = Tokens::from_rows(vec![vec![1, 5, 9, 2, 7, 3, 10]])?;
        let lens = JacobianLens::fit(&model, &tokens, JacobianOptions { first: 0, ..Default::default() })?;
        let mut random = Random::new(4);
        let direction = random.normal(model.cfg().d_model)?;
        // The same direction at one position: what comes of it anywhere later is what the sum over positions counts.
        let moved = |sign: f64| -> Result<Tensor> {
            let mut all = Vec::new();
            for at in 0..tokens.pos() - 1 {
                let plan = HookPlan::new().edit(("resid_post", 1), Edit::add((&direction * (sign * STEP))?).pos(at));
                let options = RunOptions { stop_at_layer: Some(3), ..Default::default() };
                all.push(model.run(&tokens, plan, options)?.resid()?.i((0, ..tokens.pos() - 1))?.sum(0)?);
            }
            Ok(Tensor::stack(&all, 0)?.mean(0)?)
        };
        let slope = ((moved(1.)? - moved(-1.)?)? / (2. * STEP))?;
        let by_lens = lens.matrix(1)?.matmul(&direction.unsqueeze(1)?)?.squeeze(1)?;
        let apart = far(&slope, &by_lens)?;
        assert!(apart < 10. * DIFFERENCES, "{name}: {apart}");
        // The last layer's matrix is the identity, and transport by it changes nothing.
        let (_, cache) = model.run_with_cache(&tokens)?;
        let resid = cache.get(("resid_post", -1))?;
        assert_eq!(far(&lens.transport(&resid, -1)?, &resid)?, 0.);
        assert_eq!(far(&lens.matrix(-1)?, &Tensor::eye(8, DType::F32, &Device::Cpu)?)?, 0.);
    }
    Ok(())
}

/// What comes after the positions that count, and padding, changes nothing; short prompts are counted.
#[test]
fn only_what_counts_counts() -> Result<()> {
    let (_, model) = kinds()?.remove(0);
    let options = JacobianOptions { first: 3, longest: 7, ..Default::default() };
    let long = vec![1, 5, 9, 2, 7, 3, 10];
    let lens = JacobianLens::fit(&model, vec![long.clone()], &options)?;
    let with_more: Vec<u32> = long.iter().copied().chain([4, 4, 8]).collect();
    let rows = vec![long.clone(), vec![1, 2, 3, 4], with_more.clone()];
    for side in [PaddingSide::Left, PaddingSide::Right] {
        let padded = Tokens::padded(rows.clone(), 0, side)?;
        let both = JacobianLens::fit(&model, &padded, &options)?;
        assert_eq!((both.prompts(), both.skipped()), (2, 1));
        for layer in [0, 1] {
            assert!(far(&both.matrix(layer)?, &lens.matrix(layer)?)? < LAST_DIGITS);
        }
    }
    // The last token predicts nothing that is there, so whichever it is does not matter.
    let mut other = long;
    other[6] = 0;
    let other = JacobianLens::fit(&model, vec![other], &options)?;
    assert!(far(&other.matrix(0)?, &lens.matrix(0)?)? < LAST_DIGITS);
    Ok(())
}
