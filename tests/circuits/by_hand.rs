//! A transformer written out edge by edge, in f64: every input is summed up from what each node wrote, so that a test can
//! say for each edge what goes along it. Nothing of the crate's forward pass is used, only its weights.

use std::collections::BTreeMap;

use candle_lens::Result;
use candle_lens::candle::{D, DType, Device, Tensor};
use candle_lens::circuits::Circuit;
use candle_lens::model::{ActFn, AttentionDir, HookedTransformer, HookedTransformerConfig, NormalizationType};
use candle_lens::tokens::Tokens;

pub type Written = BTreeMap<String, Tensor>;

/// What goes along the edge from this node to this input (`m0`, `a1.h0<q>`), given what the node wrote in this run.
pub type Carry<'a> = &'a dyn Fn(&str, &str, &Tensor) -> Result<Tensor>;

pub fn live(_: &str, _: &str, x: &Tensor) -> Result<Tensor> {
    Ok(x.clone())
}

#[derive(Clone)]
pub struct ByHand {
    cfg: HookedTransformerConfig,
    weights: BTreeMap<&'static str, Tensor>,
    /// The metric of each prompt, from all logits by prompt, position and token.
    pub of_logits: fn(&[Vec<Vec<f64>>]) -> Vec<f64>,
}

/// Every kind of graph, with every kind of norm.
pub fn architectures() -> Vec<(&'static str, HookedTransformerConfig)> {
    let small = HookedTransformerConfig {
        n_layers: 2,
        d_model: 8,
        n_heads: 2,
        d_mlp: Some(12),
        d_vocab: 13,
        n_ctx: 6,
        act_fn: ActFn::Silu,
        normalization_type: NormalizationType::LNPre,
        initializer_range: Some(0.4),
        ..Default::default()
    };
    vec![
        ("serial", small.clone()),
        ("parallel", HookedTransformerConfig { parallel_attn_mlp: true, ..small.clone() }),
        (
            "attention only",
            HookedTransformerConfig { attn_only: true, normalization_type: NormalizationType::RMSPre, ..small.clone() },
        ),
        (
            "shared keys",
            HookedTransformerConfig {
                n_heads: 4,
                n_key_value_heads: Some(2),
                normalization_type: NormalizationType::RMSPre,
                ..small.clone()
            },
        ),
        ("no norms", HookedTransformerConfig { normalization_type: NormalizationType::None, ..small }),
    ]
}

/// A random model whose biases are not zero, and the same by hand.
pub fn model(cfg: &HookedTransformerConfig) -> Result<(HookedTransformer, ByHand)> {
    let (model, variables) = HookedTransformer::trainable(cfg.clone(), 5, &Device::Cpu)?;
    for (salt, variable) in variables.iter().enumerate() {
        let noise = (0..variable.elem_count()).map(|i| ((i * 7919 + salt * 104_729) as f32 * 0.618_034).sin() * 0.2);
        let noise = Tensor::from_vec(noise.collect::<Vec<_>>(), variable.dims(), &Device::Cpu)?;
        variable.set(&(variable.as_tensor() + noise)?)?;
    }
    let by_hand = ByHand::new(&model)?;
    Ok((model, by_hand))
}

pub fn prompts() -> (Tokens, Tokens) {
    let rows = |rows: [[u32; 5]; 3]| Tokens::from_rows(rows.map(|row| row.to_vec()).to_vec()).expect("one length");
    (
        rows([[1, 5, 2, 10, 3], [7, 7, 0, 4, 9], [12, 3, 3, 8, 2]]),
        rows([[1, 6, 2, 11, 3], [7, 2, 0, 4, 1], [12, 3, 5, 8, 2]]),
    )
}

pub const PAIRS: [(u32, u32); 3] = [(1, 2), (3, 4), (10, 0)];

/// The largest of what is compared is at least this: near 0 every score would agree.
pub const LEAST_SCORE: f64 = 1e-3;

/// How far the score of an edge or node may be from a metric without it, which is the difference of two whole runs.
pub const ALONE: f32 = 2e-5;

/// A Riemann sum's error at twice the steps is half, and twice the finer sum less the coarser one is within this share.
pub const EXTRAPOLATED: f32 = 1e-3;

