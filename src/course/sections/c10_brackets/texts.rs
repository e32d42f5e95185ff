//! The section's texts, and its cells that run as they are.

pub(super) const INTRODUCTION: &str = "# C10 · Brackets, II: how the model knows

C9 ended with a table: of all components, head 1.1 moves strings that fail the furthest from those that are balanced, by about 8 of 19 logits after the norm, and it is the first that tells them apart. Here you ask what head 1.1 is needed for, where it looks, what it finds there, and who put it there. At the end stands an algorithm.";

pub(super) const LOAD: &str = "let model = HookedTransformer::from_pretrained(\"brackets\")?;
let texts = bracket_strings(1000, &mut Random::new(3));
let (logits, cache) = model.run_with_cache(&texts)?;";

pub(super) const NEEDED: &str = "## What is it needed for?

An ablation says what breaks without a head. Expect an asymmetry: of two answers, a model can give one by default, and has to be talked into the other.";

pub(super) const DEFAULT: &str = "Without head 1.1 the model calls **none** of these 1,000 strings balanced, and so is right on every string that fails. Without head 1.0 hardly anything changes. So the default is \"not balanced\", and head 1.1 is needed for \"balanced\": without what it writes on a balanced string, nothing else outweighs the default. Now look at what it does while it decides.";

pub(super) const WHERE: &str = "## Where does it look?";

