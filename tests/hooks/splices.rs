//! What a plan splices into a model, on a linear dictionary whose every number can be made by hand.

use std::sync::Arc;

use candle_lens::Result;
use candle_lens::cache::ActivationCache;
use candle_lens::hooks::{AxisName, Edit, HookPlan, HookPoint, InnerSite, MeanOver, Splice, SpliceRun};
use candle_lens::model::{HookedTransformer, HookedTransformerConfig, Loss, RunOptions};
use candle_lens::prelude::{D, DType, Device, GenerateOptions, Tensor};
use candle_lens::tokens::{PaddingSide, Tokens};

use crate::support::sentence::sentence;
use crate::support::splice::{FEATURES, Linear};
use crate::support::tolerance::{CLEAR, REORDERED, VISIBLE};
use crate::support::{assert_close, scratch};

const D_MODEL: usize = 8;
const ACTS: &str = "blocks.1.hook_resid_post.hook_sae_acts_post";

fn model() -> HookedTransformer {
    let cfg = HookedTransformerConfig {
        n_layers: 3,
        d_model: D_MODEL,
        n_heads: 2,
        d_vocab: 20,
        n_ctx: 12,
        ..Default::default()
    };
    HookedTransformer::trainable(cfg, 1, &Device::Cpu).unwrap().0.without_weight_gradients()
}

fn tokens() -> Tokens {
    Tokens::from_rows(vec![vec![1, 2, 3, 4, 5, 6], vec![7, 8, 9, 10, 11, 12]]).unwrap()
}

fn padded() -> Tokens {
    Tokens::padded(vec![vec![1, 2, 3, 4, 5, 6], vec![7, 8, 9]], 0, PaddingSide::Left).unwrap()
}

fn spliced(error_term: bool) -> HookPlan {
    HookPlan::new().splice(("resid_post", 1), Linear::new(D_MODEL, error_term))
}

fn cache(tokens: Tokens, plan: &HookPlan) -> Result<(Tensor, ActivationCache)> {
    model().run_with_hooks(tokens, plan)
}

#[test]
fn inner_points_are_captured_as_the_dictionary_makes_them() -> Result<()> {
    let dictionary = Linear::new(D_MODEL, false);
    for tokens in [tokens(), padded()] {
        let plan = spliced(false).capture(("resid_post", ACTS, "sae_recons", ("resid_pre", 2)));
        let (_, cache) = cache(tokens, &plan)?;
        let by_hand = cache.get(("resid_post", 1))?.broadcast_matmul(&dictionary.encode)?;
        assert_close(&cache.get(ACTS)?, &by_hand, 0.0, "the features");
        assert_close(&cache.get(("sae_acts_post", 1))?, &by_hand, 0.0, "by the name of the site");
        assert_close(&cache.get(("hook_resid_post.hook_sae_acts_post", -2))?, &by_hand, 0.0, "by layer from the end");
        let recons = by_hand.broadcast_matmul(&dictionary.decode)?;
        assert_close(&cache.get(("sae_recons", 1))?, &recons, 0.0, "the reconstruction");
        // The run goes on with what the dictionary returns; what is captured at the point is what it reads.
        assert_close(&cache.get(("resid_pre", 2))?, &recons, 0.0, "the next block");
    }
    // Everything that is computed anyway includes what is inside.
    let (_, all) = cache(tokens(), &spliced(false).capture_all())?;
    assert!(all.contains(ACTS) && all.len() == model().run_with_cache(tokens())?.1.len() + 2);
    let filter = HookPlan::new().capture_where(|point| matches!(point, HookPoint::Inner(_)));
    let plan = filter.splice(("mlp_out", 0), Linear::new(D_MODEL, true)).splice("embed", Linear::new(D_MODEL, true));
    let names: Vec<String> = cache(tokens(), &plan)?.1.iter().map(|(point, _)| point.to_string()).collect();
    let outer = ["hook_embed", "blocks.0.hook_mlp_out"];
    let inner = ["hook_sae_acts_post", "hook_sae_recons"];
    let expected: Vec<String> = outer.iter().flat_map(|o| inner.iter().map(move |i| format!("{o}.{i}"))).collect();
    assert_eq!(names, expected, "in the order of the forward pass");
    Ok(())
}

