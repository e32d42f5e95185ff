//! Splices in models of half precision: dictionaries in f32, which read and return half-precision numbers, and in the model's own
//! dtype. Each number is compared with that of the same weights in f32.

use candle_lens::Result;
use candle_lens::cache::ActivationCache;
use candle_lens::candle::{DType, Tensor};
use candle_lens::dims::Dims;
use candle_lens::experiment::Experiment;
use candle_lens::gradients::IgOptions;
use candle_lens::hooks::{AxisName, Edit, HookPlan, HookPoint, InnerSite, Splice};
use candle_lens::metrics::Metric;
use candle_lens::model::{HookedTransformer, Processing, RunOptions};
use candle_lens::random::Random;

use crate::support::fixture::numbers;
use crate::support::half::{D_MODEL, HALF, Misses, Pair, WIDE, kind, miss, miss_of, prompts};
use crate::support::scratch;
use crate::support::splice::{FEATURES, Linear};

const ACTS: &str = "blocks.0.hook_resid_post.hook_sae_acts_post";

/// A dictionary whose features and reconstructions are as large as what it reads.
fn dictionary(dtype: DType, error_term: bool) -> Result<Linear> {
    let mut random = Random::new(5);
    let mut matrix = |shape: (usize, usize)| -> Result<Tensor> {
        Ok((random.normal(shape)? / (shape.0 as f64).sqrt())?.to_dtype(dtype)?)
    };
    let (encode, decode) = (matrix((D_MODEL, FEATURES))?, matrix((FEATURES, D_MODEL))?);
    Ok(Linear { encode, decode, error_term, by_position: true })
}

/// Computes in f32, whatever the model's dtype is.
struct InF32(Linear);

impl Splice for InF32 {
    fn name(&self) -> String {
        "dictionary in f32".into()
    }

    fn inner(&self) -> Vec<InnerSite> {
        self.0.inner()
    }

    fn check(&self, point: HookPoint, dims: &Dims) -> Result<()> {
        self.0.check(point, dims)
    }

    fn is_by_position(&self) -> bool {
        true
    }

    fn run(&self, x: &Tensor, at: &mut candle_lens::hooks::SpliceRun) -> Result<Tensor> {
        self.0.run(&x.to_dtype(DType::F32)?, at)
    }
}

fn in_f32(error_term: bool) -> Result<HookPlan> {
    Ok(HookPlan::new().splice(("resid_post", 0), InF32(dictionary(DType::F32, error_term)?)))
}

#[test]
fn runs_are_those_of_f32() -> Result<()> {
    let mut misses = Misses::default();
    for name in ["gpt2", "llama"] {
        let cfg = kind(name);
        for (dtype, tolerance) in HALF {
            let pair = Pair::new(&format!("splices_{name}"), &cfg, dtype, Some(Processing::NONE))?;
            let tokens = prompts(2, 12, cfg.d_vocab);
            let plan = in_f32(false)?.capture((ACTS, ("resid_post", 0), ("resid_pre", 1)));
            for plan in [plan.clone(), plan.clone().edit(ACTS, Edit::zero().feature([0, -1]).pos(3..))] {
                let (half, cache) = pair.half.run_with_hooks(tokens.clone(), &plan)?;
                let (full, of_full) = pair.full.run_with_hooks(tokens.clone(), &plan)?;
                assert_eq!((half.dtype(), cache.get(("resid_pre", 1))?.dtype()), (dtype, dtype));
                misses.add(format!("{name} {dtype:?}: logits"), miss_of(&half, &full), 2. * tolerance);
                for point in [ACTS, "blocks.1.hook_resid_pre"] {
                    let miss = miss_of(&cache.get(point)?, &of_full.get(point)?);
                    misses.add(format!("{name} {dtype:?}: {point}"), miss, 3. * tolerance);
                }
                let memory = plan.memory(&pair.half.dims(), 2, 12, dtype)?;
                assert_eq!(memory.kept(), cache.bytes(), "features are counted as f32");
            }
            // Features keep the dtype of the dictionary, and are its own product of what it reads.
            let (_, cache) = pair.half.run_with_hooks(tokens.clone(), &plan)?;
            let encode = dictionary(DType::F32, false)?.encode.to_dtype(DType::F64)?;
            let by_hand = cache.get(("resid_post", 0))?.to_dtype(DType::F64)?.broadcast_matmul(&encode)?;
            assert_eq!(cache.get(ACTS)?.dtype(), DType::F32);
            misses.add(format!("{name} {dtype:?}: features"), miss_of(&cache.get(ACTS)?, &by_hand), WIDE);
            let path = scratch(&format!("half_spliced_{name}_{}", dtype.as_str())).join("cache.safetensors");
            cache.save(&path)?;
            let loaded = ActivationCache::load(&path)?;
            for (point, x) in cache.iter() {
                assert_eq!((loaded.get(point)?.dtype(), numbers(&loaded.get(point)?)), (x.dtype(), numbers(x)));
            }
        }
    }
    misses.finish();
    Ok(())
}

