//! The published numbers of GPT-2 small: `CANDLE_LENS_GPT2=gpt2 cargo test --test suite gpt2 -- --ignored`, where the variable
//! names a folder or a repository of the hub. They were computed in f32 on another kind of device, so 1e-3 is allowed.

use candle_lens::Result;
use candle_lens::cache::Stack;
use candle_lens::candle::D;
use candle_lens::dictionaries::DictionarySet;
use candle_lens::dims::ReadBy;
use candle_lens::feature_graphs::{GraphNode, GraphOptions, GraphTargets};
use candle_lens::hooks::HookPlan;
use candle_lens::model::{HookedTransformer, Loss, Processing, RunOptions};
use candle_lens::tokens::Bos;

use crate::support::given;

const TOLERANCE: f64 = 1e-3;

/// GPT-2 with this processing.
fn gpt2(processing: Processing) -> Result<HookedTransformer> {
    HookedTransformer::from_pretrained_with(given("CANDLE_LENS_GPT2").as_str(), processing)
}

/// Eight prompts of which the published number is known; two spaces stand where a name with its space was put in.
#[test]
#[ignore = "needs CANDLE_LENS_GPT2: the folder of GPT-2's weights, or \"gpt2\" to fetch them"]
fn gpt2_prefers_the_right_name_by_the_published_logits() -> Result<()> {
    let processing = Processing { refactor_factored_attn_matrices: true, ..Default::default() };
    let model = gpt2(processing)?;
    let sentences = [
        ("When John and Mary went to the shops, {} gave the bag to", [" Mary", " John"]),
        ("When Tom and James went to the park, {} gave the ball to", [" Tom", " James"]),
        ("When Dan and Sid went to the shops, {} gave an apple to", [" Dan", " Sid"]),
        ("After Martin and Amy went to the park, {} gave a drink to", [" Martin", " Amy"]),
    ];
    let both = |(sentence, [a, b]): (&str, [&'static str; 2])| {
        [(sentence.replace("{}", b), (a, b)), (sentence.replace("{}", a), (b, a))]
    };
    let (prompts, pairs): (Vec<String>, Vec<_>) = sentences.into_iter().flat_map(both).unzip();
    let answers = model.answers(pairs)?;
    assert_eq!(answers.correct()[..2], [2940, 23165], "the ids of GPT-2's own tokenizer");
    let tokens = model.to_tokens_with(prompts, Bos::Prepend)?;
    assert_eq!((tokens.batch(), tokens.pos()), (8, 16));
    let (logits, cache) = model.run_with_cache(&tokens)?;
    let whole = answers.logit_diff(&logits, &tokens)?.mean();
    assert!((whole - 2.8493238921).abs() < TOLERANCE, "{whole}");
    // The same from the final residual stream.
    let last = cache.accumulated_resid(Stack::accumulated().pos(-1))?;
    let scaled = cache.apply_ln_to_stack(&last, ReadBy::End)?.project(&answers.directions(&model)?)?;
    let projected = scaled.select("component", -1)?.mean();
    assert!((projected - 2.8493238921).abs() < TOLERANCE, "{projected}");
    Ok(())
}

#[test]
#[ignore = "needs CANDLE_LENS_GPT2: the folder of GPT-2's weights, or \"gpt2\" to fetch them"]
fn gpt2_reads_a_paragraph_with_the_published_loss() -> Result<()> {
    let model = gpt2(Processing::default())?;
    let text = "## Loading Models\n\nHookedTransformer comes loaded with >40 open source GPT-style models. You can load \
                any of them in with `HookedTransformer.from_pretrained(MODEL_NAME)`. Each model is loaded into the \
                consistent HookedTransformer architecture, designed to be clean, consistent and \
                interpretability-friendly.\n\nFor this demo notebook we'll look at GPT-2 Small, an 80M parameter model. To \
                try the model the model out, let's find the loss on this paragraph!";
    let options = RunOptions { loss: Loss::Mean, bos: Bos::Prepend, ..Default::default() };
    let run = model.run(text, HookPlan::new(), &options)?;
    let loss = f64::from(run.loss.expect("it is asked for").to_scalar::<f32>()?);
    assert!((loss - 4.3443).abs() < TOLERANCE, "{loss}");
    let predicted = run.logits.expect("they are asked for").argmax(D::Minus1)?.to_vec2::<u32>()?;
    let ids = run.tokens.row(0);
    let right = predicted[0].iter().zip(&ids[1..]).filter(|(a, b)| a == b);
    let right = right.map(|(id, _)| model.to_string([*id])).collect::<Result<Vec<_>>>()?;
    assert_eq!((right.len(), run.tokens.pos() - 1), (33, 111));
    let published = [
        "\n", "\n", "former", " with", " models", ".", " can", " of", "ooked", "Trans", "former", "_", "NAME", "`.",
        " model", " the", "Trans", "former", " to", " be", " and", "-", ".", "\n", "\n", " at", "PT", "-", ",",
        " model", ",", "'s", " the",
    ];
    assert_eq!(right, published);
    Ok(())
}

#[test]
#[ignore = "needs CANDLE_LENS_GPT2: the folder of GPT-2's weights, or \"gpt2\" to fetch them"]
fn gpt2_has_queries_of_the_published_shape() -> Result<()> {
    let model = gpt2(Processing::default())?;
    let text = "Natural language processing tasks, such as question answering, machine translation, reading comprehension, and \
                summarization, are typically approached with supervised learning on taskspecific datasets.";
    let tokens = model.to_tokens_with(text, Bos::Prepend)?;
    let (_, cache) = model.run_with_hooks(&tokens, HookPlan::new().capture(("q", 0)))?;
    assert_eq!(cache.get(("q", 0))?.dims(), [1, 33, 12, 64]);
    Ok(())
}

/// Notebooks 10 and 11 with published dictionaries: the identities hold there as well.
#[test]
#[ignore = "needs CANDLE_LENS_GPT2: GPT-2's weights; and CANDLE_LENS_GPT2_TRANSCODERS: transcoders of its MLPs, a folder or \
            \"gpt2-small-transcoders\"; and CANDLE_LENS_GPT2_ATTENTION_SAES: autoencoders of its hook_z, or \"gpt2-small-hook-z-kk\""]
