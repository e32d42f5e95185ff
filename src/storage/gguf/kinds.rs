//! The types that tensors have in GGUF files, by their number there.
//!
//! Reference: ggml's `enum ggml_type` and the sizes in PyPI's `gguf.constants`.

use candle_core::DType;
use candle_core::quantized::GgmlDType;

/// How the numbers of a tensor are stored.
pub(super) enum Kind {
    /// One by one.
    Plain(DType),
    /// In blocks that share a scale.
    Blocks(GgmlDType),
    /// In a way that candle does not read: its name.
    Unread(&'static str),
}

/// The type of this number; `None` for one that ggml does not have.
pub(super) fn of(number: u32) -> Option<Kind> {
    Some(match number {
        0 => Kind::Plain(DType::F32),
        1 => Kind::Plain(DType::F16),
        30 => Kind::Plain(DType::BF16),
        28 => Kind::Plain(DType::F64),
        25 => Kind::Plain(DType::I16),
        26 => Kind::Plain(DType::I32),
        27 => Kind::Plain(DType::I64),
        2 => Kind::Blocks(GgmlDType::Q4_0),
        3 => Kind::Blocks(GgmlDType::Q4_1),
        6 => Kind::Blocks(GgmlDType::Q5_0),
        7 => Kind::Blocks(GgmlDType::Q5_1),
        8 => Kind::Blocks(GgmlDType::Q8_0),
        10 => Kind::Blocks(GgmlDType::Q2K),
        11 => Kind::Blocks(GgmlDType::Q3K),
        12 => Kind::Blocks(GgmlDType::Q4K),
        13 => Kind::Blocks(GgmlDType::Q5K),
        14 => Kind::Blocks(GgmlDType::Q6K),
        _ => Kind::Unread(unread(number)?),
    })
}

/// The name of a type that is not read. Those that ggml has removed keep their numbers.
fn unread(number: u32) -> Option<&'static str> {
    const NAMES: [(u32, &str); 25] = [
        (4, "Q4_2"),
        (5, "Q4_3"),
        (9, "Q8_1"),
        (15, "Q8_K"),
        (16, "IQ2_XXS"),
        (17, "IQ2_XS"),
        (18, "IQ3_XXS"),
        (19, "IQ1_S"),
        (20, "IQ4_NL"),
        (21, "IQ3_S"),
        (22, "IQ2_S"),
        (23, "IQ4_XS"),
        (24, "I8"),
        (29, "IQ1_M"),
        (31, "Q4_0_4_4"),
        (32, "Q4_0_4_8"),
        (33, "Q4_0_8_8"),
        (34, "TQ1_0"),
        (35, "TQ2_0"),
        (36, "IQ4_NL_4_4"),
        (37, "IQ4_NL_4_8"),
        (38, "IQ4_NL_8_8"),
        (39, "MXFP4"),
        (40, "NVFP4"),
        (41, "Q1_0"),
    ];
    NAMES.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}
