//! Every function that can take long says so, and no silence is longer than a step of it. An interrupt ends it as soon.
//!
//! The clock is the count of bytes that the thread has asked for: it goes on with the work, the same in each run, and knows
//! nothing of progress.

mod met;
mod walk;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use candle_lens::candle::{DType, Device, Tensor};
use candle_lens::prelude::*;
use candle_lens::progress::rehearsal::rehearse;
use candle_lens::tasks::Split;
use candle_lens::{Error, Result};
pub use walk::{Walk, finish, new_walk};

use crate::support::allocations::asked;
use crate::support::models::untrained;
use crate::support::scratch;

/// A model of eight small blocks with the words of `tiny`.
pub fn model() -> Result<HookedTransformer> {
    let tiny = HookedTransformer::from_pretrained("tiny")?;
    let cfg = HookedTransformerConfig {
        n_layers: 8,
        d_model: 64,
        n_heads: 2,
        d_head: None,
        d_mlp: Some(256),
        model_name: "eight".into(),
        normalization_type: NormalizationType::LN,
        ..(*tiny.cfg()).clone()
    };
    untrained(cfg, &tiny)
}

const PROMPT: &str = "When John and Mary went to the shops, John gave the bag to";

/// Eight times the prompt, and eight times its counterpart.
pub fn prompts(model: &HookedTransformer) -> Result<(Tokens, Tokens, Metric)> {
    let clean = model.to_tokens(vec![PROMPT; 8])?;
    let corrupted = model.to_tokens(vec![PROMPT.replace(", John", ", Mary"); 8])?;
    Ok((clean, corrupted, Metric::logit_diff(&model.answers([(" Mary", " John"); 8])?)))
}

#[test]
fn dictionaries() -> Result<()> {
    let (mut walk, model) = (new_walk(), model()?);
    let (clean, ..) = prompts(&model)?;
    let w_dec = Random::new(2).normal((128, 64))?;
    let zeros = |size: usize| Tensor::zeros(size, DType::F32, &Device::Cpu);
    let dictionary = Dictionary::new(DictionaryParts {
        name: "random".into(),
        w_enc: w_dec.t()?.contiguous()?,
        b_enc: zeros(128)?,
        w_dec,
        b_dec: zeros(64)?,
        b_in: None,
        w_skip: None,
        activation: Activation::TopK { k: 8 },
        input_norm: InputNorm::None,
        scaled_by_decoder_norm: false,
        expects: Expects::at("resid_post2".parse()?),
    })?;
    walk.counted("evaluate_dictionaries", || model.evaluate_dictionaries(&dictionary, &clean, ScoreOptions::default()));
    let texts = model.to_tokens(vec![PROMPT; 300])?;
    let metric = Metric::logit_diff(&model.answers([(" Mary", " John"); 8])?);
    let of_z = DictionaryParts { expects: Expects::at("z5".parse()?), ..dictionary.parts() };
    let of_z = Dictionary::new(of_z)?;
    walk.counted("chained_graph", || model.chained_graph(&of_z, &clean, Baseline::Zero, metric.clone()));
    let [reads, writes] = ["blocks.5.ln2.hook_normalized".parse()?, "mlp_out5".parse()?];
    let of_mlp = Dictionary::new(DictionaryParts { expects: Expects::between(reads, writes), ..dictionary.parts() })?;
    let options = || GraphOptions { batch_size: 8, ..GraphOptions::default() };
    walk.counted("attribution_graph", || model.attribution_graph_with(&of_mlp, PROMPT, GraphTargets::top(), options()));
    walk.counted("feature_examples", || model.feature_examples(&dictionary, .., &texts, ExampleOptions::default()));
    walk.watched("feature_dashboard", || model.feature_dashboard(&dictionary, 3, &clean, &clean));
    walk.watched("features_of", || model.features_of(&dictionary, &clean));
    walk.watched("features_by_gradient", || model.features_by_gradient(&dictionary, &clean, &metric));
    walk.watched("feature_logit_attribution", || model.feature_logit_attribution(&dictionary, &clean, " Mary"));
    walk.watched("logit_lens of a feature", || dictionary.logit_lens(&model, 3, 5));
    walk.watched("logit_moments", || dictionary.logit_moments(&model));
    walk.watched("encoder_tokens", || dictionary.encoder_tokens(&model, 3, 5));
    walk.watched("neighbours", || dictionary.neighbours(3, 5));
    walk.watched("feature_neighbours", || model.feature_neighbours(&dictionary, 3, &dictionary, 5));
    walk.watched("shared_features", || model.shared_features(&dictionary, &dictionary, FeatureDirections::Decoders));
    walk.watched("feature_overlap", || model.feature_overlap(&dictionary, FeatureDirections::Encoders));
    finish(walk, 14);
    Ok(())
}

