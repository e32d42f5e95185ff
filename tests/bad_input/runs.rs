//! Mistakes in names, shapes, layers, positions and tokens: each is a sentence, told before anything is computed.

use candle_lens::Result;
use candle_lens::cache::{Stack, Target};
use candle_lens::candle::{DType, Device, Tensor};
use candle_lens::dims::ReadBy;
use candle_lens::hooks::{Edit, HookPlan, HookPoint};
use candle_lens::model::{HookedTransformer, HookedTransformerConfig, Loss, Processing, RunOptions};
use candle_lens::tokens::{Bos, Input, PaddingSide, Tokens};

use crate::support::fixture::tiny_model;
use crate::support::sentence::sentence;

fn model() -> HookedTransformer {
    tiny_model(Processing::default())
}

fn three_prompts() -> Vec<Vec<u32>> {
    vec![vec![1, 2, 3, 4], vec![5, 6, 7, 8], vec![9, 10, 11, 12]]
}

/// The error of a run of three prompts of four tokens under a plan.
#[track_caller]
fn refused(plan: HookPlan, parts: &[&str]) {
    sentence(model().run_with_hooks(three_prompts(), plan), parts);
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).expect("zeros of any shape")
}

fn small() -> HookedTransformerConfig {
    HookedTransformerConfig { n_layers: 2, d_model: 8, n_heads: 2, d_vocab: 300, n_ctx: 6, ..Default::default() }
}

fn untrained(cfg: HookedTransformerConfig) -> HookedTransformer {
    HookedTransformer::trainable(cfg, 0, &Device::Cpu).expect("a valid config").0
}

#[test]
fn wrong_names() {
    let plan = HookPlan::new;
    refused(plan().capture("blocks.0.attn.hook_patern"), &["blocks.0.attn.hook_patern", "blocks.0.attn.hook_pattern"]);
    refused(plan().edit(("resid_pots", 1), Edit::zero()), &["resid_pots", "resid_post"]);
    refused(plan().capture(""), &["\"\""]);
    refused(plan().capture("blocks..attn.hook_q"), &["blocks..attn.hook_q"]);
    refused(plan().capture("blocks.99999999999999999999.hook_q_input"), &["blocks.99999999999999999999"]);
    refused(plan().capture("q99999999999999999999"), &["q99999999999999999999"]);
    refused(plan().capture("🙂"), &["🙂"]);
    refused(plan().capture_where(|_| false), &["filter"]);
    assert!("scale".parse::<HookPoint>().is_ok(), "the final norm's");
    sentence("scale3".parse::<HookPoint>(), &["scale3"]);
    let (_, cache) = model().run_with_cache(three_prompts()).expect("a good run");
    sentence(cache.get("patern"), &["patern", "pattern"]);
    sentence(cache.get("pattern"), &["layer"]);
    sentence(cache.get(("result", 0)), &["blocks.0.attn.hook_result", "not in this cache"]);
}

#[test]
fn points_that_an_architecture_lacks() -> Result<()> {
    let attn_only = untrained(HookedTransformerConfig { attn_only: true, ..small() });
    let run = |plan: HookPlan| attn_only.run_with_hooks(vec![vec![1, 2]], plan);
    sentence(run(HookPlan::new().capture(("post", 0))), &["blocks.0.mlp.hook_post", "attention only"]);
    sentence(run(HookPlan::new().capture("resid_mid")), &["hook_resid_mid", "attention only"]);
    sentence(attn_only.W_in(), &["attention only"]);
    let (_, cache) = attn_only.run_with_cache(vec![vec![1, 2]])?;
    let with_middle = Stack::accumulated().with_mid();
    sentence(cache.accumulated_resid(with_middle), &["hook_resid_mid", "attention only"]);
    Ok(())
}

#[test]
fn wrong_layers() -> Result<()> {
    for layer in [2, -3, isize::MAX, isize::MIN] {
        refused(HookPlan::new().capture(("q", layer)), &[&format!("layer {layer}"), "2 layers", "0 to 1"]);
    }
    refused(HookPlan::new().edit("blocks.2.attn.hook_q", Edit::zero()), &["layer 2", "0 to 1"]);
    let model = model();
    let run = |options: RunOptions| model.run(three_prompts(), HookPlan::new(), &options);
    sentence(run(RunOptions { stop_at_layer: Some(3), ..Default::default() }), &["layer 3"]);
    let resid = zeros(&[3, 4, 24]);
    let start = |layer| Some((layer, resid.clone()));
    sentence(run(RunOptions { start_at_layer: start(-3), ..Default::default() }), &["layer -3"]);
    let backwards = RunOptions { start_at_layer: start(1), stop_at_layer: Some(0), ..Default::default() };
    sentence(run(backwards), &["layer 1", "layer 0"]);
    let options = RunOptions { stop_at_layer: Some(1), ..Default::default() };
    let plan = HookPlan::new().capture(("z", 1));
    sentence(model.run(three_prompts(), plan, &options), &["blocks.1.attn.hook_z", "never reached"]);
    let (_, cache) = model.run_with_cache(three_prompts())?;
    for layer in [3, -3, isize::MAX, isize::MIN] {
        let given = format!("layer {layer}");
        sentence(cache.accumulated_resid(Stack::accumulated().before(layer)), &[&given, "0 to 1"]);
        sentence(cache.decompose_resid(Stack::components().before(layer)), &[&given]);
        sentence(cache.stack_head_results(&model, Stack::heads().before(layer)), &[&given]);
        sentence(cache.stack_activation("z", layer), &[&given]);
    }
    let of_the_end = Stack::components().before_mlp(2);
    sentence(cache.decompose_resid(of_the_end), &["layer 2"]);
    sentence(cache.stack_head_results(&model, Stack::heads().before(0)), &["layer 0"]);
    Ok(())
}

