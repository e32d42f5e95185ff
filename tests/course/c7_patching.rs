//! C7 beside the library's sweeps, and what its text says of the embedded model.

use candle_lens::course::{Outcome, ex};
use candle_lens::prelude::*;

/// Numbers that a text quotes with two decimals.
const AS_QUOTED: f32 = 0.006;

/// The library's sweep of these points, `[point, layer, site]`.
fn sweep(
    of: impl Fn(&Experiment) -> Result<Vec<PatchResult>>,
    (model, clean, corrupted): (&HookedTransformer, &ActivationCache, &Tokens),
    (right, wrong): (u32, u32),
) -> Result<Tensor> {
    let metric = Metric::logit_diff(&model.answers([(right, wrong)])?);
    let results = of(&Experiment::new(model, clean.tokens(), corrupted, metric)?)?;
    let numbers = results.iter().map(|result| result.raw.to_tensor()).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::stack(&numbers, 0)?)
}

#[test]
fn sweeps_are_the_library_s() -> Result<()> {
    ex::patch_resid_pre()
        .check(|model, clean, corrupted, right, wrong| {
            let of = |experiment: &Experiment| Ok(vec![experiment.get_act_patch_resid_pre()?]);
            sweep(of, (model, clean, corrupted), (right, wrong))?.get(0).map_err(candle_lens::Error::from)
        })
        .expect()?;
    ex::patch_blocks()
        .check(|model, clean, corrupted, right, wrong| {
            sweep(Experiment::get_act_patch_block_every, (model, clean, corrupted), (right, wrong))
        })
        .expect()?;
    ex::patch_heads()
        .check(|model, clean, corrupted, right, wrong| {
            let of = |experiment: &Experiment| Ok(vec![experiment.get_act_patch_attn_head_out_all_pos()?]);
            sweep(of, (model, clean, corrupted), (right, wrong))?.get(0).map_err(candle_lens::Error::from)
        })
        .expect()?;
    ex::patch_heads_every()
        .check(|model, clean, corrupted, right, wrong| {
            sweep(Experiment::get_act_patch_attn_head_all_pos_every, (model, clean, corrupted), (right, wrong))
        })
        .expect()
}

#[test]
fn one_run_and_its_measure_are_what_they_say() -> Result<()> {
    ex::logit_diff_with()
        .check(|model, prompt, plan, right, wrong| {
            let logits = model.run_with_hooks(prompt, plan)?.0;
            model.answers([(right, wrong)])?.logit_diff(&logits, prompt)?.scalar()
        })
        .expect()?;
    let by_loops = |patched: &Tensor, clean: f32, corrupted: f32| -> Result<Tensor> {
        let share = |x: &f32| (x - corrupted) / (clean - corrupted);
        let shares: Vec<f32> = patched.flatten_all()?.to_vec1::<f32>()?.iter().map(share).collect();
        Ok(Tensor::from_vec(shares, patched.shape(), &Device::Cpu)?)
    };
    ex::recovered().check(by_loops).expect()
}

#[test]
fn the_question_does_not_print_its_answer() {
    let says =
        |answer: &'static str| ex::what_carries_it().check(move || Ok::<_, candle_lens::Error>(answer.to_string()));
    let wrong = says("queries");
    assert!(matches!(wrong.outcome(), Outcome::Wrong { likely: Some((0, _)), .. }), "{wrong}");
    assert!(!says("heads").to_string().contains("values"));
    assert!(says("values").passed() && says("the values").passed() && says("V").passed());
    assert!(!says("va").passed() && !says("queries and values").passed());
    for denied in
        ["not the values", "Neither keys nor values", "it isn't the values", "it isn’t the values", "no values"]
    {
        let verdict = says(denied);
        assert!(!verdict.passed() && verdict.to_string().contains("says what it is not"), "{verdict}");
    }
}

/// What the section says of the embedded model.
#[test]
fn the_texts_say_what_the_model_does() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let answers = model.answers([(" Mary", " John")])?;
    let clean = "When John and Mary went to the shops, John gave the bag to";
    let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
    let experiment = Experiment::new(&model, clean, corrupted, Metric::logit_diff(&answers))?;
    assert!((experiment.clean() - 7.24).abs() < AS_QUOTED && (experiment.corrupted() + 6.19).abs() < AS_QUOTED);

    let (name, end) = (10, 14);
    let stream = experiment.get_act_patch_resid_pre()?.normalised;
    assert!(stream.at(&[0, name])? > 0.95 && stream.at(&[-1, name])? < 0.9 && stream.at(&[-1, end])? > 0.1, "{stream}");
    let blocks = experiment.get_act_patch_block_every()?;
    let (attention, mlps) = (&blocks[1].normalised, &blocks[2].normalised);
    assert!(attention.at(&[0, name])? > 0.3 && attention.at(&[-1, end])? > 0.3, "{attention}");
    assert!(attention.at(&[1, name])? > 0.2 && attention.at(&[2, end])? > 0.15, "{attention}");
    assert!(mlps.top(1)[0].value < 0.5 * attention.top(1)[0].value, "{mlps}");

    let every = experiment.get_act_patch_attn_head_all_pos_every()?;
    let heads = &every[0].normalised;
    let layers: Vec<usize> = heads.top_heads(6)?.iter().map(|(head, _)| head.layer).collect();
    assert!(layers.iter().any(|&layer| layer < 2) && layers.iter().any(|&layer| layer > 1), "{heads}");
    let [_, q, k, v, pattern] = [0, 1, 2, 3, 4].map(|point: usize| every[point].normalised.top(1)[0].value);
    assert!(v > 0.3 && v > 2.0 * q && q < 0.2 && k < 0.1 && pattern < 0.1, "q {q}, k {k}, v {v}, pattern {pattern}");
    Ok(())
}
