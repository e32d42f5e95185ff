//! What cannot be spliced in, edited or kept is refused in a sentence, before anything is computed.

use std::sync::atomic::{AtomicUsize, Ordering};

use candle_lens::Result;
use candle_lens::prelude::*;

use super::{D_MODEL, FEATURES, autoencoder, logits, model, random, tokens, transcoder};
use crate::support::assert_close;
use crate::support::sentence::sentence;
use crate::support::tolerance::REORDERED;

#[test]
fn dictionaries_that_do_not_fit() -> Result<()> {
    let model = model();
    let none: Vec<Dictionary> = Vec::new();
    sentence(model.splice(none, ErrorTerm::None), &["no dictionary was given"]);
    let twice = [autoencoder(1, "resid_post1"), autoencoder(2, "resid_post1")];
    sentence(model.splice(&twice, ErrorTerm::None), &["blocks.1.hook_resid_post", "random 1", "random 2", "takes one"]);
    sentence(model.splice(autoencoder(1, "resid_post7"), ErrorTerm::None), &["random 1", "layer 7"]);
    sentence(model.splice(autoencoder(1, "blocks.0.ln2_post.hook_normalized"), ErrorTerm::None), &["random 1", "norm"]);
    let wide = random((1, 12, 12), Expects::at("resid_post1".parse()?), |parts| parts);
    sentence(model.splice(wide, ErrorTerm::None), &["random 1", "12", "8"]);
    let nowhere = random((1, D_MODEL, D_MODEL), Expects::default(), |parts| parts);
    sentence(model.splice(nowhere, ErrorTerm::None), &["random 1", "which point it reads"]);
    let backwards = Expects::between("resid_post1".parse()?, "mlp_out1".parse()?);
    let backwards = random((1, D_MODEL, D_MODEL), backwards, |parts| parts);
    let plan = model.splice(backwards, ErrorTerm::None);
    sentence(plan, &["random 1", "reads blocks.1.hook_resid_post", "come before its own"]);
    // One that a plan has already.
    let plan = model.splice(autoencoder(1, "resid_post1"), ErrorTerm::None)?;
    let again = plan.splice(("resid_post", 1), Nothing);
    sentence(model.run_with_hooks(tokens(), again), &["two splices", "random 1", "nothing"]);
    Ok(())
}

#[test]
fn edits_that_have_no_place() -> Result<()> {
    let model = model();
    let acts = "blocks.1.hook_resid_post.hook_sae_acts_post";
    let plan = model.splice(autoencoder(1, "resid_post1"), ErrorTerm::None)?;
    let run = |plan: HookPlan| model.run_with_hooks(tokens(), plan);
    let edited = |edit: Edit| run(plan.clone().edit(acts, edit));
    sentence(edited(Edit::zero().feature(FEATURES as isize)), &["feature 32", "0 to 31"]);
    sentence(edited(Edit::zero().neuron(0)), &["d_sae", "drop .neuron(..)"]);
    sentence(edited(Edit::zero().pos(9)), &["position 9"]);
    let error = "blocks.1.hook_resid_post.hook_sae_error";
    sentence(run(plan.clone().capture(error)), &["hook_sae_error"]);
    let plain = model.splice(autoencoder(1, "resid_post1"), ErrorTerm::Recomputed)?;
    assert!(run(plain.capture(error)).is_ok(), "there is one with an error term");
    // What a transcoder replaces is read by nobody, unless its error is.
    let scaled =
        |error: ErrorTerm| run(model.splice(transcoder(6, 1, false), error)?.edit(("mlp_out", 1), Edit::scale(2.)));
    sentence(scaled(ErrorTerm::None), &["blocks.1.hook_mlp_out", "would change nothing", "inner point"]);
    sentence(scaled(ErrorTerm::frozen(tokens())), &["would change nothing"]);
    let doubled = HookPlan::new().edit(("mlp_out", 1), Edit::scale(2.));
    let expected = logits(&model, &tokens(), &doubled)?;
    assert_close(&scaled(ErrorTerm::Recomputed)?.0, &expected, REORDERED, "the error takes it up");
    sentence(autoencoder(1, "resid_post1").steer(&model, FEATURES, 1.), &["no feature 32", "0 to 31"]);
    Ok(())
}

#[test]
fn frozen_errors_belong_to_their_prompts() -> Result<()> {
    let model = model();
    let plan = model.splice(transcoder(6, 1, false), ErrorTerm::frozen(tokens()))?;
    let other = |rows: Vec<Vec<u32>>| model.run_with_hooks(rows, &plan);
    let why = &["\"random 6", "2 prompts of 6 tokens", "ErrorTerm::frozen(prompts)", "ErrorTerm::Recomputed"];
    sentence(other(vec![vec![1, 2, 3, 4, 5, 6], vec![7, 8, 9, 10, 11, 13]]), why);
    sentence(other(vec![vec![1, 2, 3, 4, 5, 6]]), why);
    sentence(other(vec![vec![1, 2, 3, 4, 5], vec![7, 8, 9, 10, 11]]), why);
    sentence(other(vec![vec![7, 8, 9, 10, 11, 12], vec![1, 2, 3, 4, 5, 6]]), why);
    // The same prompts several times are several runs of them.
    let rows = vec![vec![1, 2, 3, 4, 5, 6], vec![7, 8, 9, 10, 11, 12]];
    let twice = other(rows.iter().chain(&rows).cloned().collect())?.0;
    let once = other(rows)?.0;
    assert_close(&twice, &Tensor::cat(&[&once, &once], 0)?, 0.0, "two copies");
    Ok(())
}

