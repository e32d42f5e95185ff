//! Keys and values of tokens that were run before, so that a run of later tokens need not compute them again.
//!
//! Each layer's keys (rotated to their positions, in a model with rotary embeddings) and values are kept as attention
//! reads them. A cache is a value: running on from it leaves it as it is, so one prompt can be continued in many ways
//! (TransformerLens calls that frozen).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::Tensor;

use crate::dims::Dims;
use crate::error::{Error, Result, human_bytes};
use crate::model::load::ModelProvenance;
use crate::model::transformer::HookedTransformer;
use crate::tokens::Tokens;
use crate::variables::holds;

/// Keys and values of one layer, `[batch, pos, n_key_value_heads, d_head]` each; nothing before the first run.
#[derive(Clone, Default)]
pub(in crate::model) struct LayerKv {
    held: Option<(Tensor, Tensor)>,
    /// Where `held` lies, if there is room behind it.
    room: Option<Room>,
    /// Whether later runs go on from here.
    is_kept: bool,
}

/// Keys and values with places for later positions. Copies of a cache share it, and one of them goes on in it.
#[derive(Clone)]
struct Room {
    k: Tensor,
    v: Tensor,
    /// How many positions are written: who has as many may write the next.
    written: Arc<AtomicUsize>,
}

impl LayerKv {
    /// Those of earlier positions, if there are any, for one run.
    pub(in crate::model) fn of(past: Option<(Tensor, Tensor)>) -> Self {
        Self { held: past, ..Self::default() }
    }

    /// The same for a run that is kept, or not.
    fn for_run(self, is_kept: bool) -> Self {
        Self { is_kept, ..self }
    }

    /// Adds those of the tokens that run now, and returns all.
    pub(in crate::model) fn extend(&mut self, k: Tensor, v: Tensor) -> Result<(Tensor, Tensor)> {
        let whole = match self.held.take() {
            // What is written in place has no gradient.
            Some((past_k, past_v)) if self.is_kept && ![&past_k, &past_v, &k, &v].iter().any(|x| x.track_op()) => {
                self.written((past_k, past_v), (&k, &v))?
            }
            Some((past_k, past_v)) => (Tensor::cat(&[past_k, k], 1)?, Tensor::cat(&[past_v, v], 1)?),
            None => (k, v),
        };
        Ok(self.held.insert(whole).clone())
    }

    /// All keys and values, the new ones written behind the earlier ones, which are copied only where there is no room.
    fn written(&mut self, past: (Tensor, Tensor), new: (&Tensor, &Tensor)) -> Result<(Tensor, Tensor)> {
        let from = past.0.dim(1)?;
        let end = from + new.0.dim(1)?;
        let room = match self.room.take() {
            Some(room) if room.is_for(from, end)? => room,
            _ => Room::of(&past, end)?,
        };
        room.k.slice_set(&new.0.contiguous()?, 1, from)?;
        room.v.slice_set(&new.1.contiguous()?, 1, from)?;
        let whole = (room.k.narrow(1, 0, end)?, room.v.narrow(1, 0, end)?);
        self.room = Some(room);
        Ok(whole)
    }

    fn bytes(&self) -> u64 {
        let room = self.room.as_ref().map(|room| (&room.k, &room.v));
        let Some((k, v)) = room.or(self.held.as_ref().map(|(k, v)| (k, v))) else { return 0 };
        ((k.elem_count() + v.elem_count()) * k.dtype().size_in_bytes()) as u64
    }
}

impl Room {
    /// Twice as much as `end` positions need, with the earlier ones in it.
    fn of((past_k, past_v): &(Tensor, Tensor), end: usize) -> Result<Self> {
        let roomy = |x: &Tensor| -> Result<Tensor> {
            let mut shape = x.dims().to_vec();
            shape[1] = 2 * end;
            let room = Tensor::zeros(shape, x.dtype(), x.device())?;
            room.slice_set(&x.contiguous()?, 1, 0)?;
            Ok(room)
        };
        Ok(Self { k: roomy(past_k)?, v: roomy(past_v)?, written: Arc::new(AtomicUsize::new(end)) })
    }

