//! Any vectors of the residual stream's width through a lens.

use candle_core::{DType, Tensor};

use super::lens::Lens;
use super::options::{LensOptions, LensTarget};
use super::reading::LensReading;
use super::rows::Rows;
use super::run::{check_batch, inputs, real, targets};
use crate::cache::{ActivationCache, ResidualStack, Stack};
use crate::dims::{ReadBy, Reader};
use crate::error::{Error, Result};
use crate::labelled::Axis;
use crate::model::HookedTransformer;
use crate::progress::Progress;

pub(super) fn read_stack(
    lens: &dyn Lens,
    model: &HookedTransformer,
    (cache, stack): (&ActivationCache, &ResidualStack),
    at: ReadBy,
    options: &LensOptions,
) -> Result<LensReading> {
    let chosen = options.check(model)?;
    let at = point(lens, model, at)?;
    cache.check_model(model)?;
    check_batch(cache)?;
    cache.check_stack(stack)?;
    let _work = Progress::opaque(format!("applying the {}", lens.name()));
    let d_model = model.cfg().d_model;
    let end = cache.accumulated_resid(Stack::accumulated().pos(stack.pos().clone()))?.tensor().detach();
    let (tokens, positions) = (cache.tokens(), stack.positions());
    let rows = Rows {
        vectors: stack.tensor().detach().reshape((stack.len(), (), d_model))?,
        places: vec![at; stack.len()],
        end: Some(end.get(end.dim(0)? - 1)?.reshape(((), d_model))?),
        targets: targets(model, &tokens, &positions, &options.target)?,
        real: real(&tokens, &positions),
        norm: cache.final_norm().clone(),
    };
    let axes = vec![
        Axis::new("component", stack.labels()),
        Axis::numbered("prompt", tokens.batch()),
        Axis::new("position", positions.iter().map(usize::to_string)),
    ];
    let numbers = rows.read(lens, model, options.k, &chosen)?;
    let reading = LensReading::new(model, lens.name(), axes, &chosen, numbers)?;
    Ok(LensReading { inputs: inputs(model, &tokens, &positions), ..reading })
}

pub(super) fn read_vectors(
    lens: &dyn Lens,
    model: &HookedTransformer,
    vectors: &Tensor,
    at: ReadBy,
    options: &LensOptions,
) -> Result<LensReading> {
    let chosen = options.check(model)?;
    let at = point(lens, model, at)?;
    let d_model = model.cfg().d_model;
    let Some((&width, leading)) = vectors.dims().split_last().filter(|(width, _)| **width == d_model) else {
        return Err(Error::shape("vectors of the residual stream", format!("[.., {d_model}]"), vectors.dims()));
    };
    let rows: usize = leading.iter().product();
    if rows == 0 {
        return Err(Error::shape(
            "vectors of the residual stream",
            format!("at least 1 of width {width}"),
            vectors.dims(),
        ));
    }
    if !matches!(vectors.dtype(), DType::F32 | DType::F64 | DType::F16 | DType::BF16) {
        return Err(Error::argument(format!(
            "the vectors are {:?} numbers, which no residual stream has: convert them with to_dtype(DType::F32).",
            vectors.dtype()
        )));
    }
    let sum = vectors.detach().to_dtype(DType::F32)?.abs()?.sum_all()?.to_scalar::<f32>()?;
    if sum.is_nan() {
        return Err(Error::argument(
            "the vectors have numbers that are not a number (NaN), of which nothing can be read.",
        ));
    }
    let targets = match &options.target {
        LensTarget::None => None,
        LensTarget::NextToken => {
            return Err(Error::argument(
                "vectors without a run have no next token: name the target, or read a run (`read`).",
            ));
        }
        target => target.ids(model, rows, "vectors")?.map(|ids| ids.into_iter().map(Some).collect()),
    };
    let vectors = vectors.detach().to_dtype(model.dtype())?.to_device(&model.device())?;
    let rows = Rows {
        vectors: vectors.reshape((1, rows, d_model))?,
        places: vec![at],
        end: None,
        targets,
        real: vec![true; rows],
        norm: model.final_norm(),
    };
    let name = |axis: usize| if leading.len() == 1 { "vector".to_string() } else { format!("axis {axis}") };
    let axes = leading.iter().enumerate().map(|(axis, &size)| Axis::numbered(name(axis), size)).collect();
    let numbers = rows.read(lens, model, options.k, &chosen)?;
    LensReading::new(model, lens.name(), axes, &chosen, numbers)
}

/// The point with its layer from the start.
///
/// # Errors
/// One that the model does not have, or the lens does not read; a lens of another model.
fn point(lens: &dyn Lens, model: &HookedTransformer, at: ReadBy) -> Result<ReadBy> {
    lens.check_model(model)?;
    let dims = model.dims();
    let at = match at.resolve(&dims)? {
        Reader { layer, .. } if layer == dims.n_layers => ReadBy::End,
        Reader { layer, is_mlp: true } => ReadBy::Mlp(layer as isize),
        Reader { layer, .. } => ReadBy::Block(layer as isize),
    };
    if at == ReadBy::End || lens.reads(at) {
        return Ok(at);
    }
    Err(Error::argument(format!("the {} has no map at {at:?}: give a point that it reads.", lens.name())))
}