fn graphs_of_published_dictionaries_sum() -> Result<()> {
    let model = gpt2(Processing::default())?;
    let transcoders = DictionarySet::open(given("CANDLE_LENS_GPT2_TRANSCODERS"))?.transcoders()?;
    let prompt = "When John and Mary went to the shops, John gave the bag to";
    let options = GraphOptions { most_features: Some(500), ..GraphOptions::default() };
    let targets = GraphTargets::difference(" Mary", " John");
    let graph = model.attribution_graph_with(&transcoders, prompt, targets, options)?;
    let value = f64::from(graph.value(GraphNode::Target { number: 0 })?);
    let (logits, _) = model.run_with_hooks(prompt, HookPlan::new())?;
    let seen = model.answers([(" Mary", " John")])?.logit_diff(&logits, model.to_tokens(prompt)?)?.mean();
    assert!((value - seen).abs() < TOLERANCE, "{value}, {seen} in the run");
    assert!(f64::from(graph.residual()) < TOLERANCE, "{}", graph.residual());
    // Name mover 9.9 looks at the indirect object.
    let mut dictionaries = transcoders.all()?;
    dictionaries.extend(DictionarySet::open(given("CANDLE_LENS_GPT2_ATTENTION_SAES"))?.all()?);
    let score = model.attention_score_attribution(dictionaries, prompt, (9, 9), -1, 4)?;
    assert!(f64::from(score.residual()) < TOLERANCE * f64::from(score.score().abs()).max(1.0), "{score}");
    Ok(())
}
