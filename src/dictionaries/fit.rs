//! Whether a dictionary belongs to a model, and how it is made to where that is exact.
//!
//! Activations at a hook point depend on how the weights were processed. Three differences can be converted exactly:
//!
//! - outputs of norms (`ln2.hook_normalized`) are the same in all models;
//! - `hook_z` of a model whose value biases are not folded is `b_V` (and what the norm's shift adds to it) more than of one where
//!   they are, so this is subtracted from what the dictionary reads and added to what it writes;
//! - what a transcoder writes to `hook_mlp_out` or `hook_attn_out` is centred for a model whose writing weights are.
//!
//! A dictionary that *reads* the residual stream, or what is written to it, also reads its mean over `d_model`: there a model
//! processed otherwise is refused, with the processing to load it with.

use candle_core::{D, Tensor};

use super::dictionary::Dictionary;
use super::expects::Expects;
use super::input::InputNorm;
use super::parts::DictionaryParts;
use crate::error::{Error, Result};
use crate::hooks::{AxisName, HookPoint, Site, Stage};
use crate::model::HookedTransformer;
use crate::visible::visible;
use crate::wide;

impl Dictionary {
    /// The same dictionary with other words about the model it belongs to: for one whose files say too little, or something that
    /// you know better.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let dictionary = Dictionary::from_pretrained("tiny/z2")?;
    /// let expects = Expects { model: None, weights: None, ..dictionary.expects() };
    /// assert!(dictionary.with_expects(expects)?.expects().model.is_none());
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Dictionary::new`].
    pub fn with_expects(&self, expects: Expects) -> Result<Self> {
        Self::new(DictionaryParts { expects, ..self.parts() })
    }

    /// The same dictionary for this model: what it [expects](Dictionary::expects) is compared with the model's provenance, and
    /// where the model was processed otherwise and the difference can be converted exactly, the dictionary is.
    /// [`HookedTransformer::splice`] does this by itself.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
    /// // Trained with value biases folded; here b_V is subtracted from what it reads and added to what it writes.
    /// let z = Dictionary::from_pretrained("tiny/z2")?.for_model(&model)?;
    /// assert_eq!(z.expects().value_biases_folded, Some(false));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] for a dictionary of another model, of a point that the model lacks, of another width, or of another
    /// processing that cannot be converted exactly.
    pub fn for_model(&self, model: &HookedTransformer) -> Result<Self> {
        let fit = Fit { dictionary: self, model };
        let (reads, writes) = fit.points()?;
        fit.check_model()?;
        fit.check_widths(reads, writes)?;
        fit.check_readable(reads)?;
        let mut parts = self.parts();
        fit.value_biases(&mut parts, reads)?;
        fit.centring(&mut parts, reads, writes)?;
        parts.expects.norms_folded = parts.expects.norms_folded.map(|_| model.processing().fold_ln);
        Self::new(parts)
    }
}

/// How z differs between two processings of a model.
enum Shift {
    None,
    /// By these numbers, `[d_in]`.
    By(Tensor),
    /// By biases that the model no longer has.
    Unknown,
}

/// A dictionary and the model that it is wanted for.
struct Fit<'a> {
    dictionary: &'a Dictionary,
    model: &'a HookedTransformer,
}

impl Fit<'_> {
    fn refused<T>(&self, why: impl std::fmt::Display) -> Result<T> {
        Err(Error::argument(format!("the dictionary \"{}\" {why}", visible(&self.dictionary.parts.name))))
    }

    fn expects(&self) -> &Expects {
        &self.dictionary.parts.expects
    }

    /// The points that it reads and writes.
    ///
    /// # Errors
    /// No point, or one that the model lacks.
    fn points(&self) -> Result<(HookPoint, HookPoint)> {
        let (Some(reads), Some(writes)) = (self.expects().hook_in, self.expects().writes()) else {
            return self.refused(
                "does not say which point it reads: set it with with_expects(Expects { hook_in: Some(\"resid_post8\".parse()?), \
                 ..dictionary.expects() }).",
            );
        };
        let dims = self.model.dims();
        for point in [reads, writes] {
            if let Err(error) = point.check(&dims) {
                return self.refused(format!("belongs at a point that this model does not have: {}", error.sentence()));
            }
        }
        Ok((reads, writes))
    }

    /// # Errors
    /// Another model, by its checksum or, where only names are known, by its name.
    fn check_model(&self) -> Result<()> {
        let provenance = self.model.provenance();
        let how = "give its model, or with_expects(Expects { model: None, weights: None, ..dictionary.expects() }) if you know \
                   that it belongs to this one too.";
        if let (Some(expected), Some(there)) = (&self.expects().weights, &provenance.crc32) {
            if expected == there {
                return Ok(());
            }
            return self.refused(format!(
                "was trained on weights with the checksum {}, and this model's have {there}: {how}",
                visible(expected)
            ));
        }
        // The name of a model that was read from a folder or file is the reader's own.
        let is_known = provenance.revision.is_some() || provenance.source.starts_with("embedded");
        if let (Some(expected), true) = (&self.expects().model, is_known)
            && !self.model.is_called(expected)
        {
            let there = &provenance.model;
            return self.refused(format!(
                "was trained on {}, and this model is {}: {how}",
                visible(expected),
                visible(there)
            ));
        }
        Ok(())
    }

    /// # Errors
    /// Widths other than those of the points.
    fn check_widths(&self, reads: HookPoint, writes: HookPoint) -> Result<()> {
        let ends = [(reads, self.dictionary.d_in(), "reads"), (writes, self.dictionary.d_out(), "writes")];
        for (point, width, does) in ends {
            let shape = point.shape(&self.model.dims(), 1, 1);
            let there = match self.expects().head {
                Some(head) if shape.len() == 4 && head >= shape[2] => {
                    return self.refused(format!(
                        "{does} head {head} at {point}, and there are {} (0 to {}).",
                        shape[2],
                        shape[2] - 1
                    ));
                }
                Some(_) if shape.len() == 4 => shape[3],
                _ => shape[2..].iter().product(),
            };
            if width != there {
                return self.refused(format!(
                    "{does} activations of width {width}, and those at {point} have {there} ({:?} at each position): it belongs to \
                     another model or point.",
                    &shape[2..]
                ));
            }
        }
        Ok(())
    }

    /// # Errors
    /// Points whose numbers depend on a basis or a scale that the model's processing changed.
    fn check_readable(&self, reads: HookPoint) -> Result<()> {
        let processing = self.model.processing();
        let by_head = reads.axes().contains(&AxisName::DHead);
        if processing.refactor_factored_attn_matrices && by_head {
            return self.refused(format!(
                "reads {reads}, whose basis refactor_factored_attn_matrices changed: load the model without it."
            ));
        }
        let folded = processing.fold_ln;
        let depends = matches!(reads, HookPoint::Block(_, Site::MlpHookIn) | HookPoint::UnembedIn);
        match self.expects().norms_folded {
            Some(expected) if depends && expected != folded => self.refused(format!(
                "reads {reads} of a model whose norms' weights are {}folded, and here they are {}: load the model with \
                 Processing {{ fold_ln: {expected}, .. }}.",
                if expected { "" } else { "not " },
                if folded { "folded" } else { "not" },
            )),
            _ => Ok(()),
        }
    }

    /// Adds to what it reads and writes what z has more in this model than in the one it was trained on.
    ///
    /// # Errors
    /// A difference that this model's weights no longer tell; a normalised input, with which a shift does not commute.
    fn value_biases(&self, parts: &mut DictionaryParts, reads: HookPoint) -> Result<()> {
        let HookPoint::Block(layer, site @ (Site::Z | Site::V)) = reads else { return Ok(()) };
        let Some(expected) = self.expects().value_biases_folded else { return Ok(()) };
        let shift = match self.shift(layer, expected)? {
            Shift::None => return Ok(()),
            Shift::By(shift) if site == Site::Z && parts.input_norm == InputNorm::None => shift,
            _ => {
                return self.refused(format!(
                    "reads {reads} of a model whose value biases are {}folded, which cannot be converted: load the model with \
                     Processing {{ fold_ln: {}, fold_value_biases: {expected}, .. }}.",
                    if expected { "" } else { "not " },
                    self.expects().norms_folded.unwrap_or(expected),
                ));
            }
        };
        let add = |to: &Tensor| -> Result<Tensor> { Ok((wide::widened(to)? + &shift)?) };
        parts.b_in = Some(match &parts.b_in {
            Some(b_in) => add(b_in)?,
            None => shift.clone(),
        });
        if !parts.expects.is_transcoder() {
            parts.b_dec = add(&parts.b_dec)?;
        }
        parts.expects.value_biases_folded = Some(self.model.processing().fold_value_biases);
        Ok(())
    }

    /// What z has more in this model. A value is `n W_V + c`, where n is the scaled output of the norm and
    /// `c = b_V + b_ln W_V`; folding the norm puts `b_ln W_V` into `b_V`, and folding value biases moves `b_V` to `b_O`.
    /// TransformerLens folds both or neither, which is assumed where a file names one of them only.
    fn shift(&self, layer: usize, biases_expected: bool) -> Result<Shift> {
        let norms_expected = self.expects().norms_folded.unwrap_or(biases_expected);
        let done = self.model.processing();
        let (of_values, of_norm) = match ((done.fold_value_biases, done.fold_ln), (biases_expected, norms_expected)) {
            ((false, _), (false, _)) | ((true, true), (true, true)) | ((true, false), (true, false)) => {
                return Ok(Shift::None);
            }
            ((false, false), (true, true)) => (true, true),
            ((false, false), (true, false)) | ((false, true), (true, true)) => (true, false),
            ((true, false), (true, true)) => (false, true),
            ((false, true), (true, false)) | ((true, true), (true, false)) | ((true, _), (false, _)) => {
                return Ok(Shift::Unknown);
            }
        };
        let mut shift = wide::widened(&self.model.b_V()?.get(layer)?)?;
        if !of_values {
            shift = shift.zeros_like()?;
        }
        if of_norm && let Ok(b) = self.model.weight(&format!("blocks.{layer}.ln1.b")) {
            let w_v = wide::widened(&self.model.W_V()?.get(layer)?)?;
            let b = wide::widened(&b)?.reshape((1, 1, b.elem_count()))?;
            shift = (shift + b.broadcast_matmul(&w_v)?.squeeze(1)?)?;
        }
        Ok(Shift::By(match self.expects().head {
            Some(head) => shift.get(head)?,
            None => shift.flatten_all()?,
        }))
    }

    /// Centres what it writes where the model's writing weights are centred and those of its model were not.
    ///
    /// # Errors
    /// A dictionary that reads what centring changes; the other way round, where the mean is gone.
    fn centring(&self, parts: &mut DictionaryParts, reads: HookPoint, writes: HookPoint) -> Result<()> {
        let Some(expected) = self.expects().centred else { return Ok(()) };
        let centred = self.model.processing().center_writing_weights;
        if expected == centred || !(is_written(reads) || is_written(writes)) {
            return Ok(());
        }
        if is_written(reads) || !centred {
            return self.refused(format!(
                "{} {} of a model whose writing weights are {}centred, and the mean over d_model that this takes away cannot be \
                 put back: load the model with Processing {{ center_writing_weights: {expected}, .. }}.",
                if is_written(reads) { "reads" } else { "writes" },
                if is_written(reads) { reads } else { writes },
                if expected { "" } else { "not " },
            ));
        }
        let centre = |x: &Tensor| -> Result<Tensor> {
            let x = wide::widened(x)?;
            Ok(x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?)
        };
        if parts.scaled_by_decoder_norm {
            // The norms of centred rows are others, and would choose other features.
            return self.refused(format!(
                "writes {writes} of a model whose writing weights are not centred, and multiplies pre-activations by the norms of what it \
                 writes, which centring changes: load the model with Processing {{ center_writing_weights: false, .. }}."
            ));
        }
        (parts.w_dec, parts.b_dec) = (centre(&parts.w_dec)?, centre(&parts.b_dec)?);
        parts.w_skip = parts.w_skip.as_ref().map(centre).transpose()?;
        parts.expects.centred = Some(centred);
        Ok(())
    }
}

/// Whether centring writing weights changes what is at this point: the residual stream and what is written to it.
fn is_written(point: HookPoint) -> bool {
    let is_residual = point.axes().last() == Some(&AxisName::DModel);
    let is_normed = matches!(
        point,
        HookPoint::Block(_, Site::Ln1Normalized | Site::Ln2Normalized | Site::MlpHookIn)
            | HookPoint::LnFinalNormalized
            | HookPoint::UnembedIn
    );
    is_residual && !is_normed && point.stage() != Stage::Pattern
}
