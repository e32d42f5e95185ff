//! What is said between the exercises.

pub(super) const INTRODUCTION: &str = "# C1 · A transformer, piece by piece

You write every part of GPT-2's architecture as a function, from the layer norm to the logits, and at the end your functions run a trained model and give its logits, up to rounding. After this, no name in a cache is a mystery: you will have computed each of them.

The **residual stream** is the spine: one vector per position, `[batch, pos, d_model]`. Embeddings begin it, each attention layer and each MLP reads it and adds to it, and the unembedding reads it at the end.

Checks run on small random weights in which no bias is 0 and no scale is 1, so that whatever is left out shows. The model itself is loaded *without processing*: `from_pretrained` would fold the norms' weights into others, and here you want to see them.";

pub(super) const THE_MODEL: &str = "let model = HookedTransformer::from_pretrained_no_processing(\"tiny\")?;
model.cfg()";

pub(super) const THE_WEIGHTS: &str = "let mut weights = Table::new([\"weight\", \"shape\"]);
for (name, weight) in model.state_dict()? {
    if !name.starts_with(\"blocks.\") || name.starts_with(\"blocks.0.\") {
        weights = weights.row((name, format!(\"{:?}\", weight.dims())));
    }
}
weights.title(\"Weights of the embeddings, the first block and the unembedding\")";

pub(super) const NORM: &str = "## The norm

`eps` is 0.00001 in most models: it keeps an all-zero vector from being divided by 0. Being so small, it hides where exactly it was added, until a vector is small as well. So here it is 0.1.";

pub(super) const EMBEDDINGS: &str = "## The embeddings

Each position gets a row of one matrix for its token and a row of another for its position; their sum is the first residual stream.";

pub(super) const POSITIONS: &str = "**In the trained model.** Below, the cosine similarity of every two position embeddings, for the first 40 positions. Nobody told the model that position 7 is next to position 8, and yet neighbours resemble each other (0.23 on average) more than positions that are 20 apart (0.05). What could a head do with that?";

pub(super) const LIKENESS_OF_POSITIONS: &str = "let rows = model.weight(\"pos_embed.W_pos\")?.narrow(0, 0, 40)?;
let lengths = rows.sqr()?.sum_keepdim(1)?.sqrt()?;
let directions = rows.broadcast_div(&lengths)?;
imshow(directions.matmul(&directions.t()?)?).title(\"Cosine similarity of position embeddings\").x_label(\"position\").y_label(\"position\")";

pub(super) const ATTENTION: &str = "## Attention

For each head: a query asks, keys answer, and the values of the positions that answered are averaged and moved. First the mask, then all of it. The axes have the names they have throughout the library: `q_pos` is the position that reads, `k_pos` the one that is read.

To look at a value on the way, return it for a moment: the check says what shape it has (and cannot say whether its numbers are right).";

pub(super) const PATTERNS: &str = "**A question.** One of the three biases `b_Q`, `b_K`, `b_V` changes nothing at all: leave it out and your function still passes. Which one, and why? (What does it add to the scores of one query, and what does softmax make of a number that is added to all?)

Patterns of the trained model, as your function would compute them:";

pub(super) const REAL_PATTERNS: &str = "let prompt = \"The keys on the cabinet are old and the keys on the\";
let (_logits, cache) = model.run_with_cache(prompt)?;
attention_heads(&model.to_str_tokens(prompt)?, cache.get((\"pattern\", 1))?.get(0)?)";

pub(super) const MLP: &str = "## The MLP

Between its two products stands gelu, a smooth step: nearly 0 below -3, nearly `x` above 3. There are two formulas for it, which differ by less than 0.0005. That is easily overlooked, so this check is stricter than the others.";

pub(super) const ACTIVATION: &str = "let x = Tensor::arange_step(-4f32, 4.01, 0.05, &Device::Cpu)?;
let difference = (x.gelu()? - x.gelu_erf()?)?;
line(&difference).title(\"gelu_new minus the exact gelu, from -4 to 4\")";

pub(super) const BLOCK: &str = "## The block

Now the sums. This order, norm first and then a sum with what was *not* normalised, is called pre-norm, and it is what makes the stream a plain sum of everything that was ever written to it.";

pub(super) const STREAM: &str = "**In the trained model.** How large is the stream on its way? Each number is the root mean square of one position after one more sublayer. Which position stands out after the first MLP? It is the one to which heads attend when they have nothing to do.";

pub(super) const SIZE_OF_THE_STREAM: &str = "let stack = cache.stack(&model, Stack::accumulated().with_mid())?;
let sizes = stack.tensor().sqr()?.mean(3)?.sqrt()?.squeeze(1)?;
imshow(&sizes).y_ticks(stack.labels()).title(\"Size of the residual stream\").x_label(\"position\").y_label(\"after\")";

pub(super) const WHOLE: &str = "## The whole model

All parts are there. The check runs your function on two models, a small random one and the trained one, and compares every step with the library's cache.";

pub(super) const END: &str = "## It runs

Once the check above passes, try your model on a text of your own, in a cell of your own:

```rust
let tokens = model.to_tokens(\"The capital of France is\")?;
let stream = demo_transformer(&model, &tokens)?;
let (_, ids) = stream.last().unwrap().at(&[0, -1])?.top_k(5)?;
ids.to_vec1::<u32>()?.iter().map(|&id| model.piece(id)).collect::<Vec<_>>()
```

It should give the tokens that the library ranks highest:";

pub(super) const NEXT_TOKEN: &str = "test_prompt(&model, \"The capital of France is\", \" Paris\")?";
