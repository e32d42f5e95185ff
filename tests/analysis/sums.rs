//! What claims to sum, summed: on every model of the fixtures, unprocessed, folded and processed, on batches without padding
//! and with padding on either side. The tolerance is that of all references, 1e-4.

use candle_lens::Result;
use candle_lens::analysis::{Unit, direct_logit_attribution, residual_stack_to_logit_diff};
use candle_lens::cache::{ActivationCache, ResidualStack, Stack, Target};
use candle_lens::candle::{DType, Device, Tensor};
use candle_lens::dims::ReadBy;
use candle_lens::labelled::Labelled;
use candle_lens::lenses::{LensOptions, logit_lens, logit_lens_to_logit_diff};
use candle_lens::metrics::Answers;
use candle_lens::model::{Biases, HookedTransformer, Processing};
use candle_lens::tokens::{PaddingSide, Tokens};

use crate::support::fixture::Agreement;
use crate::support::models::{every_model, pretrained};
use crate::support::sentence::sentence;

/// Three prompts of one length, and of three lengths with padding on either side.
fn batches() -> Vec<Tokens> {
    let whole = vec![vec![5, 9, 2, 7, 1], vec![3, 3, 8, 6, 4], vec![1, 10, 2, 2, 9]];
    let ragged = vec![vec![5, 9, 2, 7, 1], vec![3, 8], vec![1, 10, 2, 2]];
    let padded = |side| Tokens::padded(ragged.clone(), 0, side).expect("rows");
    vec![Tokens::from_rows(whole).expect("rows"), padded(PaddingSide::Left), padded(PaddingSide::Right)]
}

/// Answers that every output vocabulary has, including those of classifiers.
fn answers(model: &HookedTransformer) -> Result<Answers> {
    let v = model.cfg().d_vocab_out() as u32;
    model.answers([(v - 1, 0), (0, v - 1), (v / 2, v / 2 - 1)])
}

/// The rows of `[.., batch, pos, d]` that are of tokens; padding may hold anything.
fn real(x: &Tensor, tokens: &Tokens) -> Result<Tensor> {
    let rows = x.flatten_to(1)?;
    let (batch, pos) = (tokens.batch(), tokens.pos());
    let real: Vec<u32> = (0..batch * pos).filter(|&i| tokens.is_real(i / pos, i % pos)).map(|i| i as u32).collect();
    Ok(rows.index_select(&Tensor::new(real, &Device::Cpu)?, 0)?)
}

/// The residual stream that enters block `layer`, or leaves the last block.
fn stream(cache: &ActivationCache, layer: isize) -> Result<Tensor> {
    if layer == cache.dims().n_layers as isize {
        cache.get(("resid_post", -1))
    } else {
        cache.get(("resid_pre", layer))
    }
}

