//! Sweeps and paths against the loops that they replace, of whole runs with hooks.

use candle_lens::Result;
use candle_lens::cache::ActivationCache;
use candle_lens::experiment::Experiment;
use candle_lens::head::Head;
use candle_lens::hooks::{Edit, HookPlan};
use candle_lens::metrics::{Answers, Metric};
use candle_lens::model::{HookedTransformer, LoadOptions, Processing};
use candle_lens::patching::{Mlps, PatchResult, PatchSite, Receiver, Sender};

use super::checks::{IOI, IOI_CORRUPTED, TOLERANCE, smollm2, unprocessed};

/// Two runs and their metric.
struct Pair<'a> {
    model: &'a HookedTransformer,
    answers: Answers,
    clean: ActivationCache,
    corrupted: ActivationCache,
}

impl<'a> Pair<'a> {
    fn new(model: &'a HookedTransformer) -> Result<Self> {
        let answers = model.answers([(" Mary", " John")])?;
        let run = |text| model.run_with_cache(text);
        let [clean, corrupted] = [run(IOI)?.1, run(IOI_CORRUPTED)?.1];
        Ok(Self { model, answers, clean, corrupted })
    }

    fn experiment(&self) -> Result<Experiment> {
        Experiment::new(self.model, self.clean.tokens(), self.corrupted.tokens(), Metric::logit_diff(&self.answers))
    }

    /// The logit difference of the corrupted prompt under a plan.
    fn under(&self, plan: &HookPlan) -> Result<f32> {
        let tokens = self.corrupted.tokens();
        let (logits, _) = self.model.run_with_hooks(&tokens, plan)?;
        self.answers.logit_diff(&logits, &tokens)?.scalar()
    }

    /// The logit difference with what the clean run has at one place.
    fn patched(&self, point: &str, layer: usize, at: impl Fn(Edit) -> Edit) -> Result<f32> {
        let point = (point, layer as isize);
        self.under(&HookPlan::new().edit(point, at(Edit::replace(self.clean.get(point)?))))
    }

    /// The plan that keeps the heads' outputs of the corrupted run except for one head's, which is the clean run's.
    fn frozen_but(&self, sender: Head) -> Result<HookPlan> {
        let mut plan = HookPlan::new();
        for layer in 0..self.model.cfg().n_layers {
            plan = plan.edit(("z", layer as isize), Edit::replace(self.corrupted.get(("z", layer as isize))?));
        }
        let point = ("z", sender.layer as isize);
        Ok(plan.edit(point, Edit::replace(self.clean.get(point)?).head(sender.head as isize)))
    }
}

#[track_caller]
fn assert_same(got: f32, expected: f32, what: &str) {
    assert!(f64::from((got - expected).abs()) < TOLERANCE, "{what}: {got}, the loop says {expected}");
}

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn sites_of_all_layers_equal_the_loop() -> Result<()> {
    let pair = Pair::new(unprocessed())?;
    let (model, experiment) = (pair.model, pair.experiment()?);
    let differing = (0..pair.clean.tokens().pos())
        .find(|pos| pair.clean.tokens().row(0)[*pos] != pair.corrupted.tokens().row(0)[*pos]);
    let differing = differing.expect("the prompts differ") as isize;
    let (mut sites, mut expected) = (Vec::new(), Vec::new());
    for layer in [0, 13, 29] {
        for pos in [differing, -1] {
            sites.push(PatchSite::new(model, ("resid_pre", layer as isize))?.pos(pos));
            expected.push(pair.patched("resid_pre", layer, |edit| edit.pos(pos))?);
        }
        for (point, heads) in [("z", 9), ("k", 3), ("v", 3)] {
            let head = heads - 1;
            sites.push(PatchSite::new(model, (point, layer as isize))?.head(head));
            expected.push(pair.patched(point, layer, |edit| edit.head(head))?);
        }
    }
    let result = experiment.sites(&sites)?;
    for (i, (site, expected)) in sites.iter().zip(expected).enumerate() {
        assert_same(result.raw.values()[[i]], expected, &site.to_string());
    }
    assert_same(result.raw.values()[[0]], experiment.clean(), "the token that differs is all of the difference");
    Ok(())
}

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn sweeps_of_the_first_layers_equal_the_loop() -> Result<()> {
    let options = LoadOptions { first_n_layers: Some(2), processing: Some(Processing::NONE), ..Default::default() };
    let model = smollm2(options)?;
    let pair = Pair::new(&model)?;
    let every = pair.experiment()?.get_act_patch_attn_head_all_pos_every()?;
    for ((point, heads), result) in [("z", 9), ("q", 9), ("k", 3), ("v", 3), ("pattern", 9)].into_iter().zip(&every) {
        assert_eq!(result.raw.shape(), [2, heads], "{point}");
        for layer in 0..2 {
            for head in 0..heads {
                let expected = pair.patched(point, layer, |edit| edit.head(head as isize))?;
                assert_same(result.raw.values()[[layer, head]], expected, &format!("{point} of L{layer}H{head}"));
            }
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn paths_equal_three_runs_with_hooks() -> Result<()> {
    let pair = Pair::new(unprocessed())?;
    let experiment = pair.experiment()?;
    let senders = [Head::new(8, 4), Head::new(20, 0), Head::new(26, 8)];
    let value = |result: &PatchResult, i: usize| result.raw.values()[[i]];

    let to_final = experiment.path_patch(&senders.map(Sender::from), &[Receiver::Final], Mlps::Recomputed)?;
    for (i, sender) in senders.into_iter().enumerate() {
        assert_same(value(&to_final, i), pair.under(&pair.frozen_but(sender)?)?, &format!("{sender} to the end"));
    }

    // Through a head's queries and the keys and values of a group of heads.
    let receivers = [("q", Head::new(24, 7)), ("k", Head::new(25, 2)), ("v", Head::new(24, 1))];
    let given = [Receiver::q(receivers[0].1), Receiver::k(receivers[1].1), Receiver::v(receivers[2].1)];
    let to_heads =
        experiment.path_patch(&senders[..2].iter().map(Sender::from).collect::<Vec<_>>(), &given, Mlps::Recomputed)?;
    for (i, sender) in senders[..2].iter().enumerate() {
        let (_, heard) = pair.model.run_with_hooks(pair.corrupted.tokens(), pair.frozen_but(*sender)?.capture_all())?;
        let mut plan = HookPlan::new();
        for (point, head) in receivers {
            let point = (point, head.layer as isize);
            plan = plan.edit(point, Edit::replace(heard.get(point)?).head(head.head as isize));
        }
        assert_same(value(&to_heads, i), pair.under(&plan)?, &format!("{sender} to heads"));
    }
    Ok(())
}
