//! The exercises of this section.

use super::{answers, inputs};
use crate::course::answer::{Answer, IntoAnswer};
use crate::course::exercise::{About, Lend, exercise};
use crate::course::judge::{Known, Rule, judge, prove};
use crate::course::verdict::Verdict;
use candle_core::Tensor;

exercise! {
    /// Waves on the numbers from 0 to p - 1.
    FourierBasis, "1.5.a", fourier_basis(p: usize) -> Tensor;
    task: "Make the Fourier basis of functions on the numbers `x` from 0 to `p - 1`, for an odd `p`. Row 0 is constant, row `2k - 1` is `cos(2πkx / p)` and row `2k` is `sin(2πkx / p)`, for `k` from 1 to `(p - 1) / 2`. Scale each row so that its squares sum to 1: then sizes along different waves can be compared, and no wave is counted twice.

- returns `[wave, x]`, `p` by `p`";
    axes: &[&["wave", "x"]];
    inputs: inputs::primes => (usize,);
    hints: &[
        "The rows are orthogonal by themselves. What do the squares of a row sum to, before it is scaled?",
        "The constant row has p entries of 1, so it is divided by the root of p. The squares of a cosine or sine sum to p / 2.",
        "Begin with vec![1. / (p as f32).sqrt(); p], then extend it for each k by (2. / p as f32).sqrt() * cos(..) and the same with sin; Tensor::from_vec(rows, (p, p), &Device::Cpu).",
    ];
    wrong: [
        "the rows are not scaled. The squares of each must sum to 1." => answers::not_normalised,
        "every row is divided by the root of p. That is right for the constant; the squares of a wave sum to p / 2." => answers::one_over_root,
        "the constant row is scaled as the waves are. Its squares sum to p, not to p / 2." => answers::constant_too_large,
        "the sine of each frequency stands before its cosine." => answers::sines_first,
        "all cosines come first, then all sines. Cosine and sine of one frequency stand next to each other." => answers::all_cosines_first,
    ];
    accepted: [];
}

exercise! {
    /// How much of each wave there is in functions of one number.
    FourierOne, "1.5.b", fourier_1d(x: &Tensor) -> Tensor;
    task: "How much of each wave is in a function of one number? Each column of `x` is such a function, as each column of an embedding is. Project all of them onto the basis.

- `x`: `[number, column]`, with an odd count of numbers
- returns `[wave, column]`";
    axes: &[&["wave", "column"]];
    inputs: inputs::functions_of_one => (Tensor,);
    hints: &[
        "The part of a function along a wave is the sum of their products over all numbers.",
        "That is a product of matrices: the basis, [wave, number], with x.",
        "Ok(fourier_basis(x.dim(0)?)?.matmul(x)?).",
    ];
    wrong: [
        "the basis is transposed: this is the way back, from waves to numbers." => answers::back_1d,
        "the mean was subtracted first, so the constant wave has nothing. It is a wave like the others." => answers::centred_1d,
        "these are squares. The parts themselves are asked for, with their signs." => answers::squared_1d,
    ];
    accepted: [];
}

exercise! {
    /// The frequencies that an embedding uses.
    KeyFrequencies, "1.5.c", key_frequencies(embed: &Tensor, share: f32) -> Vec<usize>;
    task: "Which frequencies does an embedding use? The energy of frequency `k` is the sum of the squares of its cosine's and its sine's row, over all dimensions. Return, in increasing order, every `k` that has at least this share of the energy of all frequencies. The constant does not count: it is the same for every number.

- `embed`: `[number, d_model]`";
    axes: &[&["place"]];
    inputs: inputs::embeddings => (Tensor, f32);
    hints: &[
        "Square first, then sum over dimensions, then add cosine and sine. Frequency k has the rows 2k - 1 and 2k.",
        "let energy = fourier_1d(embed)?.sqr()?.sum(1)?.to_vec1::<f32>()?; the total is the sum of energy[1..].",
        "(1..=energy.len() / 2).filter(|k| energy[2 * k - 1] + energy[2 * k] >= share * total).collect();",
    ];
    wrong: [
        "these are one too small: frequencies begin with 1." => answers::from_zero,
        "these are rows of the basis. Rows 2k - 1 and 2k belong to frequency k." => answers::rows_of_the_basis,
        "only cosines are counted. A frequency's energy is that of its cosine and of its sine." => answers::cosines_alone,
        "only sines are counted. A frequency's energy is that of its cosine and of its sine." => answers::sines_alone,
        "the constant is in the total. It belongs to no frequency." => answers::constant_in_the_total,
        "these are shares of norms. Energies are squares, and only squares sum to that of the whole." => answers::norms_not_squares,
    ];
    accepted: [];
}

