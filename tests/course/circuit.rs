//! The references of C8's second half beside the library's ablations and its circuits of edges.

use candle_lens::course::ex;
use candle_lens::prelude::*;

fn all_heads(model: &HookedTransformer) -> Vec<Head> {
    let cfg = model.cfg();
    (0..cfg.n_layers).flat_map(|layer| (0..cfg.n_heads).map(move |head| Head::new(layer, head))).collect()
}

fn ablation(model: &HookedTransformer, tokens: &Tokens, groups: &[usize], answers: &Answers) -> Result<Experiment> {
    Experiment::new(model, tokens, Baseline::MeanByGroup(groups.to_vec()), Metric::logit_diff(answers))
}

fn outside(model: &HookedTransformer, circuit: &[Head]) -> Vec<Head> {
    all_heads(model).into_iter().filter(|head| !circuit.contains(head)).collect()
}

fn nodes(heads: &[Head]) -> Vec<Node> {
    heads.iter().map(|head| Node::Head(head.layer as isize, head.head as isize)).collect()
}

/// The library's faithfulness is 0 for the empty circuit of edges; the course's is 0 where the metric is.
fn share(edges: &Edges, faithfulness: f32) -> f32 {
    (faithfulness * (edges.clean() - edges.corrupted()) + edges.corrupted()) / edges.clean()
}

#[test]
fn means_are_those_of_loops() -> Result<()> {
    ex::mean_by_group()
        .check(|z, groups| {
            let (batch, pos, heads, d_head) = z.dims4()?;
            let (size, values) = (pos * heads * d_head, z.flatten_all()?.to_vec1::<f32>()?);
            let mut means = Vec::new();
            for (row, at) in (0..batch).flat_map(|row| (0..size).map(move |at| (row, at))) {
                let members: Vec<f32> =
                    (0..batch).filter(|&b| groups[b] == groups[row]).map(|b| values[b * size + at]).collect();
                means.push(members.iter().sum::<f32>() / members.len() as f32);
            }
            Ok::<_, candle_lens::Error>(Tensor::from_vec(means, z.shape(), &Device::Cpu)?)
        })
        .expect()?;
    ex::keep_at()
        .check(|z, means, heads, positions| {
            let mut kept = means.clone();
            for (row, &pos) in positions.iter().enumerate() {
                for &head in heads {
                    let own = z.narrow(0, row, 1)?.narrow(1, pos, 1)?.narrow(2, head, 1)?;
                    let at = [row..row + 1, pos..pos + 1, head..head + 1, 0..z.dim(3)?];
                    kept = kept.slice_assign(&at, &own)?;
                }
            }
            Ok::<_, candle_lens::Error>(kept)
        })
        .expect()
}

#[test]
fn faithfulness_is_an_ablation_of_the_others() -> Result<()> {
    ex::faithfulness()
        .check(|model, tokens, groups, answers, circuit| {
            let experiment = ablation(model, tokens, groups, answers)?;
            experiment.together(outside(model, circuit))?.normalised.scalar()
        })
        .expect()?;
    // And the run of a circuit of edges without those nodes.
    ex::faithfulness()
        .check(|model, tokens, groups, answers, circuit| {
            let edges = ablation(model, tokens, groups, answers)?.edges()?;
            let circuit = Circuit::of(model).full().without_nodes(&nodes(&outside(model, circuit)))?;
            Ok::<_, candle_lens::Error>(edges.evaluate(&circuit)?.metric / edges.clean())
        })
        .expect()
}

#[test]
fn minimality_and_completeness_are_those_of_circuits_of_edges() -> Result<()> {
    ex::minimality()
        .check(|model, tokens, groups, answers, circuit, head, set| {
            let edges = ablation(model, tokens, groups, answers)?.edges()?;
            let circuit = Circuit::of(model).full().without_nodes(&nodes(&outside(model, circuit)))?;
            let sets = [nodes(set), nodes(&[set, &[head]].concat())];
            let found = edges.completeness(&circuit, &sets)?;
            Ok::<_, candle_lens::Error>(share(&edges, found.at(&[0, 0])?) - share(&edges, found.at(&[1, 0])?))
        })
        .expect()?;
    ex::completeness()
        .check(|model, tokens, groups, answers, circuit, sets| {
            let edges = ablation(model, tokens, groups, answers)?.edges()?;
            let circuit = Circuit::of(model).full().without_nodes(&nodes(&outside(model, circuit)))?;
            let found = edges.completeness(&circuit, &sets.iter().map(|set| nodes(set)).collect::<Vec<_>>())?;
            let mut numbers = Vec::new();
            for set in 0..sets.len() as isize {
                numbers.push(share(&edges, found.at(&[set, 0])?));
                numbers.push(share(&edges, found.at(&[set, 1])?));
            }
            Ok::<_, candle_lens::Error>(Tensor::from_vec(numbers, (sets.len(), 2), &Device::Cpu)?)
        })
        .expect()
}

