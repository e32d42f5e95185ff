//! Attribution targets (a token, a pair, answers, directions) in every attribution, and queries of stacks.

use candle_lens::Result;
use candle_lens::analysis::{Unit, direct_logit_attribution, residual_stack_to_logit_diff};
use candle_lens::cache::{ActivationCache, Stack, Target};
use candle_lens::candle::{DType, Tensor};
use candle_lens::dims::ReadBy;
use candle_lens::labelled::Labelled;
use candle_lens::lenses::logit_lens_to_logit_diff;
use candle_lens::model::{HookedTransformer, Processing};
use candle_lens::tokens::{PaddingSide, Tokens};

use crate::support::fixture::{Agreement, tiny_model};
use crate::support::sentence::sentence;

fn batch(side: PaddingSide) -> Tokens {
    Tokens::padded(vec![vec![5, 9, 200, 31], vec![77, 3], vec![12, 8, 140]], 0, side).expect("rows")
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn pairs(a: &Labelled, b: &Labelled) -> impl Iterator<Item = (f64, f64)> + use<> {
    assert_eq!(a.shape(), b.shape());
    a.values().into_iter().zip(b.values()).map(|(a, b)| (f64::from(a), f64::from(b)))
}

/// `(c - mean(c)) / scale * w . W_U[:, token]` of one component at one position, with loops in f64.
fn by_hand(model: &HookedTransformer, component: &[f64], scale: f64, w: &[f64], token: usize) -> f64 {
    let (w_u, d_vocab) = (numbers(&model.W_U()), model.cfg().d_vocab_out());
    let mean = component.iter().sum::<f64>() / component.len() as f64;
    let read = |(i, value): (usize, &f64)| (value - mean) / scale * w[i] * w_u[i * d_vocab + token];
    component.iter().enumerate().map(read).sum()
}

/// The share of one token is what a hand-written loop gives, with the norm folded and not.
#[test]
fn one_token_is_attributed_as_by_a_loop() -> Result<()> {
    let mut agreement = Agreement::default();
    for processing in [Processing::NONE, Processing::default()] {
        let model = tiny_model(processing);
        let w = match model.processing().fold_ln {
            true => vec![1.; 24],
            false => numbers(
                crate::support::fixture::Reference::load("tiny_gpt2/model.safetensors").get("transformer.ln_f.weight"),
            ),
        };
        for side in [PaddingSide::Left, PaddingSide::Right] {
            let tokens = batch(side);
            let (_, cache) = model.run_with_cache(&tokens)?;
            let parts = cache.stack(&model, Stack::components())?;
            let shares = direct_logit_attribution(&model, &cache, 31u32, Unit::Component)?;
            assert_eq!(shares.shape(), [parts.len(), 3]);
            let scale = cache.get("ln_final.hook_scale")?;
            for (prompt, last) in tokens.last_positions().into_iter().enumerate() {
                let scale = numbers(&scale.get(prompt)?.get(last)?)[0];
                for component in 0..parts.len() {
                    let vector = numbers(&parts.tensor().get(component)?.get(prompt)?.get(last)?);
                    let expected = by_hand(&model, &vector, scale, &w, 31);
                    let got = f64::from(shares.at(&[component as isize, prompt as isize])?);
                    agreement.check_numbers("a share", [(got, expected)].into_iter());
                }
            }
        }
    }
    agreement.finish("one token by hand");
    Ok(())
}

/// The shares of a token and its bias sum to its logit, for each unit; the lens ends at the logit.
#[test]
fn shares_of_one_token_sum_to_its_logit() -> Result<()> {
    let mut agreement = Agreement::default();
    for processing in [Processing::NONE, Processing::default()] {
        let model = tiny_model(processing);
        let tokens = batch(PaddingSide::Right);
        let (logits, cache) = model.run_with_cache(&tokens)?;
        let targets = [31u32, 7, 250];
        for target in [Target::from(31u32), Target::tokens(targets)] {
            let bias = target.bias(&model)?;
            let whole = |prompt: usize| -> Result<f64> {
                let id = if bias.values().len() == 1 { targets[0] } else { targets[prompt] } as usize;
                Ok(numbers(&logits.get(prompt)?.get(tokens.last_positions()[prompt])?)[id])
            };
            let lens = logit_lens_to_logit_diff(&model, &cache, &target)?;
            for unit in [Unit::Component, Unit::Head, Unit::Neuron] {
                let shares = direct_logit_attribution(&model, &cache, &target, unit)?.sum_over("component")?;
                for prompt in 0..3 {
                    let bias = bias.values()[prompt.min(bias.values().len() - 1)];
                    let got = f64::from(shares.values()[prompt] + bias);
                    agreement.check_numbers(&format!("{unit:?}"), [(got, whole(prompt)?)].into_iter());
                    let last = f64::from(lens.at(&[-1, prompt as isize])?);
                    agreement.check_numbers("lens", [(last, whole(prompt)?)].into_iter());
                }
            }
        }
    }
    agreement.finish("logits of tokens");
    Ok(())
}

/// A pair is the difference of its tokens; answers, pairs and directions give the same; a prompt gives what its run gives.
#[test]
fn every_form_of_a_target_gives_the_same() -> Result<()> {
    let model = tiny_model(Processing::default());
    let tokens = batch(PaddingSide::Left);
    let (_, cache) = model.run_with_cache(&tokens)?;
    let (right, wrong) = ([5u32, 7, 0], [6u32, 250, 9]);
    let answers = model.answers(right.into_iter().zip(wrong))?;
    let of = |target: Target| direct_logit_attribution(&model, &cache, target, Unit::Head);
    let whole = of((&answers).into())?;
    assert_eq!(of(Target::differences(right.into_iter().zip(wrong)))?, whole);
    assert_eq!(of(answers.directions(&model)?.into())?, whole);
    assert_eq!(direct_logit_attribution(&model, &tokens, &answers, Unit::Head)?, whole, "the prompts are run");
    let (right, wrong) = (of(Target::tokens(right))?, of(Target::tokens(wrong))?);
    let apart = (&right.values() - &wrong.values()).into_iter().collect();
    let apart = Labelled::new("apart", right.axes(), apart)?;
    let mut agreement = Agreement::default();
    agreement.check_numbers("token minus token", pairs(&apart, &whole));
    // The three functions.
    let stack = cache.stack(&model, Stack::heads().with_remainder().pos(-1))?;
    let attrs = cache.logit_attrs(&model, &stack, &answers)?;
    agreement.check_numbers("logit_attrs", pairs(&attrs, &whole));
    let mean = residual_stack_to_logit_diff(&model, &cache, &stack, &answers)?;
    agreement.check_numbers("residual_stack_to_logit_diff", pairs(&mean, &whole.mean_over("prompt")?));
    agreement.finish("targets");
    Ok(())
}

#[test]
fn targets_that_do_not_fit_are_refused() -> Result<()> {
    let model = tiny_model(Processing::default());
    let (_, cache) = model.run_with_cache(batch(PaddingSide::Left))?;
    let of = |target: Target| direct_logit_attribution(&model, &cache, target, Unit::Head);
    sentence(of(Target::tokens([1u32, 2])), &["answers for 2 prompts", "has 3"]);
    sentence(of(Target::tokens([0u32; 0])), &["answers for 0 prompts"]);
    sentence(of(900u32.into()), &["900", "0 to 299"]);
    let directions = || model.tokens_to_residual_directions([5u32]);
    sentence(Target::from(directions()?).bias(&model), &["directions", "give tokens"]);
    sentence(logit_lens_to_logit_diff(&model, &cache, directions()?), &["token", "not directions"]);
    Ok(())
}

fn same(cache: &ActivationCache, a: ReadBy, b: ReadBy) -> Result<bool> {
    let of = |read_by| cache.decompose_resid(Stack::components().read_by(read_by));
    let (a, b) = (of(a)?, of(b)?);
    Ok(a.labels() == b.labels() && numbers(&a.tensor()) == numbers(&b.tensor()))
}

/// Queries give the components of their kind, and layers below 0 count from the end, so that -1 is not the end.
#[test]
fn queries_are_answered_by_their_kind() -> Result<()> {
    let model = tiny_model(Processing::default());
    let (_, cache) = model.run_with_cache(batch(PaddingSide::Left))?;
    let labels =
        |stack: Result<candle_lens::cache::ResidualStack>| -> Result<Vec<String>> { Ok(stack?.labels().to_vec()) };
    let accumulated = Stack::accumulated().with_mid();
    assert_eq!(labels(cache.stack(&model, accumulated))?, ["0_pre", "0_mid", "1_pre", "1_mid", "final_post"]);
    let attention = Stack::components().without_mlps().without_embeddings();
    assert_eq!(labels(cache.stack(&model, attention.clone()))?, ["0_attn_out", "1_attn_out"]);
    assert_eq!(labels(cache.stack(&model, attention.before_mlp(0)))?, ["0_attn_out"]);
    let neurons = Stack::neurons().only(3..5).before(1).with_remainder();
    assert_eq!(labels(cache.stack(&model, neurons))?, ["L0N3", "L0N4", "remainder"]);
    let everything = labels(cache.stack(&model, Stack::everything().whole_mlps().before(1)))?;
    assert_eq!(everything, ["L0H0", "L0H1", "L0H2", "L0H3", "0_mlp_out", "embed", "pos_embed", "bias"]);
    assert!(same(&cache, ReadBy::Block(-1), ReadBy::Block(1))? && same(&cache, ReadBy::Mlp(-2), ReadBy::Mlp(0))?);
    assert!(same(&cache, ReadBy::Block(2), ReadBy::End)? && !same(&cache, ReadBy::Block(-1), ReadBy::End)?);
    sentence(cache.stack(&model, Stack::heads().before(3)), &["layer 3"]);
    sentence(cache.stack(&model, Stack::point(("z", 0))), &["residual-stream vectors"]);
    Ok(())
}