    /// Takes the positions from `from` to `end`, if there are any and no other cache has.
    fn is_for(&self, from: usize, end: usize) -> Result<bool> {
        let take = || self.written.compare_exchange(from, end, Ordering::AcqRel, Ordering::Relaxed);
        Ok(end <= self.k.dim(1)? && take().is_ok())
    }
}

/// The keys and values of the tokens of a run. Cheap to clone, never changed.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let keep = RunOptions { keep_kv_cache: true, ..Default::default() };
/// let prompt = model.run("When John and Mary went to the shops,", HookPlan::new(), &keep)?;
/// // Two ends of one beginning; only their own tokens are computed.
/// let on = RunOptions { past_kv_cache: prompt.kv_cache, ..Default::default() };
/// for end in [" John gave the bag to", " Mary gave the bag to"] {
///     let run = model.run(end, HookPlan::new(), &on)?;
///     assert_eq!(run.tokens.pos(), 5);
/// }
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct KvCache {
    pub(in crate::model) tokens: Tokens,
    pub(in crate::model) layers: Vec<LayerKv>,
    pub(in crate::model) dims: Dims,
    /// Which weights computed them.
    pub(in crate::model) weights: ModelProvenance,
}

holds! {
    LayerKv { held }
    KvCache { tokens, layers }
}

impl KvCache {
    /// What `model` has for each layer of these tokens.
    pub(in crate::model) fn new(model: &HookedTransformer, tokens: Tokens, layers: Vec<LayerKv>) -> Self {
        Self { tokens, layers, dims: model.dims(), weights: model.provenance() }
    }

    /// What a run goes on from and adds its own to; nothing where it has no past and is not kept.
    pub(in crate::model) fn for_run(past: Option<&Self>, n_layers: usize, is_kept: bool) -> Option<Vec<LayerKv>> {
        let layers = match past {
            Some(past) => past.layers.clone(),
            None if is_kept => vec![LayerKv::default(); n_layers],
            None => return None,
        };
        Some(layers.into_iter().map(|layer| layer.for_run(is_kept)).collect())
    }

    /// The tokens whose keys and values are here.
    pub fn tokens(&self) -> Tokens {
        self.tokens.clone()
    }

    /// How many bytes they take, with the room for those of later tokens that a cache has once it has grown.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(LayerKv::bytes).sum()
    }

    /// Keys and values of one layer's first `pos` positions, `[batch, pos, n_key_value_heads, d_head]` each.
    pub(crate) fn before(&self, layer: usize, pos: usize) -> Result<Option<(Tensor, Tensor)>> {
        match &self.layers[layer].held {
            Some((k, v)) if pos > 0 => Ok(Some((k.narrow(1, 0, pos)?, v.narrow(1, 0, pos)?))),
            _ => Ok(None),
        }
    }

    /// Checks that this model made it.
    pub(in crate::model) fn check(&self, model: &HookedTransformer) -> Result<()> {
        if self.dims != model.dims() {
            return Err(Error::argument(
                "past_kv_cache was made by a model with other sizes: make it with a run of this model (keep_kv_cache).",
            ));
        }
        match self.weights.other_weights(&model.provenance()) {
            other if other.is_empty() => Ok(()),
            other => Err(Error::argument(format!(
                "past_kv_cache was not made by this model: {}. Make it with a run of this model (keep_kv_cache).",
                other.join("; ")
            ))),
        }
    }
}

