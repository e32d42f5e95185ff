//! Attention without a tensor of scores: of a tile of queries the scores, their softmax and the values mixed by it are computed
//! in a buffer that stays in the cache, as in Dao et al. 2022, "FlashAttention", <https://arxiv.org/abs/2205.14135>, but with
//! whole rows of scores at a time. Keys that are hidden from a group of queries are skipped; queries, keys and values are
//! read where they lie, and heads that share keys and values read the same. Going back, the pattern is computed again.
//!
//! Scores and pattern are written out where a run keeps them, by the same steps: what is kept changes no digit of a run.

mod backward;
mod forward;
mod inputs;
mod panels;
#[cfg(test)]
mod tests;
mod tile;

use candle_core::{CpuStorage, CustomOp3, DType, Device, Layout, Result, Shape, Tensor};

use self::inputs::{Heads, Visible, on_cpu};
use super::kernels::numbers;
use crate::wide::{wide_type, widened};

/// How queries are compared with keys.
#[derive(Clone)]
pub(in crate::model) struct Comparison {
    /// What the scores are divided by.
    pub scale: f64,
    /// What is added to the scores, `[1, head, query, key]` in f32.
    pub lowered: Option<Tensor>,
    /// 1 where a key is hidden from a query, broadcastable to `[batch, 1, query, key]`.
    pub masked: Option<Tensor>,
}

/// Which of the inner activations are kept.
#[derive(Clone, Copy, Default)]
pub(in crate::model) struct Kept {
    pub scores: bool,
    pub pattern: bool,
}

/// Mixed values, and what is kept.
pub(in crate::model) struct Attended {
    /// `[batch, query, head, d_head]`.
    pub z: Tensor,
    /// `[batch, head, query, key]`.
    pub scores: Option<Tensor>,
    /// `[batch, head, query, key]`.
    pub pattern: Option<Tensor>,
}

/// What all tiles of a call read.
pub(super) struct Inputs<'a> {
    q: Heads<'a>,
    k: Heads<'a>,
    v: Heads<'a>,
    visible: &'a Visible,
    lowered: Option<&'a [f32]>,
    one_over_scale: f32,
}

/// Multiplications that are not worth a second thread.
const FEW_PRODUCTS: usize = 1 << 17;

impl Inputs<'_> {
    fn is_little(&self) -> bool {
        self.q.batch * self.q.heads * self.q.pos * self.k.pos * self.q.d_head <= FEW_PRODUCTS
    }
}

/// Values mixed by the pattern of queries and keys, whose rows are 0 where a query attends to nothing. Half precision is
/// computed in f32. `None` where this processor has no such operation: on other devices, in f64, and for inner activations that
/// are to be kept where gradients would flow through them.
///
/// # Shapes
/// `q [batch, query, head, d_head]`, `k` and `v` `[batch, key, n_key_value_heads, d_head]`.
pub(in crate::model) fn attend(qkv: [&Tensor; 3], how: &Comparison, kept: Kept) -> Result<Option<Attended>> {
    let [q, k, v] = qkv;
    let dtype = q.dtype();
    let tracked = qkv.iter().any(|x| x.track_op());
    let all = qkv.into_iter().chain(&how.lowered).chain(&how.masked);
    let is_kept = kept.scores || kept.pattern;
    if wide_type(dtype) != DType::F32
        || !all.into_iter().all(|x| x.device().is_cpu())
        || qkv.iter().any(|x| x.elem_count() == 0 || x.dtype() != dtype)
        || k.dims() != v.dims()
        || is_kept && tracked
    {
        return Ok(None);
    }
    let ready = |x: &Tensor| -> Result<Tensor> {
        let x = widened(x)?;
        match x.stride().last() {
            Some(1) => Ok(x),
            _ => x.contiguous(),
        }
    };
    let (q, k, v) = (ready(q)?, ready(k)?, ready(v)?);
    let lowered = how.lowered.as_ref().map(Tensor::contiguous).transpose()?;
    let visible = Visible::new(how.masked.as_ref(), k.dim(1)?)?;
    let op = Attend { how: Comparison { lowered, ..how.clone() }, visible };
    if !is_kept {
        let z = q.apply_op3(&k, &v, op)?.to_dtype(dtype)?;
        return Ok(Some(Attended { z, scores: None, pattern: None }));
    }
    let made = op.with_tensors([&q, &k, &v], |inputs| Ok(forward::forward(inputs, kept)))?;
    let of_pairs = (q.dim(0)?, q.dim(2)?, q.dim(1)?, k.dim(1)?);
    let tensor = |numbers: Vec<f32>, is_kept: bool| -> Result<Option<Tensor>> {
        is_kept.then(|| Tensor::from_vec(numbers, of_pairs, &Device::Cpu)?.to_dtype(dtype)).transpose()
    };
    Ok(Some(Attended {
        z: Tensor::from_vec(made.z, q.shape(), &Device::Cpu)?.to_dtype(dtype)?,
        scores: tensor(made.scores, kept.scores)?,
        pattern: tensor(made.pattern, kept.pattern)?,
    }))
}

