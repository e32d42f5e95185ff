//! The prelude exports no name that evcxr's generated code uses, and brings what a cell calls by name into scope.

use candle_lens::prelude::*;

use crate::support::tolerance::LAST_DIGITS;

/// What the code around a cell says without a path (evcxr 0.22, `eval_context.rs` and `evcxr_internal_runtime.rs`),
/// and what Rust's own prelude has that users write most. `Result` is not among them: see below.
const TAKEN: [&str; 21] = [
    "Any", "Box", "Clone", "Copy", "Default", "Drop", "Err", "Error", "Fn", "FnMut", "FnOnce", "From", "HashMap",
    "Into", "Iterator", "None", "Ok", "Option", "Some", "String", "Vec",
];

#[test]
fn the_prelude_takes_no_name_of_evcxr() {
    let source = include_str!("../src/prelude.rs");
    let code: String = source.lines().filter(|line| !line.starts_with("//")).collect::<Vec<_>>().join("\n");
    let words: Vec<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    assert!(words.contains(&"HookedTransformer") && !code.contains("::*"), "the prelude names what it exports");
    for name in TAKEN {
        assert!(!words.contains(&name), "the prelude exports {name}");
    }
}

/// `Result` is the crate's alias, whose second parameter makes it the standard library's: the code around a cell and functions of
/// a user compile, with either number of parameters.
#[test]
fn results_have_one_parameter_or_two() {
    fn of_a_student(q: &Tensor) -> Result<Tensor> {
        Ok((q * 2.0)?)
    }
    fn of_another_kind(text: &str) -> Result<i32, String> {
        text.parse().map_err(|_| format!("{text} is not a number"))
    }
    fn of_evcxr() -> Result<(), candle_core::Error> {
        Ok::<(), candle_core::Error>(())
    }
    let zero = Tensor::zeros(2, DType::F32, &Device::Cpu).expect("two zeros");
    assert_eq!(of_a_student(&zero).expect("two zeros").dims(), [2]);
    assert_eq!((of_another_kind("5"), of_another_kind("five").is_err()), (Ok(5), true));
    let standard: std::result::Result<(), candle_core::Error> = of_evcxr();
    assert!(standard.is_ok());
}

/// evcxr ends a cell with `(expression).evcxr_display();` beside the user's `use` of the prelude.
#[test]
fn a_last_expression_of_a_foreign_type_shows_itself() -> candle_lens::Result<()> {
    (Tensor::zeros(2, DType::F32, &Device::Cpu)?).evcxr_display();
    ndarray::arr1(&[1.0_f32]).evcxr_display();
    ("text", vec![1_usize]).evcxr_display();
    (line([1.0, 2.0]).show()?).evcxr_display();
    Ok(())
}

/// evcxr keeps variables between cells only if they borrow nothing: what accessors give is owned.
#[test]
fn what_a_cell_binds_is_owned() -> candle_lens::Result<()> {
    fn kept<T: 'static>(value: T) -> T {
        value
    }
    let model = HookedTransformer::from_pretrained("tiny")?;
    let (_, cache) = model.run_with_cache("The keys on the cabinet")?;
    let tokens = kept(cache.tokens());
    kept((tokens.row(0), tokens.real_row(0), tokens.lengths()));
    kept((cache.dims(), cache.provenance(), cache.provenance().interventions()));
    kept((model.cfg(), model.device(), model.tokenizer()?));
    let stack = kept(cache.stack(&model, Stack::heads().pos(-1))?);
    kept((stack.labels(), stack.positions(), stack.tensor()));
    let shares = kept(cache.logit_attrs(&model, &stack, " is")?);
    kept((shares.labels("component")?, shares.shape(), shares.top(1), shares.top_heads(1)?));
    kept((shares.axes(), shares.values()));
    let answers = model.answers([(" is", " are")])?;
    kept((answers.correct(), answers.incorrect()));
    let options = GenerateOptions { max_new_tokens: 1, print: false, ..Default::default() };
    let text = kept(model.generate("The keys on the cabinet", options)?);
    kept((text.prompts(), text.completions(), text.texts(), text.new_tokens()));
    let baseline = ["The key on the cabinet"];
    let experiment = Experiment::new(&model, "The keys on the cabinet", baseline, Metric::logit_diff(&answers))?;
    kept(experiment.attribution("z")?.gradients());
    let keep = RunOptions { keep_kv_cache: true, ..Default::default() };
    kept(model.run("The keys", HookPlan::new(), keep)?.kv_cache.expect("asked for").tokens());
    Ok(())
}

/// What notebooks and courses name without a path.
#[test]
fn the_prelude_has_what_notebooks_need() -> candle_lens::Result<()> {
    let cfg = HookedTransformerConfig {
        positional_embedding_type: PositionalEmbeddingType::Rotary,
        act_fn: ActFn::Relu,
        ..Default::default()
    };
    assert_eq!(cfg.positional_embedding_type, PositionalEmbeddingType::Rotary);
    let model = HookedTransformer::from_pretrained("tiny")?;
    let tokens = repeated_tokens(&model, RepeatOptions { seq_len: 4, batch: 1, seed: Random::new(3).below(9) as u64 })?;
    let logits = Var::from_tensor(&model.forward(&tokens)?.get(0)?)?;
    // Both have a backward pass, and agree with candle_nn's.
    let ours = (softmax(logits.as_tensor())? - candle_nn::ops::softmax(logits.as_tensor(), D::Minus1)?)?;
    assert!(ours.abs()?.max_all()?.to_scalar::<f32>()? < LAST_DIGITS);
    let loss = cross_entropy(logits.as_tensor(), &tokens.row(0))?;
    assert!(loss.mean_all()?.backward()?.get(&logits).is_some());
    assert!("L0H1".parse::<Head>()? < Head::new(1, 0));
    Ok(())
}
