//! The references of C16 beside the library's attribution, integrated gradients and edges.

use candle_lens::course::ex;
use candle_lens::prelude::*;

fn experiment(
    model: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    answers: (usize, usize),
) -> Result<Experiment> {
    let metric = Metric::logit_diff(&model.answers([(answers.0 as u32, answers.1 as u32)])?);
    Experiment::new(model, clean, corrupted, metric)
}

fn tensor(values: &Labelled) -> Result<Tensor> {
    let shape = values.shape();
    Ok(Tensor::from_vec(values.values().iter().copied().collect::<Vec<f32>>(), shape, &Device::Cpu)?)
}

#[test]
fn estimates_are_the_librarys() -> Result<()> {
    let patching = |model: &HookedTransformer, clean: &Tokens, corrupted: &Tokens, answers| -> Result<Tensor> {
        let estimated = experiment(model, clean, corrupted, answers)?
            .attribution(["z"])?
            .sweep("z", &[AxisName::Layer, AxisName::Head])?;
        Ok((tensor(&estimated.raw)? - f64::from(estimated.corrupted))?)
    };
    ex::attribution_patching().check(patching).expect()?;

    let edges =
        |model: &HookedTransformer, clean: &Tokens, corrupted: &Tokens, reader: usize, answers| -> Result<Tensor> {
            let scores = experiment(model, clean, corrupted, answers)?.edges()?.attribute(EdgeMethod::Eap)?;
            let heads = model.cfg().n_heads;
            let pairs = (0..=reader).flat_map(|layer| (0..heads).map(move |head| (layer, head)));
            let scores = pairs.map(|(layer, head)| scores.score(format!("a{layer}.h{head}->m{reader}")));
            Ok(Tensor::from_vec(scores.collect::<Result<Vec<f32>>>()?, (reader + 1, heads), &Device::Cpu)?)
        };
    ex::eap_scores().check(edges).expect()
}

#[test]
fn integrals_are_the_librarys() -> Result<()> {
    fn by(
        rule: Quadrature,
        (model, clean, corrupted): (&HookedTransformer, &Tokens, &Tokens),
        (layer, answers, steps): (usize, (usize, usize), usize),
    ) -> Result<Tensor> {
        let options = IgOptions { rule, steps, ..Default::default() };
        let experiment = experiment(model, clean, corrupted, answers)?;
        let integrated = experiment.integrated_gradients(("resid_pre", layer), options)?;
        tensor(&integrated.sweep(("resid_pre", layer), &[AxisName::Pos])?.values)
    }
    let check = |rule: Quadrature| {
        ex::integrated_gradients().check(|model, clean, corrupted, layer, answers, steps| {
            by(rule, (model, clean, corrupted), (layer, answers, steps))
        })
    };
    check(Quadrature::RiemannMiddle).expect()?;
    let left = check(Quadrature::RiemannLeft);
    assert!(left.passed() && left.to_string().contains("the left end"), "{left}");
    Ok(())
}

#[test]
fn comparisons_are_the_librarys() -> Result<()> {
    let compared = |exact: &Tensor, estimated: &Tensor| -> Result<(f32, Vec<(usize, usize)>)> {
        let labelled = |x: &Tensor| {
            let axes = vec![Axis::numbered("layer", x.dim(0)?), Axis::numbered("head", x.dim(1)?)];
            Labelled::new("effects", axes, x.flatten_all()?.to_vec1::<f32>()?)
        };
        let comparison = Comparison::new(&labelled(exact)?, &labelled(estimated)?)?;
        let number = |label: &String| label.parse::<usize>().expect("a number");
        let worst = comparison.worst[..3].iter().map(|miss| (number(&miss.labels[0]), number(&miss.labels[1])));
        Ok((comparison.pearson as f32, worst.collect()))
    };
    ex::compare().check(compared).expect()
}