/// Gives back what it reads.
struct Identity;

impl Splice for Identity {
    fn name(&self) -> String {
        "identity".into()
    }

    fn inner(&self) -> Vec<InnerSite> {
        Vec::new()
    }

    fn is_by_position(&self) -> bool {
        true
    }

    fn run(&self, x: &Tensor, _: &mut SpliceRun) -> Result<Tensor> {
        Ok(x.clone())
    }
}

#[test]
fn an_identity_leaves_the_logits_as_they_are_at_every_point() -> Result<()> {
    let model = model();
    for tokens in [tokens(), padded()] {
        let plain = model.forward(tokens.clone())?;
        for point in HookPoint::all(&model.dims()) {
            let plan = HookPlan::new().splice(point, Identity);
            match model.run_with_hooks(tokens.clone(), &plan) {
                // Where each head gets an input of its own, sums have another order.
                Ok((logits, _)) if point.to_string().ends_with("_input") || point.to_string().ends_with("attn_in") => {
                    assert_close(&logits, &plain, REORDERED, &point.to_string());
                }
                Ok((logits, _)) if point.to_string().ends_with("hook_result") => {
                    assert_close(&logits, &plain, REORDERED, &point.to_string());
                }
                Ok((logits, _)) => assert_close(&logits, &plain, 0.0, &point.to_string()),
                Err(error) => {
                    let scalars = ["hook_tokens", "hook_scale", "attn_scores", "hook_pattern"];
                    assert!(scalars.iter().any(|name| point.to_string().ends_with(name)), "{point}: {error}");
                    assert!(error.to_string().contains("nothing can be spliced in"), "{error}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn edits_of_features_are_those_made_by_hand() -> Result<()> {
    let dictionary = Linear::new(D_MODEL, true);
    let model = model();
    let plain = HookPlan::new().capture(("resid_post", 1));
    let x = model.run_with_hooks(tokens(), &plain)?.1.get(("resid_post", 1))?;
    let acts = x.broadcast_matmul(&dictionary.encode)?;
    let of = |feature: usize| acts.narrow(2, feature, 1)?.broadcast_matmul(&dictionary.decode.narrow(0, feature, 1)?);
    let direction = dictionary.decode.narrow(0, 3, 1)?.reshape((1, 1, D_MODEL))?;
    let last = Tensor::from_vec((0..6).map(|pos| f32::from(u8::from(pos == 5))).collect(), (1, 6, 1), &Device::Cpu)?;
    // What an edit of the features adds to the residual stream, where the error term keeps the rest.
    let cases = [
        ("zero", Edit::zero().feature(3), of(3)?.neg()?),
        ("zero of two", Edit::zero().feature([3, -1]), (of(3)? + of(FEATURES - 1)?)?.neg()?),
        ("half", Edit::scale(0.5).feature(3), (of(3)? * -0.5)?),
        ("add", Edit::add(Tensor::new(2f32, &Device::Cpu)?).feature(3), (direction.broadcast_as(x.shape())? * 2.)?),
        ("at one position", Edit::zero().feature(3).pos(-1), of(3)?.neg()?.broadcast_mul(&last)?),
        ("by a function", Edit::custom("none", |x, _| x.zeros_like()).feature(3), of(3)?.neg()?),
        (
            "mean over prompts",
            Edit::mean(MeanOver::Batch).feature(3),
            (of(3)?.mean_keepdim(0)?.broadcast_as(x.shape())? - of(3)?)?,
        ),
        (
            "replace",
            Edit::replace(Tensor::new(1.5f32, &Device::Cpu)?).feature(3),
            ((direction.broadcast_as(x.shape())? * 1.5)? - of(3)?)?,
        ),
    ];
    for (name, edit, change) in cases {
        let plan = spliced(true).edit(ACTS, edit);
        let by_hand = HookPlan::new().edit(("resid_post", 1), Edit::replace((&x + change)?));
        let expected = model.run_with_hooks(tokens(), &by_hand)?.0;
        assert_close(&model.run_with_hooks(tokens(), &plan)?.0, &expected, REORDERED, name);
        assert!(
            (expected - model.forward(tokens())?)?.abs()?.max_all()?.to_scalar::<f32>()? > CLEAR,
            "{name} does something"
        );
    }
    Ok(())
}

#[test]
fn the_splice_reads_the_edited_activation() -> Result<()> {
    let dictionary = Linear::new(D_MODEL, false);
    let plan = spliced(false).edit(("resid_post", 1), Edit::scale(2.)).capture((("resid_post", 1), ACTS));
    let (_, edited) = cache(tokens(), &plan)?;
    let (_, plain) = cache(tokens(), &HookPlan::new().capture(("resid_post", 1)))?;
    let twice = (plain.get(("resid_post", 1))? * 2.)?;
    assert_close(&edited.get(("resid_post", 1))?, &twice, 0.0, "the edit comes first");
    assert_close(&edited.get(ACTS)?, &twice.broadcast_matmul(&dictionary.encode)?, 0.0, "and the splice reads it");
    Ok(())
}

#[test]
fn gradients_of_features_go_through_the_decoder() -> Result<()> {
    let dictionary = Linear::new(D_MODEL, false);
    let plan = spliced(false).watch((("resid_post", 1), ACTS, ("resid_pre", 2)));
    let options = RunOptions { loss: Loss::Mean, ..Default::default() };
    let run = model().run(tokens(), &plan, &options)?;
    let gradients = run.taps.gradients(&run.loss.clone().expect("asked for"))?;
    // The next block reads what the dictionary returns, so the gradient there is that of the reconstruction.
    let behind = gradients.get(("resid_pre", 2))?;
    let of_features = behind.broadcast_matmul(&dictionary.decode.t()?)?;
    assert_close(&gradients.get(ACTS)?, &of_features, REORDERED, "W_dec^T gradient");
    let before = of_features.broadcast_matmul(&dictionary.encode.t()?)?;
    assert_close(&gradients.get(("resid_post", 1))?, &before, REORDERED, "W_enc^T W_dec^T gradient");
    assert!(of_features.abs()?.max_all()?.to_scalar::<f32>()? > VISIBLE, "there is a gradient");
    Ok(())
}

#[test]
fn memory_is_what_is_measured_and_a_budget_holds() -> Result<()> {
    let model = model();
    for plan in [spliced(false).capture_all(), spliced(false).capture(ACTS), spliced(false).capture(ACTS).pos(2..5)] {
        let memory = plan.memory(&model.dims(), 2, 6, DType::F32)?;
        let (_, cache) = model.run_with_hooks(tokens(), &plan)?;
        assert_eq!(memory.kept(), cache.bytes());
        let without = HookPlan::new().memory(&model.dims(), 2, 6, DType::F32)?.working;
        // Two prompts of six positions; features and reconstruction of four bytes.
        assert_eq!(memory.working - without, 2 * 6 * (FEATURES + D_MODEL) as u64 * 4);
        let refused = model.run_with_hooks(tokens(), plan.budget(memory.total() - 1));
        sentence(refused, &["budget"]);
    }
    Ok(())
}

#[test]
fn caches_with_inner_points_are_saved_and_loaded() -> Result<()> {
    let (_, cache) = cache(padded(), &spliced(false).capture_all().edit(ACTS, Edit::zero().feature(1)))?;
    let path = scratch("spliced").join("cache.safetensors");
    cache.save(&path)?;
    let loaded = ActivationCache::load(&path)?;
    assert_eq!(loaded.len(), cache.len());
    for (point, tensor) in cache.iter() {
        assert_close(&loaded.get(point)?.to_dtype(DType::F32)?, &tensor.to_dtype(DType::F32)?, 0.0, &point.to_string());
    }
    assert_eq!(loaded.get(("sae_acts_post", 1))?.dims(), [2, 6, FEATURES]);
    let interventions = loaded.provenance().interventions();
    assert!(interventions.iter().any(|line| line.contains("linear dictionary")), "{interventions:?}");
    Ok(())
}

#[test]
fn generation_with_a_splice_is_the_loop_over_whole_texts() -> Result<()> {
    let model = model();
    let prompt = vec![vec![1u32, 2, 3]];
    for by_position in [true, false] {
        let dictionary = Arc::new(Linear { by_position, ..Linear::new(D_MODEL, false) });
        let plan = HookPlan::new().splice(("resid_post", 1), dictionary).edit(ACTS, Edit::zero().feature(2));
        let mut row = prompt[0].clone();
        for _ in 0..5 {
            let (logits, _) = model.run_with_hooks(vec![row.clone()], &plan)?;
            let last = logits.narrow(1, row.len() - 1, 1)?.flatten_all()?;
            row.push(last.argmax(D::Minus1)?.to_scalar::<u32>()?);
        }
        let options =
            GenerateOptions { max_new_tokens: 5, plan: plan.clone(), stop_at_eos: false, ..Default::default() };
        let mut stream = model.generate_stream(prompt.clone(), &options)?;
        let generated: Vec<u32> =
            stream.by_ref().map(|step| step.map(|step| step.tokens[0].unwrap())).collect::<Result<_>>()?;
        assert_eq!(generated, row[3..], "by position: {by_position}");
        // A run that continues another one knows its own positions only.
        let keep = RunOptions { keep_kv_cache: true, ..Default::default() };
        let past = model.run(prompt.clone(), &plan, &keep)?.kv_cache;
        let on = RunOptions { past_kv_cache: past, ..Default::default() };
        let continued = model.run(vec![vec![4u32, 5]], &plan, &on);
        match by_position {
            true => {
                let whole = model.run_with_hooks(vec![vec![1u32, 2, 3, 4, 5]], &plan)?.0.narrow(1, 3, 2)?;
                assert_close(&continued?.logits.unwrap(), &whole, REORDERED, "continued");
            }
            false => drop(sentence(continued, &["position by position", "past_kv_cache"])),
        }
    }
    Ok(())
}

#[test]
fn partial_runs_splice_where_they_pass() -> Result<()> {
    let model = model();
    let plan = spliced(false).capture(ACTS);
    let (logits, whole) = model.run_with_hooks(tokens(), &plan)?;
    let resid = model.run_with_cache(tokens())?.1.get(("resid_pre", 1))?;
    let from = RunOptions { start_at_layer: Some((1, resid)), ..Default::default() };
    let run = model.run(tokens(), &plan, &from)?;
    assert_close(&run.logits.unwrap(), &logits, 0.0, "from the block with the splice");
    let until = RunOptions { stop_at_layer: Some(2), ..Default::default() };
    let stopped = model.run(tokens(), &plan, &until)?;
    let recons = whole.get(ACTS)?.broadcast_matmul(&Linear::new(D_MODEL, false).decode)?;
    assert_close(&stopped.resid.unwrap(), &recons, 0.0, "the residual stream behind the splice");
    let before = RunOptions { stop_at_layer: Some(1), ..Default::default() };
    sentence(model.run(tokens(), spliced(false), &before), &["blocks.1.hook_resid_post", "never reached"]);
    Ok(())
}

/// Shows what the case says, declared as one site of features.
struct Odd(&'static str);

impl Splice for Odd {
    fn name(&self) -> String {
        format!("odd {}", self.0)
    }

    fn inner(&self) -> Vec<InnerSite> {
        match self.0 {
            "twice named" => vec![InnerSite::features("hook_a", 2), InnerSite::features("hook_a", 3)],
            "a bad name" => vec![InnerSite::features("hook a.b", 2)],
            "no number" => vec![InnerSite::new("hook_a", [AxisName::Batch, AxisName::Pos, AxisName::Feature])],
            "no positions" => vec![InnerSite::new("hook_a", [AxisName::Batch, AxisName::DModel])],
            _ => vec![InnerSite::features("hook_a", 2)],
        }
    }

    fn run(&self, x: &Tensor, at: &mut SpliceRun) -> Result<Tensor> {
        let two = x.narrow(2, 0, 2)?;
        match self.0 {
            "wrong shape" => drop(at.show(0, x.clone())?),
            "shown twice" => drop((at.show(0, two.clone())?, at.show(0, two)?)),
            "unknown site" => drop(at.show(1, two)?),
            "wrong result" => return Ok(two),
            _ => {}
        }
        Ok(x.clone())
    }
}

#[test]
fn mistakes_are_sentences() -> Result<()> {
    let model = model();
    let run = |plan: HookPlan| model.run_with_hooks(tokens(), &plan);
    let odd = |case| HookPlan::new().splice(("resid_post", 1), Odd(case));
    let name = "blocks.1.hook_resid_post.hook_a";
    sentence(run(odd("wrong shape")), &[name, "[2, 6, 2]", "[2, 6, 8]"]);
    sentence(run(odd("shown twice")), &[name, "twice"]);
    sentence(run(odd("unknown site")), &["inner site 1", "declares 1"]);
    sentence(run(odd("wrong result")), &["returns for blocks.1.hook_resid_post", "[2, 6, 2]"]);
    sentence(run(odd("never shown").capture(name)), &[name, "did not show it"]);
    assert!(run(odd("never shown")).is_ok(), "what no plan names need not be shown");
    sentence(run(odd("twice named")), &["two inner sites", "hook_a"]);
    sentence(run(odd("a bad name")), &["hook a.b", "letters, digits and underscores"]);
    sentence(run(odd("no number")), &["does not say how many"]);
    sentence(run(odd("no positions")), &["give Batch first, then Pos"]);
    sentence(run(spliced(true).splice(("resid_post", 1), Identity)), &["two splices", "identity"]);
    sentence(run(HookPlan::new().splice("resid_post", Identity)), &["needs a layer"]);
    sentence(run(HookPlan::new().splice(("z", 0), Linear::new(D_MODEL + 1, true))), &["does not fit"]);
    sentence(run(HookPlan::new().splice("resid_pots1", Identity)), &["resid_post1"]);
    // Names of what is not there, with the nearest that is.
    sentence(run(spliced(true).capture("blocks.1.hook_resid_post.hook_sae_act_post")), &[ACTS]);
    sentence(run(spliced(true).capture(("sae_acts_post", 0))), &["sae_acts_post"]);
    sentence(run(spliced(true).edit(ACTS, Edit::zero().feature(FEATURES))), &["feature 12", "0 to 11"]);
    sentence(run(spliced(true).edit(ACTS, Edit::zero().head(0))), &["d_sae", ".head(..)"]);
    sentence(run(spliced(true).edit(ACTS, Edit::knock_out())), &["not an attention score"]);
    let wrong = Edit::replace(Tensor::zeros((3, 3), DType::F32, &Device::Cpu)?);
    sentence(run(spliced(true).edit(ACTS, wrong)), &["[2, 6, 12]", "[3, 3]"]);
    // A point of another plan's splice.
    let (_, cache) = run(spliced(true).capture(ACTS))?;
    let foreign = cache.iter().next().expect("captured").0;
    sentence(run(HookPlan::new().capture(foreign)), &[ACTS, ".splice(..)"]);
    Ok(())
}
