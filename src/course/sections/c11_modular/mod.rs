//! C11: how a transformer adds modulo 53.

mod answers;
pub mod handles;
mod inputs;

use candle_core::{Device, Tensor};

use crate::course::notebook::{Part, Section};
use crate::error::Result;
use crate::model::ops::cross_entropy;
use crate::tensors::{TensorWords, einsum};

/// This file, from which solutions are cut.
const SOURCE: &str = include_str!("mod.rs");

pub(super) fn section() -> Section {
    let parts = vec![
        Part::Text(INTRODUCTION),
        Part::Code(MODEL),
        Part::Code(ACCURACY),
        Part::Text(CURVES),
        Part::Code(LOSSES),
        Part::Text(WAVES),
        Part::Code(NEURONS),
        Part::Exercise(handles::fourier_basis().task()),
        Part::Exercise(handles::fourier_1d().task()),
        Part::Exercise(handles::key_frequencies().task()),
        Part::Text(KEY_FREQUENCIES),
        Part::Exercise(handles::fourier_2d().task()),
        Part::Exercise(handles::neuron_frequencies().task()),
        Part::Text(CLUSTERS),
        Part::Exercise(handles::share_of_waves().task()),
        Part::Text(CLOCK),
        Part::Code(ONE_QUESTION),
        Part::Text(PROGRESS),
        Part::Exercise(handles::sum_waves().task()),
        Part::Exercise(handles::restricted_loss().task()),
        Part::Exercise(handles::excluded_loss().task()),
        Part::Text(END),
    ];
    Section { file: "c11_modular", parts }
}

const INTRODUCTION: &str = "# C11 · How a transformer adds modulo 53

A one-layer transformer learnt `a + b` modulo 53 from half of all pairs of numbers. At first it knew its examples by heart. Much later it also gave the right sums of pairs that it had never seen: it **grokked**.

