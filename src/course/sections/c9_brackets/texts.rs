//! The section's texts, and its cells that run as they are.

pub(super) const INTRODUCTION: &str = "# C9 · Brackets, I: what the answer is made of

The model `brackets` does one thing: it reads a string of up to 20 brackets and says whether it is balanced. It is right on every one of 2,000 strings that it was not trained on. **How** does it know? There are only a few algorithms that it could have learnt, and we can look at every number inside.

It differs from the models so far. It is a classifier: two outputs, read at one position, `[START]`. And it is *bidirectional*: there is no causal mask, each position attends to all others. Only padding, behind the end of shorter strings, is masked.

In this notebook you write the algorithms down, measure the model, and split its answer into the parts that its components wrote. In the next one you follow the parts back to the brackets.";

pub(super) const LOAD: &str = "let model = HookedTransformer::from_pretrained(\"brackets\")?;
let mut answers = Table::new([\"string\", \"not balanced\", \"balanced\"]);
for text in bracket_strings(8, &mut Random::new(1)) {
    let logits = model.forward(text.as_str())?.i((0, 0))?.to_vec1::<f32>()?;
    answers = answers.row((text, format!(\"{:.2}\", logits[0]), format!(\"{:.2}\", logits[1])));
}
answers.title(\"Logits at [START]\")";

pub(super) const ALGORITHMS: &str = "## Two algorithms

First the one that everybody writes, with a loop. Then one that a transformer could run: sums over all positions at once.";

pub(super) const TWO_FAILURES: &str = "## Two ways to fail

A total failure can be seen by counting, wherever one stands. A negative failure is a matter of order: some position has to notice that what lies on one side of it does not add up. A string may fail both ways. We will see whether the model treats the two alike.";

pub(super) const ACCURACY: &str = "## How good is it?

A little more than half of the strings of `bracket_strings` are balanced. Of the others, two in five have as many `(` as `)`, so that counting is not enough.";

pub(super) const ALL_RIGHT: &str = "let texts = bracket_strings(2000, &mut Random::new(2));
let (logits, cache) = model.run_with_cache(&texts)?;
let at_start = logits.i((.., 0))?;
let difference = (at_start.i((.., 0))? - at_start.i((.., 1))?)?;
hist(&difference).bins(60).title(\"Logit difference, not balanced less balanced\").x_label(\"logit difference\").y_label(\"strings\").show()?;";

pub(super) const DIRECTION: &str = "## One direction

Nothing lies between the two hills: the model is sure of every string. All that it has to say is in the difference of two logits, so in one number along one direction. The rest of this notebook takes that number apart.";

pub(super) const NORM: &str = "## Through the norm

ARENA's exercises fit a line through the norm: a linear regression from what enters it to what leaves it. Here that would mislead. The stream at `[START]` varies in few dimensions, and in the remaining ones it moves so little that a regression can use them to imitate what is not linear: it reaches r² = 0.999 with weights that let one component add 15 and another take 7 away, where the difference is 19. The scale of each run is known, so we use it.

Keep in mind that this scale is part of the answer: it is about 0.25 for balanced strings and 0.54 to 0.69 for the others, by kind of failure. A component that wrote the very same vector for all strings would still seem to tell them apart, because that vector is divided by different numbers.";

pub(super) const PARTS: &str = "let mut rows = Vec::new();
let scale = cache.get(\"ln_final.hook_scale\")?.i((.., 0))?.squeeze(1)?;
let direction = (model.W_U().i((.., 0))? - model.W_U().i((.., 1))?)?;
let parts = [(\"mlp_out\", 0), (\"attn_out\", 1), (\"mlp_out\", 1), (\"attn_out\", 2), (\"mlp_out\", 2)];
for (name, layer) in parts {
    rows.push((einsum(\"b d, d -> b\", &[&cache.get((name, layer))?.i((.., 0))?, &direction])? / &scale)?);
}
let rows = Tensor::stack(&rows, 0)?;
hist(&rows).bins(60).names(parts.map(|(name, layer)| format!(\"{name} {layer}\"))).title(\"What each layer adds to the logit difference\").x_label(\"logit difference\").show()?;";

pub(super) const END: &str = "## What the model shows

Take your functions on the 2,000 strings, and group the columns of `in_direction` by the two failures. You will find the three columns on the left (in logits, from the mean of balanced strings). Those on the right are the same differences in the stream, *before* the division by each string's scale:

| component | total failure only | negative only | both | total, in the stream | negative, in the stream | both, in the stream |
|---|---|---|---|---|---|---|
| layer 0 together | 0.7 | -0.1 | -0.3 | 0.4 | 0.0 | -0.1 |
| head 1.0 | 1.3 | 1.8 | 1.9 | 0.2 | 0.6 | 0.6 |
| **head 1.1** | **7.4** | **8.6** | **8.0** | 1.9 | 2.7 | 2.3 |
| MLP 1 | 0.7 | 0.4 | 0.4 | 0.3 | 0.1 | 0.2 |
| head 2.0 | 1.8 | 2.0 | 2.1 | 0.5 | 0.7 | 0.7 |
| head 2.1 | 2.8 | 2.8 | 2.7 | 0.9 | 1.0 | 1.0 |
| **MLP 2** | 5.0 | 4.4 | 4.9 | **3.2** | **3.7** | **3.6** |
| embeddings and biases | -0.9 | -1.0 | -1.0 | 0.0 | 0.0 | 0.0 |

The last row is the same for all strings in the stream, and only the scale makes something of it. The two halves also rank the components differently. Head 1.1 moves the normalised difference most, mainly by what it writes on *balanced* strings (-7.1 on average, against 1.0 on the others), where the scale is small. In the stream MLP 2 differs most. It pushes towards \"not balanced\" on all strings, by 1.4 on balanced ones and by 6.2 on the others.

In the model of ARENA's exercises, some components answer to one kind of failure and some to the other. This model does not divide the work so: by the time the answer is written, everything that differs much does so for both kinds. Layer 0 says almost nothing by itself. Head 1.1 is the first that tells the strings apart along this direction, and what follows can read what it wrote. So the question for the next notebook: what does head 1.1 read, and where?";
