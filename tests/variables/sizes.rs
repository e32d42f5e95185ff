//! What values hold, beside what the allocator gets back when they are dropped.

use std::sync::Arc;

use candle_lens::prelude::*;
use candle_lens::variables::{Listed as _, Measured as _, Noted, Unmeasured as _};

use crate::support::allocations::given_back;

/// The largest part of a value that may go uncounted, or be counted too much: nodes of maps, counters of pointers, what candle
/// notes of each tensor (about 300 bytes).
const UNCOUNTED: f64 = 0.03;

fn held(value: &impl Holds) -> Held {
    let mut held = Held::default();
    held.add(value);
    held
}

fn model(n_layers: usize) -> Result<HookedTransformer> {
    let cfg = HookedTransformerConfig {
        n_layers,
        d_model: 64,
        n_heads: 4,
        n_key_value_heads: Some(2),
        d_head: Some(16),
        d_mlp: Some(128),
        gated_mlp: true,
        d_vocab: 500,
        n_ctx: 32,
        model_name: "small".into(),
        normalization_type: NormalizationType::RMS,
        positional_embedding_type: PositionalEmbeddingType::Rotary,
        ..Default::default()
    };
    Ok(HookedTransformer::trainable(cfg, 3, &Device::Cpu)?.0.without_weight_gradients())
}

/// Compares with the allocator; nothing else may hold parts of the value.
fn check<T: Holds>(name: &str, value: T) {
    let counted = held(&value);
    assert!(!counted.is_at_least(), "{name}");
    let (counted, freed) = (counted.bytes() as f64, given_back(value) as f64);
    assert!((counted - freed).abs() <= UNCOUNTED * freed, "{name}: {counted} counted, {freed} freed");
}

#[test]
fn what_is_counted_is_what_dropping_frees() -> Result<()> {
    check("a tensor", Random::new(1).normal((200, 30))?);
    check("half precision", Random::new(1).normal((200, 30))?.to_dtype(DType::BF16)?);
    let whole = Random::new(1).normal((200, 30))?;
    let part = whole.i((3, ..))?;
    drop(whole);
    check("a view of one", part);
    check("a list", vec![Random::new(1).normal(2000)?, Random::new(2).normal(3000)?]);
    check("text", (vec!["ab".repeat(4000); 3], String::with_capacity(9000)));
    check("an array", candle_lens::ndarray::Array2::<f64>::zeros((50, 70)));
    check(
        "a result",
        Labelled::new("scores", vec![Axis::numbered("a", 4), Axis::numbered("b", 9000)], vec![1.; 36_000])?,
    );
    check("a model", model(3)?);
    let model = model(2)?;
    let tokens = Tensor::arange(0u32, 160, &Device::Cpu)?.reshape((8, 20))?;
    // The final norm's weights are the model's, and no part of what the cache keeps alive alone.
    let (logits, cache) = model.run_with_cache(&tokens)?;
    drop(logits);
    check("a cache", cache);
    let w_dec = Random::new(2).normal((128, 64))?;
    let zeros = |size: usize| Tensor::zeros(size, DType::F32, &Device::Cpu);
    let parts = DictionaryParts {
        name: "random".into(),
        w_enc: w_dec.t()?.contiguous()?,
        b_enc: zeros(128)?,
        w_dec,
        b_dec: zeros(64)?,
        b_in: None,
        w_skip: None,
        activation: Activation::JumpRelu { threshold: zeros(128)? },
        input_norm: InputNorm::None,
        scaled_by_decoder_norm: false,
        expects: Expects::at("resid_post1".parse()?),
    };
    check("a dictionary", Dictionary::new(parts)?);
    Ok(())
}

#[test]
fn what_several_hold_counts_once() -> Result<()> {
    let x = Random::new(1).normal((40, 25))?;
    let alone = held(&x).bytes();
    assert_eq!(alone, 4000);
    for same in [x.clone(), x.t()?, x.i((3, ..))?, x.reshape((25, 40))?] {
        let mut both = held(&x);
        both.add(&same);
        assert_eq!(both.bytes(), alone, "{same:?}");
    }
    assert_eq!(held(&x.i((3, ..))?.force_contiguous()?).bytes(), 100);
    let mut both = held(&x);
    both.add(&x.copy()?);
    assert_eq!(both.bytes(), 2 * alone);

    let (_, cache) = model(2)?.run_with_cache(Tensor::new(&[[1u32, 2, 3]], &Device::Cpu)?)?;
    let (post, pre) = (cache.get(("resid_post", 0))?, cache.get(("resid_pre", 1))?);
    let mut both = held(&post);
    both.add(&pre);
    assert_eq!(both.bytes(), held(&pre).bytes());

    let small = model(2)?;
    let mut models = held(&small);
    models.add(&small.clone());
    let experiment = |model: &HookedTransformer| -> Result<Experiment> {
        let tokens = |first: u32| Tensor::new(&[[first, 2, 3, 4]], &Device::Cpu);
        Experiment::new(model, tokens(1)?, tokens(5)?, Metric::mean_loss())
    };
    models.add(&experiment(&small)?);
    let whole = held(&small).bytes();
    assert!(models.bytes() > whole && models.bytes() < whole + whole / 4, "{} {whole}", models.bytes());

    let fine: Result<Tensor> = Ok(x.clone());
    assert_eq!(held(&fine).bytes(), alone);
    let list = Arc::new(vec![0u64; 100]);
    let mut lists = held(&list);
    lists.add(&(list.clone(), Some(list)));
    assert_eq!(lists.bytes(), 24 + 800);
    Ok(())
}

/// The macro that notes variables takes any type.
#[test]
#[expect(clippy::needless_borrow, reason = "written for every type alike, as the launcher writes it")]
fn any_type_is_measured() -> Result<()> {
    struct Mine {
        _text: String,
    }
    let mine = Mine { _text: "text".into() };
    let (kind, shape, held) = (&&&Noted(&mine)).measured();
    assert!(kind.ends_with("Mine") && shape.is_none() && held.is_at_least());
    assert_eq!(held.bytes(), size_of::<Mine>() as u64);
    let list = [mine].into_iter().collect::<Vec<_>>();
    let (_, shape, held) = (&&&Noted(&list)).measured();
    assert!(shape.as_deref() == Some("[1]") && held.is_at_least());
    assert_eq!(held.bytes(), (size_of::<Vec<Mine>>() + list.capacity() * size_of::<Mine>()) as u64);
    #[derive(Clone, Copy)]
    struct Flat(f64, f64);
    let flat = Flat(1., 2.);
    let (.., held) = (&&&Noted(&flat)).measured();
    assert!(!held.is_at_least() && held.bytes() == 16 && flat.0 + flat.1 == 3.);
    let boxed: Box<dyn Fn() -> i32> = Box::new(move || list.len() as i32);
    assert!((&&&Noted(&boxed)).measured().2.is_at_least());
    // What a result was computed from stays alive with it.
    let weight = Var::new(&[1f32, 2.], &Device::Cpu)?;
    let loss = weight.as_tensor().sqr()?.sum_all()?;
    assert!((&&&Noted(&loss)).measured().2.is_at_least());
    assert!(!(&&&Noted(&loss.detach())).measured().2.is_at_least());
    Ok(())
}