#[test]
fn wrong_positions_heads_and_selections() {
    let plan = HookPlan::new;
    for pos in [4, -5, isize::MAX, isize::MIN] {
        refused(plan().capture("z").pos(pos), &[&format!("position {pos}"), "0 to 3"]);
        refused(plan().edit(("z", 0), Edit::zero().pos(pos)), &[&format!("position {pos}")]);
    }
    refused(plan().capture("z").pos(2..9), &["position 9"]);
    refused(plan().capture("z").pos(2..2), &["empty"]);
    refused(plan().capture("z").pos(Vec::<isize>::new()), &["empty"]);
    refused(plan().edit(("z", 0), Edit::zero().head(4)), &["head 4", "0 to 3"]);
    refused(plan().edit(("z", 0), Edit::zero().head(Vec::<usize>::new())), &["empty"]);
    refused(plan().edit(("resid_pre", 0), Edit::zero().head(1)), &["head", "[batch, pos, d_model]"]);
    refused(plan().edit(("post", 0), Edit::zero().neuron(96)), &["neuron 96"]);
    refused(plan().edit(("z", 0), Edit::zero().batch(3)), &["3"]);
    refused(plan().edit("hook_tokens", Edit::scale(2.0)), &["token ids"]);
    refused(plan().capture("z").edit(("q_input", 0), Edit::zero()).capture(("scale", 0, "ln1")), &["ln1.hook_scale"]);
    let mut plan_without_batch = plan().capture("z");
    plan_without_batch = plan_without_batch.remove_batch_dim();
    refused(plan_without_batch, &["3", "one prompt"]);
    refused(plan().capture_all().budget(1000), &["budget", "1.0 kB", "hook_"]);
}

#[test]
fn wrong_shapes() -> Result<()> {
    let plan = HookPlan::new;
    let replace = |shape: &[usize]| Edit::replace(zeros(shape));
    refused(plan().edit(("z", 0), replace(&[3, 4, 4, 7])), &["blocks.0.attn.hook_z", "[3, 4, 4, 7]", "[3, 4, 4, 6]"]);
    refused(plan().edit(("z", 0), replace(&[5]).head(1)), &["[5]", "[3, 4, 6]"]);
    refused(plan().edit(("resid_pre", 0), Edit::add(zeros(&[2, 4, 24]))), &["[2, 4, 24]", "[3, 4, 24]"]);
    let wrong_hook = Edit::custom("squeeze out", |x, _| x.narrow(1, 0, 1));
    refused(plan().edit(("resid_pre", 0), wrong_hook), &["squeeze out", "[3, 1, 24]"]);
    let model = model();
    let options = RunOptions { start_at_layer: Some((1, zeros(&[3, 4, 25]))), ..Default::default() };
    sentence(model.run(three_prompts(), HookPlan::new(), &options), &["[3, 4, 25]", "[3, 4, 24]"]);
    let (logits, cache) = model.run_with_cache(three_prompts())?;
    let tokens = Tokens::from_rows(three_prompts())?;
    let parts = cache.decompose_resid(Stack::components())?;
    for shape in [vec![25], vec![2, 24], vec![3, 4, 24], vec![]] {
        sentence(parts.project(&zeros(&shape)), &[&format!("{shape:?}"), "[24]"]);
    }
    sentence(cache.apply_ln_to_stack(&parts, ReadBy::Block(3)), &["layer 3"]);
    let answers = model.answers([(5u32, 6u32), (7, 8)])?;
    sentence(answers.logit_diff(&logits, &tokens), &["[2, 4, d_vocab]", "[3, 4, 300]"]);
    sentence(cache.logit_attrs(&model, &parts, Target::tokens([1u32, 2])), &["[2, 24]"]);
    sentence(cache.logit_attrs(&model, &parts, Target::differences([(1u32, 3u32), (2, 4)])), &["[2, 24]"]);
    sentence(cache.logit_attrs(&model, &parts, Target::tokens([0u32; 0])), &["empty"]);
    let other = untrained(small());
    sentence(cache.logit_attrs(&other, &parts, (1u32, 2u32)), &["other sizes"]);
    sentence(cache.remove_batch_dim(), &["3"]);
    Ok(())
}

