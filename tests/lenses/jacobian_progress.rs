//! Fitting a Jacobian lens says how far it is.

use candle_lens::Result;
use candle_lens::candle::IndexOp;
use candle_lens::lenses::{JacobianLens, JacobianOptions};

use crate::progress::{finish, model, new_walk, prompts};
use crate::support::scratch;

#[test]
fn jacobian_lenses() -> Result<()> {
    let (mut walk, model) = (new_walk(), model()?);
    let (clean, ..) = prompts(&model)?;
    let options = || JacobianOptions { first: 2, ..Default::default() };
    let lens = walk.counted("JacobianLens::fit", || JacobianLens::fit(&model, &clean, options()));
    let resid = model.run_with_cache(&clean)?.1.get(("resid_post", 3))?.i((0, 4))?;
    walk.watched("JacobianLens::decompose", || lens.decompose(&model, &resid, 3, 10));
    let file = scratch("progress_jacobian").join("lens.safetensors");
    lens.save(&file)?;
    walk.watched("JacobianLens::load", || JacobianLens::load(&file, &model));
    finish(walk, 3);
    Ok(())
}