#[test]
fn runs_gradients_and_text() -> Result<()> {
    let (mut walk, model) = (new_walk(), model()?);
    let (clean, corrupted, metric) = prompts(&model)?;
    walk.counted("forward", || model.forward(&clean));
    walk.counted("loss", || model.loss(&clean));
    let (_, cache) = walk.counted("run_with_cache", || model.run_with_cache(&clean));
    let part = RunOptions { stop_at_layer: Some(6), ..Default::default() };
    walk.counted("run", || model.run(&clean, HookPlan::new(), &part));
    let text = GenerateOptions { max_new_tokens: 20, stop_at_eos: false, ..Default::default() };
    walk.counted("generate", || model.generate(PROMPT, &text));
    // The unembedding of so small a model is as large as several blocks.
    walk.watched("process", || model.clone().process(Processing::default()));
    walk.counted("run_with_grads", || model.run_with_grads(&clean, &metric, ("z", "mlp_out")));
    walk.counted("attention_attribution", || model.attention_attribution(&clean, &metric));
    let experiment = Experiment::new(&model, &clean, &corrupted, metric.clone())?;
    let options = || IgOptions { steps: 10, ..Default::default() };
    let attributed = walk.counted("integrated_gradients", || experiment.integrated_gradients(["z"], options()));
    walk.counted("integrated_gradients of one point", || experiment.integrated_gradients([("z", 0)], options()));
    walk.watched("IntegratedGradients::sweep", || attributed.heads());

    let answers = model.answers([(" Mary", " John"); 8])?;
    walk.counted("logit_lens", || logit_lens(&model, &cache, LensOptions::default()));
    walk.counted("detect_head", || detect_head(&cache, &DetectionPattern::PreviousToken, DetectOptions::default()));
    walk.counted("sink_mass", || sink_mass(&cache));
    walk.counted("induction_scores", || induction_scores(&model, RepeatOptions { batch: 8, ..Default::default() }));
    walk.counted("copying_scores", || copying_scores(&model, 10..40u32, 5));
    walk.counted("eigenvalue_copying_scores", || eigenvalue_copying_scores(&model));
    walk.watched("singular_vectors", || singular_vectors(&model, SingularOf::WOut, 0, 3));
    walk.watched("direct_logit_attribution", || direct_logit_attribution(&model, &cache, &answers, Unit::Neuron));
    walk.watched("logit_lens_to_logit_diff", || logit_lens_to_logit_diff(&model, &cache, &answers));
    walk.watched("accumulated_resid", || cache.accumulated_resid(Stack::accumulated()));
    walk.watched("decompose_resid", || cache.decompose_resid(Stack::components()));
    walk.watched("stack_head_results", || cache.stack_head_results(&model, Stack::heads()));
    let last = Stack::neurons().pos(-1);
    walk.watched("stack_neuron_results", || cache.stack_neuron_results(&model, last.clone()));
    let whole = Stack::everything().pos(-1);
    walk.watched("get_full_resid_decomposition", || cache.get_full_resid_decomposition(&model, whole.clone()));
    let directions = answers.directions(&model)?;
    walk.watched("project_full_resid_decomposition", || {
        cache.project_full_resid_decomposition(&model, &directions, whole.clone())
    });
    walk.watched("project_neuron_results", || cache.project_neuron_results(&model, &directions, last.clone()));
    walk.watched("test_prompt", || candle_lens::prelude::test_prompt(&model, PROMPT, " Mary"));
    finish(walk, 28);
    Ok(())
}

