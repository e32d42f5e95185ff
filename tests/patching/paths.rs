//! Path patching against the three runs with hooks that define it, one sender after the other.

use candle_lens::Result;
use candle_lens::candle::{Device, Tensor};
use candle_lens::experiment::Experiment;
use candle_lens::hooks::{Edit, HookPlan};
use candle_lens::metrics::Metric;
use candle_lens::model::{AttentionDir, HookedTransformer, HookedTransformerConfig, Processing};
use candle_lens::patching::{Mlps, Receiver, Sender, Untouched};
use candle_lens::tokens::{PaddingSide, Tokens};

use crate::support::fixture::{Agreement, path};

fn family(name: &str) -> Result<HookedTransformer> {
    let folder = path(&format!("families/{name}"));
    HookedTransformer::from_pretrained_with(folder.to_str().expect("the path is UTF-8"), Processing::NONE)
}

fn made(n_layers: usize, attention_dir: AttentionDir, attn_only: bool) -> Result<HookedTransformer> {
    let cfg = HookedTransformerConfig {
        n_layers,
        d_model: 16,
        n_heads: 4,
        d_vocab: 40,
        n_ctx: 12,
        attn_only,
        attention_dir,
        initializer_range: Some(0.4),
        ..Default::default()
    };
    Ok(HookedTransformer::trainable(cfg, 7, &Device::Cpu)?.0.without_weight_gradients())
}

/// Three prompts that differ from their counterparts from the second token on.
fn prompts(lengths: [usize; 3], side: PaddingSide, other: u32) -> Result<Tokens> {
    let row = |(length, seed): (usize, u32)| -> Vec<u32> {
        (0..length as u32).map(|i| (seed * 7 + i * 5 + if i == 1 || i == 3 { other } else { 0 }) % 29 + 1).collect()
    };
    Tokens::padded(lengths.into_iter().zip(1..).map(row).collect(), 0, side)
}

fn experiment(model: &HookedTransformer, lengths: [usize; 3], side: PaddingSide) -> Result<(Experiment, [Tokens; 2])> {
    let (clean, corrupted) = (prompts(lengths, side, 0)?, prompts(lengths, side, 9)?);
    let answers = model.answers((0..3u32).map(|b| (3 + b, 20 - b)))?;
    Ok((Experiment::new(model, &clean, &corrupted, Metric::logit_diff(&answers))?, [clean, corrupted]))
}

