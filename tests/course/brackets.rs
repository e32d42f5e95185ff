//! The references of both sections on brackets beside loops, the library and identities, and what their texts say of the model.

use candle_lens::course::{bracket_strings, ex};
use candle_lens::prelude::*;

/// A string is balanced if taking out neighbours "()" again and again leaves nothing.
fn is_balanced(text: &str) -> bool {
    let mut rest = text.to_string();
    while rest.contains("()") {
        rest = rest.replace("()", "");
    }
    rest.is_empty()
}

/// What closes less what opens, from each bracket to the end.
fn elevations(text: &str) -> Vec<i32> {
    let closes = |at: usize| text[at..].matches(')').count() as i32 - text[at..].matches('(').count() as i32;
    (0..text.len()).map(closes).collect()
}

fn texts_of(tokens: &Tokens) -> Vec<String> {
    let text = |row: usize| tokens.real_row(row)[1..].iter().map(|id| if *id == 2 { '(' } else { ')' }).collect();
    (0..tokens.batch()).map(text).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
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

/// The texts have one decimal.
const PRINTED: f32 = 0.051;

/// Or whole per cent.
const PER_CENT: f32 = 0.006;

fn strings(count: usize, seed: u64) -> Vec<String> {
    bracket_strings(count, &mut Random::new(seed))
}

/// Whether a string fails in total, and whether it fails on the way.
fn fails(text: &str) -> (bool, bool) {
    let elevations = elevations(text);
    (elevations[0] != 0, elevations.iter().any(|elevation| *elevation < 0))
}

fn not_balanced(model: &HookedTransformer) -> Result<Tensor> {
    Ok((model.W_U().i((.., 0))? - model.W_U().i((.., 1))?)?)
}

fn mean(values: impl IntoIterator<Item = f32>) -> f32 {
    let values: Vec<f32> = values.into_iter().collect();
    values.iter().sum::<f32>() / values.len() as f32
}

/// The table at the end of C9.
#[test]
fn components_push_as_the_table_says() -> Result<()> {
    let model = HookedTransformer::from_pretrained("brackets")?;
    let texts = strings(2000, 2);
    let cache = model.run_with_cache(&texts)?.1;
    let (direction, scale) = (not_balanced(&model)?, cache.get("ln_final.hook_scale")?.i((.., 0))?.flatten_all()?);
    let along = |x: Tensor| -> Result<Vec<f32>> {
        Ok((einsum("b d, d -> b", &[&x.i((.., 0))?, &direction])? / &scale)?.to_vec1()?)
    };
    let head = |layer: usize, head: usize| -> Result<Vec<f32>> {
        let z = cache.get(("z", layer))?.i((.., .., head))?;
        along(einsum("b p e, e d -> b p d", &[&z, &model.W_O()?.i((layer, head))?])?)
    };
    let first = (cache.get(("attn_out", 0))? + cache.get(("mlp_out", 0))?)?;
    let rows = [
        ("layer 0", along(first)?, [0.7, -0.1, -0.4]),
        ("1.0", head(1, 0)?, [1.3, 1.8, 1.9]),
        ("1.1", head(1, 1)?, [7.4, 8.5, 8.0]),
        ("MLP 1", along(cache.get(("mlp_out", 1))?)?, [0.7, 0.4, 0.4]),
        ("2.0", head(2, 0)?, [1.8, 2.0, 2.1]),
        ("2.1", head(2, 1)?, [2.8, 2.8, 2.7]),
        ("MLP 2", along(cache.get(("mlp_out", 2))?)?, [5.0, 4.4, 4.9]),
    ];
    let of = |values: &[f32], kind: (bool, bool)| {
        mean(texts.iter().zip(values).filter(|(text, _)| fails(text) == kind).map(|(_, value)| *value))
    };
    for (name, values, printed) in rows {
        let kinds = [(true, false), (false, true), (true, true)];
        for (kind, printed) in kinds.into_iter().zip(printed) {
            let pushed = of(&values, kind) - of(&values, (false, false));
            assert!(
                (pushed - printed).abs() < PRINTED,
                "{name} pushes strings that fail {kind:?} by {pushed}, not {printed}"
            );
        }
    }
    Ok(())
}

/// What C10 says of head 1.1 and of layer 0.
#[test]
fn head_1_1_is_an_alarm() -> Result<()> {
    let model = HookedTransformer::from_pretrained("brackets")?;
    let texts: Vec<String> = strings(1000, 3);
    let cache = model.run_with_cache(&texts)?.1;
    let share_right = |layer: usize, head: usize, balanced: bool| -> Result<f32> {
        let plan = HookPlan::new().edit(("z", layer), Edit::zero().head(head));
        let says = model.run_with_hooks(&texts, plan)?.0.i((.., 0))?.argmax(1)?.to_vec1::<u32>()?;
        let those = texts.iter().zip(says).filter(|(text, _)| is_balanced(text) == balanced);
        Ok(mean(those.map(|(_, says)| f32::from(u8::from((says == 1) == balanced)))))
    };
    const HARDLY: f32 = 0.02;
    assert!(share_right(1, 1, true)? < HARDLY, "without 1.1 hardly a string is called balanced");
    assert_eq!(share_right(1, 1, false)?, 1.0);
    assert!(share_right(1, 0, true)? > 1.0 - HARDLY && share_right(1, 0, false)? > 1.0 - HARDLY);

    let rows = cache.get(("pattern", 1))?.i((.., 1, 0))?.to_vec2::<f32>()?;
    let (mut places, mut given, mut first) = (Vec::new(), Vec::new(), Vec::new());
    for (text, row) in texts.iter().zip(&rows).filter(|(text, _)| text.len() >= 12 && fails(text) == (false, true)) {
        let below: Vec<usize> = (0..text.len()).filter(|at| elevations(text)[*at] < 0).map(|at| at + 1).collect();
        places.push(below.len() as f32 / (text.len() + 1) as f32);
        given.push(below.iter().map(|at| row[*at]).sum());
        let top = (0..=text.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).expect("a position");
        first.push(f32::from(u8::from(below.contains(&top))));
    }
    for (what, got, printed) in
        [("positions", mean(places), 0.40), ("attention", mean(given), 0.92), ("first", mean(first), 0.94)]
    {
        assert!((got - printed).abs() < PER_CENT, "{what}: {got}, not {printed}");
    }

    let reads = model.OV()?.get(&[1, 1])?.AB()?.matmul(&not_balanced(&model)?.unsqueeze(1)?)?;
    let found = cache.get("blocks.1.ln1.hook_normalized")?.broadcast_matmul(&reads)?.squeeze(2)?.to_vec2::<f32>()?;
    let at = |wanted: &dyn Fn(i32) -> bool| {
        let equal = texts.iter().zip(&found).filter(|(text, _)| !fails(text).0);
        mean(equal.flat_map(|(text, found)| {
            elevations(text)
                .into_iter()
                .zip(&found[1..])
                .filter(|(elevation, _)| wanted(*elevation))
                .map(|(_, x)| *x)
                .collect::<Vec<_>>()
        }))
    };
    let (below, above) = (at(&|elevation| elevation < 0), at(&|elevation| elevation >= 0));
    assert!(below > 0.6 && above < -0.2, "{below}, {above}");
    Ok(())
}

/// How many neurons of layer 0 see elevations below 0, and that twelve of them can be spared.
#[test]
fn many_neurons_compare_with_0() -> Result<()> {
    let model = HookedTransformer::from_pretrained("brackets")?;
    let texts = strings(1000, 3);
    let cache = model.run_with_hooks(&texts, HookPlan::new().capture(("post", 0)))?.1;
    let post = cache.get(("post", 0))?.to_vec3::<f32>()?;
    let share_on = |neuron: usize, below: bool| {
        let equal = texts.iter().zip(&post).filter(|(text, _)| !fails(text).0);
        let on = equal.flat_map(|(text, rows)| {
            let those = elevations(text).into_iter().zip(&rows[1..]).filter(|(elevation, _)| (*elevation < 0) == below);
            those.map(|(_, row)| f32::from(u8::from(row[neuron] > 0.0))).collect::<Vec<_>>()
        });
        mean(on)
    };
    let mut neurons: Vec<(f32, usize)> = (0..56).map(|n| (share_on(n, true) - share_on(n, false), n)).collect();
    neurons.sort_by(|a, b| b.0.total_cmp(&a.0));
    assert_eq!(neurons.iter().filter(|(more, _)| *more > 0.5).count(), 17);
    let clearest = neurons[0].1;
    assert!((share_on(clearest, true) - 0.75).abs() < PER_CENT && (share_on(clearest, false) - 0.05).abs() < PER_CENT);

    let kept = (0..56).map(|n| if neurons[..12].iter().any(|(_, off)| *off == n) { 0f32 } else { 1. });
    let kept = Tensor::new(kept.collect::<Vec<_>>(), &Device::Cpu)?;
    let off = Edit::custom("twelve neurons off", move |post, _| -> Result<Tensor> { Ok(post.broadcast_mul(&kept)?) });
    let says = model.run_with_hooks(&texts, HookPlan::new().edit(("post", 0), off))?.0.i((.., 0))?.argmax(1)?;
    for (text, says) in texts.iter().zip(says.to_vec1::<u32>()?) {
        assert_eq!(says == 1, is_balanced(text), "{text}");
    }
    Ok(())
}

#[test]
fn heads_of_layer_0_pass_on_opposite_vectors() -> Result<()> {
    let model = HookedTransformer::from_pretrained("brackets")?;
    const THREE_DECIMALS: f32 = 0.0005;
    for head in 0..2 {
        let ov = model.OV()?.get(&[0, head])?.AB()?;
        let position = model.W_pos()?.i(1..)?.mean(0)?;
        let of = |id: usize| -> Result<Vec<f32>> {
            let x = (model.W_E().get(id)? + &position)?;
            let x = x.broadcast_sub(&x.mean_keepdim(0)?)?;
            // The scale is left out: it does not turn a vector.
            Ok(x.unsqueeze(0)?.matmul(&ov)?.squeeze(0)?.to_vec1()?)
        };
        let (open, close) = (of(2)?, of(3)?);
        let cosine = dot(&open, &close) / (dot(&open, &open) * dot(&close, &close)).sqrt();
        assert!(cosine < -1.0 + THREE_DECIMALS, "head 0.{head}: {cosine}");
    }
    Ok(())
}

/// All strings of up to ten brackets; the texts say up to 13, and those of up to 20 with as many of each, which take minutes.
#[test]
fn no_short_string_fools_the_model() -> Result<()> {
    let model = HookedTransformer::from_pretrained("brackets")?;
    for length in 1..=10 {
        let text = |bits: u32| (0..length).map(|at| if bits >> at & 1 == 1 { '(' } else { ')' }).collect::<String>();
        let texts: Vec<String> = (0..1 << length).map(text).collect();
        let says = model.forward(&texts)?.i((.., 0))?.argmax(1)?.to_vec1::<u32>()?;
        for (text, says) in texts.iter().zip(says) {
            assert_eq!(says == 1, is_balanced(text), "{text}");
        }
    }
    Ok(())
}
