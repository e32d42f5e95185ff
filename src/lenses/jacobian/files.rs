//! Lenses in files: ours, and those that others publish.
//!
//! Published are files of `torch.save` with `J` (a matrix for each layer), `n_prompts`, `d_model` and, from TransformerLens,
//! `metadata`; and unfinished fits with `jacobian_sum` (sums over `n_done` prompts). Nothing in them is run. Source: anthropics'
//! jacobian-lens and TransformerLens 4.3, `jacobian_lens.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use super::JacobianLens;
use super::about::{About, check_raw};
use crate::error::{Error, Result};
use crate::lenses::Lens;
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::storage::{self, Hub, Repo, Tensors, TorchFile, hub_name};

const KIND: &str = "Jacobian lens";

/// What a lens is besides its matrices.
#[derive(Serialize, Deserialize)]
struct Saved {
    n_layers: usize,
    prompts: usize,
    skipped: usize,
    about: About,
}

impl JacobianLens {
    /// Saves the lens in one file, which is written completely or not at all; numbers are preserved bit for bit.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be written.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to Mary. Then Mary gave the bag to John.";
    /// let lens = JacobianLens::fit(&model, prompt, JacobianOptions { layers: (-2).into(), ..Default::default() })?;
    /// let path = std::env::temp_dir().join("lens.safetensors");
    /// lens.save(&path)?;
    /// let loaded = JacobianLens::load(path.to_str().unwrap(), &model)?;
    /// assert_eq!(loaded.matrix(-2)?.to_vec2::<f32>()?, lens.matrix(-2)?.to_vec2::<f32>()?);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let saved =
            Saved { n_layers: self.n_layers, prompts: self.prompts, skipped: self.skipped, about: self.about.clone() };
        let matrices = self.matrices.iter().map(|(layer, matrix)| (layer.to_string(), matrix.clone())).collect();
        storage::store(path.as_ref(), KIND, &saved, &matrices)
    }

    /// The lens of this model in a file: one that [`JacobianLens::save`] wrote, or a published one (`.pt`), by its path or as
    /// `"owner/repo:path/in/repo@revision"` on the Hugging Face hub, such as
    /// `"neuronpedia/jacobian-lens:gpt2-small/jlens/Salesforce-wikitext/gpt2_jacobian_lens.pt"`; `@revision` may be left out.
    ///
    /// Published files rarely say which model they are of: what they say is checked, and their sizes.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained_no_processing("tests/fixtures/jacobian/model")?;
    /// let lens = JacobianLens::load("tests/fixtures/jacobian/lens.pt", &model)?;
    /// assert_eq!((lens.layers(), lens.prompts()), (vec![0, 1, 2], 2));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::File`] for a file that is missing, cut off, damaged, or holds something else; a lens of another model, or whose
    /// target is not the last layer; a model with processed weights.
    pub fn load(name: impl AsRef<Path>, model: &HookedTransformer) -> Result<Self> {
        check_raw(model)?;
        let name = name.as_ref();
        let _loading = Progress::opaque(format!("loading {}", name.display()));
        let path = on_disk(name)?;
        let lens = match path.extension().is_some_and(|end| end == "pt" || end == "pth") {
            true => published(&path, model)?,
            false => own(&path)?,
        };
        lens.check_model(model).map_err(|error| error.in_file(name))?;
        Ok(lens)
    }

    /// Lenses of one model, fitted on different prompts in the same way, as the mean over all of them.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
    /// let options = JacobianOptions { layers: (-2).into(), ..Default::default() };
    /// let first = "When John and Mary went to the shops, John gave the bag to Mary. Then Mary gave the bag to John.";
    /// let second = "When Tom and Anna went to the park, Anna gave the ball to Tom. Then Tom gave the ball to Anna.";
    /// let parts = [JacobianLens::fit(&model, first, &options)?, JacobianLens::fit(&model, second, &options)?];
    /// assert_eq!(JacobianLens::merged(parts)?.prompts(), 2);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// No lens; lenses of other layers, sizes or models, or fitted in another way; of no prompts, so that they have no weight.
    pub fn merged(lenses: impl IntoIterator<Item = Self>) -> Result<Self> {
        let mut lenses = lenses.into_iter();
        let Some(mut all) = lenses.next() else {
            return Err(Error::argument("no lens was given to merge: give at least one."));
        };
        all = all.times_prompts()?;
        for (place, lens) in (1..).zip(lenses) {
            let same = (lens.layers(), lens.d_model, lens.n_layers) == (all.layers(), all.d_model, all.n_layers);
            if !same || lens.about != all.about {
                return Err(Error::argument(format!(
                    "lens {place} has other layers, sizes, another model or other options than lens 0, so the two have no common mean: \
                     {lens}\nand {all}. Give lenses that were fitted alike."
                )));
            }
            for (layer, matrix) in lens.times_prompts()?.matrices {
                let sum = (&all.matrices[&layer] + matrix)?;
                all.matrices.insert(layer, sum);
            }
            all.prompts = all.prompts.saturating_add(lens.prompts);
            all.skipped = all.skipped.saturating_add(lens.skipped);
        }
        let share = 1. / all.prompts as f64;
        all.times(share)
    }

    /// With the sums of its prompts in place of their means.
    fn times_prompts(&self) -> Result<Self> {
        match self.prompts {
            0 => Err(Error::argument("a lens does not say how many prompts it is the mean over: it cannot be merged.")),
            prompts => self.times(prompts as f64),
        }
    }

    fn times(&self, factor: f64) -> Result<Self> {
        let matrices = self.matrices.iter().map(|(layer, matrix)| Ok((*layer, (matrix * factor)?)));
        Ok(Self { matrices: matrices.collect::<Result<_>>()?, ..self.clone() })
    }
}