exercise! {
    /// How much of each product of waves there is in functions of two numbers.
    FourierTwo, "1.5.d", fourier_2d(x: &Tensor) -> Tensor;
    task: "A neuron's activation is a function of two numbers, `a` and `b`. Project such functions onto products of a wave of `a` and a wave of `b`.

- `x`: `[a, b, column]`
- returns `[wave_a, wave_b, column]`";
    axes: &[&["wave_a", "wave_b", "column"]];
    inputs: inputs::functions_of_two => (Tensor,);
    hints: &[
        "Project along a, then what comes out along b.",
        "einsum multiplies from left to right: with the basis, x, and the basis again, no step is larger than x.",
        r#"einsum("f a, a b n, g b -> f g n", &[&basis, x, &basis])."#,
    ];
    wrong: [
        "only a is projected; the second axis still counts b." => answers::only_a,
        "only b is projected; the first axis still counts a." => answers::only_b,
        "the basis is transposed: this is the way back, from waves to numbers." => answers::back_2d,
    ];
    accepted: [];
}

exercise! {
    /// The frequency to which each neuron belongs.
    NeuronFrequencies, "1.5.e", neuron_frequencies(acts: &Tensor) -> (Vec<usize>, Vec<f32>);
    task: "To which frequency does each neuron belong, and how much? To frequency `k` belong the products of the constant, `cos k` and `sin k` of `a` with the constant, `cos k` and `sin k` of `b`, except constant times constant: eight numbers of `fourier_2d`. Its share is their energy, divided by that of everything but constant times constant. Return for each neuron the frequency with the largest share, and that share.

- `acts`: `[a, b, neuron]`";
    axes: &[&["neuron"], &["neuron"]];
    inputs: inputs::neurons => (Tensor,);
    hints: &[
        "Look at rows and columns 0, 2k - 1 and 2k of the squares of fourier_2d: a square of nine numbers, of which the corner does not count.",
        "For each k, index_select these rows, then these columns, sum both axes, subtract the corner and divide by the total without the corner. Stack the shares and take the largest.",
        "let (share, place) = Tensor::stack(&shares, 1)?.top_k(1)?; the frequency is place + 1.",
    ];
    wrong: [
        "these frequencies are one too small: the first share belongs to frequency 1." => answers::clusters_from_zero,
        "constant times constant counts, as a part of each frequency and in the total. It is not a wave." => answers::constant_counts,
        "constant times constant is still in the total. A neuron that is always on would seem to belong nowhere." => answers::not_centred,
        "products of two waves are left out. They are what the neurons are for." => answers::no_products,
        "waves of a alone and of b alone are left out: row 0 and column 0 belong to the frequency as well." => answers::products_alone,
    ];
    accepted: [];
}

exercise! {
    /// The share of the logits that is waves of a + b - c.
    ShareOfWaves, "1.5.f", share_of_waves(logits: &Tensor, frequencies: &[usize]) -> f32;
    task: "How much of the logits is `cos(2πk(a + b - c) / p)` for these frequencies? First subtract from the logits of each question their mean over answers, which no probability depends on. The share is the energy along these waves, divided by the energy of all that is left. The squares of each wave sum to `p³ / 2`, and waves of different frequencies are orthogonal.

- `logits`: `[a, b, c]`, where `c` is the answer";
    axes: &[&[]];
    inputs: inputs::logits_and_frequencies => (Tensor, Vec<usize>);
    hints: &[
        "The energy along a wave is the square of the sum of products with it, divided by the sum of the wave's squares.",
        "For each frequency: make the wave as a tensor [a, b, c], multiply it with the centred logits, sum, square, divide by p^3 / 2. Add these up and divide by the sum of the squares of the centred logits.",
        "explained += (&centred * wave)?.sum_all()?.item()?.powi(2) / (p * p * p) as f32 * 2.;",
    ];
    wrong: [
        "these are waves of a + b + c. The right answer c must give cos(0)." => answers::plus_c,
        "these are waves of a - b - c." => answers::minus_b,
        "this is the first frequency alone. Add the energies of all of them." => answers::first_frequency,
        "the logits are not centred: their mean over answers is in the total." => answers::share_of_all,
        "this is half of it: the squares of a wave sum to p^3 / 2, not to p^3." => answers::half_the_share,
    ];
    accepted: [];
}

