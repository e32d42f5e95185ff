//! The references of both sections on brackets beside loops, the library and identities.

use candle_lens::course::ex;
use candle_lens::prelude::*;

/// A string is balanced if taking out neighbours "()" again and again leaves nothing.
pub(super) fn is_balanced(text: &str) -> bool {
    let mut rest = text.to_string();
    while rest.contains("()") {
        rest = rest.replace("()", "");
    }
    rest.is_empty()
}

/// What closes less what opens, from each bracket to the end.
pub(super) fn elevations(text: &str) -> Vec<i32> {
    let closes = |at: usize| text[at..].matches(')').count() as i32 - text[at..].matches('(').count() as i32;
    (0..text.len()).map(closes).collect()
}

fn texts_of(tokens: &Tokens) -> Vec<String> {
    let text = |row: usize| tokens.real_row(row)[1..].iter().map(|id| if *id == 2 { '(' } else { ')' }).collect();
    (0..tokens.batch()).map(text).collect()
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn algorithms_are_what_loops_give() -> Result<()> {
    ex::is_balanced().check(|text| Ok::<_, candle_lens::Error>(is_balanced(text))).expect()?;

    let by_loops = |tokens: &Tokens| -> Result<Tensor> {
        let rows = texts_of(tokens).into_iter().map(|text| {
            let mut row: Vec<f32> = elevations(&text).into_iter().map(|elevation| elevation as f32).collect();
            row.insert(0, row[0]);
            row.resize(tokens.pos(), 0.0);
            row
        });
        Ok(Tensor::new(rows.collect::<Vec<_>>(), &Device::Cpu)?)
    };
    ex::elevations().check(by_loops).expect()?;

    let failures = |tokens: &Tokens| -> Result<(Tensor, Tensor)> {
        let found = |fails: &dyn Fn(&[i32]) -> bool| -> Result<Tensor> {
            let rows = texts_of(tokens).into_iter().map(|text| f32::from(u8::from(fails(&elevations(&text)))));
            Ok(Tensor::new(rows.collect::<Vec<_>>(), &Device::Cpu)?)
        };
        Ok((found(&|all| all[0] != 0)?, found(&|all| all.iter().any(|elevation| *elevation < 0))?))
    };
    ex::failures().check(failures).expect()
}

/// Strings one by one, so without padding.
#[test]
fn answers_are_what_each_string_alone_gives() -> Result<()> {
    let alone = |model: &HookedTransformer, texts: &[String]| -> Result<f32> {
        let right = texts.iter().map(|text| {
            let logits = model.forward(text.as_str())?.i((0, 0))?.to_vec1::<f32>()?;
            Ok(f32::from(u8::from((logits[1] > logits[0]) == is_balanced(text))))
        });
        Ok(right.collect::<Result<Vec<_>>>()?.iter().sum::<f32>() / texts.len() as f32)
    };
    ex::accuracy().check(alone).expect()?;

    let without =
        |model: &HookedTransformer, texts: &[String], balanced: &[bool], layer: usize, head: usize| -> Result<f32> {
            let kept: Vec<f32> = (0..model.dims().n_heads).map(|other| if other == head { 0. } else { 1. }).collect();
            let kept = Tensor::new(kept, &Device::Cpu)?.reshape((1, 1, (), 1))?;
            let plan = HookPlan::new().edit(
                ("z", layer),
                Edit::custom("one head less", move |z, _| -> Result<Tensor> { Ok(z.broadcast_mul(&kept)?) }),
            );
            let mut right = 0.0;
            for (text, balanced) in texts.iter().zip(balanced) {
                let logits = model.run_with_hooks(text.as_str(), plan.clone())?.0.i((0, 0))?.to_vec1::<f32>()?;
                right += f32::from(u8::from((logits[1] > logits[0]) == *balanced));
            }
            Ok(right / texts.len() as f32)
        };
    ex::accuracy_without().check(without).expect()
}

#[test]
fn components_are_those_of_the_library() -> Result<()> {
    let direction = |model: &HookedTransformer| -> Result<Tensor> {
        let rows = model.W_U().to_vec2::<f32>()?;
        Ok(Tensor::new(rows.iter().map(|row| row[0] - row[1]).collect::<Vec<_>>(), &Device::Cpu)?)
    };
    ex::post_final_ln_dir().check(direction).expect()?;

    let components = |model: &HookedTransformer, cache: &ActivationCache| -> Result<Tensor> {
        let (heads, layers) = (model.dims().n_heads, model.dims().n_layers);
        let by_head = cache.stack_head_results(model, Stack::heads())?.tensor();
        let parts = cache.decompose_resid(Stack::components().without_attention())?.tensor();
        let mut all = vec![(parts.get(0)? + parts.get(1)?)?];
        for layer in 0..layers {
            all.extend(
                (0..heads).map(|head| by_head.get(layer * heads + head)).collect::<std::result::Result<Vec<_>, _>>()?,
            );
            all.push(parts.get(2 + layer)?);
        }
        Ok(Tensor::stack(&all, 0)?)
    };
    ex::out_by_components().check(components).expect()?;

    let normed = |components: &Tensor, cache: &ActivationCache| -> Result<Tensor> {
        let scale = cache.get("ln_final.hook_scale")?.to_vec3::<f32>()?;
        let mut all = Vec::new();
        for component in 0..components.dim(0)? {
            for (row, vectors) in components.get(component)?.to_vec3::<f32>()?.iter().enumerate() {
                let mean = vectors[0].iter().sum::<f32>() / vectors[0].len() as f32;
                all.extend(vectors[0].iter().map(|x| (x - mean) / scale[row][0][0]));
            }
        }
        let (parts, batch, _, width) = components.dims4()?;
        Ok(Tensor::from_vec(all, (parts, batch, width), &Device::Cpu)?)
    };
    ex::through_final_norm().check(normed).expect()?;

    let shares = |components: &Tensor, dir: &Tensor, balanced: &[bool]| -> Result<Tensor> {
        let dir = dir.to_vec1::<f32>()?;
        let count = balanced.iter().filter(|balanced| **balanced).count() as f32;
        let rows = components.to_vec3::<f32>()?.into_iter().map(|strings| {
            let all: Vec<f32> = strings.iter().map(|x| dot(x, &dir)).collect();
            let mean = all.iter().zip(balanced).filter(|(_, is)| **is).map(|(x, _)| x).sum::<f32>() / count;
            all.iter().map(|x| x - mean).collect::<Vec<f32>>()
        });
        Ok(Tensor::new(rows.collect::<Vec<_>>(), &Device::Cpu)?)
    };
    ex::in_direction().check(shares).expect()
}

#[test]
fn heads_and_neurons_are_what_loops_and_the_library_give() -> Result<()> {
    let start = |cache: &ActivationCache, layer: usize, head: usize| -> Result<Tensor> {
        let rows = cache.get(("pattern", layer))?.i((.., head, 0))?.to_vec2::<f32>()?;
        let tokens = cache.tokens();
        let mean = |key: usize| {
            let there: Vec<f32> =
                (0..rows.len()).filter(|row| tokens.is_real(*row, key)).map(|row| rows[row][key]).collect();
            there.iter().sum::<f32>() / there.len() as f32
        };
        Ok(Tensor::new((0..tokens.pos()).map(mean).collect::<Vec<_>>(), &Device::Cpu)?)
    };
    ex::start_attention().check(start).expect()?;

    let to_marked = |cache: &ActivationCache, layer: usize, head: usize, marked: &Tensor| -> Result<Tensor> {
        let rows = cache.get(("pattern", layer))?.i((.., head, 0))?.to_vec2::<f32>()?;
        let sums = rows.iter().zip(marked.to_vec2::<f32>()?).map(|(row, marked)| dot(row, &marked));
        Ok(Tensor::new(sums.collect::<Vec<_>>(), &Device::Cpu)?)
    };
    ex::attention_to_marked().check(to_marked).expect()?;

    fn ov(model: &HookedTransformer, layer: usize, head: usize) -> Result<Tensor> {
        model.OV()?.get(&[layer as isize, head as isize])?.AB()
    }
    let before = |model: &HookedTransformer, dir: &Tensor, layer: usize, head: usize| -> Result<Tensor> {
        Ok(ov(model, layer, head)?.matmul(&dir.unsqueeze(1)?)?.squeeze(1)?)
    };
    ex::pre_head_dir().check(before).expect()?;

    fn neurons(model: &HookedTransformer, cache: &ActivationCache, layer: usize) -> Result<Tensor> {
        let all =
            cache.stack_neuron_results(model, Stack::neurons().before(layer as isize + 1))?.tensor().i((.., .., 0))?;
        let count = model.dims().d_mlp;
        Ok(all.narrow(0, layer * count, count)?.transpose(0, 1)?.contiguous()?)
    }
    ex::out_by_neuron().check(neurons).expect()?;
    let in_dir = |model: &HookedTransformer, cache: &ActivationCache, layer: usize, dir: &Tensor| -> Result<Tensor> {
        Ok(neurons(model, cache, layer)?.broadcast_matmul(&dir.unsqueeze(1)?)?.squeeze(2)?)
    };
    ex::out_by_neuron_in_dir().check(in_dir).expect()?;

    let passed_on = |model: &HookedTransformer, head: usize| -> Result<(Tensor, Tensor)> {
        let (ov, eps, positions) = (ov(model, 0, head)?, model.cfg().eps as f32, model.W_pos()?.to_vec2::<f32>()?);
        let of = |id: usize| -> Result<Tensor> {
            let embedding = model.W_E().get(id)?.to_vec1::<f32>()?;
            let width = embedding.len() as f32;
            let mean = |d: usize| positions[1..].iter().map(|row| row[d]).sum::<f32>() / (positions.len() - 1) as f32;
            let x: Vec<f32> = embedding.iter().enumerate().map(|(d, x)| x + mean(d)).collect();
            let centre = x.iter().sum::<f32>() / width;
            let variance = x.iter().map(|x| (x - centre).powi(2)).sum::<f32>() / width;
            let normed: Vec<f32> = x.iter().map(|x| (x - centre) / (variance + eps).sqrt()).collect();
            Ok(Tensor::new(normed, &Device::Cpu)?.unsqueeze(0)?.matmul(&ov)?.squeeze(0)?)
        };
        Ok((of(2)?, of(3)?))
    };
    ex::v_left_right().check(passed_on).expect()
}