/// The path of a file, fetched if it is on the hub.
fn on_disk(name: &Path) -> Result<PathBuf> {
    if name.exists() {
        return Ok(name.into());
    }
    let text = name.to_string_lossy();
    let parts = hub_name(&text).filter(|(_, path, _)| !path.is_empty());
    let Some((id, path, revision)) = parts else {
        return Err(Error::file(
            name,
            "does not exist: give the path of a lens, or \"owner/repo:path/in/repo.pt@revision\" of the hub.",
        ));
    };
    let mut repo = Repo::new(Hub::from_env()?, id, revision, None)?;
    let found = repo.need(path)?;
    repo.complete()?;
    Ok(found)
}

fn own(path: &Path) -> Result<JacobianLens> {
    let (saved, tensors): (Saved, BTreeMap<String, Tensor>) = storage::restore(path, KIND)?;
    let Saved { n_layers, prompts, skipped, about } = saved;
    let matrices = tensors.into_iter().map(|(name, matrix)| Ok((number(path, &name)?, matrix)));
    lens(path, matrices.collect::<Result<_>>()?, n_layers, (prompts, skipped), about)
}

/// A file of the authors, or of TransformerLens.
fn published(path: &Path, model: &HookedTransformer) -> Result<JacobianLens> {
    let file = TorchFile::open(path)?;
    let dict = file.dict().map_err(|error| error.in_file(path))?;
    let key = ["J", "jacobian_sum"].into_iter().find(|key| dict.has(key)).ok_or_else(|| {
        let keys = dict.keys(12).collect::<Vec<_>>().join(", ");
        Error::file(path, format!("is not a Jacobian lens, which has J or jacobian_sum: its keys are {keys}."))
    })?;
    let sums = key == "jacobian_sum";
    let prompts = dict.size(if sums { "n_done" } else { "n_prompts" }).unwrap_or(0);
    if sums && prompts == 0 {
        return Err(Error::file(path, "is a fit without prompts (n_done), of which there is no mean: fit some first."));
    }
    let tensors = Tensors::open_under(path, key)?;
    let matrices = tensors.names().into_iter().map(|name| {
        let matrix = tensors.tensor(&name)?.to_dtype(DType::F32)?;
        let matrix = if sums { (matrix / prompts as f64)? } else { matrix };
        Ok((number(path, &name)?, matrix))
    });
    let matrices = matrices.collect::<Result<BTreeMap<_, _>>>()?;
    let metadata = dict.dict("metadata").unwrap_or(dict);
    let target = metadata.size("target_layer").or_else(|| dict.size("target_layer"));
    let text = |key| metadata.text(key).map(String::from);
    let about = About {
        model_name: text("model_name"),
        corpus: text("corpus"),
        first: metadata.size("skip_first_positions").or_else(|| dict.size("skip_first")),
        longest: metadata.size("max_seq_len"),
        ..About::default()
    };
    let n_layers = target.map_or(model.cfg().n_layers, |target| target.saturating_add(1));
    lens(path, matrices, n_layers, (prompts, 0), about)
}

fn number(path: &Path, name: &str) -> Result<usize> {
    name.parse()
        .map_err(|_| Error::file(path, format!("has a matrix of {name:?}, which is not the number of a layer.")))
}

/// A lens of these matrices, all checked.
fn lens(
    path: &Path,
    matrices: BTreeMap<usize, Tensor>,
    n_layers: usize,
    (prompts, skipped): (usize, usize),
    about: About,
) -> Result<JacobianLens> {
    let d_model = matrices.values().next().and_then(|matrix| matrix.dims().first().copied()).unwrap_or(0);
    let lens = JacobianLens { matrices, d_model, n_layers, prompts, skipped, about };
    lens.check().map_err(|error| error.in_file(path))?;
    Ok(lens)
}