#[test]
fn a_dictionary_of_the_models_dtype_with_its_error_term_changes_nothing() -> Result<()> {
    let mut misses = Misses::default();
    for (dtype, tolerance) in HALF {
        let cfg = kind("gpt2");
        let pair = Pair::new("splices_own", &cfg, dtype, Some(Processing::NONE))?;
        let tokens = prompts(2, 12, cfg.d_vocab);
        let plain = pair.half.forward(tokens.clone())?;
        for (what, plan) in [
            ("its own dtype", HookPlan::new().splice(("resid_post", 0), dictionary(dtype, true)?)),
            ("f32", in_f32(true)?),
        ] {
            let (logits, cache) = pair.half.run_with_hooks(tokens.clone(), plan.capture(ACTS))?;
            let expected = if what == "f32" { DType::F32 } else { dtype };
            assert_eq!((logits.dtype(), cache.get(ACTS)?.dtype()), (dtype, expected), "{what}");
            misses.add(format!("{dtype:?}, {what}"), miss_of(&logits, &plain), 2. * tolerance);
        }
        // A dictionary of another dtype than what it multiplies is candle's error, not a wrong number.
        let other = HookPlan::new().splice(("resid_post", 0), dictionary(DType::F32, true)?);
        assert!(pair.half.run_with_hooks(tokens, other).is_err(), "{dtype:?}");
    }
    misses.finish();
    Ok(())
}

/// As in analyses.rs: attributions within 6 tolerances, changed metrics within 3 of the size of their logits.
#[test]
fn gradients_and_experiments_by_feature_are_those_of_f32() -> Result<()> {
    let mut misses = Misses::default();
    let cfg = kind("gpt2");
    let (clean, plan) = (prompts(2, 10, cfg.d_vocab), in_f32(false)?);
    let other: Vec<Vec<u32>> = clean.iter().map(|row| row.iter().map(|id| (id + 101) % 300).collect()).collect();
    let gradients = |model: &HookedTransformer| -> Result<Tensor> {
        let run = model.run(clean.clone(), plan.clone().watch(ACTS), RunOptions::default())?;
        run.taps.gradients(&run.logits.expect("asked for").to_dtype(DType::F32)?.sqr()?.mean_all()?)?.get(ACTS)
    };
    let experiment = |model: &HookedTransformer| -> Result<Experiment> {
        let metric = Metric::logit_diff(&model.answers([(3u32, 10u32), (20, 7)])?);
        Experiment::with_splices(model, &plan, clean.clone(), other.clone(), metric)
    };
    let swept = |model: &HookedTransformer| -> Result<Vec<f64>> {
        let swept = experiment(model)?.sweep(ACTS, &[AxisName::Feature])?.raw;
        Ok(numbers(&swept.to_tensor()?))
    };
    let attributed = |model: &HookedTransformer| -> Result<Vec<f64>> {
        let estimate = experiment(model)?.attribution(ACTS)?.sweep(ACTS, &[AxisName::Pos, AxisName::Feature])?.raw;
        let options = IgOptions { steps: 4, ..Default::default() };
        let integrated = experiment(model)?.integrated_gradients(ACTS, options)?.get(ACTS)?;
        Ok([numbers(&estimate.to_tensor()?), numbers(&integrated)].concat())
    };
    for (dtype, tolerance) in HALF {
        let Pair { half, full } = Pair::new("splices_gradients", &cfg, dtype, Some(Processing::NONE))?;
        misses.add(format!("{dtype:?}: gradients"), miss_of(&gradients(&half)?, &gradients(&full)?), 6. * tolerance);
        misses.add(format!("{dtype:?}: attributions"), miss(&attributed(&half)?, &attributed(&full)?), 6. * tolerance);
        let logits = numbers(&full.run_with_hooks(clean.clone(), &plan)?.0);
        let size = |numbers: &[f64]| (numbers.iter().map(|x| x * x).sum::<f64>() / numbers.len() as f64).sqrt();
        let apart: Vec<f64> = swept(&half)?.iter().zip(swept(&full)?).map(|(a, b)| a - b).collect();
        misses.add(format!("{dtype:?}: patched features"), size(&apart) / size(&logits), 3. * tolerance);
    }
    misses.finish();
    Ok(())
}