/// Compares what all edges of a circuit score with `expected(from, to)`, within a share of the largest.
pub fn compare_edges(
    what: &str,
    circuit: &Circuit,
    tolerance: f64,
    expected: &dyn Fn(&str, &str) -> Result<f64>,
) -> Result<()> {
    let mut scores = Vec::new();
    for edge in circuit.all_edges() {
        let name = edge.to_string();
        let (from, to) = name.split_once("->").expect("an edge");
        scores.push((f64::from(circuit.score(edge)?), expected(from, to)?, name));
    }
    compare(what, &scores, tolerance, LEAST_SCORE);
    Ok(())
}

/// Compares scores with those by hand, within a share of the largest, which must be above `least`; each has a name.
pub fn compare(what: &str, scores: &[(f64, f64, String)], tolerance: f64, least: f64) {
    let size = scores.iter().fold(0.0_f64, |size, (_, expected, _)| size.max(expected.abs()));
    assert!(size > least, "{what}: the scores are all near 0, so nothing is compared");
    for (got, expected, name) in scores {
        assert!((got - expected).abs() <= tolerance * size, "{what}, {name}: {got}, expected {expected} (of {size})");
    }
}

/// The logit difference of [`PAIRS`] after the last token of each prompt.
fn differences_at_the_end(logits: &[Vec<Vec<f64>>]) -> Vec<f64> {
    let last = logits.iter().map(|positions| &positions[positions.len() - 1]);
    last.zip(PAIRS).map(|(row, (right, wrong))| row[right as usize] - row[wrong as usize]).collect()
}

impl ByHand {
    fn new(model: &HookedTransformer) -> Result<Self> {
        let mut weights = BTreeMap::from([
            ("W_E", model.W_E()),
            ("W_pos", model.W_pos()?),
            ("W_U", model.W_U()),
            ("b_U", model.b_U()),
            ("W_Q", model.W_Q()?),
            ("W_K", model.W_K()?),
            ("W_V", model.W_V()?),
            ("W_O", model.W_O()?),
            ("b_Q", model.b_Q()?),
            ("b_K", model.b_K()?),
            ("b_V", model.b_V()?),
            ("b_O", model.b_O()?),
        ]);
        if !model.cfg().attn_only {
            weights.insert("W_in", model.W_in()?);
            weights.insert("b_in", model.b_in()?);
            weights.insert("W_out", model.W_out()?);
            weights.insert("b_out", model.b_out()?);
        }
        for weight in weights.values_mut() {
            *weight = weight.detach().to_dtype(DType::F64)?;
        }
        Ok(Self { cfg: (*model.cfg()).clone(), weights, of_logits: differences_at_the_end })
    }

    fn of_layer(&self, name: &str, layer: usize) -> Result<Tensor> {
        Ok(self.weights[name].get(layer)?)
    }

    fn norm(&self, x: &Tensor) -> Result<Tensor> {
        let x = match self.cfg.normalization_type {
            NormalizationType::None => return Ok(x.clone()),
            NormalizationType::LNPre => x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?,
            _ => x.clone(),
        };
        Ok(x.broadcast_div(&(x.sqr()?.mean_keepdim(D::Minus1)? + self.cfg.eps)?.sqrt()?)?)
    }

    fn times(x: &Tensor, w: &Tensor) -> Result<Tensor> {
        Ok(x.broadcast_matmul(w)?)
    }