/// Every decomposition sums to the residual stream, before every reader.
#[test]
fn parts_sum_to_the_stream() -> Result<()> {
    let mut agreement = Agreement::default();
    for (name, model) in every_model() {
        let dims = model.dims();
        for tokens in batches() {
            let (_, cache) = model.run_with_cache(&tokens)?;
            let mut check = |what: &str, stack: Result<ResidualStack>, whole: &Tensor| -> Result<()> {
                let name = format!("{name}: {what} ({})", tokens.padding_side());
                agreement.check(&name, &real(&stack?.sum()?, &tokens)?, &real(whole, &tokens)?);
                Ok(())
            };
            let middle = !dims.attn_only && !dims.parallel_attn_mlp;
            for layer in 0..=dims.n_layers as isize {
                let places = if middle && layer < dims.n_layers as isize { 2 } else { 1 };
                for mlp_input in [false, true].into_iter().take(places) {
                    let whole = if mlp_input { cache.get(("resid_mid", layer))? } else { stream(&cache, layer)? };
                    let read_by = if mlp_input { ReadBy::Mlp(layer) } else { ReadBy::Block(layer) };
                    let parts = Stack::components().read_by(read_by);
                    check(&format!("decompose_resid {read_by:?}"), cache.decompose_resid(parts), &whole)?;
                    for expand_neurons in [false, true] {
                        if dims.norms_after && (layer > 0 || mlp_input) {
                            continue;
                        }
                        let everything = Stack::everything().read_by(read_by);
                        let query = if expand_neurons { everything } else { everything.whole_mlps() };
                        let full = cache.get_full_resid_decomposition(&model, query);
                        check(&format!("full decomposition {read_by:?} {expand_neurons}"), full, &whole)?;
                    }
                }
                let heads = Stack::heads().before(layer).with_remainder();
                let neurons = Stack::neurons().before(layer).with_remainder();
                if dims.norms_after {
                    sentence(cache.stack_head_results(&model, heads.clone()), &["a norm follows attention"]);
                    sentence(cache.stack_neuron_results(&model, neurons.clone()), &["a norm follows the MLP"]);
                    continue;
                }
                check(
                    &format!("heads {layer}"),
                    cache.stack_head_results(&model, heads.clone()),
                    &stream(&cache, layer)?,
                )?;
                match dims.attn_only {
                    true => drop(sentence(cache.stack_neuron_results(&model, neurons.clone()), &["no neurons"])),
                    false => {
                        let stack = cache.stack_neuron_results(&model, neurons.clone());
                        check(&format!("neurons {layer}"), stack, &stream(&cache, layer)?)?;
                    }
                }
            }
        }
    }
    agreement.finish("sums to the residual stream");
    Ok(())
}

/// Heads and `b_O` sum to attention's output, neurons and `b_out` to the MLP's, and all biases to `accumulated_bias`.
#[test]
fn heads_neurons_and_biases_sum_to_what_was_written() -> Result<()> {
    let mut agreement = Agreement::default();
    for (name, model) in every_model() {
        let dims = model.dims();
        let tokens = &batches()[0];
        let (_, cache) = model.run_with_cache(tokens)?;
        let mut bias = Tensor::zeros(dims.d_model, DType::F32, &model.device())?;
        for layer in 0..dims.n_layers {
            if dims.norms_after {
                break;
            }
            let b_o = model.b_O()?.get(layer)?;
            let heads = cache.stack(&model, Stack::heads().before(layer as isize + 1))?;
            let own = heads.tensor().narrow(0, layer * dims.n_heads, dims.n_heads)?.sum(0)?.broadcast_add(&b_o)?;
            agreement.check(&format!("{name}: heads of {layer}"), &own, &cache.get(("attn_out", layer))?);
            if !dims.parallel_attn_mlp {
                let to_middle = model.accumulated_bias(ReadBy::Mlp(layer as isize), Biases::All)?;
                agreement.check(&format!("{name}: bias in {layer}"), &to_middle, &(&bias + &b_o)?);
            }
            bias = (bias + b_o)?;
            if !dims.attn_only {
                let b_out = model.b_out()?.get(layer)?;
                let neurons =
                    cache.get_neuron_results(&model, layer as isize, .., ..)?.sum(2)?.broadcast_add(&b_out)?;
                agreement.check(&format!("{name}: neurons of {layer}"), &neurons, &cache.get(("mlp_out", layer))?);
                bias = (bias + b_out)?;
            }
            let to_end = model.accumulated_bias(ReadBy::Block(layer as isize + 1), Biases::All)?;
            agreement.check(&format!("{name}: bias after {layer}"), &to_end, &bias);
        }
    }
    agreement.finish("sums of heads, neurons and biases");
    Ok(())
}

/// The logit difference of each prompt at each position, before a soft cap.
fn differences(model: &HookedTransformer, logits: &Tensor, answers: &Answers) -> Result<Vec<Vec<f64>>> {
    let cap = model.cfg().output_logits_soft_cap;
    let logits = logits.to_vec3::<f32>()?;
    let plain = |logit: f32| cap.map_or(f64::from(logit), |cap| cap * (f64::from(logit) / cap).atanh());
    let of_prompt = |prompt: usize| {
        let (right, wrong) = (answers.correct()[prompt] as usize, answers.incorrect()[prompt] as usize);
        logits[prompt].iter().map(|row| plain(row[right]) - plain(row[wrong])).collect()
    };
    Ok((0..answers.len()).map(of_prompt).collect())
}