/// The point and the head of a receiver.
fn place(receiver: Receiver, layers: usize) -> ((&'static str, isize), Option<isize>) {
    match receiver {
        Receiver::Q(layer, head) => (("q", layer), Some(head)),
        Receiver::K(layer, head) => (("k", layer), Some(head)),
        Receiver::V(layer, head) => (("v", layer), Some(head)),
        Receiver::Mlp(layer) => (("mlp_in", layer), None),
        Receiver::Final => (("resid_post", layers as isize - 1), None),
    }
}

/// The metric of each prompt by the runs that define a path.
fn by_hooks(
    model: &HookedTransformer,
    [other, base]: &[Tokens; 2],
    (sender, receivers, mlps): (Sender, &[Receiver], Mlps),
) -> Result<Vec<f32>> {
    let layers = model.cfg().n_layers;
    let at = |tokens: &Tokens, site: &str, layer: usize| -> Result<Tensor> {
        let (_, cache) = model.run_with_cache(tokens)?;
        cache.get((site, layer))
    };
    let mut frozen = HookPlan::new();
    for layer in 0..layers {
        frozen = frozen.edit(("z", layer), Edit::replace(at(base, "z", layer)?));
        match sender {
            Sender::Head(of, head) if of == layer as isize => {
                let edit = Edit::replace(at(other, "z", layer)?).head(head..head + 1);
                frozen = frozen.edit(("z", layer), edit);
            }
            _ => {}
        }
        match sender {
            Sender::Mlp(of) if of == layer as isize => {
                frozen = frozen.edit(("mlp_out", layer), Edit::replace(at(other, "mlp_out", layer)?));
            }
            _ if mlps == Mlps::Frozen && !model.cfg().attn_only => {
                frozen = frozen.edit(("mlp_out", layer), Edit::replace(at(base, "mlp_out", layer)?));
            }
            _ => {}
        }
    }
    let places: Vec<_> = receivers.iter().map(|receiver| place(*receiver, layers)).collect();
    let frozen = places.iter().fold(frozen, |plan, (point, _)| plan.capture(*point));
    let (_, heard) = model.run_with_hooks(base, &frozen)?;
    let mut put_in = HookPlan::new();
    for (point, head) in places {
        let edit = Edit::replace(heard.get(point)?);
        put_in = put_in.edit(point, head.map_or(edit.clone(), |head| edit.head(head..head + 1)));
    }
    let (logits, _) = model.run_with_hooks(base, &put_in)?;
    let ends = base.last_positions().into_iter().enumerate();
    ends.map(|(b, last)| {
        let logits = logits.get(b)?.get(last)?.to_vec1::<f32>()?;
        Ok(logits[3 + b] - logits[20 - b])
    })
    .collect()
}

fn check(
    model: &HookedTransformer,
    (lengths, side): ([usize; 3], PaddingSide),
    receivers: &[Receiver],
    agreement: &mut Agreement,
) -> Result<()> {
    let (experiment, [clean, corrupted]) = experiment(model, lengths, side)?;
    let (layers, heads) = (model.cfg().n_layers as isize, model.cfg().n_heads as isize);
    // In an order of their own: results are in the order of the list.
    let of_layer = |layer: isize| (0..heads).rev().step_by(2).map(move |head| Sender::Head(layer, head));
    let mut senders: Vec<Sender> = (0..layers).rev().flat_map(of_layer).collect();
    if !model.cfg().attn_only {
        senders.extend((0..layers).map(Sender::Mlp));
    }
    for (experiment, runs) in
        [(experiment.clone(), [clean.clone(), corrupted.clone()]), (experiment.noising()?, [corrupted, clean])]
    {
        for mlps in [Mlps::Recomputed, Mlps::Frozen] {
            let result = experiment.path_patch(&senders, receivers, mlps)?;
            // Few at once, for which every batch is another.
            let few = experiment.clone().budget(60_000).path_patch(&senders, receivers, mlps)?;
            for (place, &sender) in senders.iter().enumerate() {
                let expected = by_hooks(model, &runs, (sender, receivers, mlps))?;
                for (prompt, &expected) in expected.iter().enumerate() {
                    for result in [&result, &few] {
                        let got = result.per_prompt.values()[[place, prompt]];
                        agreement.check_numbers(
                            &format!("{sender:?} of {} to {receivers:?}, {mlps:?}", model.cfg().model_name),
                            [(f64::from(got), f64::from(expected))].into_iter(),
                        );
                    }
                }
            }
        }
    }
    Ok(())
}

/// Receivers of every kind in two layers, of which senders hear some.
fn receivers(model: &HookedTransformer) -> Vec<Vec<Receiver>> {
    let last = model.cfg().n_layers as isize - 1;
    let heads =
        vec![Receiver::Q(last, 1), Receiver::K(last, 0), Receiver::V(1, 1), Receiver::V(1, 0), Receiver::Q(1, 1)];
    let mlps = [Receiver::Mlp(last), Receiver::Mlp(last - 1), Receiver::K(last, 1), Receiver::Q(last, 1)];
    let mut all = vec![vec![Receiver::Final], heads];
    if !model.cfg().attn_only {
        all.push(mlps.to_vec());
    }
    all
}

#[test]
fn paths_of_every_kind_are_those_of_three_runs() -> Result<()> {
    let mut agreement = Agreement::default();
    let mut models = vec![
        made(3, AttentionDir::Causal, false)?,
        made(3, AttentionDir::Causal, true)?,
        made(2, AttentionDir::Bidirectional, false)?,
    ];
    for name in ["llama", "gemma2", "gpt_neox", "gpt_neo"] {
        models.push(family(name)?);
    }
    for model in &models {
        for receivers in receivers(model) {
            check(model, ([6; 3], PaddingSide::Right), &receivers, &mut agreement)?;
        }
    }
    agreement.finish("paths");
    Ok(())
}

#[test]
fn paths_of_padded_prompts_are_those_of_three_runs() -> Result<()> {
    let mut agreement = Agreement::default();
    for model in [made(2, AttentionDir::Causal, false)?, family("llama")?] {
        for side in [PaddingSide::Left, PaddingSide::Right] {
            for receivers in receivers(&model) {
                check(&model, ([6, 4, 5], side), &receivers, &mut agreement)?;
            }
        }
    }
    agreement.finish("paths of padded prompts");
    Ok(())
}

/// A receiver that is named twice is one, and senders behind every receiver change nothing.
#[test]
fn who_hears_nothing_changes_nothing() -> Result<()> {
    let model = made(3, AttentionDir::Causal, false)?;
    let (experiment, _) = experiment(&model, [6; 3], PaddingSide::Right)?;
    let senders = [Sender::Head(0, 1), Sender::Head(1, 2), Sender::Mlp(1), Sender::Head(2, 0)];
    let once = experiment.path_patch(&senders, &[Receiver::Q(1, 2)], Mlps::Recomputed)?;
    let twice = experiment.path_patch(&senders, &[Receiver::Q(1, 2), Receiver::Q(-2, 2)], Mlps::Recomputed)?;
    assert_eq!(once.raw.values(), twice.raw.values());
    let silent = [None, Some(Untouched::NoPath), Some(Untouched::NoPath), Some(Untouched::NoPath)];
    assert_eq!(once.untouched.iter().copied().collect::<Vec<_>>(), silent);
    Ok(())
}
