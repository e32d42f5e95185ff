//! PyTorch's words and ours, for the notebooks in which much tensor code is written.

/// A cell of text; `tests/course/tensors.rs` runs its right-hand column.
pub(super) const TABLE: &str = "If you come from PyTorch:

| PyTorch | here |
|---|---|
| `b, p, v = x.shape` | `let (b, p, v) = x.dims3()?;` |
| `x.argmax(-1)` as numbers | `x.argmax(D::Minus1)?.to_vec2::<u32>()?` |
| `x / 2.5` | `(x / 2.5)?`, where the number is an `f64` |
| `x / scale`, of other shapes | `x.broadcast_div(&scale)?`: `+ - * /` stretch nothing |
| `x.mean().item()` | `x.mean_all()?.item()?` |
| `x[0, :, 1:]`, `x[:, -1]` | `x.i((0, .., 1..))?`, `x.i((.., x.dim(1)? - 1))?` |
| `x[0, -1]`, one number `x[0, -1, 3]` | `x.at(&[0, -1])?`, `x.at(&[0, -1, 3])?.item()?` |
| `w[:, ids]`, with `ids` a list of ids | `w.index_select(&Tensor::new(ids, w.device())?, 1)?` |
| `x.gather(-1, ids)` | `x.gather(&ids, D::Minus1)?`: `x` contiguous, `ids` of u32 with as many axes |
| `einsum(\"bqhd,bkhd->bhqk\", q, k)` | `einsum(\"b q h d, b k h d -> b h q k\", &[q, k])?` |
| `q @ k.transpose(-1, -2)` | `q.matmul(&k.t()?.contiguous()?)?` |
| `x.masked_fill(mask, -inf)` | `x.masked_fill(&mask, f32::NEG_INFINITY)?`: where the mask is 1, the number is replaced |
| `x.softmax(-1)`, `x.diagonal(-1, -2, -1)` | `softmax(&x)?`, `x.diagonal(-1)?` |
| `x.topk(k)`, as lists | `let (values, indices) = x.top_k(k)?;`, `indices.to_vec1::<u32>()?`, the largest first |
| `torch.stack(xs)`, `torch.cat(xs, 1)` | `Tensor::stack(&xs, 0)?` makes a new axis, `Tensor::cat(&xs, 1)?` joins along one that is there |
| `torch.tensor(list).view(a, b)` | `Tensor::from_vec(list, (a, b), &Device::Cpu)?` |
| `return x.mean(0)` | `Ok(x.mean(0)?)`: candle's calls end with `?`, and the answer is wrapped in `Ok` |";