/// A model, a run of it, and what sums of shares are compared with.
struct Case<'a> {
    name: String,
    model: &'a HookedTransformer,
    cache: ActivationCache,
    answers: Answers,
    directions: Tensor,
    /// Of each prompt.
    bias: Vec<f64>,
    /// Of each prompt at each position.
    whole: Vec<Vec<f64>>,
}

impl<'a> Case<'a> {
    fn all(name: &str, model: &'a HookedTransformer) -> Result<Vec<Self>> {
        let answers = answers(model)?;
        let cases = batches().into_iter().map(|tokens| {
            let (logits, cache) = model.run_with_cache(&tokens)?;
            Ok(Case {
                name: format!("{name} ({})", tokens.padding_side()),
                model,
                cache,
                directions: answers.directions(model)?,
                bias: answers.bias(model)?.values().iter().map(|&bias| f64::from(bias)).collect(),
                whole: differences(model, &logits, &answers)?,
                answers: answers.clone(),
            })
        });
        cases.collect()
    }

    fn tokens(&self) -> Tokens {
        self.cache.tokens()
    }

    /// Whether heads and neurons write into the residual stream directly, and whether there are neurons.
    fn has(&self) -> (bool, bool) {
        let dims = self.model.dims();
        (!dims.norms_after, !dims.norms_after && !dims.attn_only)
    }

    /// Stacks that sum to the whole residual stream, in one part or many.
    fn stacks(&self) -> Result<Vec<(&'static str, ResidualStack)>> {
        let (cache, model, (heads, neurons)) = (&self.cache, self.model, self.has());
        let mut stacks = vec![
            ("the final residual stream", cache.stack(model, Stack::point(("resid_post", -1)))?),
            ("decompose_resid", cache.decompose_resid(Stack::components())?),
        ];
        if heads {
            stacks.push(("heads", cache.stack(model, Stack::heads().with_remainder())?));
            let full = cache.get_full_resid_decomposition(model, Stack::everything())?;
            stacks.push(("the full decomposition", full));
        }
        if neurons {
            let options = Stack::neurons().with_remainder();
            stacks.push(("neurons", cache.stack_neuron_results(model, options)?));
        }
        Ok(stacks)
    }

    /// The shares `[component, prompt, position]` sum to each prompt's logit difference at each of its positions.
    fn check_each(&self, agreement: &mut Agreement, what: &str, shares: &Labelled) -> Result<()> {
        let sums = shares.sum_over("component")?.values();
        let places = (0..self.bias.len()).flat_map(|prompt| (0..self.tokens().pos()).map(move |at| (prompt, at)));
        let there = places.filter(|&(prompt, position)| self.tokens().is_real(prompt, position));
        let pairs = there.map(|(prompt, position)| {
            (f64::from(sums[[prompt, position]]) + self.bias[prompt], self.whole[prompt][position])
        });
        agreement.check_numbers(&format!("{}: {what}", self.name), pairs);
        Ok(())
    }
}

/// However shares are computed, all components and the biases sum to the run's logit difference.
#[test]
fn shares_of_stacks_sum_to_the_logit_difference() -> Result<()> {
    let mut agreement = Agreement::default();
    for (name, model) in every_model() {
        for case in Case::all(&name, &model)? {
            let (right, wrong) = (case.answers.correct().to_vec(), case.answers.incorrect().to_vec());
            let tokens = case.tokens();
            for (what, stack) in case.stacks()? {
                let attrs = |target: Target| case.cache.logit_attrs(case.model, &stack, target);
                let pairs = Target::differences(right.iter().copied().zip(wrong.iter().copied()));
                case.check_each(&mut agreement, &format!("logit_attrs of {what}"), &attrs(pairs)?)?;
                // One token at a time as well.
                let (right, wrong) = (attrs(Target::tokens(right.clone()))?, attrs(Target::tokens(wrong.clone()))?);
                let apart = (&right.values() - &wrong.values()).into_iter().collect();
                let apart = Labelled::new("apart", right.axes(), apart)?;
                case.check_each(&mut agreement, &format!("logit_attrs of {what}, one token at a time"), &apart)?;

                // The mean over the prompts that have a token at a position.
                let shares = residual_stack_to_logit_diff(case.model, &case.cache, &stack, &case.directions)?;
                let sums = shares.sum_over("component")?.values();
                let pairs = (0..tokens.pos()).map(|at| {
                    let there: Vec<usize> = (0..tokens.batch()).filter(|&prompt| tokens.is_real(prompt, at)).collect();
                    let of = |p: &usize| case.whole[*p][at] - case.bias[*p];
                    (f64::from(sums[[at]]), there.iter().map(of).sum::<f64>() / there.len() as f64)
                });
                agreement.check_numbers(&format!("{}: residual_stack_to_logit_diff of {what}", case.name), pairs);
            }
        }
    }
    agreement.finish("shares of stacks");
    Ok(())
}