exercise! {
    /// Waves of the sum of two numbers.
    SumWaves, "1.5.g", sum_waves(p: usize, frequencies: &[usize]) -> Tensor;
    task: "Make the waves of the sum: `cos(2πk(a + b) / p)`, then `sin(2πk(a + b) / p)`, for each of the frequencies in their order. Scale each so that its squares, over all `a` and `b`, sum to 1.

- returns `[wave, a, b]`, two waves for each frequency";
    axes: &[&["wave", "a", "b"]];
    inputs: inputs::frequencies => (usize, Vec<usize>);
    hints: &[
        "As in fourier_basis, over p² places: the mean of a squared cosine is one half.",
        "The squares of a wave sum to p² / 2, so each is multiplied by the root of 2 and divided by p. Place n of the flat list has a = n / p and b = n % p.",
        "waves.extend((0..p * p).map(|n| 2f32.sqrt() / p as f32 * angle(n).cos())); then the same with sin, and Tensor::from_vec(waves, (2 * frequencies.len(), p, p), &Device::Cpu).",
    ];
    wrong: [
        "these are waves of a - b." => answers::difference_waves,
        "the waves are not scaled. The squares of each must sum to 1." => answers::waves_not_normalised,
        "these are products, cos times cos and sin times sin. The cosine of the sum is the first less the second." => answers::products_of_waves,
        "the sine of each frequency stands before its cosine." => answers::sine_waves_first,
    ];
    accepted: [];
}

exercise! {
    /// The loss with the waves of the sum alone.
    RestrictedLoss, "1.5.h", restricted_loss(logits: &Tensor, frequencies: &[usize]) -> f32;
    task: "Keep of the logits of each answer only the constant (its mean over all questions) and the waves of the sum at these frequencies, and compute the mean loss over all questions. It tells whether these waves *suffice*.

- `logits`: `[a, b, c]`";
    axes: &[&[]];
    inputs: inputs::logits_and_frequencies => (Tensor, Vec<usize>);
    hints: &[
        "To project is to take products with each wave, and to build the function again from those.",
        "The products of sum_waves with the logits over a and b are [wave, c]; multiplied with the waves again they give [a, b, c]. Add the mean over a and b.",
        r#"let heights = einsum("w a b, a b c -> w c", &[&waves, logits])?; then einsum("w a b, w c -> a b c", ..), broadcast_add(&logits.mean_keepdim((0, 1))?), flatten(0, 1) and cross_entropy with (a + b) % p."#,
    ];
    wrong: [
        "the constant is lost: add the mean over all questions again." => answers::constant_dropped,
        "the waves are removed, not kept. That is the excluded loss, over all questions." => answers::removed_instead,
        "these are waves of a - b." => answers::restricted_to_differences,
        "this is the loss of the logits as they are." => answers::nothing_removed,
    ];
    accepted: [];
}

exercise! {
    /// The loss without the waves of the sum.
    ExcludedLoss, "1.5.i", excluded_loss(logits: &Tensor, frequencies: &[usize], taught: &[(usize, usize)]) -> f32;
    task: "Remove the waves of the sum at these frequencies from the logits, and compute the mean loss over the pairs that were taught. It tells whether the waves are *needed*: a model that remembers its examples does well without them.

- `logits`: `[a, b, c]`
- `taught`: pairs of `a` and `b`";
    axes: &[&[]];
    inputs: inputs::taught => (Tensor, Vec<usize>, Vec<(usize, usize)>);
    hints: &[
        "Project the logits of all questions as in restricted_loss, and subtract the projection. Only then choose pairs.",
        "Row a * p + b of the flat logits [question, c] belongs to the pair (a, b): index_select the rows of the pairs.",
        "let left = left.flatten(0, 1)?.index_select(&Tensor::new(rows, &Device::Cpu)?, 0)?; then cross_entropy(&left, &sums)?.mean_all()?.item();",
    ];
    wrong: [
        "this is the mean over all pairs. Take those that were taught: only they can be remembered." => answers::every_pair,
        "this is the mean over the pairs that were not taught." => answers::unseen_pairs,
        "the waves are kept, not removed." => answers::kept_instead,
        "the constant is removed too. Remove the waves only." => answers::constant_removed_too,
        "the waves are measured on the taught pairs alone, where they are not orthogonal. Project the logits of all pairs." => answers::taught_alone_projected,
    ];
    accepted: [];
}