In this notebook you find out what it computes: not digits and carries but *waves*. A number becomes an angle, angles are added, and the answer is where waves of several frequencies peak together. You will see this in the embedding, in the neurons and in the logits, and then measure how the solution grew while the loss of unseen pairs was still high. The method is that of Nanda et al. 2023, [Progress measures for grokking](https://arxiv.org/abs/2301.05217).

A prompt has three tokens, `a b =`; the answer is read at the last one. The model has no norms, so that everything adds up.";

const MODEL: &str = "let model = HookedTransformer::from_pretrained_no_processing(\"modular\")?;
// All 53 x 53 questions, a in the outer loop.
let questions: Vec<Vec<u32>> = (0..53).flat_map(|a| (0..53).map(move |b| vec![a, b, 53])).collect();
let (all_logits, cache) = model.run_with_cache(Tokens::from_rows(questions)?)?;
// The last position is \"=\": [a, b, answer].
let logits = all_logits.narrow(1, 2, 1)?.reshape((53, 53, 53))?;
model.to_str_tokens(\"13 29 =\")?";

const ACCURACY: &str = "let guesses = logits.argmax(2)?.to_vec2::<u32>()?;
let (taught, unseen) = modular_pairs();
// How many of the taught and of the unseen pairs are right, and how many there are.
let right = [&taught, &unseen].map(|pairs| pairs.iter().filter(|(a, b)| guesses[*a][*b] as usize == (a + b) % 53).count());
(right, [taught.len(), unseen.len()])";

const CURVES: &str = "## By heart first

The model was saved during training: `\"modular/step50\"` is what it was after 50 epochs. Compare the two losses: when does it know its examples, and when does it know addition?

(About half of the unseen pairs are easy for a model that only remembers, if it does not mind the order, because `b + a` was taught. After 150 epochs the accuracy on unseen pairs is .56: 716 of the 722 of this kind are right, and 75 of the other 683.)";

const LOSSES: &str = "let mut losses = vec![Vec::new(), Vec::new()];
let names = [\"modular/step50\", \"modular/step150\", \"modular/step300\", \"modular/step500\", \"modular/step700\", \"modular\"];
for name in names {
    let earlier = HookedTransformer::from_pretrained_no_processing(name)?;
    for (number, pairs) in [&taught, &unseen].into_iter().enumerate() {
        let rows = pairs.iter().map(|(a, b)| vec![*a as u32, *b as u32, 53]).collect();
        let sums: Vec<u32> = pairs.iter().map(|(a, b)| ((a + b) % 53) as u32).collect();
        let logits = earlier.forward(Tokens::from_rows(rows)?)?.narrow(1, 2, 1)?.squeeze(1)?;
        losses[number].push(cross_entropy(&logits, &sums)?.mean_all()?.item()?);
    }
}
line(&losses).names([\"taught\", \"unseen\"]).x_values([50., 150., 300., 500., 700., 1500.]).x_label(\"Epoch\").y_label(\"Loss\").title(\"The loss of pairs that were taught, and of the others\")";

const WAVES: &str = "## Waves

How does a neuron see all 53 × 53 questions? Each picture is one neuron: `a` downwards, `b` to the right. The patterns are periodic, and a periodic function of a number modulo 53 is best described by *waves*: cosines and sines that go through `k` periods on the way from 0 to 53.";

const NEURONS: &str = "// [a, b, neuron]
let neurons = cache.get((\"post\", 0))?.narrow(1, 2, 1)?.reshape((53, 53, ()))?;
imshow_facets(&neurons.narrow(2, 0, 4)?.permute((2, 0, 1))?.contiguous()?).names([\"neuron 0\", \"neuron 1\", \"neuron 2\", \"neuron 3\"]).x_label(\"b\").y_label(\"a\")";

const KEY_FREQUENCIES: &str = "Which frequencies does this model use? Run your function on its embedding, without the row of `=`:

```rust
key_frequencies(&model.W_E().narrow(0, 0, 53)?, 0.1)?
```

You should find three: 4, 6 and 7. In an embedding that nobody trained each of the 26 frequencies has about 1/26 of the energy. Try the same with earlier steps of the model: after 500 epochs there is a fourth, 15, which later disappears.";

const CLUSTERS: &str = "Most neurons of this model belong to one of the key frequencies: 59 of 128 to frequency 7, 30 each to 4 and 6, and half of all have a share above .93. Look at the distribution of these shares:

```rust
let (frequencies, shares) = neuron_frequencies(&neurons)?;
hist(&shares).title(\"How much of a neuron is waves of one frequency\")
```

A neuron of frequency `k` multiplies waves of `a` by waves of `b`, which the embedding cannot do. Attention begins it, as its weights depend on both numbers: in the stream before the MLP, .09 of what varies depends on `a` and `b` together. Neurons do most. Products are what is needed: `cos(wa) cos(wb) - sin(wa) sin(wb) = cos(w(a + b))`.";

const CLOCK: &str = "`share_of_waves(&logits, &[4, 6, 7])?` is .92. The other 8 % are no such waves of another frequency: all 26 together come to .92 too.

Now you know the algorithm:

1. the embedding turns `a` and `b` into waves, `cos(wa)`, `sin(wa)`, for a few `w = 2πk/53`;
2. attention brings them to `=`, and neurons (and a little of attention already) multiply them, which gives `cos(w(a + b))` and `sin(w(a + b))`;
3. the unembedding turns those into `cos(w(a + b - c))` for each answer `c`, which is largest where `c = a + b` modulo 53.

One wave alone is nearly as large at neighbouring answers. Waves of several frequencies peak together at one answer only, as the logits of one question show: one peak, and ripples around it.";

const ONE_QUESTION: &str =
    "line(&logits.at(&[13, 29])?).title(\"Logits of 13 + 29 =\").x_label(\"Answer\").y_label(\"Logit\")";

const PROGRESS: &str = "## Progress that the loss hides

The loss of unseen pairs falls much later than that of taught ones. When does the circuit grow? Measure it in logits:

- the **restricted loss** keeps only the waves of `a + b` at the key frequencies: it is low as soon as those suffice;
- the **excluded loss** removes just these and looks at pairs that were taught: it is high if the model answers by waves, and low if it remembers.";

const END: &str = "Measure both for the saved steps of the model, with `[4, 6, 7]`, as the second figure does with the losses. After 150 epochs the loss of unseen pairs is still 2.6, but the restricted loss is .41: the waves are there and mostly right, but what was learnt by heart drowns them out.

One number does not prove it. A wave of `a + b` averages over all questions of the same sum, and half of those were taught, so that even a mere table of taught answers has a restricted loss below its loss on unseen pairs. Two controls rule the table out. `restricted_loss(&logits, &[1, 2, 3])?`, three frequencies that the model does not use, is 10.2 at the same step. And the excluded loss, which for a table would stay near 0, rises from 3.6 to 13 within the first 150 epochs. So the circuit forms early and gradually; what comes late is the *clean-up*, in which weight decay removes what was remembered.";

fn fourier_basis(p: usize) -> Result<Tensor> {
    let mut rows = vec![1. / (p as f32).sqrt(); p];
    for k in 1..=p / 2 {
        let angle = |x: usize| std::f32::consts::TAU * (k * x % p) as f32 / p as f32;
        let scale = (2. / p as f32).sqrt();
        rows.extend((0..p).map(|x| scale * angle(x).cos()));
        rows.extend((0..p).map(|x| scale * angle(x).sin()));
    }
    Ok(Tensor::from_vec(rows, (p, p), &Device::Cpu)?)
}

fn fourier_1d(x: &Tensor) -> Result<Tensor> {
    Ok(fourier_basis(x.dim(0)?)?.matmul(x)?)
}

fn key_frequencies(embed: &Tensor, share: f32) -> Result<Vec<usize>> {
    let energy = fourier_1d(embed)?.sqr()?.sum(1)?.to_vec1::<f32>()?;
    let total: f32 = energy[1..].iter().sum();
    Ok((1..=energy.len() / 2).filter(|k| energy[2 * k - 1] + energy[2 * k] >= share * total).collect())
}

fn fourier_2d(x: &Tensor) -> Result<Tensor> {
    let basis = fourier_basis(x.dim(0)?)?;
    einsum("f a, a b n, g b -> f g n", &[&basis, x, &basis])
}

fn neuron_frequencies(acts: &Tensor) -> Result<(Vec<usize>, Vec<f32>)> {
    let energy = fourier_2d(acts)?.sqr()?;
    let constant = energy.at(&[0, 0])?;
    let total = (energy.sum((0, 1))? - &constant)?;
    let mut shares = Vec::new();
    for k in 1..=acts.dim(0)? / 2 {
        // The constant, the cosine and the sine, of a and of b.
        let rows = Tensor::new(&[0, 2 * k as u32 - 1, 2 * k as u32], &Device::Cpu)?;
        let of_k = energy.index_select(&rows, 0)?.index_select(&rows, 1)?.sum((0, 1))?;
        shares.push(((of_k - &constant)? / &total)?);
    }
    let (share, place) = Tensor::stack(&shares, 1)?.top_k(1)?;
    let frequencies = place.flatten_all()?.to_vec1::<u32>()?.iter().map(|place| *place as usize + 1).collect();
    Ok((frequencies, share.flatten_all()?.to_vec1()?))
}

fn share_of_waves(logits: &Tensor, frequencies: &[usize]) -> Result<f32> {
    let p = logits.dim(0)?;
    let centred = logits.broadcast_sub(&logits.mean_keepdim(2)?)?;
    let mut explained = 0.;
    for k in frequencies {
        let angle = |a, b, c| std::f32::consts::TAU * (k * (a + b + p - c) % p) as f32 / p as f32;
        let wave: Vec<f32> = (0..p * p * p).map(|n| angle(n / (p * p), n / p % p, n % p).cos()).collect();
        let wave = Tensor::from_vec(wave, (p, p, p), &Device::Cpu)?;
        // A wave's squares sum to p^3 / 2, and waves of two frequencies are orthogonal.
        explained += (&centred * wave)?.sum_all()?.item()?.powi(2) / (p * p * p) as f32 * 2.;
    }
    Ok(explained / centred.sqr()?.sum_all()?.item()?)
}

fn sum_waves(p: usize, frequencies: &[usize]) -> Result<Tensor> {
    let mut waves = Vec::new();
    for k in frequencies {
        let angle = |n: usize| std::f32::consts::TAU * (k * (n / p + n % p) % p) as f32 / p as f32;
        let scale = 2f32.sqrt() / p as f32;
        waves.extend((0..p * p).map(|n| scale * angle(n).cos()));
        waves.extend((0..p * p).map(|n| scale * angle(n).sin()));
    }
    Ok(Tensor::from_vec(waves, (2 * frequencies.len(), p, p), &Device::Cpu)?)
}

fn restricted_loss(logits: &Tensor, frequencies: &[usize]) -> Result<f32> {
    let p = logits.dim(0)?;
    let waves = sum_waves(p, frequencies)?;
    let heights = einsum("w i j, i j c -> w c", &[&waves, logits])?;
    let kept = einsum("w a b, w c -> a b c", &[&waves, &heights])?.broadcast_add(&logits.mean_keepdim((0, 1))?)?;
    let sums: Vec<u32> = (0..p * p).map(|n| ((n / p + n % p) % p) as u32).collect();
    cross_entropy(&kept.flatten(0, 1)?, &sums)?.mean_all()?.item()
}

fn excluded_loss(logits: &Tensor, frequencies: &[usize], taught: &[(usize, usize)]) -> Result<f32> {
    let p = logits.dim(0)?;
    let waves = sum_waves(p, frequencies)?;
    let heights = einsum("w i j, i j c -> w c", &[&waves, logits])?;
    let left = (logits - einsum("w a b, w c -> a b c", &[&waves, &heights])?)?;
    let rows: Vec<u32> = taught.iter().map(|(a, b)| (a * p + b) as u32).collect();
    let sums: Vec<u32> = taught.iter().map(|(a, b)| ((a + b) % p) as u32).collect();
    let left = left.flatten(0, 1)?.index_select(&Tensor::new(rows, &Device::Cpu)?, 0)?;
    cross_entropy(&left, &sums)?.mean_all()?.item()
}