#[test]
fn sweeps() -> Result<()> {
    let (mut walk, model) = (new_walk(), model()?);
    let (clean, corrupted, metric) = prompts(&model)?;
    let patching = walk.counted("Experiment::new", || Experiment::new(&model, &clean, &corrupted, metric.clone()));
    walk.counted("a sweep of the other run", || patching.clone().noising()?.get_act_patch_mlp_out());
    walk.counted("ablation", || Experiment::new(&model, &clean, Baseline::Zero, metric.clone()));
    // All of it fits into one batch.
    walk.counted("a sweep in one batch", || patching.get_act_patch_attn_head_out_all_pos());
    walk.counted("a sweep by position", || patching.get_act_patch_resid_pre());
    walk.counted("a sweep in small batches", || patching.clone().budget(3 << 20).get_act_patch_attn_out());
    walk.counted("several sweeps", || patching.get_act_patch_block_every());
    walk.counted("sweeps of heads", || patching.get_act_patch_attn_head_all_pos_every());
    walk.counted("sweeps of heads by position", || patching.get_act_patch_attn_head_by_pos_every());
    let sites = [PatchSite::new(&model, ("z", 2))?.head(1), PatchSite::new(&model, ("mlp_out", 3))?];
    walk.counted("sites", || patching.sites(&sites));
    let two = || [metric.clone(), Metric::mean_loss()];
    let both = walk.counted("two metrics", || Experiment::new(&model, &clean, &corrupted, two()));
    let heads = walk.counted("a sweep of two metrics", || both.get_act_patch_attn_head_out_all_pos());
    walk.watched("statistics", || heads.statistics(StatisticsOptions::default()));
    walk.counted("together", || patching.together(&sites));
    walk.counted("cumulative", || patching.cumulative(&sites));
    let plan = |layer: i32| (layer.to_string(), HookPlan::new().edit(("mlp_out", layer), Edit::zero()));
    walk.counted("plans", || patching.plans((0..3).map(plan)));
    walk.counted("path_patch_head_to_final_resid_post", || patching.path_patch_head_to_final_resid_post());
    let receivers = [Receiver::Q(7, 0), Receiver::K(7, 1)];
    walk.counted("path_patch_head_to_heads", || patching.path_patch_head_to_heads(&receivers));
    let attribution = walk.counted("attribution", || patching.attribution(("z", "post")));
    let atp_star =
        walk.counted("attribution_with", || patching.attribution_with(("q", "z"), AttributionOptions::ATP_STAR));
    walk.watched("Attribution::grad_drop", || atp_star.grad_drop("q", &[AxisName::Layer, AxisName::Head]));
    walk.watched("Attribution::sweep", || attribution.sweep("post", &[AxisName::Layer, AxisName::DMlp]));
    walk.counted("for_each_answer_token", || {
        Experiment::for_each_answer_token(
            &model,
            PROMPT,
            &PROMPT.replace(", John", ", Mary"),
            " Mary John",
            " John Mary",
        )
    });
    finish(walk, 21);
    Ok(())
}

#[test]
fn steering() -> Result<()> {
    let (mut walk, model) = (new_walk(), model()?);
    let (clean, corrupted, metric) = prompts(&model)?;
    let contrast = Contrast::new(&model, &clean, &corrupted)?;
    let vectors = walk.counted("mean_differences", || contrast.mean_differences("resid_post"));
    walk.counted("principal_difference", || contrast.principal_difference(("resid_post", 6)));
    let text = GenerateOptions { max_new_tokens: 20, stop_at_eos: false, ..Default::default() };
    let vector = SteeringVector::new(&model, ("resid_post", 4), &Random::new(1).normal(64)?)?;
    walk.counted("generate under a direction", || vector.steer(1).generate(&model, PROMPT, &text));
    let experiment = Experiment::new(&model, &clean, &corrupted, metric.clone())?;
    let steering = Steering::add(vectors.into_iter().skip(3), 1);
    walk.counted("steering_sweep", || experiment.steering_sweep(&steering, [0.5, 1., 2.]));
    walk.counted("IndirectEffects", || IndirectEffects::new(&model, &clean, &corrupted, metric.clone()));
    let transplant = Transplant::new(&model, &clean, &corrupted)?;
    walk.counted("a sweep of transplants", || transplant.sweep(metric.clone()));
    walk.counted("text from a transplant", || transplant.generate(3, 4, &text));
    finish(walk, 7);
    Ok(())
}