/// What is left of the logit difference where the heads outside write the mean over the *other* prompts of the group.
fn left_by_others(
    model: &HookedTransformer,
    tokens: &Tokens,
    groups: &[usize],
    answers: &Answers,
    circuit: &[Head],
) -> Result<f32> {
    let (logits, cache) = model.run_with_hooks(tokens, HookPlan::new().capture("z"))?;
    let mut plan = HookPlan::new();
    for Head { layer, head } in outside(model, circuit) {
        let z = cache.get(("z", layer))?.i((.., .., head))?;
        let mean = |row: usize| -> Result<Tensor> {
            let others = (0..groups.len()).filter(|&other| other != row && groups[other] == groups[row]);
            let others = others.map(|other| Ok(z.get(other)?)).collect::<Result<Vec<_>>>()?;
            Ok(Tensor::stack(&others, 0)?.mean(0)?)
        };
        let means = (0..groups.len()).map(mean).collect::<Result<Vec<_>>>()?;
        plan = plan.edit(("z", layer), Edit::replace(Tensor::stack(&means, 0)?).head(head));
    }
    let (ablated, _) = model.run_with_hooks(tokens, plan)?;
    Ok((answers.logit_diff(&ablated, tokens)?.mean() / answers.logit_diff(&logits, tokens)?.mean()) as f32)
}

#[test]
fn means_over_the_other_members_are_accepted() -> Result<()> {
    let verdict = ex::faithfulness().check(left_by_others);
    assert!(verdict.passed() && verdict.to_string().contains("the other members"), "{verdict}");
    Ok(())
}

/// What the texts say of the model.
#[test]
fn the_texts_are_right_about_the_circuit() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let prompts = Task::Ioi.prompts(tasks::Split::Combinations, 3000, 0)?.of_templates(0..3)?.one_length(&model)?;
    let prompts = prompts.head(48);
    let batch = prompts.batch(&model)?;
    let baseline = Baseline::MeanByGroup(batch.groups.clone());
    let ablation = Experiment::new(&model, &batch.clean, baseline, batch.metric.clone())?;
    let circuit: Vec<Head> = [(3, 6), (3, 7), (3, 0), (2, 6), (0, 7), (0, 3), (1, 0)].map(Head::from).to_vec();
    let others = outside(&model, &circuit);
    let left = |ablated: &[Head]| ablation.together(ablated.iter().copied())?.normalised.scalar();
    // The texts give two decimals.
    const ROUNDED: f32 = 0.006;
    let is = |value: f32, wanted: f32| assert!((value - wanted).abs() < ROUNDED, "{value}, and the text says {wanted}");
    let whole = left(&others)?;
    is(whole, 1.38);
    is(left(&all_heads(&model))?, 0.28);
    is(left(&circuit)?, 0.20);
    let answers = model.answers(prompts.prompts.iter().map(|p| (p.right[0].as_str(), p.wrong[0].as_str())))?;
    let by_others = |circuit: &[Head]| left_by_others(&model, &batch.clean, &batch.groups, &answers, circuit);
    let (none, circuit_alone) = (by_others(&[])?, by_others(&circuit)?);
    is(none, 0.11);
    is(circuit_alone, 1.31);
    let without = others.iter().map(|head| left(&[*head])).collect::<Result<Vec<_>>>()?;
    let against = without.iter().filter(|left| **left > 1.1).count();
    assert_eq!(against, 3, "three heads work against the answer: {without:?}");
    for (head, adds) in circuit.iter().zip([0.31, 0.23, 0.23, 0.15, 0.31, 0.22, 0.16]) {
        is(whole - left(&[&others[..], &[*head]].concat())?, adds);
    }
    for set in [&circuit[..1], &circuit[..2], &circuit[..4], &circuit[4..], &circuit[4..5]] {
        let (of_circuit, of_model) = (left(&[&others[..], set].concat())?, left(set)?);
        assert!(of_circuit > of_model, "{set:?}: the circuit has {of_circuit}, the model {of_model}");
    }
    Ok(())
}
