//! Metrics of the user's own.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::metric::{Columns, Direction, Measure, Metric, Read, Slope, with_columns};
use crate::error::{Error, Result};
use crate::model::HookedTransformer;
use crate::tokens::TokenRef;

type Function = Arc<dyn Fn(&Tensor, Option<&Tensor>) -> Result<Tensor> + Send + Sync>;

#[derive(Clone)]
struct Custom {
    name: String,
    columns: Columns,
    needs_clean: bool,
    function: Function,
}

impl Metric {
    /// A metric of your own: a closure from the logits after each prompt's last token to one number for each prompt.
    ///
    /// The closure gets `[row, d_vocab_out]`, one row for each prompt, and returns `[row]`. At other positions ([`Metric::at`])
    /// there is one row for each position that is read, prompt after prompt; the closure returns one number for each row, which
    /// are averaged over the positions of each prompt, or one number for each prompt. Computed with tensor operations, it has
    /// gradients. An error that it returns ends the run.
    ///
    /// [`Metric::columns`] sets which logits it reads, [`Metric::more_is_better`] and [`Metric::less_is_better`] its direction.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let largest = Metric::custom("largest logit", |logits| logits.max(1)).more_is_better();
    /// assert!(largest.measure(&model, "The keys on the cabinet")?.scalar()? > 0.);
    ///
    /// // How far apart two answers are, at every token; only their two logits are computed.
    /// let apart = Metric::custom("apart", |logits| (logits.narrow(1, 0, 1)? - logits.narrow(1, 1, 1)?)?.abs()?.squeeze(1));
    /// let apart = apart.columns(&model, [" are", " is"])?.at_all();
    /// assert!(apart.measure(&model, "The keys on the cabinet")?.scalar()? > 0.);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn custom<E: Into<Error>>(
        name: impl Into<String>,
        metric: impl Fn(&Tensor) -> std::result::Result<Tensor, E> + Send + Sync + 'static,
    ) -> Self {
        Self::of(Custom {
            name: name.into(),
            columns: Columns::All,
            needs_clean: false,
            function: Arc::new(move |logits, _| metric(logits).map_err(Into::into)),
        })
    }

    /// As [`Metric::custom`], from a run's logits and those of the clean run, both `[row, d_vocab_out]`. It is a metric of
    /// experiments only, which have a clean run.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// // The squared distance from the clean run's logits.
    /// let distance = Metric::custom_from_clean("distance", |logits, clean| (logits - clean)?.sqr()?.sum(1)).less_is_better();
    /// assert_eq!(distance.direction(), Some(Direction::Less));
    /// ```
    pub fn custom_from_clean<E: Into<Error>>(
        name: impl Into<String>,
        metric: impl Fn(&Tensor, &Tensor) -> std::result::Result<Tensor, E> + Send + Sync + 'static,
    ) -> Self {
        let name: String = name.into();
        let missing = format!("the metric {name:?} needs the clean run's logits.");
        Self::of(Custom {
            name,
            columns: Columns::All,
            needs_clean: true,
            function: Arc::new(move |logits, clean| {
                let clean = clean.ok_or_else(|| Error::argument(missing.clone()))?;
                metric(logits, clean).map_err(Into::into)
            }),
        })
    }

    /// The same custom metric, which reads only the logits of these tokens: its closure gets `[row, token]` in this order, and no
    /// other logits are computed.
    ///
    /// # Errors
    /// No tokens, a text that is not one token; a metric that is not custom.
    pub fn columns<T: Into<TokenRef>>(
        self,
        model: &HookedTransformer,
        tokens: impl IntoIterator<Item = T>,
    ) -> Result<Self> {
        with_columns(&self, model.token_ids(tokens)?)
    }
}

impl Custom {
    /// Checks that there is one number for each row or one for each prompt.
    fn checked(&self, values: Tensor, read: &Read) -> Result<Tensor> {
        let (rows, prompts) = (read.rows.len(), read.rows.prompts());
        if values.rank() == 1 && [rows, prompts].contains(&values.elem_count()) {
            return Ok(values.to_dtype(DType::F32)?);
        }
        let what = format!("what the metric {:?} returned", self.name);
        let expected = match rows == prompts {
            true => format!("[{prompts}], one number for each prompt"),
            false => format!("[{rows}], one number for each row, or [{prompts}], one for each prompt"),
        };
        Err(Error::shape(what, expected, values.dims()))
    }
}

impl Measure for Custom {
    fn name(&self) -> &str {
        &self.name
    }

    fn direction(&self) -> Option<Direction> {
        None
    }

    fn columns(&self) -> Columns {
        self.columns.clone()
    }

    fn with_columns(&self, columns: Vec<u32>) -> Option<Arc<dyn Measure>> {
        Some(Arc::new(Self { columns: Columns::Only(columns), ..self.clone() }))
    }

    fn needs_clean(&self) -> bool {
        self.needs_clean
    }

    fn slope(&self) -> Slope {
        Slope::Unknown
    }

    fn largest_token(&self) -> Option<u32> {
        match &self.columns {
            Columns::All => None,
            Columns::Only(columns) => columns.iter().max().copied(),
        }
    }

    fn values(&self, read: &Read) -> Result<Tensor> {
        let rows = read.rows.len();
        let clean = match (read.clean, &self.columns) {
            (Some(clean), Columns::Only(columns)) if self.needs_clean => {
                Some(clean.index_select(&Tensor::new(&columns[..], clean.device())?, 1)?)
            }
            (clean, _) => clean.cloned(),
        };
        // No gradient flows to the clean run.
        let clean = clean.map(|clean| clean.detach().to_dtype(DType::F32)).transpose()?;
        let of_copy = |copy: usize| {
            let logits = read.logits.narrow(0, copy * rows, rows)?;
            self.checked((self.function)(&logits, clean.as_ref())?, read)
        };
        Ok(Tensor::cat(&(0..read.copies()?).map(of_copy).collect::<Result<Vec<_>>>()?, 0)?)
    }
}
