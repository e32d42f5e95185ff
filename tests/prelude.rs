//! The prelude exports no name that evcxr's generated code uses, and brings what a cell calls by name into scope.

use candle_lens::prelude::*;

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
