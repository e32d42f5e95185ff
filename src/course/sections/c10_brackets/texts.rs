//! The section's texts, and its cells that run as they are.

pub(super) const INTRODUCTION: &str = "# C10 · Brackets, II: how the model knows

C9 ended with a table: of all components, head 1.1 pushes strings that fail the furthest away from those that are balanced, by about 8 of 19 logits. Here you ask what head 1.1 is needed for, where it looks, what it finds there, and who put it there. At the end stands an algorithm.";

pub(super) const LOAD: &str = "let model = HookedTransformer::from_pretrained(\"brackets\")?;
let texts = bracket_strings(1000, &mut Random::new(3));
let (logits, cache) = model.run_with_cache(&texts)?;";

pub(super) const NEEDED: &str = "## What is it needed for?

An ablation says what breaks without a head. Expect an asymmetry: of two answers, a model can give one by default, and has to be talked into the other.";

pub(super) const DEFAULT: &str = "Without head 1.1 the model calls **no** string balanced, and so is right on every string that fails. Without head 1.0 hardly anything changes. So the default is \"not balanced\", and head 1.1 is what speaks for \"balanced\": it writes a token of good conduct as long as it finds nothing wrong. Now look at what it does while it decides.";

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

With strings of 12 brackets and more that have as many `(` as `)` and still fail, these positions are 40 % of all, and head 1.1 gives them **92 %** of its attention; in 94 of 100 such strings, the position that it looks at most is one of them. It is an alarm that goes where the failure is.";

pub(super) const WHAT: &str = "## What does it find?

A place to look at is half of a head. The other half is what it passes on from there.";

pub(super) const READS: &str = "let direction = (model.W_U().i((.., 0))? - model.W_U().i((.., 1))?)?;
let reads = einsum(\"b e, e d, d -> b\", &[&model.W_V()?.i((1, 1))?, &model.W_O()?.i((1, 1))?, &direction])?;
let found = einsum(\"b p d, d -> b p\", &[&cache.get(\"blocks.1.ln1.hook_normalized\")?, &reads])?.to_vec2::<f32>()?;
let mut by_elevation = vec![(0., 0.); 9];
for (text, found) in texts.iter().zip(&found).filter(|(text, _)| text.matches('(').count() * 2 == text.len()) {
    let mut elevation = 0_i32;
    for (at, bracket) in text.char_indices().rev() {
        elevation += if bracket == ')' { 1 } else { -1 };
        if (-4..=4).contains(&elevation) {
            let (sum, count) = &mut by_elevation[(elevation + 4) as usize];
            (*sum, *count) = (*sum + found[at + 1], *count + 1.);
        }
    }
}
let means: Vec<f32> = by_elevation.iter().map(|(sum, count)| sum / count).collect();
bar(means).x_ticks(-4..=4).title(\"What head 1.1 passes on from a position, along \\\"not balanced\\\"\").x_label(\"elevation at the position\").show()?;";

pub(super) const BELOW_ZERO: &str = "The direction that head 1.1 reads is a **detector**: positions whose elevation is below 0 hold 0.6 and more of \"not balanced\", those at 0 or a little above about -0.3. Remember that nobody gave the model elevations. Something in layer 0 must have counted.";

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

The two vectors are opposite to three decimals (cosine -1.000, in both heads of layer 0), and both heads look almost everywhere alike, a little more to one side than to the other. So:

1. **Layer 0 counts.** At each position, its heads add a vector for each `(` and take it away for each `)`. They lean a little to the right of the position (head 0.1 gives, from a `(`, 60 % to itself and what follows, where looking everywhere alike would give 57 %), so that a position has two counts with different weights, from which it can tell how many close behind it.
2. **The MLP of layer 0 compares with 0.** 17 of its 56 neurons are on far more often at positions whose elevation is below 0; the clearest at 75 % of them and 5 % of the others.
3. **Head 1.1 is the alarm.** From `[START]` it looks for such a position. If there is one, or if the count of the whole string is off, it withholds the \"balanced\" that it would otherwise write.
4. **Layer 2 agrees**, and makes the answer louder.

Can it be fooled? ARENA asks for a string that its model gets wrong, and there are some. Of this model we tried every string of up to 13 brackets (16,382), and every one of up to 20 with as many `(` as `)`, which are the hard ones: it is right on all. So it has learnt the rule and no approximation to it, as far as 20 brackets go. Its `n_ctx` is 21, so it cannot be asked for more.

What this does not show: that no other road leads there. The work is spread over many neurons: with the twelve clearest ones switched off at all positions, the model is still right on every one of these 1,000 strings. Try how many it takes.";
