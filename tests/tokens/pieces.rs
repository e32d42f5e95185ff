//! How single tokens are shown and found: spaces that vocabularies write as `▁`, parts of characters, ids without a token.

use candle_lens::Result;
use candle_lens::tokens::{Bos, Occurrence, Tokenizer};

use crate::support::fixture::path;
use crate::support::sentence::sentence;
use crate::support::tokenizer::{HE, small};

/// Byte-level and SentencePiece-like tokenizers of tests/fixtures/tokenizers.py.
const KINDS: [&str; 6] = ["gpt2", "opt", "qwen", "llama2", "mistral", "gemma"];
const SPACES: [&str; 3] = ["llama2", "mistral", "gemma"];

fn kind(name: &str) -> Result<Tokenizer> {
    Tokenizer::from_file(path(&format!("tokenizers/{name}.json")))
}

/// The bytes that pieces represent: `⟨e6⟩` is a byte, anything else is itself.
fn bytes(pieces: &[String]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in pieces {
        for part in piece.split_inclusive('⟩') {
            let byte = part.strip_suffix('⟩').and_then(|part| part.split_once('⟨'));
            match byte {
                Some((before, digits)) => {
                    bytes.extend(before.as_bytes());
                    bytes.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
                }
                None => bytes.extend(part.as_bytes()),
            }
        }
    }
    bytes
}

#[test]
fn pieces_concatenate_to_the_text() -> Result<()> {
    for name in KINDS {
        let tokenizer = kind(name)?;
        for text in ["When John and Mary went", "naïve 日本", "שלום 🤗", "the\n\tbag", "a  b"] {
            let pieces = tokenizer.to_str_tokens_with(text, Bos::Omit)?;
            assert!(!pieces.iter().any(|piece| piece.contains('\u{fffd}') || piece.is_empty()), "{name}: {pieces:?}");
            // Llama's and Mistral's tokenizers put a space before a text, which belongs to its first token.
            let before = if ["llama2", "mistral"].contains(&name) { " " } else { "" };
            assert_eq!(bytes(&pieces), format!("{before}{text}").into_bytes(), "{name}: {pieces:?}");
            assert_eq!(tokenizer.to_string(tokenizer.to_tokens_with(text, Bos::Omit)?.row(0))?, text, "{name}");
        }
    }
    Ok(())
}

#[test]
fn parts_of_a_character_are_distinguished() -> Result<()> {
    for name in KINDS {
        let pieces = kind(name)?.to_str_tokens_with("a日", Bos::Omit)?;
        assert_eq!(pieces[pieces.len() - 3..], ["⟨e6⟩", "⟨97⟩", "⟨a5⟩"], "{name}");
    }
    Ok(())
}

#[test]
fn spaces_belong_to_their_tokens() -> Result<()> {
    for name in SPACES {
        let tokenizer = kind(name)?;
        let pieces = tokenizer.to_str_tokens_with("When John and Mary went", Bos::Omit)?;
        assert_eq!(pieces[pieces.len() - 4..], [" John", " and", " Mary", " went"], "{name}");
    }
    Ok(())
}

/// What is displayed can be looked up: each ordinary token is found by its own text.
#[test]
fn a_token_is_found_by_its_displayed_text() -> Result<()> {
    for name in KINDS {
        let tokenizer = kind(name)?;
        let (mut checked, mut spaced) = (0, 0);
        for id in 0..tokenizer.vocab_size() as u32 {
            let text = tokenizer.to_single_str_token(id)?;
            // A byte is not a text, and two tokens of a byte may show one letter.
            if text.contains('⟨') || text.starts_with('<') || text.trim().len() < 2 {
                continue;
            }
            // Some merges are out of reach: other merges, or the splitting, come first in a text.
            if let [found] = tokenizer.continuation(&text)?[..] {
                assert_eq!((tokenizer.to_single_token(&text)?, found), (id, id), "{name}: {text:?}");
                checked += 1;
                spaced += usize::from(text.starts_with(' '));
            }
        }
        assert!(checked > 30 && spaced > 10, "{name}: {checked}, {spaced} of them with a space");
    }
    Ok(())
}

#[test]
fn with_its_space_and_without_are_two_tokens() -> Result<()> {
    for name in SPACES {
        let tokenizer = kind(name)?;
        let (spaced, bare) = (tokenizer.to_single_token(" bag")?, tokenizer.to_single_token("bag")?);
        assert_ne!(spaced, bare, "{name}");
        assert_eq!((tokenizer.piece(spaced), tokenizer.piece(bare)), (" bag".into(), "bag".into()), "{name}");
        // A word that is not a token without its space means the one with it, as at the beginning of a text.
        let children = tokenizer.to_single_token(" children")?;
        if name != "gemma" {
            assert_eq!(tokenizer.to_single_token("children")?, children, "{name}");
        }
        assert_eq!(tokenizer.to_single_token("\n")?, tokenizer.continuation("\n")?[0], "{name}: a byte");
        assert_eq!(tokenizer.continuation(" Mary went")?.len(), 2, "{name}");
        let text = "bag and bag";
        let at = |token: &str, which| tokenizer.get_token_position(token, text, which);
        assert_eq!(at(" bag", Occurrence::Last)?, 3, "{name}: BOS, bag, and, bag");
        assert_eq!(at("bag", Occurrence::First)?, 1, "{name}");
        sentence(tokenizer.get_token_position(" gave", text, Occurrence::First), &["does not occur", "\" bag\""]);
    }
    Ok(())
}

#[test]
fn an_id_without_a_token_is_shown_by_its_number() -> Result<()> {
    let tokenizer = small();
    assert_eq!(tokenizer.piece(50277), "⟨50277⟩");
    assert_eq!(tokenizer.to_single_str_token(50277)?, "⟨50277⟩");
    assert_eq!(tokenizer.to_string([50277, HE, HE, 60000, 50277])?, "⟨50277⟩hehe⟨60000⟩⟨50277⟩");
    assert_eq!(tokenizer.to_str_tokens(vec![HE, 50277])?, ["he", "⟨50277⟩"]);
    // After such an id the space is kept that a decoder removes from the beginning of a text.
    let llama = kind("llama2")?;
    let went = llama.to_single_token(" went")?;
    assert_eq!(llama.to_string([went, 5000, went])?, "went⟨5000⟩ went");
    Ok(())
}