struct Attend {
    how: Comparison,
    visible: Visible,
}

impl Attend {
    /// Gives the inputs to `work`.
    fn with<T>(&self, [q, k, v]: [Heads; 3], work: impl FnOnce(&Inputs) -> Result<T>) -> Result<T> {
        let fits = q.batch == k.batch && q.d_head == k.d_head && q.heads % k.heads == 0;
        if !fits {
            candle_core::bail!("queries of {} heads do not fit keys of {}", q.heads, k.heads);
        }
        let (visible, one_over_scale) = (&self.visible, (1.0 / self.how.scale) as f32);
        match &self.how.lowered {
            None => work(&Inputs { q, k, v, visible, lowered: None, one_over_scale }),
            Some(lowered) => on_cpu(lowered, |lowered, layout| {
                let lowered = Some(numbers(lowered, layout, self.name())?);
                work(&Inputs { q, k, v, visible, lowered, one_over_scale })
            }),
        }
    }

    fn with_tensors<T>(&self, [q, k, v]: [&Tensor; 3], work: impl FnOnce(&Inputs) -> Result<T>) -> Result<T> {
        on_cpu(q, |q, of_q| {
            on_cpu(k, |k, of_k| {
                on_cpu(v, |v, of_v| self.with([Heads::new(q, of_q)?, Heads::new(k, of_k)?, Heads::new(v, of_v)?], work))
            })
        })
    }
}

impl CustomOp3 for Attend {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        of_q: &Layout,
        k: &CpuStorage,
        of_k: &Layout,
        v: &CpuStorage,
        of_v: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let qkv = [Heads::new(q, of_q)?, Heads::new(k, of_k)?, Heads::new(v, of_v)?];
        let z = self.with(qkv, |inputs| Ok(forward::forward(inputs, Kept::default()).z))?;
        Ok((CpuStorage::F32(z), of_q.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _z: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let wanted = [q, k, v].map(Tensor::track_op);
        let [of_q, of_k, of_v] = self.with_tensors([q, k, v], |inputs| {
            on_cpu(&grad, |grad, of_grad| Ok(backward::backward(inputs, Heads::new(grad, of_grad)?, wanted)))
        })?;
        let (batch, keys, groups, d) = k.dims4()?;
        let of_queries = |numbers: Vec<f32>| Tensor::from_vec(numbers, q.shape(), &Device::Cpu);
        // Each head has a gradient of its own for the keys and values that it shares.
        let of_shared = |numbers: Vec<f32>| {
            let by_head = Tensor::from_vec(numbers, (batch, keys, groups, (), d), &Device::Cpu)?;
            if by_head.dim(3)? == 1 { by_head.squeeze(3) } else { by_head.sum(3) }
        };
        Ok((of_q.map(of_queries).transpose()?, of_k.map(of_shared).transpose()?, of_v.map(of_shared).transpose()?))
    }
}
