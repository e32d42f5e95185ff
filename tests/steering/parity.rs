//! Directions and runs of the `steering-vectors` package (tests/fixtures/steering.py).

use candle_lens::Result;
use candle_lens::hooks::Selection;
use candle_lens::model::Processing;
use candle_lens::steering::{Contrast, Steering};

use crate::support::fixture::{Agreement, Reference, path};
use crate::support::models::pretrained;

/// As in the script.
const SCALE: f64 = 1.5;
const FROM: usize = 4;

#[test]
fn directions_and_runs_are_those_of_steering_vectors() -> Result<()> {
    let reference = Reference::load("steering.safetensors");
    let mut agreement = Agreement::default();
    for folder in ["tiny_gpt2", "families/gpt_neox", "families/llama3"] {
        let model = pretrained(path(folder).to_str().expect("the path is UTF-8"), Some(Processing::NONE))?;
        let tokens = |name: &str| reference.tokens(&format!("{folder}.{name}"));
        let (positive, negative) = (tokens("positive"), tokens("negative"));
        let contrast = Contrast::new(&model, &positive, &negative)?;
        let means = contrast.mean_differences("resid_post")?;
        for (kind, vectors) in [("mean", &means), ("principal", &contrast.principal_differences("resid_post")?)] {
            for (layer, vector) in vectors.iter().enumerate() {
                let name = format!("{folder}.{kind}.{layer}");
                agreement.check(&name, &vector.values(), reference.get(&name));
            }
        }
        let everywhere = Steering::add(means, SCALE);
        let from = everywhere.clone().at(Selection::new().pos(FROM..));
        for (name, steering) in [("steered", everywhere), ("steered_from", from)] {
            let name = format!("{folder}.{name}");
            let (logits, _) = model.run_with_hooks(&negative, steering.plan(&model, &negative)?)?;
            agreement.check(&name, &logits, reference.get(&name));
        }
    }
    agreement.finish("steering-vectors");
    Ok(())
}