#[test]
fn projections_and_direct_attributions_sum_to_the_logit_difference() -> Result<()> {
    let mut agreement = Agreement::default();
    for (name, model) in every_model() {
        for case in Case::all(&name, &model)? {
            let (cache, (heads, neurons)) = (&case.cache, case.has());
            if heads {
                let options = Stack::everything().normed();
                let shares = cache.project_full_resid_decomposition(&model, &case.directions, options)?;
                case.check_each(&mut agreement, "project_full_resid_decomposition", &shares)?;
            }
            if neurons {
                let options = Stack::neurons().normed().with_remainder();
                let shares = cache.project_neuron_results(&model, &case.directions, options)?;
                case.check_each(&mut agreement, "project_neuron_results", &shares)?;
            }
            let last = case.tokens().last_positions();
            for unit in [Unit::Component, Unit::Layer, Unit::Head, Unit::Neuron] {
                let shares = direct_logit_attribution(&model, cache, &case.answers, unit);
                if !heads && matches!(unit, Unit::Head | Unit::Neuron) {
                    sentence(shares, &["a norm follows"]);
                    continue;
                }
                let total = match unit {
                    Unit::Layer => shares?.select("component", -1)?,
                    _ => shares?.sum_over("component")?,
                };
                let pairs = last.iter().enumerate();
                let pairs = pairs.map(|(p, &at)| (f64::from(total.values()[[p]]) + case.bias[p], case.whole[p][at]));
                agreement.check_numbers(&format!("{}: direct_logit_attribution by {unit:?}", case.name), pairs);
            }
        }
    }
    agreement.finish("projections and direct attributions");
    Ok(())
}

/// Both lenses end at what the run said, a soft cap included.
#[test]
fn lenses_end_at_the_run() -> Result<()> {
    let mut agreement = Agreement::default();
    for (name, model) in every_model() {
        let answers = answers(&model)?;
        for tokens in batches() {
            let (logits, cache) = model.run_with_cache(&tokens)?;
            let name = format!("{name} ({})", tokens.padding_side());
            let lens = logit_lens_to_logit_diff(&model, &cache, &answers)?.select("component", -1)?;
            let whole = answers.logit_diff(&logits, &tokens)?;
            let pairs = lens.values().into_iter().zip(whole.values()).map(|(a, b)| (f64::from(a), f64::from(b)));
            agreement.check_numbers(&format!("logit difference of {name}"), pairs);
            let lens = logit_lens(&model, &cache, LensOptions { k: 2, ..Default::default() })?;
            let last = cache.accumulated_resid(Stack::accumulated())?.len() as isize - 1;
            let probabilities = lens.probabilities.select("component", last)?;
            let read = candle_nn::ops::softmax(&logits, 2)?.to_vec3::<f32>()?;
            let tokens_of_last = &lens.tokens[lens.tokens.len() - tokens.batch() * tokens.pos() * 2..];
            for (prompt, rows) in read.iter().enumerate() {
                for (position, row) in rows.iter().enumerate().filter(|&(at, _)| tokens.is_real(prompt, at)) {
                    let first = (prompt * tokens.pos() + position) * 2;
                    let pairs = (0..2).map(|rank| {
                        let id = tokens_of_last[first + rank] as usize;
                        (f64::from(probabilities.values()[[prompt, position, rank]]), f64::from(row[id]))
                    });
                    agreement.check_numbers(&format!("probabilities of {name}"), pairs);
                }
            }
        }
    }
    agreement.finish("lenses");
    Ok(())
}

