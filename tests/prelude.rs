//! The prelude exports no name that evcxr's generated code uses, and brings what a cell calls by name into scope.

use candle_lens::prelude::*;

/// What the code around a cell says without a path (evcxr 0.22, `eval_context.rs` and `evcxr_internal_runtime.rs`),
/// and what Rust's own prelude has that users write most.
const TAKEN: [&str; 22] = [
    "Any", "Box", "Clone", "Copy", "Default", "Drop", "Err", "Error", "Fn", "FnMut", "FnOnce", "From", "HashMap",
    "Into", "Iterator", "None", "Ok", "Option", "Result", "Some", "String", "Vec",
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

/// evcxr ends a cell with `(expression).evcxr_display();` beside the user's `use` of the prelude.
#[test]
fn a_last_expression_of_a_foreign_type_shows_itself() -> candle_lens::Result<()> {
    (Tensor::zeros(2, DType::F32, &Device::Cpu)?).evcxr_display();
    ndarray::arr1(&[1.0_f32]).evcxr_display();
    ("text", vec![1_usize]).evcxr_display();
    (line([1.0, 2.0]).show()?).evcxr_display();
    Ok(())
}
