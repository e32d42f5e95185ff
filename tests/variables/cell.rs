//! A cell as evcxr writes it and the launcher hands it to the compiler (lab/src/stand_ins/variables.rs has both and compares them): that it compiles,
//! and what its table says.

use candle_lens::prelude::*;

/// Rewritten by the launcher, not by hand: `UPDATE_NOTED_CELL=1 cargo test -p candle-lens-lab variables`.
#[allow(unused_imports, unused_mut, dead_code, clippy::all)]
mod noted {
    include!("../../lab/tests/noted_cell.txt");

    /// Runs the cell behind others that left these variables; the variable that it makes.
    pub fn run(model: HookedTransformer, counts: Vec<i32>, cache: ActivationCache, logits: Tensor) -> f32 {
        // SAFETY: a store that was just made, which the cell gives back.
        unsafe {
            let store = evcxr_internal_runtime::create_variable_store();
            (*store).put_variable("model", model);
            (*store).put_variable("counts", counts);
            (*store).put_variable("cache", cache);
            (*store).put_variable("logits", logits);
            Box::from_raw(run_user_code_6(store)).take_variable::<f32>("b")
        }
    }
}

#[test]
fn a_cell_says_what_earlier_cells_left() -> Result<()> {
    assert!(!variables().is_known());
    assert!(variables().to_string().contains("`:vars` lists"), "{}", variables());

    let model = HookedTransformer::from_pretrained("tiny")?;
    let (logits, cache) = model.run_with_cache("The keys on the cabinet")?;
    let largest = cache.get(("resid_post", -1))?;
    let b = noted::run(model, vec![1, 2, 3], cache, logits.clone());
    let table = variables();
    assert!(table.is_known() && table.iter().len() == 4, "{table}");
    // What the cell itself defines is in the table of the next.
    assert!(table.get("b").is_none() && b == 4.);

    let row = |name: &str| table.get(name).expect("it is a variable");
    assert_eq!((row("counts").kind.as_str(), row("counts").bytes), ("Vec<i32>", 24 + 12));
    assert_eq!(row("logits").shape, Some(format!("{:?} f32", logits.dims())));
    assert_eq!(row("logits").bytes, (size_of::<Tensor>() + logits.elem_count() * 4) as u64);
    assert_eq!((row("model").kind.as_str(), row("cache").kind.as_str()), ("HookedTransformer", "ActivationCache"));
    assert!(row("cache").bytes > largest.elem_count() as u64 * 4 && !row("cache").at_least);
    let sum: u64 = table.iter().map(|variable| variable.bytes).sum();
    let shared: u64 = table.iter().map(|variable| variable.shared).sum();
    assert!(table.bytes() <= sum && table.bytes() >= sum - shared, "{table}");
    assert!(table.to_string().contains("`drop(x);` frees"), "{table}");
    assert!(format!("{table:?}").starts_with("Variables (variable"), "{table:?}");
    Ok(())
}