#[test]
fn files_matrices_tasks_and_pictures() -> Result<()> {
    let (mut walk, model) = (new_walk(), model()?);
    let folder = scratch("progress");
    walk.watched("save_pretrained", || model.save_pretrained(folder.join("model")));
    let saved = folder.join("model").display().to_string();
    walk.watched("from_pretrained", || HookedTransformer::from_pretrained(&saved));
    walk.watched("from_pretrained in half precision", || {
        HookedTransformer::from_pretrained_with(&saved, LoadOptions { dtype: DType::BF16, ..Default::default() })
    });
    walk.watched("from_checkpoint", || {
        let weights = folder.join("model/model.safetensors");
        HookedTransformer::from_checkpoint(&saved, weights, CheckpointOptions::default())
    });
    let (clean, ..) = prompts(&model)?;
    let (_, cache) = model.run_with_cache(&clean)?;
    walk.watched("ActivationCache::save", || cache.save(folder.join("cache.safetensors")));
    walk.watched("ActivationCache::load", || ActivationCache::load(folder.join("cache.safetensors")));

    walk.watched("all_composition_scores", || model.all_composition_scores(Composition::K));
    let (ov, qk) = (model.OV()?, model.QK()?);
    walk.watched("svd", || ov.svd());
    walk.watched("eigenvalues", || qk.eigenvalues());

    let set = Task::Sva.prompts(Split::Combinations, 80, 0)?;
    walk.watched("answerable", || set.answerable(&model));
    let aligned = walk.watched("aligned", || set.aligned(&model));
    walk.watched("batches", || aligned.batches(&model, 16));
    walk.watched("measure", || aligned.measure(&model));
    walk.watched("scores", || aligned.scores(&model));
    walk.watched("filter_by_metric", || aligned.filter_by_metric(&model, -1.));
    let questions: Vec<_> = aligned.prompts.iter().map(|prompt| prompt.question()).collect();
    walk.watched("score_questions", || score_questions(&model, &questions));

    let picture = imshow(Tensor::rand(0f32, 1., (60, 60), &Device::Cpu)?);
    walk.watched("save_html", || picture.save_html(folder.join("picture.html")));
    walk.watched("save_png", || picture.save_png(folder.join("picture.png")));
    walk.watched("save_svg", || picture.save_svg(folder.join("picture.svg")));
    finish(walk, 19);
    Ok(())
}

/// With a clock that gives a sweep of one batch a minute and a half, as long as 270 heads of 30 layers once were silent.
#[test]
fn a_sweep_of_one_batch_has_lines_all_the_way() -> Result<()> {
    let model = model()?;
    let (clean, corrupted, metric) = prompts(&model)?;
    let patching = Experiment::new(&model, &clean, &corrupted, metric)?;
    let began = asked();
    patching.get_act_patch_attn_head_out_all_pos()?;
    let scale = 96. / (asked() - began) as f64;
    let began = asked();
    let clock = move || Duration::from_secs_f64((asked() - began) as f64 * scale);
    let (result, moments) = rehearse(clock, || patching.get_act_patch_attn_head_out_all_pos());
    result?;
    let lines: Vec<(u64, &String)> =
        moments.iter().filter_map(|moment| Some((moment.at.as_secs(), moment.line.as_ref()?))).collect();
    let mut percents = BTreeMap::new();
    for (second, line) in &lines {
        let percent = line.split(['(', '%']).nth(1).and_then(|text| text.trim().parse::<u64>().ok());
        percents.insert(*second, percent.ok_or_else(|| Error::argument(format!("no share in {line}")))?);
        assert!(line.contains("patching: ") && line.contains("of 16 sites"), "{line}");
    }
    assert!(lines.len() >= 6, "{lines:?}");
    assert!(percents.values().is_sorted(), "{percents:?}");
    // The share is about that of the time; the two runs before the sweep count as one of its 16 sites.
    for (second, percent) in percents {
        assert!(percent.abs_diff(second * 100 / 96) < 40, "{percent} % after {second} s of 96");
    }
    Ok(())
}

/// What lines add may come from work that reports itself, or fail to be written.
#[test]
fn words_may_be_made_by_work_of_their_own() {
    struct Asked(bool);
    impl fmt::Display for Asked {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            Progress::new("asking", 2, "questions").step(2).map_err(|_| fmt::Error)?;
            assert!(self.0, "it has no answer");
            f.write_str("asked")
        }
    }
    let seconds = Rc::new(Cell::new(0));
    let clock = seconds.clone();
    let ((), moments) = rehearse(
        move || Duration::from_secs(clock.get()),
        || {
            let mut progress = Progress::new("training", 10, "steps");
            progress.saying(Asked(true));
            let failed = catch_unwind(AssertUnwindSafe(|| progress.saying(Asked(false))));
            assert!(failed.is_err());
            seconds.set(3);
            progress.step(1).expect("nobody interrupts");
        },
    );
    assert!(moments.iter().any(|moment| moment.what == "asking"));
    let line = moments.iter().find_map(|moment| moment.line.as_ref()).expect("after two seconds");
    assert!(line.contains("training: ") && line.ends_with("; asked"), "{line}");
}
