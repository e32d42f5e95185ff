//! What the texts of both sections on brackets say of the model.

use candle_lens::course::bracket_strings;
use candle_lens::prelude::*;

use super::brackets::{dot, elevations, is_balanced};

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
    // After the division by each string's scale, and before.
    let along = |x: Tensor| -> Result<[Vec<f32>; 2]> {
        let plain = einsum("b d, d -> b", &[&x.i((.., 0))?, &direction])?;
        Ok([(&plain / &scale)?.to_vec1()?, plain.to_vec1()?])
    };
    let written = |layer: usize, head: usize| -> Result<Tensor> {
        let z = cache.get(("z", layer))?.i((.., .., head))?;
        einsum("b p e, e d -> b p d", &[&z, &model.W_O()?.i((layer, head))?])
    };
    let first = ((written(0, 0)? + written(0, 1)?)? + cache.get(("mlp_out", 0))?)?;
    let mut rest = (cache.get(("resid_post", 2))? - &first)?;
    for layer in 1..3 {
        rest = (((rest - written(layer, 0)?)? - written(layer, 1)?)? - cache.get(("mlp_out", layer))?)?;
    }
    let rows = [
        ("layer 0", along(first)?, [[0.7, -0.1, -0.3], [0.4, 0.0, -0.1]]),
        ("1.0", along(written(1, 0)?)?, [[1.3, 1.8, 1.9], [0.2, 0.6, 0.6]]),
        ("1.1", along(written(1, 1)?)?, [[7.4, 8.6, 8.0], [1.9, 2.7, 2.3]]),
        ("MLP 1", along(cache.get(("mlp_out", 1))?)?, [[0.7, 0.4, 0.4], [0.3, 0.1, 0.2]]),
        ("2.0", along(written(2, 0)?)?, [[1.8, 2.0, 2.1], [0.5, 0.7, 0.7]]),
        ("2.1", along(written(2, 1)?)?, [[2.8, 2.8, 2.7], [0.9, 1.0, 1.0]]),
        ("MLP 2", along(cache.get(("mlp_out", 2))?)?, [[5.0, 4.4, 4.9], [3.2, 3.7, 3.6]]),
        ("the rest", along(rest)?, [[-0.9, -1.0, -1.0], [0.0, 0.0, 0.0]]),
    ];
    let of = |values: &[f32], kind: (bool, bool)| {
        mean(texts.iter().zip(values).filter(|(text, _)| fails(text) == kind).map(|(_, value)| *value))
    };
    for (name, values, printed) in rows {
        let kinds = [(true, false), (false, true), (true, true)];
        for (values, printed) in values.iter().zip(printed) {
            for (kind, printed) in kinds.into_iter().zip(printed) {
                let pushed = of(values, kind) - of(values, (false, false));
                assert!(
                    (pushed - printed).abs() < PRINTED,
                    "{name} pushes strings that fail {kind:?} by {pushed}, not {printed}"
                );
            }
        }
    }
    // What two of them write on balanced strings and on the others.
    for (x, printed) in [(written(1, 1)?, [-7.1, 1.0]), (cache.get(("mlp_out", 2))?, [1.4, 6.2])] {
        let values = &along(x)?[0];
        for (balanced, printed) in [true, false].into_iter().zip(printed) {
            let those = texts.iter().zip(values).filter(|(text, _)| is_balanced(text) == balanced);
            let got = mean(those.map(|(_, value)| *value));
            assert!((got - printed).abs() < PRINTED, "{got}, not {printed}");
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
    assert_eq!(share_right(1, 1, true)?, 0.0);
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
    let at = |wanted: &dyn Fn(i32) -> bool, places: std::ops::Range<usize>| {
        let equal = texts.iter().zip(&found).filter(|(text, _)| !fails(text).0);
        mean(equal.flat_map(|(text, found)| {
            elevations(text)
                .into_iter()
                .zip(&found[1..])
                .enumerate()
                .filter(|(place, (elevation, _))| places.contains(&(place + 1)) && wanted(*elevation))
                .map(|(_, (_, x))| *x)
                .collect::<Vec<_>>()
        }))
    };
    for (places, printed) in [(1..4, [-0.5, -1.3]), (4..21, [1.0, 0.2])] {
        let got = [at(&|elevation| elevation < 0, places.clone()), at(&|elevation| elevation >= 0, places)];
        assert!(
            got.iter().zip(printed).all(|(got, printed)| (got - printed).abs() < PRINTED),
            "{got:?}, not {printed:?}"
        );
    }
    let rests = texts.iter().zip(&rows).filter(|(text, _)| is_balanced(text));
    let rests = mean(rests.map(|(_, row)| row[2] + row[3]));
    assert!((rests - 0.84).abs() < PER_CENT, "{rests}");
    Ok(())
}

/// The cell of C10 that exchanges what head 1.1 writes, and how widely layer 0 looks.
#[test]
fn head_1_1_is_needed_and_not_enough() -> Result<()> {
    let model = HookedTransformer::from_pretrained("brackets")?;
    let texts = strings(1000, 3);
    let (logits, cache) = model.run_with_cache(&texts)?;
    let calls = logits.i((.., 0))?.argmax(1)?.to_vec1::<u32>()?;
    for (kind, printed) in [(0_u32, [9.5, 6.8, 0.09]), (1, [-9.3, -0.3, 0.82])] {
        let others: Vec<u32> = (0..texts.len()).filter(|row| calls[*row] != kind).map(|row| row as u32).collect();
        let z = cache
            .get(("z", 1))?
            .i((.., 0, 1))?
            .contiguous()?
            .index_select(&Tensor::new(others, &Device::Cpu)?, 0)?
            .mean(0)?;
        let those: Vec<String> =
            texts.iter().zip(&calls).filter(|(_, call)| **call == kind).map(|(text, _)| text.clone()).collect();
        let plan = HookPlan::new().edit(("z", 1), Edit::replace(z).pos(0_usize).head(1_usize));
        let mut means = Vec::new();
        for logits in [model.forward(&those)?, model.run_with_hooks(&those, plan)?.0] {
            let logits = logits.i((.., 0))?;
            let difference = (logits.i((.., 0))? - logits.i((.., 1))?)?.mean_all()?.item()?;
            means.push((difference, logits.argmax(1)?.to_dtype(DType::F32)?.mean_all()?.item()?));
        }
        let _row =
            Table::new(["strings", "logit difference", "with head 1.1 exchanged", "called balanced, in per cent"]).row(
                (
                    "some",
                    format!("{:.1}", means[0].0),
                    format!("{:.1}", means[1].0),
                    format!("{:.0}", 100. * means[1].1),
                ),
            );
        let [before, after, balanced] = printed;
        assert!((means[0].0 - before).abs() < PRINTED && (means[1].0 - after).abs() < PRINTED, "{means:?}");
        assert!((means[1].1 - balanced).abs() < PER_CENT, "{means:?}");
    }

    let pattern = cache.get(("pattern", 0))?;
    for (head, least, most, leans) in [(0, 0.70, 1.54, [0.58, 0.46]), (1, 0.21, 6.08, [0.61, 0.44])] {
        let (mut ratios, mut open, mut close) = (Vec::new(), Vec::new(), Vec::new());
        for (row, text) in texts.iter().enumerate().filter(|(_, text)| text.len() >= 12) {
            let looks = pattern.i((row, head))?.to_vec2::<f32>()?;
            let count = text.len() + 1;
            for (at, bracket) in text.char_indices().map(|(at, bracket)| (at + 1, bracket)) {
                ratios.extend(looks[at][..count].iter().map(|share| share * count as f32));
                let right = looks[at][at..count].iter().sum::<f32>();
                (if bracket == '(' { &mut open } else { &mut close }).push((right, (count - at) as f32 / count as f32));
            }
        }
        let alike = [&open, &close].map(|all| mean(all.iter().map(|(_, alike)| *alike)));
        let shares = [&open, &close].map(|all| mean(all.iter().map(|(share, _)| *share)));
        for (got, printed) in shares.into_iter().zip(leans).chain(alike.into_iter().zip([0.56, 0.44])) {
            assert!((got - printed).abs() < PER_CENT, "head 0.{head}: {shares:?}, {alike:?}");
        }
        let ends = [ratios.iter().copied().fold(f32::MAX, f32::min), ratios.iter().copied().fold(0., f32::max)];
        assert!((ends[0] - least).abs() < PRINTED && (ends[1] - most).abs() < PRINTED, "{ends:?}");
    }
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

/// All strings of up to ten brackets; the text speaks of all up to 20, which take an hour.
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

/// Those that the text names: one bracket too many, at the very end.
#[test]
fn some_strings_fool_the_model() -> Result<()> {
    let model = HookedTransformer::from_pretrained("brackets")?;
    for text in [
        "((()()(())))()())",
        "((()()(())))((())))",
        "((()()(()())()())))",
        "((()()(())()()())))",
        "((()()(()()))(())))",
        "(((())(())))((())))",
    ] {
        let says = model.forward(text)?.i((0, 0))?.argmax(0)?.to_scalar::<u32>()?;
        assert!(says == 1 && !is_balanced(text) && is_balanced(&text[..text.len() - 1]), "{text}: {says}");
    }
    Ok(())
}
