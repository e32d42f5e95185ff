//! A byte-level BPE small enough to work out by hand.
//!
//! Ids follow GPT-2: 0 to 93 are the bytes "!" to "~", 220 is the space (written Ġ). Then come the merges
//! h+e (256), Ġ+t (257), Ġt+he (258), and <|endoftext|> (259).

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, PaddingParams};

pub const HE: u32 = 256;
pub const THE: u32 = 258;
pub const END: u32 = 259;

/// The id of an ASCII character that is not a space.
pub fn byte(c: char) -> u32 {
    c as u32 - '!' as u32
}

fn build() -> tokenizers::Tokenizer {
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let words = alphabet.iter().map(char::to_string).chain(["he", "Ġt", "Ġthe"].map(String::from));
    let vocab: Vocab = words.zip(0..).collect();
    let merges = [("h", "e"), ("Ġ", "t"), ("Ġt", "he")].map(|(a, b)| (a.to_string(), b.to_string())).to_vec();
    let bpe = BPE::builder().vocab_and_merges(vocab, merges).build().expect("the merges are in the vocabulary");
    let mut tokenizer = tokenizers::Tokenizer::new(bpe);
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    tokenizer.add_special_tokens([AddedToken::from("<|endoftext|>", true)]).expect("the token can be added");
    tokenizer
}

fn json(tokenizer: &tokenizers::Tokenizer) -> Vec<u8> {
    tokenizer.to_string(false).expect("a tokenizer is valid JSON").into_bytes()
}

/// The contents of its tokenizer.json.
pub fn small_json() -> Vec<u8> {
    json(&build())
}

/// The same with a post-processor that begins with the BOS, and padding and truncation to four tokens:
/// what a tokenizer.json may ask for by itself.
pub fn small_json_that_adds_its_own() -> Vec<u8> {
    let mut tokenizer = build();
    let template = TemplateProcessing::builder()
        .try_single("<|endoftext|> $A")
        .expect("the template is valid")
        .special_tokens(vec![("<|endoftext|>", END)])
        .build()
        .expect("the template knows its special token");
    tokenizer.with_post_processor(Some(template));
    tokenizer.with_padding(Some(PaddingParams::default()));
    let truncation = tokenizers::TruncationParams { max_length: 4, ..Default::default() };
    tokenizer.with_truncation(Some(truncation)).expect("four tokens leave room for the BOS");
    json(&tokenizer)
}

/// The tokenizer itself.
pub fn small() -> candle_lens::tokens::Tokenizer {
    candle_lens::tokens::Tokenizer::from_bytes(&small_json()).expect("the small tokenizer is valid")
}
