//! The section's texts, and its cells that run as they are.

pub(super) const INTRODUCTION: &str = "# C9 · Brackets, I: what the answer is made of

The model `brackets` does one thing: it reads a string of up to 20 brackets and says whether it is balanced. It is right on every one of ten thousand strings that it was not trained on. **How** does it know? There are only a few algorithms that it could have learnt, and we can look at every number inside.

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

The strings of `bracket_strings` are balanced or not with equal probability; a third of the others have as many `(` as `)`, so that counting is not enough.";

pub(super) const ALL_RIGHT: &str = "let texts = bracket_strings(2000, &mut Random::new(2));
let (logits, cache) = model.run_with_cache(&texts)?;
let at_start = logits.i((.., 0))?;
let difference = (at_start.i((.., 0))? - at_start.i((.., 1))?)?;
hist(&difference).bins(60).title(\"Logit difference, not balanced less balanced\").x_label(\"logit difference\").y_label(\"strings\").show()?;";

pub(super) const DIRECTION: &str = "## One direction

Nothing lies between the two hills: the model is sure of every string. All that it has to say is in the difference of two logits, so in one number along one direction. The rest of this notebook takes that number apart.";

pub(super) const NORM: &str = "## Through the norm

ARENA's exercises fit a line through the norm: a linear regression from what enters it to what leaves it. Here that would mislead. The stream at `[START]` varies in few dimensions, and in the remaining ones it moves so little that a regression can use them to imitate what is not linear: it reaches r² = 0.999 with weights that let one component add 15 and another take 7 away, where the difference is 19. The scale of each run is known, so we use it.";

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

Take your functions on the 2,000 strings, and group the columns of `in_direction` by the two failures. You will find (in logits, from the mean of balanced strings):

| component | total failure only | negative only | both |
|---|---|---|---|
| layer 0 together | 0.7 | -0.1 | -0.4 |
| head 1.0 | 1.3 | 1.8 | 1.9 |
| **head 1.1** | **7.4** | **8.5** | **8.0** |
| MLP 1 | 0.7 | 0.4 | 0.4 |
| head 2.0 | 1.8 | 2.0 | 2.1 |
| head 2.1 | 2.8 | 2.8 | 2.7 |
| MLP 2 | 5.0 | 4.4 | 4.9 |

In the model of ARENA's exercises, some components answer to one kind of failure and some to the other. This model does not divide the work so: by the time the answer is written, everything that speaks speaks of both. Layer 0 says almost nothing by itself. Head 1.1 says most, and it is the first that does; what comes after it agrees. So the question for the next notebook: what does head 1.1 read, and where?";
