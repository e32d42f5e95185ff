//! How byte-level tokenizers split a text before they merge, by the names that converters give the original tokenizers.

use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

use crate::tokens::bpe_files::QWEN;

/// What splits the pieces of a text further.
#[derive(Clone, Copy)]
enum Step {
    /// Each match becomes a piece, and so does what is between them.
    Regex(&'static str),
    /// Each digit becomes a piece.
    EachDigit,
    /// Each run of digits becomes a piece.
    Digits,
    /// Each run of punctuation becomes a piece.
    Punctuation,
    /// GPT-2's own pieces, and a letter for each byte.
    Gpt2,
    /// A letter for each byte.
    Bytes,
}

/// What an original tokenizer does before it merges, and what else follows from its name.
pub(super) struct Splitter {
    names: &'static [&'static str],
    steps: &'static [Step],
    /// Whether letters and their accents become one character before anything else (NFC).
    pub composed: bool,
    /// Whether a piece that is a token is taken whole, even if no merges lead to it.
    pub whole_words: bool,
    /// llama.cpp's default for those that it knows to need a BOS; `None` leaves it to the model's family.
    pub prepend_bos: Option<bool>,
    /// Python's class of the tokenizer, where it decides which special tokens there are.
    pub class: Option<&'static str>,
}

/// What most of them share.
const USUAL: Splitter =
    Splitter { names: &[], steps: &[], composed: false, whole_words: false, prepend_bos: None, class: None };

const CL100K: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const QWEN_35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Runs of letters with two cases, as DeepSeek lists them. Letters that look like others are given by their code points.
const CASED: &str = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\x{1f7d}ᾀ-ᾴᾶ-ᾼ\x{1fbe}ῂ-ῄῆ-ῌῐ-\x{1fd3}ῖ-\x{1fdb}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\x{2126}ℨ\x{212a}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";

/// Punctuation of several scripts ends a piece.
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";

const DEEPSEEK_LLM: [Step; 7] = [
    Step::Regex(r"[\r\n]"),
    Step::Regex(CASED),
    Step::Regex(r"\s?[!-/:-~！-／：-～‘-‟\x{3000}-。]+"),
    Step::Regex(r"\s+$"),
    Step::Regex(r"[一-龥ࠀ-一가-\x{d7ff}]+"),
    Step::EachDigit,
    Step::Bytes,
];

const DEEPSEEK_CODER: [Step; 6] = [
    Step::Regex(r"[\r\n]"),
    Step::Regex(r"\s?\p{L}+"),
    Step::Regex(r"\s?\p{P}+"),
    Step::Regex(r"[一-龥ࠀ-一가-\x{d7ff}]+"),
    Step::EachDigit,
    Step::Bytes,
];

const DEEPSEEK_V3: [Step; 4] = [
    Step::Regex(r"\p{N}{1,3}"),
    Step::Regex(r"[一-龥\x{3040}-ゟ゠-ヿ]+"),
    Step::Regex(
        r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
    ),
    Step::Bytes,
];

/// All that are supported. llama.cpp treats some other names like one of these; they are left out because their originals were
/// not checked.
static SPLITTERS: [Splitter; 16] = [
    Splitter { names: &["gpt-2", "phi-2"], steps: &[Step::Gpt2], ..USUAL },
    Splitter { names: &["olmo", "mpt"], steps: &[Step::Gpt2], composed: true, ..USUAL },
    Splitter { names: &["smollm", "starcoder", "refact"], steps: &[Step::EachDigit, Step::Gpt2], ..USUAL },
    Splitter { names: &["command-r"], steps: &[Step::EachDigit, Step::Gpt2], composed: true, ..USUAL },
    Splitter {
        names: &["llama-bpe", "llama3", "llama-v3"],
        steps: &[Step::Regex(CL100K), Step::Bytes],
        whole_words: true,
        prepend_bos: Some(true),
        ..USUAL
    },
    Splitter { names: &["dbrx"], steps: &[Step::Regex(CL100K), Step::Bytes], ..USUAL },
    Splitter {
        names: &["qwen2"],
        steps: &[Step::Regex(QWEN), Step::Bytes],
        composed: true,
        class: Some("Qwen2Tokenizer"),
        ..USUAL
    },
    Splitter { names: &["stablelm2"], steps: &[Step::Regex(QWEN), Step::Bytes], composed: true, ..USUAL },
    Splitter {
        names: &["qwen35"],
        steps: &[Step::Regex(QWEN_35), Step::Bytes],
        composed: true,
        class: Some("Qwen2Tokenizer"),
        ..USUAL
    },
    Splitter {
        names: &["tekken"],
        steps: &[Step::Regex(TEKKEN), Step::Bytes],
        whole_words: true,
        prepend_bos: Some(true),
        ..USUAL
    },
    Splitter { names: &["gpt-4o"], steps: &[Step::Regex(O200K), Step::Bytes], ..USUAL },
    Splitter { names: &["deepseek-llm"], steps: &DEEPSEEK_LLM, ..USUAL },
    Splitter { names: &["deepseek-coder"], steps: &DEEPSEEK_CODER, ..USUAL },
    Splitter { names: &["deepseek-v3"], steps: &DEEPSEEK_V3, ..USUAL },
    // The last steps see letters that stand for bytes, as in the original.
    Splitter {
        names: &["falcon"],
        steps: &[Step::Punctuation, Step::Gpt2, Step::Digits, Step::Regex("[0-9][0-9][0-9]")],
        ..USUAL
    },
    Splitter { names: &["bloom"], steps: &[Step::Regex(BLOOM), Step::Bytes], ..USUAL },
];

/// The splitter of this name.
pub(super) fn named(name: &str) -> Option<&'static Splitter> {
    SPLITTERS.iter().find(|splitter| splitter.names.contains(&name))
}

/// What all models of an architecture do, for files that do not name it.
pub(super) fn of_architecture(architecture: &str) -> Option<&'static Splitter> {
    named(match architecture {
        "gpt2" => "gpt-2",
        "phi2" => "phi-2",
        "gptneox" => "olmo",
        "qwen2" | "qwen3" => "qwen2",
        _ => return None,
    })
}

/// The names, for a message.
pub(super) fn names() -> String {
    SPLITTERS.iter().flat_map(|splitter| splitter.names).copied().collect::<Vec<_>>().join(", ")
}

impl Splitter {
    pub fn pre_tokenizer(&self) -> tokenizers::Result<Sequence> {
        let steps = self.steps.iter().map(|step| step.pre_tokenizer());
        Ok(Sequence::new(steps.collect::<tokenizers::Result<_>>()?))
    }
}

impl Step {
    fn pre_tokenizer(self) -> tokenizers::Result<PreTokenizerWrapper> {
        Ok(match self {
            Self::Regex(regex) => {
                Split::new(SplitPattern::Regex(regex.into()), SplitDelimiterBehavior::Isolated, false)?.into()
            }
            Self::EachDigit => Digits::new(true).into(),
            Self::Digits => Digits::new(false).into(),
            Self::Punctuation => Punctuation::new(SplitDelimiterBehavior::Contiguous).into(),
            Self::Gpt2 => ByteLevel::new(false, true, true).into(),
            Self::Bytes => ByteLevel::new(false, true, false).into(),
        })
    }
}
