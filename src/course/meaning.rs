//! What candle's errors mean, and what to write: a message about strides says little to someone who wanted an attention pattern.

/// Said of two messages each.
const ROOM: &str = "the shape has room for another count of numbers. Multiply its sizes, and compare with how many there are: reshape keeps all numbers of the tensor, from_vec those of the list.";
const MATMUL: &str = "matmul multiplies the last two axes, [.., m, k] with [.., k, n], and all axes before them must be equal. Move the axes with transpose or permute, stretch with broadcast_matmul, or name the axes in einsum.";
const BROADCAST: &str = "axes are compared from the last one backwards (in broadcast_matmul from the third last one), and each pair must be equal or have a 1. unsqueeze(axis)? makes an axis of size 1 where one is missing, and sum_keepdim or mean_keepdim leaves one.";

/// What a message of candle contains, and what it means; the first that fits.
const MEANINGS: [(&str, &str); 23] = [
    (
        "MatMulUnexpectedStriding",
        "matmul wants the numbers of its factors in order, and after transpose, permute, t or an index they are not. Write .contiguous()? behind that operation, as in k.transpose(2, 3)?.contiguous()?.",
    ),
    (
        "only supports contiguous tensors",
        "the tensor's numbers are not in order, as after transpose, permute, narrow or an index. Write .contiguous()? behind that operation: x.t()?.contiguous()?.",
    ),
    (
        "shape mismatch in gather",
        "gather wants an index with as many axes as the tensor, and takes one number for each number of the index. Write ids.unsqueeze(axis)? for the index, and squeeze(axis)? behind gather.",
    ),
    ("shape mismatch in matmul", MATMUL),
    (
        "shape mismatch in where",
        "where_cond wants one shape for the mask and both choices. Write mask.broadcast_as(x.shape())? first.",
    ),
    ("shape mismatch in reshape", ROOM),
    (
        "shape mismatch in cat",
        "the tensors differ in an axis along which they are not joined. Tensor::cat joins along an axis that they have, and all others must be equal; Tensor::stack makes a new axis, and wants equal shapes.",
    ),
    (
        "shape mismatch in index-select",
        "index_select takes one list of indices, with one axis: flatten_all()? makes one. For an index of its own at each place use gather.",
    ),
    ("shape mismatch in broadcast", BROADCAST),
    ("different inner dimensions", MATMUL),
    (
        "shape mismatch in",
        "+ - * / want equal shapes and stretch nothing. Write broadcast_add, broadcast_sub, broadcast_mul or broadcast_div; they compare the axes from the last one backwards, and each pair must be equal or have a 1. unsqueeze(axis)? makes an axis of size 1, and sum_keepdim or mean_keepdim leaves one.",
    ),
    ("cannot broadcast", BROADCAST),
    (
        "for op where",
        "a mask is made of whole numbers, and this one has floats. Comparisons (gt, eq, broadcast_ge) give u8; to_dtype(DType::U8)? converts.",
    ),
    (
        "unsupported dtype",
        "the operation does not know numbers of this dtype: comparisons give u8 and argmax u32, which have no mean and no exp. Write to_dtype(DType::F32)? first; indices are the other way round, u32.",
    ),
    (
        "nary function for ",
        "the operation does not know numbers of this dtype: comparisons give u8 and argmax u32, which have no exp and no log. Write to_dtype(DType::F32)? first.",
    ),
    (
        "dtype mismatch in",
        "both tensors must have one dtype: comparisons give u8, argmax and token ids are u32. Write to_dtype(DType::F32)? for the one that is not f32.",
    ),
    (
        "unexpected dtype",
        "the numbers are of another dtype than was asked for: to_vec1::<u32>() and to_scalar::<u32>() for indices and argmax, ::<u8>() for masks, ::<f32>() for the rest.",
    ),
    (
        "unexpected rank",
        "the tensor has another number of axes than the call wants: dims3 and to_vec3 want three, to_scalar none. squeeze(axis)?, get(0)? or i(..)? takes an axis away, flatten_all()? all but one.",
    ),
    (
        "out of range for shape",
        "the tensor has no such axis. They are counted from 0, D::Minus1 is the last, and each sum, mean, squeeze or whole number in i(..) takes one away.",
    ),
    (
        "narrow invalid args",
        "narrow(axis, start, length) takes a length and no end: start and length together may not be more than the axis has. get(n) and a whole number n in i(..) take one entry, and n is below the size of the axis: entries count from 0.",
    ),
    ("invalid index", "an index is not below the size of its axis. Indices count from 0."),
    ("expects at least one tensor", "the list of tensors is empty: nothing was pushed before stack or cat."),
    ("Shape mismatch, got buffer", ROOM),
];

/// What an error of candle means, if it is one that is explained here.
pub(super) fn meaning(error: &str) -> Option<&'static str> {
    MEANINGS.iter().find(|(sign, _)| error.contains(sign)).map(|(_, meaning)| *meaning)
}