    fn head(&self, layer: usize, head: usize, [q, k, v]: [Tensor; 3]) -> Result<Tensor> {
        let part = |x: &Tensor, w: &str, b: &str| -> Result<Tensor> {
            let (w, b) = (self.of_layer(w, layer)?.get(head)?, self.of_layer(b, layer)?.get(head)?);
            Ok(Self::times(&self.norm(x)?, &w)?.broadcast_add(&b)?)
        };
        let (q, k, v) = (part(&q, "W_Q", "b_Q")?, part(&k, "W_K", "b_K")?, part(&v, "W_V", "b_V")?);
        let scores = (q.matmul(&k.transpose(1, 2)?)? / (self.cfg.d_head() as f64).sqrt())?;
        let pos = scores.dim(1)?;
        let is_causal = self.cfg.attention_dir == AttentionDir::Causal;
        let hidden = |i: usize| if is_causal && i % pos > i / pos { f64::NEG_INFINITY } else { 0. };
        let hidden = (0..pos * pos).map(hidden).collect::<Vec<_>>();
        let exp = scores.broadcast_add(&Tensor::from_vec(hidden, (pos, pos), &Device::Cpu)?)?.exp()?;
        let pattern = exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)?;
        Self::times(&pattern.matmul(&v)?, &self.of_layer("W_O", layer)?.get(head)?)
    }

    fn mlp(&self, layer: usize, x: &Tensor) -> Result<Tensor> {
        let pre = Self::times(&self.norm(x)?, &self.of_layer("W_in", layer)?)?;
        let post = pre.broadcast_add(&self.of_layer("b_in", layer)?)?.silu()?;
        Ok(Self::times(&post, &self.of_layer("W_out", layer)?)?.broadcast_add(&self.of_layer("b_out", layer)?)?)
    }

    /// What every node wrote, and the metric of each prompt. Nodes in `instead` write that.
    pub fn run(&self, tokens: &Tokens, instead: &Written, carry: Carry) -> Result<(Written, Vec<f64>)> {
        let (batch, pos) = (tokens.batch(), tokens.pos());
        let ids = tokens.to_tensor(&Device::Cpu)?.flatten_all()?;
        let embed = self.weights["W_E"].index_select(&ids, 0)?.reshape((batch, pos, ()))?;
        // What no node writes: positions, and the biases of attention.
        let mut rest = self.weights["W_pos"].narrow(0, 0, pos)?.broadcast_as(embed.shape())?.contiguous()?;
        let mut order = vec!["input".to_string()];
        let mut written = Written::new();
        let write = |written: &mut Written, name: &str, x: Tensor| {
            written.insert(name.into(), instead.get(name).cloned().unwrap_or(x));
        };
        write(&mut written, "input", embed);
        let read = |order: &[String], written: &Written, rest: &Tensor, to: &str| -> Result<Tensor> {
            order.iter().try_fold(rest.clone(), |sum, from| Ok((sum + carry(from, to, &written[from])?)?))
        };
        for layer in 0..self.cfg.n_layers {
            let (before, rest_before) = (order.clone(), rest.clone());
            for head in 0..self.cfg.n_heads {
                let name = format!("a{layer}.h{head}");
                let of = |input: &str| read(&before, &written, &rest_before, &format!("{name}<{input}>"));
                let result = self.head(layer, head, [of("q")?, of("k")?, of("v")?])?;
                write(&mut written, &name, result);
                order.push(name);
            }
            rest = rest.broadcast_add(&self.of_layer("b_O", layer)?)?;
            if !self.cfg.attn_only {
                let name = format!("m{layer}");
                let (order_read, rest_read) =
                    if self.cfg.parallel_attn_mlp { (&before, &rest_before) } else { (&order, &rest) };
                let x = self.mlp(layer, &read(order_read, &written, rest_read, &name)?)?;
                write(&mut written, &name, x);
                order.push(name);
            }
        }
        let last = read(&order, &written, &rest, "logits")?;
        let logits = Self::times(&self.norm(&last)?, &self.weights["W_U"])?.broadcast_add(&self.weights["b_U"])?;
        Ok((written, (self.of_logits)(&logits.to_vec3::<f64>()?)))
    }

    /// The mean metric.
    pub fn metric(&self, tokens: &Tokens, instead: &Written, carry: Carry) -> Result<f64> {
        let (_, values) = self.run(tokens, instead, carry)?;
        Ok(values.iter().sum::<f64>() / values.len() as f64)
    }

    /// The slope of the mean metric when more and more of `difference` is added to one edge, by four points.
    pub fn slope(&self, tokens: &Tokens, instead: &Written, edge: (&str, &str), difference: &Tensor) -> Result<f64> {
        const STEP: f64 = 1e-3;
        let at = |steps: f64| {
            self.metric(tokens, instead, &|from, to, x| match (from, to) == edge {
                true => Ok((x + (difference * (steps * STEP))?)?),
                false => Ok(x.clone()),
            })
        };
        Ok((8.0 * (at(1.0)? - at(-1.0)?) - (at(2.0)? - at(-2.0)?)) / (12.0 * STEP))
    }
}
