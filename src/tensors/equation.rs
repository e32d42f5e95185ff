//! The text of an [`einsum`](super::einsum()): which axes each tensor has, and which the result.

use crate::error::{Error, Result};
use crate::visible::visible;

/// An equation that fits its tensors.
pub(super) struct Equation {
    /// The axes of each tensor, by number.
    pub terms: Vec<Vec<usize>>,
    /// The axes of the result.
    pub output: Vec<usize>,
    /// The size of each axis.
    pub sizes: Vec<usize>,
}

impl Equation {
    /// # Errors
    /// [`Error::Argument`] for a text that is not an equation, or that does not fit tensors of these shapes.
    pub(super) fn new(text: &str, shapes: &[&[usize]]) -> Result<Self> {
        let wrong = |why: String| Error::argument(format!("einsum \"{}\": {why}", visible(text)));
        let Some((inputs, output)) = text.split_once("->").filter(|(_, rest)| !rest.contains("->")) else {
            return Err(wrong("an equation is the axes of each tensor, \"->\" and the axes of the result, as in \"b q d, b k d -> b q k\".".into()));
        };
        let inputs: Vec<&str> = inputs.split(',').collect();
        if inputs.len() != shapes.len() {
            return Err(wrong(format!(
                "it names the axes of {} tensors, and {} were given: divide the tensors' axes by commas.",
                inputs.len(),
                shapes.len()
            )));
        }
        let letters = is_in_letters(&inputs, output, shapes);
        let (mut names, mut terms) = (Vec::new(), Vec::new());
        let mut sizes: Vec<(usize, usize)> = Vec::new();
        for (tensor, (term, shape)) in inputs.iter().zip(shapes).enumerate() {
            let axes = axes_of(term, letters);
            if axes.len() != shape.len() {
                return Err(wrong(format!(
                    "\"{}\" names {} axes, and tensor {tensor} has {}: {shape:?}.",
                    visible(term.trim()),
                    axes.len(),
                    shape.len()
                )));
            }
            let mut term = Vec::new();
            for (name, &size) in axes.into_iter().zip(*shape) {
                check_name(&name).map_err(wrong)?;
                let axis = names.iter().position(|known| *known == name).unwrap_or(names.len());
                if axis == names.len() {
                    names.push(name);
                    sizes.push((size, tensor));
                } else if sizes[axis].0 != size {
                    let (first, of) = sizes[axis];
                    return Err(wrong(format!(
                        "axis {} has {first} in tensor {of} and {size} in tensor {tensor}.",
                        visible(&names[axis])
                    )));
                }
                term.push(axis);
            }
            terms.push(term);
        }
        let output = output_of(&axes_of(output, letters), &names).map_err(wrong)?;
        Ok(Self { terms, output, sizes: sizes.into_iter().map(|(size, _)| size).collect() })
    }
}

/// Whether axes are single letters without spaces, as NumPy writes them: no term has a space inside, and each has as many letters as
/// its tensor has axes.
fn is_in_letters(inputs: &[&str], output: &str, shapes: &[&[usize]]) -> bool {
    let is_word = |term: &str| term.split_whitespace().count() <= 1;
    let fits = |(term, shape): (&&str, &&[usize])| term.trim().chars().count() == shape.len();
    inputs.iter().all(|term| is_word(term)) && is_word(output) && inputs.iter().zip(shapes).all(fits)
}

fn axes_of(term: &str, letters: bool) -> Vec<String> {
    match letters {
        true => term.trim().chars().map(String::from).collect(),
        false => term.split_whitespace().map(String::from).collect(),
    }
}

fn check_name(name: &str) -> std::result::Result<(), String> {
    match name.chars().all(|letter| letter.is_alphanumeric() || letter == '_') {
        true => Ok(()),
        false => Err(format!(
            "\"{}\" is not the name of an axis: names are of letters, digits and _; \"..\" and parentheses have no meaning here.",
            visible(name)
        )),
    }
}

fn output_of(axes: &[String], names: &[String]) -> std::result::Result<Vec<usize>, String> {
    let mut output = Vec::new();
    for name in axes {
        check_name(name)?;
        let Some(axis) = names.iter().position(|known| known == name) else {
            let known: Vec<String> = names.iter().map(|name| visible(name).to_string()).collect();
            return Err(format!(
                "the result's axis {} is in no tensor: they have {}.",
                visible(name),
                known.join(", ")
            ));
        };
        if output.contains(&axis) {
            return Err(format!("the result has axis {} twice: name it once.", visible(name)));
        }
        output.push(axis);
    }
    Ok(output)
}