#[test]
fn dense_features_are_counted_before_the_run() -> Result<()> {
    let model = model();
    let plan = model.splice(autoencoder(1, "resid_post1"), ErrorTerm::None)?.capture(("sae_acts_post", 1));
    let memory = plan.memory(&model.dims(), 2, 6, DType::F32)?;
    assert_eq!(memory.kept(), (2 * 6 * FEATURES * 4) as u64);
    // What nothing asks for is not made: features stay sparse.
    let sparse = model.splice(autoencoder(1, "resid_post1"), ErrorTerm::None)?;
    let sparse = sparse.memory(&model.dims(), 2, 6, DType::F32)?;
    assert_eq!(memory.working - sparse.working, memory.kept());
    let watched = model.splice(autoencoder(1, "resid_post1"), ErrorTerm::None)?.watch(("resid_pre", 0));
    let watched = watched.memory(&model.dims(), 2, 6, DType::F32)?;
    assert!(
        watched.working >= 3 * (sparse.working + 2 * memory.kept()),
        "gradients pass dense features in every layer"
    );
    assert!(plan.to_string().contains("random 1 (standard, 32 features), no error term"), "{plan}");
    let refused = model.run_with_hooks(tokens(), plan.budget(memory.total() - 1));
    sentence(refused, &["budget", "hook_sae_acts_post"]);
    Ok(())
}

/// Counts how often it runs, and shows what only costs where it is asked for.
struct Nothing;

static ASKED: AtomicUsize = AtomicUsize::new(0);

impl Splice for Nothing {
    fn name(&self) -> String {
        "nothing".into()
    }

    fn inner(&self) -> Vec<InnerSite> {
        vec![InnerSite::features("hook_costly", 3)]
    }

    fn reads(&self) -> Vec<candle_lens::hooks::HookQuery> {
        vec![("resid_pre", 0).into()]
    }

    fn run(&self, x: &Tensor, at: &mut SpliceRun) -> Result<Tensor> {
        if at.wants(0) {
            ASKED.fetch_add(1, Ordering::Relaxed);
            at.show(0, x.narrow(2, 0, 3)?)?;
        }
        assert_eq!(at.point().to_string(), "blocks.2.hook_resid_post");
        assert_eq!((at.text().texts(), at.text().from(), at.text().ids(1)[0]), (2, 0, 7));
        at.read(0)
    }
}

#[test]
fn a_splice_reads_what_is_before_it_and_shows_what_is_asked_for() -> Result<()> {
    let model = model();
    let plan = HookPlan::new().splice(("resid_post", 2), Nothing);
    let plain = model.run_with_hooks(tokens(), HookPlan::new().capture(("resid_pre", 0)))?.1.get(("resid_pre", 0))?;
    let by_hand = HookPlan::new().edit(("resid_post", 2), Edit::replace(plain));
    assert_close(&logits(&model, &tokens(), &plan)?, &logits(&model, &tokens(), &by_hand)?, 0.0, "what it reads");
    assert_eq!(ASKED.load(Ordering::Relaxed), 0);
    let named = plan.clone().capture("blocks.2.hook_resid_post.hook_costly");
    assert_eq!(model.run_with_hooks(tokens(), named)?.1.len(), 1);
    assert_eq!(ASKED.load(Ordering::Relaxed), 1);
    let resid = model.run_with_hooks(tokens(), HookPlan::new().capture(("resid_pre", 2)))?.1.get(("resid_pre", 2))?;
    let from = RunOptions { start_at_layer: Some((2, resid)), ..Default::default() };
    let why = ["\"nothing\"", "reads blocks.0.hook_resid_pre", "at or before block 0"];
    sentence(model.run(tokens(), &plan, from), &why);
    Ok(())
}

/// A cache holds what was at a point before the splice: parts of another residual stream than the run's.
#[test]
fn decompositions_of_what_was_replaced() -> Result<()> {
    let model = model();
    let spliced = |point: &str, dictionary: Dictionary| -> Result<ActivationCache> {
        let plan = model.splice(dictionary, ErrorTerm::None)?.capture_all();
        let (_, cache) = model.run_with_hooks(tokens(), &plan)?;
        assert!(plan.to_string().contains(point), "{plan}");
        Ok(cache)
    };
    let cache = spliced("blocks.1.hook_mlp_out", transcoder(6, 1, false))?;
    sentence(cache.decompose_resid(Stack::components()), &["spliced in at blocks.1.hook_mlp_out", "hook_sae_output"]);
    let sum = cache.decompose_resid(Stack::components().before(1))?.sum()?;
    assert_close(&sum, &cache.get(("resid_pre", 1))?, REORDERED, "before the splice everything adds up");
    let with_output = (sum + cache.get(("attn_out", 1))?)?.add(&cache.get(("sae_output", 1))?)?;
    assert_close(&with_output, &cache.get(("resid_post", 1))?, REORDERED, "and behind it with what it writes");
    let cache = spliced("blocks.2.hook_resid_post", autoencoder(1, "resid_post2"))?;
    sentence(cache.accumulated_resid(Stack::accumulated()), &["spliced in at blocks.2.hook_resid_post"]);
    let cache = spliced("blocks.1.attn.hook_z", autoencoder(1, "z1"))?;
    sentence(cache.stack_head_results(&model, Stack::heads()), &["spliced in at blocks.1.attn.hook_z"]);
    // Any name under which a splice was put.
    let plan = HookPlan::new().splice(("resid_post", -1), Nothing).capture(("resid_pre", ("resid_post", -1)));
    let (_, cache) = model.run_with_hooks(tokens(), &plan)?;
    sentence(cache.accumulated_resid(Stack::accumulated()), &["spliced in at blocks.2.hook_resid_post"]);
    Ok(())
}