pub(super) const PATTERN: &str = "let some = [\"(()())\", \"())(()\", \"((()))()()()\", \"(()))()(()()\"];
let mut looks = Table::new([\"string\", \"attention of head 1.1 from [START], in per cent\"]);
for text in some {
    let row = model.run_with_cache(text)?.1.get((\"pattern\", 1))?.i((0, 1, 0))?.to_vec1::<f32>()?;
    let tokens = model.to_str_tokens(text)?;
    let shares: Vec<String> = tokens.iter().zip(row).map(|(token, share)| format!(\"{token} {:.0}\", 100. * share)).collect();
    looks = looks.row((text, shares.join(\"  \")));
}
looks";

pub(super) const ALARM: &str = "## An alarm

In balanced strings the head rests near the beginning, at positions 2 and 3. In others it jumps to one place. Compare the places with your elevations of C9: mark the positions at which the elevation is below 0 and count.

With strings of 12 brackets and more that have as many `(` as `)` and still fail, these positions are 40 % of all, and head 1.1 gives them **92 %** of its attention; in 94 of 100 such strings, the position that it looks at most is one of them. It goes where the failure is, like an alarm.

This says where the head looks. It does not say yet that looking there makes the answer: for that, something must be exchanged, which is done below.";

pub(super) const WHAT: &str = "## What does it find?

A place to look at is half of a head. The other half is what it passes on from there.";

pub(super) const READS: &str = "let direction = (model.W_U().i((.., 0))? - model.W_U().i((.., 1))?)?;
let reads = einsum(\"b e, e d, d -> b\", &[&model.W_V()?.i((1, 1))?, &model.W_O()?.i((1, 1))?, &direction])?;
let found = einsum(\"b p d, d -> b p\", &[&cache.get(\"blocks.1.ln1.hook_normalized\")?, &reads])?.to_vec2::<f32>()?;
for (name, positions) in [(\"positions 1 to 3\", 1..4), (\"positions 4 and later\", 4..21)] {
    let mut by_elevation = vec![(0f32, 0f32); 9];
    for (text, found) in texts.iter().zip(&found).filter(|(text, _)| text.matches('(').count() * 2 == text.len()) {
        let mut elevation = 0_i32;
        for (at, bracket) in text.char_indices().rev() {
            elevation += if bracket == ')' { 1 } else { -1 };
            if (-4..=4).contains(&elevation) && positions.contains(&(at + 1)) {
                let (sum, count) = &mut by_elevation[(elevation + 4) as usize];
                (*sum, *count) = (*sum + found[at + 1], *count + 1.);
            }
        }
    }
    let means: Vec<f32> = by_elevation.iter().map(|(sum, count)| sum / count.max(1.)).collect();
    bar(means).x_ticks(-4..=4).title(&format!(\"What head 1.1 finds at {name}, along \\\"not balanced\\\"\")).x_label(\"elevation at the position\").show()?;
}";

pub(super) const BELOW_ZERO: &str = "Two things add up along the direction that head 1.1 reads (strings with as many `(` as `)`; no bar where no such position exists):

| mean along \"not balanced\" | elevation below 0 | 0 or above |
|---|---|---|
| positions 1 to 3 | -0.5 | -1.3 |
| positions 4 and later | +1.0 | +0.2 |

An elevation below 0 adds about 0.8 of \"not balanced\" wherever it is. And the first positions hold \"balanced\", by more than that, whatever the string is like. The head rests on positions 2 and 3, with 84 % of its attention in balanced strings, and there it finds \"balanced\". An alarm draws it away: it loses what it would have found there, and finds +1 instead. (A single position is a weak detector, since these numbers vary by about as much as they differ. The head's choice of where to look is the better part.)

Remember that nobody gave the model elevations. Something in layer 0 must have counted.";

pub(super) const EXCHANGE: &str = "## Does it decide?

Let the head write on one kind of string what it writes, on average, on the other kind. If its output were all that counts, the answers would be exchanged too.";

pub(super) const EXCHANGED: &str = "let calls = logits.i((.., 0))?.argmax(1)?.to_vec1::<u32>()?;
let mut exchanged = Table::new([\"strings\", \"logit difference\", \"with head 1.1 exchanged\", \"called balanced, in per cent\"]);
for (name, kind) in [(\"not balanced\", 0_u32), (\"balanced\", 1)] {
    let others: Vec<u32> = (0..texts.len()).filter(|row| calls[*row] != kind).map(|row| row as u32).collect();
    let z = cache.get((\"z\", 1))?.i((.., 0, 1))?.contiguous()?.index_select(&Tensor::new(others, &Device::Cpu)?, 0)?.mean(0)?;
    let those: Vec<String> = texts.iter().zip(&calls).filter(|(_, call)| **call == kind).map(|(text, _)| text.clone()).collect();
    let plan = HookPlan::new().edit((\"z\", 1), Edit::replace(z).pos(0_usize).head(1_usize));
    let mut means = Vec::new();
    for logits in [model.forward(&those)?, model.run_with_hooks(&those, plan)?.0] {
        let logits = logits.i((.., 0))?;
        let difference = (logits.i((.., 0))? - logits.i((.., 1))?)?.mean_all()?.item()?;
        means.push((difference, logits.argmax(1)?.to_dtype(DType::F32)?.mean_all()?.item()?));
    }
    exchanged = exchanged.row((name, format!(\"{:.1}\", means[0].0), format!(\"{:.1}\", means[1].0), format!(\"{:.0}\", 100. * means[1].1)));
}
exchanged";

pub(super) const BOTH_NEEDED: &str = "Of balanced strings the mean difference goes from -9.3 to -0.3: what speaks for them is nearly gone, though 82 % are still called balanced. Of strings that fail it falls only from 9.5 to 6.8, and 9 % are now called balanced. So head 1.1 is necessary for \"balanced\" and not sufficient: something else sees the failures too. The heads of layer 2 give positions below 0 nearly half of their attention (44 and 49 % in such strings as above), so they need not ask head 1.1.";

pub(super) const WHO: &str = "## Who counted?

What stands at a position before layer 1 was written by the embedding, the two heads of layer 0, and the MLP of layer 0. Heads add up; a neuron has a threshold. \"Is the sum below 0?\" needs both.";

pub(super) const OPPOSITE: &str = "## Head 0.0 adds and subtracts

If a head counts, it must pass on one vector for `(` and the opposite one for `)`. Then its output at a position is that vector, times the attention that it gives to `(` less that which it gives to `)`: a count, weighted by where it looks.";

pub(super) const LAYER_0: &str = "let pattern = cache.get((\"pattern\", 0))?;
let first = texts.iter().position(|text| text.len() == 20).unwrap();
for head in 0..2 {
    imshow(pattern.i((first, head))?).title(&format!(\"Head 0.{head}\")).x_label(\"key position\").y_label(\"query position\").show()?;
}";

pub(super) const END: &str = "## The algorithm

The two vectors are opposite to three decimals (cosine -1.000, in both heads of layer 0). The heads spread their attention widely: in strings of 12 brackets and more, head 0.0 gives a position 0.7 to 1.5 times what looking everywhere alike would give, head 0.1 0.2 to 6 times. So:

1. **Layer 0 counts.** At each position, its heads add a vector for each `(` and take it away for each `)`. They lean a little to the right. From a `(`, head 0.0 gives 58 % to the position itself and what follows, and head 0.1 gives 61 %, where looking everywhere alike would give 56 %. From a `)` it is 46 % for head 0.0 and 44 % for head 0.1, where alike would be 44 %: here only head 0.0 leans. A position so has two counts with different weights. Perhaps this is how it can tell how many close behind it; we have not shown it.
2. **The MLP of layer 0 compares with 0.** 17 of its 56 neurons are on far more often at positions whose elevation is below 0; the clearest at 75 % of them and 5 % of the others.
3. **Head 1.1 is an alarm.** From `[START]` it looks for such a position. If there is none, it rests near the beginning and writes \"balanced\", without which no string is called so.
4. **Layer 2 decides.** Its heads agree with head 1.1, and look at the positions below 0 themselves. Its MLP says \"not balanced\" of every string, by 1.4 of balanced ones and by 6.2 of the others: that is where much of the default comes from.

Can it be fooled? ARENA asks for a string that its model gets wrong, and there are some. Of this model we tried every string of up to 20 brackets, two million; its `n_ctx` is 21, so it cannot be asked for longer ones. It is right on every one with as many `(` as `)`, which we expected to be the hard ones, and wrong on 46 others: one of 17 brackets, `((()()(())))()())`, and 45 of 19, such as `((()()(())))((())))`. All six that we looked at are balanced but for one `)` too many at the very end, with which the depth falls below 0 for the first time; yet the model calls them balanced. Take one through the four steps: which of them misses it?

What this does not show: that no other road leads there. The work is spread over many neurons: with the twelve clearest ones switched off at all positions, the model is still right on every one of these 1,000 strings. Try how many it takes.";
