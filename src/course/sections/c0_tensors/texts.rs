//! What is said between the exercises. The messages of candle that are quoted here are asserted in `tests/course/tensors.rs`.

pub(super) const INTRODUCTION: &str = "# C0 · Tensors in Rust

Ten short functions without a model. Each is a piece of a later notebook: masks, diagonals of attention patterns, logits of given tokens, heads with an axis of their own, log probabilities.

If you know PyTorch or NumPy, you know these operations. What is new is how Rust and candle spell them, so each part names the message you will meet first and what it means.

Replace each `todo!()`, run the cell, and run the check below it. A check says what is wrong and where, and never costs you a variable. When you are stuck, `ex::outer().hint()` shows a hint, and each further call one that says more.";

pub(super) const RUST: &str = "## Four rules before you start

**Every operation may fail, so it returns a `Result`.** `?` takes the value out of it, or ends the function with the error. The last line of a function is its value, without a semicolon: `Ok(x.t()?)`. With `x.t()` alone the compiler says \"expected `candle_lens::Error`, found `candle_core::Error`\"; `?` converts the error, `Ok` wraps the value again.

**Borrow what you still need.** `q - m` *moves* both tensors into the operation, and afterwards the compiler says \"cannot find value `q` in this scope\". Write `(&q - &m)?`. The `?` matters as much as the `&`: without it you hold a `Result`, and a shape that does not fit goes unnoticed until you use it.

**A `let` ends with a semicolon.** Without it the message is about something else: \"expected `;`, found `evcxr_variable_store`\". A last line without `let` and without semicolon is shown below the cell.

**A function sees only its arguments.** A `fn` cannot see the variables of other cells; pass it what it needs. A closure (`|x| ..`) can, but it is lost when its cell ends.

Tensors of different shapes do not fit together, and candle says so:";

pub(super) const A_SHAPE_THAT_DOES_NOT_FIT: &str = "let a = Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?;
let b = Tensor::new(&[10f32, 20.], &Device::Cpu)?;
(&a * &b).unwrap_err().to_string()";

pub(super) const SHAPES: &str = "## Shapes that stretch when asked to

\"shape mismatch in mul, lhs: [3], rhs: [2]\". PyTorch stretches axes of size 1 silently; candle's `+ - * /` want equal shapes, and stretching is a method with a name: `broadcast_add`, `broadcast_sub`, `broadcast_mul`, `broadcast_div`. You lose a little convenience, and shapes that fit by accident are found.

`x.unsqueeze(1)?` gives an axis of size 1, `x.squeeze(1)?` takes it away, `x.dims()` shows the shape, and `let (batch, pos, d_model) = x.dims3()?;` names its sizes.";

pub(super) const MASKS: &str = "## Masks

Comparisons (`gt`, `eq`, `broadcast_ge`, ..) return tensors of dtype u8 with 1 for true. `where_cond` chooses by them, and refuses masks of floats: \"unsupported dtype F32 for op where-cond\".";

pub(super) const THE_MASK: &str = "imshow(Tensor::tril2(12, DType::F32, &Device::Cpu)?).title(\"Which keys a query may attend to\").x_label(\"key position\").y_label(\"query position\")";

pub(super) const INDICES: &str = "## Picking out numbers

Indices are tensors of integers; token ids and the results of `argmax` are u32. Two operations pick:

- `x.index_select(&ids, axis)` takes whole slices: the index is one list for all.
- `x.gather(&ids, axis)` takes one number for each number of the index, which must have as many axes as `x`. \"shape mismatch in gather, lhs: [2, 5, 7], rhs: [2, 5]\" means that an `unsqueeze` is missing.";

pub(super) const PREVIOUS_TOKEN: &str = "**In a real model.** Head 3 of layer 0 of our small model attends mostly to the position itself, head 1 to the one before. As heat maps of their patterns, the first has a strong main diagonal. Which diagonal is strong in the second?";

pub(super) const THE_DIAGONAL: &str = "let model = HookedTransformer::from_pretrained(\"tiny\")?;
let (_logits, cache) = model.run_with_cache(\"When John and Mary went to the shops, John gave the bag to\")?;
let pattern = cache.get((\"pattern\", 0))?.get(0)?;
imshow(pattern.get(3)?).title(\"Layer 0, head 3\").x_label(\"key position\").y_label(\"query position\").show()?;
imshow(pattern.get(1)?).title(\"Layer 0, head 1\").x_label(\"key position\").y_label(\"query position\").show()?;";

pub(super) const LAYOUT: &str = "## Order in memory

A tensor is one list of numbers with a shape, the last axis running fastest. `reshape` gives the same list another shape: it can split one axis or join neighbours, and never changes the order. `transpose` and `permute` change the order of axes. A reshape in place of a transpose gives the right shape with the numbers mixed up, and nothing complains but the check.";

pub(super) const PRODUCTS: &str = "## Products

`matmul` multiplies the last two axes and wants all others equal. An error that begins with \"MatMulUnexpectedStriding\" means that a transposed tensor's numbers are not in order: put `.contiguous()?` after the transpose.

Beware of what is legal: with `q` and `k` as `[batch, pos, head, d_head]`, `q.matmul(&k.t()?)` runs without complaint and multiplies heads with heads. `einsum` names its axes, so the mistake cannot be written by accident.";

pub(super) const VECTORS: &str = "## Out of tensors and back

`to_vec1`, `to_vec2` and `to_vec3` turn small tensors into nested `Vec`s, for loops and sorting; `Tensor::from_vec(numbers, shape, &Device::Cpu)?` turns a `Vec` back. `x.item()?` is the number in a tensor that has only one.";

pub(super) const NUMBERS: &str = "## Numbers beside tensors

A number beside a tensor is an f64 whatever the tensor's dtype: `(x / 4.0)?`, `(x * n as f64)?`. With an f32, as in `x / (16f32).sqrt()`, the compiler says \"the trait bound `f32: Borrow<Tensor>` is not satisfied\".

An axis can be counted from the end: `x.sum_keepdim(D::Minus1)?` sums along the last one and keeps it with size 1, ready to be broadcast.

And one trap that no message points out. candle's `var` divides by n - 1, as an estimate from a sample does. Layer norm, in the next notebook, wants the mean of the squares: it divides by n.";

pub(super) const TWO_VARIANCES: &str = "let x = Tensor::new(&[1f32, 2., 3., 6.], &Device::Cpu)?;
let centred = x.broadcast_sub(&x.mean(0)?)?;
(x.var(0)?.item()?, centred.sqr()?.mean(0)?.item()?)";

pub(super) const END: &str = "## What you have now

With these ten you can write a transformer, which is what the next notebook asks for. From there on, use the prelude's words where it has them: `einsum`, `x.diagonal(-1)`, `x.masked_fill(&mask, value)`, `x.top_k(5)`, `x.at(&[0, -1])` for indices from the end, `softmax`, and `assert_close(&a, &b, 1e-5)`, which compares two tensors and says where they differ.";
