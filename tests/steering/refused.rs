//! What is refused, in sentences that say what to do.

use candle_lens::Result;
use candle_lens::candle::{DType, Device, Tensor};
use candle_lens::experiment::{Baseline, Experiment};
use candle_lens::generate::GenerateOptions;
use candle_lens::hooks::{Edit, HookPlan, Selection};
use candle_lens::metrics::Metric;
use candle_lens::model::{HookedTransformer, Processing};
use candle_lens::steering::{Contrast, IndirectEffects, Steering, SteeringVector};

use super::{direction, prompts, random};
use crate::support::fixture::{path, tiny_model};
use crate::support::models::pretrained;
use crate::support::sentence::sentence;

#[test]
fn directions_belong_to_a_point_and_a_model() -> Result<()> {
    let model = tiny_model(Processing::default());
    let of = |point: (&'static str, i32), values: &Tensor| SteeringVector::new(&model, point, values);
    let numbers = random(&model, 1)?;
    sentence(of(("resid_post", 0), &numbers.narrow(0, 0, 3)?), &["a direction at blocks.0.hook_resid_post"]);
    sentence(of(("resid_post", 0), &numbers.unsqueeze(0)?), &["[1, "]);
    sentence(of(("resid_post", 2), &numbers), &["layer"]);
    sentence(of(("z", 0), &numbers), &["has the axes", "Edit for a head"]);
    sentence(of(("pattern", 0), &numbers), &["has the axes"]);
    sentence(of(("post", 0), &numbers), &["a direction at blocks.0.mlp.hook_post"]);
    sentence(SteeringVector::new(&model, "resid_post", &numbers), &["needs a layer"]);
    for wrong in [f64::NAN, f64::INFINITY] {
        sentence(of(("resid_post", 0), &(&numbers * wrong)?), &["finite"]);
    }
    let vector = direction(&model, 0, 1)?;
    let tokens = prompts(1, None)?;
    // Processed otherwise, other weights, another width.
    let raw = tiny_model(Processing::NONE);
    sentence(vector.steer(1).plan(&raw, &tokens), &["processing", "without_model_check"]);
    let other = pretrained(path("families/gpt_neox").to_str().expect("UTF-8"), None)?;
    sentence(vector.steer(1).plan(&other, &tokens), &["this model"]);
    let tiny = HookedTransformer::from_pretrained("tiny")?;
    sentence(vector.without_model_check().steer(1).plan(&tiny, "The key"), &["numbers"]);
    vector.without_model_check().steer(1).plan(&raw, &tokens)?;
    sentence(vector.at_layer(&model, 2), &["layer"]);
    let embedded = SteeringVector::new(&model, "embed", &numbers)?;
    sentence(embedded.at_layer(&model, 0), &["outside the blocks"]);
    sentence(vector.cosine(&direction(&tiny, 0, 1)?), &["a direction to compare"]);
    Ok(())
}

#[test]
fn what_would_change_nothing_or_everything_is_refused() -> Result<()> {
    let model = tiny_model(Processing::default());
    let (tokens, vector) = (prompts(1, None)?, direction(&model, 0, 1)?);
    let zero =
        SteeringVector::new(&model, ("resid_post", 0), &Tensor::zeros(model.cfg().d_model, DType::F32, &Device::Cpu)?)?;
    for steering in [zero.steer(1), zero.steer(1).keeping_norm(), zero.ablate()] {
        sentence(steering.plan(&model, &tokens), &["0 everywhere"]);
    }
    sentence(zero.unit(), &["0 everywhere"]);
    sentence(zero.cosine(&vector), &["0 everywhere"]);
    sentence(vector.steer(f64::NAN).plan(&model, &tokens), &["NaN", "finite"]);
    sentence(vector.steer(1e39).plan(&model, &tokens), &["smaller scale"]);
    sentence(Steering::add([], 1).plan(&model, &tokens), &["no direction"]);
    sentence(Steering::add([], 1).layers(&model, ..), &["no direction"]);
    sentence(vector.steer(1).layers(&model, 2), &["layer"]);
    sentence(vector.steer(1).generated().plan(&model, &tokens), &["generate under it"]);
    let one = GenerateOptions { max_new_tokens: 1, ..GenerateOptions::default() };
    sentence(vector.steer(1).generated().generate(&model, &tokens, one), &["one new token", "from_last()"]);
    let part = vector.steer(1).at(Selection::new().pos(9)).plan(&model, &tokens)?;
    sentence(model.run_with_hooks(&tokens, part), &["position 9"]);
    let from_end = vector.steer(1).at(Selection::new().pos(-1));
    sentence(from_end.generate(&model, &tokens, GenerateOptions::default()), &["counts from the end"]);
    Ok(())
}

#[test]
fn edits_of_vectors_need_vectors() -> Result<()> {
    let model = tiny_model(Processing::default());
    let tokens = prompts(1, None)?;
    let numbers = random(&model, 1)?;
    let run = |point: (&'static str, i32), edit: Edit| model.run_with_hooks(&tokens, HookPlan::new().edit(point, edit));
    sentence(run(("resid_post", 0), Edit::project_out(numbers.narrow(0, 0, 3)?)), &["projected out"]);
    sentence(run(("resid_post", 0), Edit::project_out(numbers.zeros_like()?)), &["not 0 everywhere"]);
    sentence(run(("resid_post", 0), Edit::project_out((&numbers * f64::NAN)?)), &["finite"]);
    sentence(run(("pattern", 0), Edit::zero().keeping_norm()), &["does not hold vectors"]);
    sentence(run(("post", 0), Edit::scale(2.).neuron(3).keeping_norm()), &["whole vectors"]);
    sentence(run(("post", 0), Edit::scale(2.).keeping_norm()), &["as it was", "leave out"]);
    Ok(())
}

#[test]
fn contrasts_effects_and_sweeps_say_what_is_missing() -> Result<()> {
    let model = tiny_model(Processing::default());
    let (tokens, vector) = (prompts(1, None)?, direction(&model, 0, 1)?);
    let contrast = Contrast::new(&model, &tokens, vec![tokens.row(0)])?;
    contrast.mean_difference(("resid_post", 0))?;
    sentence(contrast.principal_difference(("resid_post", 0)), &["3 positive", "1 negative"]);
    sentence(contrast.mean_difference(("z", 0)), &["has the axes"]);
    sentence(contrast.mean_difference("resid_post"), &["needs a layer"]);
    sentence(contrast.clone().at(7).mean_difference(("resid_post", 0)), &["position 7"]);
    let same = Contrast::new(&model, &tokens, &tokens)?;
    sentence(same.principal_difference(("resid_post", 0)), &["no positive prompt differs"]);

    let effects = IndirectEffects::new(&model, &tokens, prompts(9, None)?, Metric::prob(&model, [4u32, 5, 6])?)?;
    sentence(effects.function_vector(0, ("resid_post", 0)), &["0 heads"]);
    sentence(effects.function_vector(9, ("resid_post", 0)), &["9 heads", "1 to 8"]);
    sentence(effects.function_vector_of([(0, 0), (0, 0)], ("resid_post", 0)), &["twice"]);
    sentence(effects.function_vector_of([(0, 4)], ("resid_post", 0)), &["no head L0H4"]);
    sentence(effects.function_vector_of(Vec::<(usize, usize)>::new(), ("resid_post", 0)), &["no head"]);
    sentence(effects.function_vector(1, ("post", 0)), &["a direction at blocks.0.mlp.hook_post"]);
    let few = Metric::prob(&model, [4u32])?;
    sentence(IndirectEffects::new(&model, &tokens, &tokens, few).map(drop), &["answers for 1 prompts"]);

    let metric = Metric::logit(&model, [4u32, 5, 6])?;
    let experiment = Experiment::new(&model, &tokens, Baseline::Zero, metric)?;
    sentence(experiment.steering_sweep(&vector.steer(1), [0.; 0]), &["no scale"]);
    sentence(experiment.steering_sweep(&vector.steer(1), [f64::NAN]), &["finite"]);
    sentence(experiment.steering_sweep(&vector.ablate(), [1]), &["has no scale"]);
    sentence(experiment.steering_sweep(&Steering::add([], 1), [1]), &["no direction"]);
    let saving = experiment.save_to("nowhere.safetensors");
    sentence(saving.steering_sweep(&vector.steer(1), [1]), &["save_to"]);
    Ok(())
}
