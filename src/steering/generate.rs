//! Text that is generated under directions, with what the model has along them at each token.

use super::steer::Steering;
use super::vector::SteeringVector;
use crate::error::Result;
use crate::generate::{GenerateOptions, GenerateStream, Generated};
use crate::hooks::HookPoint;
use crate::labelled::{Axis, Labelled};
use crate::model::HookedTransformer;
use crate::tokens::{Bos, Input};

/// Text that was generated under directions.
#[derive(Clone)]
pub struct SteeredText {
    /// The prompts and what was added to them.
    pub text: Generated,
    /// What the activation has along each direction of norm 1, after steering, at the token from which each new token was chosen;
    /// NaN behind the end of a text.
    ///
    /// Axes `prompt`, `direction` and `token`.
    pub projections: Labelled,
}

impl Steering {
    /// Continues prompts under the directions, and logs what the activation has along each of them. A plan in the options acts
    /// first.
    ///
    /// Keys and values are kept as in ordinary generation. On two cores a token costs 1.0 to 1.5 % more than without a plan on `tiny`
    /// (0.65 ms), and no more than runs differ by themselves, 0.5 %, on SmolLM2 (27 ms).
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let direction = model.tokens_to_residual_directions([" Mary"])?.squeeze(0)?;
    /// let vector = SteeringVector::new(&model, ("resid_post", 2), &direction)?;
    /// let options = GenerateOptions { max_new_tokens: 4, stop_at_eos: false, ..Default::default() };
    /// let steered = vector.steer(20).from_last().generate(&model, "John gave the bag to", &options)?;
    /// let plain = vector.steer(0).generate(&model, "John gave the bag to", &options)?;
    /// assert_eq!(plain.text.texts(), model.generate("John gave the bag to", options)?.texts());
    /// assert!(steered.projections.at(&[0, 0, 0])? > plain.projections.at(&[0, 0, 0])?);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Steering::plan`] and [`HookedTransformer::generate`]; a selected position that counts from the end; generated positions of one new
    /// token, which is chosen before any of them is run.
    pub fn generate(
        &self,
        model: &HookedTransformer,
        prompts: impl Into<Input>,
        options: impl Into<GenerateOptions>,
    ) -> Result<SteeredText> {
        let mut options = options.into();
        self.check_length(options.max_new_tokens)?;
        let tokens = model.left_padded(prompts, options.bos)?;
        options.bos = Bos::Default;
        options.plan = self.on(options.plan, model, &tokens)?;
        let units = self.vectors().iter().map(SteeringVector::unit).collect::<Result<Vec<_>>>()?;
        let units: Vec<_> = units.iter().map(|unit| (unit.point(), unit.numbers().to_vec())).collect();
        let stream = model.generate_stream(&tokens, options)?.keeping(units.iter().map(|(point, _)| *point));
        let mut steps: Vec<Vec<f32>> = Vec::new();
        let text = stream.each_step(|stream, ended| {
            steps.push(projections(stream, &units, ended)?);
            Ok(())
        })?;
        let projections = self.labelled(model, &text, &steps)?;
        Ok(SteeredText { text, projections })
    }

    /// The projections of each step, `[direction * prompt]`, with their names.
    fn labelled(&self, model: &HookedTransformer, text: &Generated, steps: &[Vec<f32>]) -> Result<Labelled> {
        let (directions, new) = (self.vectors(), text.new_tokens());
        let prompts = new.len();
        let name = |vector: &SteeringVector| match directions.iter().filter(|one| one.point() == vector.point()).count()
        {
            1 => vector.point().to_string(),
            _ => format!("{} at {}", vector.name(), vector.point()),
        };
        let tokens = (0..steps.len()).map(|step| match &new[..] {
            [row] => format!("{step}:{}", model.piece(row[step])),
            _ => step.to_string(),
        });
        let axes = vec![
            Axis::numbered("prompt", prompts),
            Axis::new("direction", directions.iter().map(name)),
            Axis::new("token", tokens),
        ];
        let all =
            (0..prompts).flat_map(|prompt| (0..directions.len()).map(move |direction| direction * prompts + prompt));
        let values = all.flat_map(|at| steps.iter().map(move |step| step[at])).collect();
        Labelled::new("projection on the direction", axes, values)
    }
}

/// What the last step has along each direction, prompt after prompt.
fn projections(stream: &GenerateStream, units: &[(HookPoint, Vec<f32>)], ended: &[bool]) -> Result<Vec<f32>> {
    let mut found = Vec::with_capacity(units.len() * ended.len());
    for (point, unit) in units {
        let states = stream.kept(*point)?;
        for (state, ended) in states.iter().zip(ended) {
            let along = state.iter().zip(unit).map(|(x, u)| f64::from(*x) * f64::from(*u)).sum::<f64>() as f32;
            found.push(if *ended { f32::NAN } else { along });
        }
    }
    Ok(found)
}