#[test]
fn wrong_tokens() {
    let model = model();
    sentence(model.forward("the ".repeat(40)), &["n_ctx = 32", "43 tokens with its BOS"]);
    sentence(model.forward(vec![vec![1u32; 33]]), &["33 positions", "n_ctx = 32"]);
    sentence(model.forward(vec![vec![1, 300]]), &["300", "0 to 299"]);
    sentence(model.forward(vec![vec![1, u32::MAX]]), &["4294967295"]);
    sentence(model.forward(Vec::<String>::new()), &["no rows"]);
    sentence(model.forward(Vec::<Vec<u32>>::new()), &["no rows"]);
    sentence(model.forward(vec![Vec::<u32>::new()]), &["no tokens"]);
    sentence(model.forward(vec![vec![1, 2, 3], vec![1]]), &["row 1 has 1 tokens", "row 0 has 3"]);
    sentence(model.forward(zeros(&[2, 3])), &["F32"]);
    let empty = RunOptions { bos: Bos::Omit, ..Default::default() };
    sentence(model.run("", HookPlan::new(), &empty), &["no tokens", "Bos::Prepend"]);
    sentence(model.run(vec![1, 2], HookPlan::new(), &empty), &["token ids"]);
    sentence(model.loss(""), &["one token"]);
    let stopped = RunOptions { stop_at_layer: Some(1), loss: Loss::Mean, ..Default::default() };
    sentence(model.run("the shops", HookPlan::new(), &stopped), &["loss"]);
    sentence(model.to_single_token("the shops"), &["[\"t\", \"he\", \" shops\"]"]);
    sentence(model.tokens_to_residual_directions(["Mary Mary"]), &["not one token"]);
    sentence(model.tokens_to_residual_directions([300u32]), &["300"]);
    sentence(model.tokens_to_residual_directions(Vec::<u32>::new()), &["."]);
    sentence(model.answers([(" Mary", " Mary")]), &["same correct and incorrect answer", "different answers"]);
    sentence(model.answers([(" Mary", "Jo hn")]), &["not one token"]);
    let last_of_padded = HookPlan::new().capture("z").pos(-1);
    let batch = Tokens::padded(vec![vec![1, 2], vec![3]], 0, PaddingSide::Right).expect("a padded batch");
    sentence(model.run_with_hooks(&batch, last_of_padded), &["right-padded"]);
    let narrow = untrained(HookedTransformerConfig { d_vocab_out: Some(5), ..small() });
    sentence(narrow.loss(vec![vec![1, 7]]), &["token 7", "d_vocab_out is 5"]);
    let without_tokenizer = untrained(small());
    sentence(without_tokenizer.forward("the"), &["no tokenizer"]);
    sentence(without_tokenizer.to_str_tokens("the"), &["no tokenizer"]);
    sentence(without_tokenizer.to_single_token(" the"), &["no tokenizer"]);
    assert!(matches!(Input::from("the"), Input::Texts(_)));
}

#[test]
fn wrong_sizes_of_a_new_model() {
    let refused = |cfg: HookedTransformerConfig, parts: &[&str]| {
        sentence(HookedTransformer::trainable(cfg, 0, &Device::Cpu), parts);
    };
    refused(HookedTransformerConfig { d_model: 0, ..small() }, &["d_model is 0"]);
    refused(HookedTransformerConfig { n_heads: 0, ..small() }, &["n_heads is 0"]);
    refused(HookedTransformerConfig { n_heads: 3, ..small() }, &["d_model 8", "n_heads 3"]);
    refused(HookedTransformerConfig { n_ctx: usize::MAX, ..small() }, &["n_ctx"]);
    refused(HookedTransformerConfig { n_layers: usize::MAX, ..small() }, &["n_layers"]);
    refused(HookedTransformerConfig { d_model: usize::MAX, ..small() }, &["d_model"]);
    refused(HookedTransformerConfig { eps: f64::NAN, ..small() }, &["eps is NaN"]);
    refused(HookedTransformerConfig { attn_scale: Some(0.0), ..small() }, &["attn_scale"]);
    refused(HookedTransformerConfig { initializer_range: Some(f64::INFINITY), ..small() }, &["initializer_range"]);
}

#[test]
fn processing_that_an_architecture_does_not_allow() {
    use candle_lens::model::NormalizationType;
    let without = untrained(HookedTransformerConfig { normalization_type: NormalizationType::None, ..small() });
    sentence(without.clone().process(Processing::default()), &["fold_ln"]);
    let centred = Processing { center_writing_weights: true, ..Processing::NONE };
    sentence(without.process(centred), &["center_writing_weights"]);
    let folder = crate::support::scratch("save_processed");
    sentence(model().save_pretrained(folder), &["GPT-2"]);
}