/// The biases that no component has are those that folding the final norm moves into `b_U`.
#[test]
fn biases_are_those_of_the_folded_model() -> Result<()> {
    let mut agreement = Agreement::default();
    let models = every_model();
    for (name, model) in models.iter().filter(|(name, _)| name.ends_with(", folded")) {
        let raw = name.replace(", folded", ", raw");
        let (_, raw) = models.iter().find(|(other, _)| *other == raw).expect("it was loaded raw too");
        let b_u = model.b_U().to_vec1::<f32>()?;
        let answers = answers(model)?;
        let bias = answers.bias(raw)?;
        let pairs =
            answers.correct().into_iter().zip(answers.incorrect()).zip(bias.values()).map(|((right, wrong), bias)| {
                (f64::from(bias), f64::from(b_u[right as usize]) - f64::from(b_u[wrong as usize]))
            });
        agreement.check_numbers(name, pairs);
    }
    agreement.finish("biases");
    Ok(())
}

/// Titles say that shares are of the logits before a soft cap, if there is one.
#[test]
fn titles_mention_a_soft_cap() -> Result<()> {
    for (name, model) in every_model() {
        let answers = answers(&model)?;
        let (_, cache) = model.run_with_cache(&batches()[0])?;
        let stack = cache.stack(&model, Stack::point(("resid_post", -1)).pos(-1))?;
        let titles = [
            cache.logit_attrs(&model, &stack, &answers)?.title,
            residual_stack_to_logit_diff(&model, &cache, &stack, &answers)?.title,
            direct_logit_attribution(&model, &cache, &answers, Unit::Component)?.title,
            direct_logit_attribution(&model, &cache, &answers, Unit::Layer)?.title,
        ];
        for title in titles {
            let says_so = title.ends_with(" before the soft cap");
            assert_eq!(says_so, model.cfg().output_logits_soft_cap.is_some(), "{name}: {title}");
        }
    }
    Ok(())
}

#[test]
fn what_would_not_sum_is_refused() -> Result<()> {
    let model = pretrained("tiny", Some(Processing::NONE))?;
    let (_, cache) = model.run_with_cache(&batches()[0])?;
    let directions = answers(&model)?.directions(&model)?;
    let normed = cache.decompose_resid(Stack::components().normed())?;
    sentence(residual_stack_to_logit_diff(&model, &cache, &normed, &directions), &["already been through a norm"]);
    sentence(cache.logit_attrs(&model, &normed, 1u32), &["already been through a norm"]);
    let (_, other) = model.run_with_cache(vec![vec![5u32, 9, 2]])?;
    let stack = other.stack(&model, Stack::point(("resid_post", -1)))?;
    sentence(residual_stack_to_logit_diff(&model, &cache, &stack, &directions), &["of 1 prompts", "has 3 prompts"]);
    let (_, single) = model.run_with_cache(vec![vec![5u32, 9, 2]])?;
    let without = single.clone().remove_batch_dim()?.stack(&model, Stack::point(("resid_post", -1)))?;
    sentence(single.logit_attrs(&model, &without, 1u32), &["no batch axis"]);
    let wide = Tensor::zeros((3, 7), DType::F32, &Device::Cpu)?;
    let stack = cache.stack(&model, Stack::point(("resid_post", -1)))?;
    sentence(residual_stack_to_logit_diff(&model, &cache, &stack, &wide), &["directions", "[3, 7]"]);
    let neurons = Stack::neurons().normed();
    sentence(cache.project_neuron_results(&model, &wide, neurons), &["directions", "[3, 7]"]);
    let full = Stack::everything().normed();
    sentence(cache.project_full_resid_decomposition(&model, &wide, full), &["directions", "[3, 7]"]);
    Ok(())
}