impl fmt::Debug for KvCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (batch, pos) = (self.tokens.batch(), self.tokens.pos());
        write!(f, "KvCache(batch {batch}, pos {pos}, {} layers, {})", self.layers.len(), human_bytes(self.bytes()))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::random::Random;
    use crate::variables::Held;

    /// Keys and values of so many positions of two prompts.
    fn new(random: &mut Random, pos: usize) -> Result<(Tensor, Tensor)> {
        Ok((random.normal((2, pos, 3, 4))?, random.normal((2, pos, 3, 4))?))
    }

    fn same(a: &(Tensor, Tensor), b: &(Tensor, Tensor)) -> Result<bool> {
        let numbers = |x: &Tensor| -> Result<Vec<f32>> { Ok(x.flatten_all()?.to_vec1()?) };
        Ok(numbers(&a.0)? == numbers(&b.0)? && numbers(&a.1)? == numbers(&b.1)?)
    }

    /// Each of many steps, beside the same put together anew.
    #[test]
    fn what_grows_in_place_is_what_is_put_together() -> Result<()> {
        let mut random = Random::new(0);
        let (mut grown, mut whole) = (LayerKv::default().for_run(true), LayerKv::default());
        let mut earlier = Vec::new();
        for pos in [5, 1, 1, 3, 1, 20, 1, 1] {
            let (k, v) = new(&mut random, pos)?;
            let (found, expected) = (grown.extend(k.clone(), v.clone())?, whole.extend(k, v)?);
            assert!(same(&found, &expected)?);
            earlier.push((found, expected));
        }
        for (found, expected) in &earlier {
            assert!(same(found, expected)?, "what was read before stays as it was");
        }
        Ok(())
    }

    #[test]
    fn earlier_positions_are_not_copied_while_there_is_room() -> Result<()> {
        let mut random = Random::new(1);
        let mut kv = LayerKv::default().for_run(true);
        let mut held = Held::default();
        for pos in [10, 1] {
            let (k, v) = new(&mut random, pos)?;
            kv.extend(k, v)?;
        }
        held.add(&kv);
        let bytes = held.bytes();
        assert_eq!(bytes, 2 * 2 * 22 * 3 * 4 * 4, "keys and values, prompts, positions, heads, their size, bytes");
        assert_eq!(kv.bytes(), bytes);
        for _ in 11..22 {
            let (k, v) = new(&mut random, 1)?;
            kv.extend(k, v)?;
            held.add(&kv);
            assert_eq!(held.bytes(), bytes, "the same memory");
        }
        Ok(())
    }

    #[test]
    fn one_beginning_has_many_ends() -> Result<()> {
        let mut random = Random::new(2);
        let mut begin = LayerKv::default().for_run(true);
        let parts = [new(&mut random, 4)?, new(&mut random, 2)?];
        for (k, v) in parts.clone() {
            begin.extend(k, v)?;
        }
        for pos in [1, 2, 30] {
            let (k, v) = new(&mut random, pos)?;
            let expected = |parts: [&Tensor; 3]| Tensor::cat(&parts, 1);
            let expected = (expected([&parts[0].0, &parts[1].0, &k])?, expected([&parts[0].1, &parts[1].1, &v])?);
            for is_kept in [true, false] {
                let mut end = begin.clone().for_run(is_kept);
                assert!(same(&end.extend(k.clone(), v.clone())?, &expected)?, "{pos} more, kept: {is_kept}");
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_flow_through_keys_and_values() -> Result<()> {
        let mut kv = LayerKv::default().for_run(true);
        let k = Var::ones((1, 2, 1, 1), candle_core::DType::F32, &Device::Cpu)?;
        let one = k.narrow(1, 0, 1)?.detach();
        kv.extend(k.as_tensor().clone(), k.as_tensor().clone())?;
        let (all, _) = kv.extend(one.clone(), one)?;
        let gradients = (all * 3.)?.sum_all()?.backward()?;
        assert_eq!(gradients.get(&k).expect("a gradient").flatten_all()?.to_vec1::<f32>()?, [3., 3.]);
        Ok(())
    }
}
