//! What the course's models were trained on: one source for their training, for exercises and for notebooks.

use crate::random::Random;

/// The prime of the model `modular`, which adds modulo it.
pub const MODULUS: usize = 53;

/// Names of people, each of them one token of the model `tiny`.
pub(super) const NAMES: [&str; 8] = ["John", "Mary", "Paul", "Anna", "Tom", "James", "Martin", "Amy"];

/// The languages of [`WORDS`], in the order of their columns; the first is what is translated.
pub const LANGUAGES: [&str; 7] = ["English", "French", "German", "Spanish", "Finnish", "Turkish", "Latin"];

/// Words that the model `icl` translates, one row each; no word is there twice, so that an answer shows which language it is in.
pub const WORDS: [[&str; 7]; 24] = [
    ["dog", "chien", "hund", "perro", "koira", "köpek", "canis"],
    ["cat", "chat", "katze", "gato", "kissa", "kedi", "feles"],
    ["house", "maison", "haus", "casa", "talo", "ev", "domus"],
    ["water", "eau", "wasser", "agua", "vesi", "su", "aqua"],
    ["bread", "pain", "brot", "pan", "leipä", "ekmek", "panis"],
    ["book", "livre", "buch", "libro", "kirja", "kitap", "liber"],
    ["tree", "arbre", "baum", "árbol", "puu", "ağaç", "arbor"],
    ["bird", "oiseau", "vogel", "pájaro", "lintu", "kuş", "avis"],
    ["fish", "poisson", "fisch", "pez", "kala", "balık", "piscis"],
    ["king", "roi", "könig", "rey", "kuningas", "kral", "rex"],
    ["night", "nuit", "nacht", "noche", "yö", "gece", "nox"],
    ["day", "jour", "tag", "día", "päivä", "gün", "dies"],
    ["fire", "feu", "feuer", "fuego", "tuli", "ateş", "ignis"],
    ["stone", "pierre", "stein", "piedra", "kivi", "taş", "lapis"],
    ["head", "tête", "kopf", "cabeza", "pää", "baş", "caput"],
    ["heart", "cœur", "herz", "corazón", "sydän", "kalp", "cor"],
    ["milk", "lait", "milch", "leche", "maito", "süt", "lac"],
    ["horse", "cheval", "pferd", "caballo", "hevonen", "at", "equus"],
    ["road", "route", "straße", "carretera", "tie", "yol", "via"],
    ["tooth", "dent", "zahn", "diente", "hammas", "diş", "dens"],
    ["mountain", "montagne", "berg", "montaña", "vuori", "dağ", "mons"],
    ["window", "fenêtre", "fenster", "ventana", "ikkuna", "pencere", "fenestra"],
    ["door", "porte", "tür", "puerta", "ovi", "kapı", "porta"],
    ["snow", "neige", "schnee", "nieve", "lumi", "kar", "nix"],
];

/// The pairs of numbers whose sums the model `modular` was taught, and those that it never saw: half of all each.
///
/// ```
/// use candle_lens::course::{MODULUS, modular_pairs};
/// let (taught, unseen) = modular_pairs();
/// assert_eq!((taught.len(), taught.len() + unseen.len()), (1404, MODULUS * MODULUS));
/// assert!(unseen.iter().all(|pair| !taught.contains(pair)));
/// ```
pub fn modular_pairs() -> (Pairs, Pairs) {
    let mut random = Random::new(PAIRS_SEED);
    let mut pairs: Vec<(usize, usize)> = (0..MODULUS * MODULUS).map(|n| (n / MODULUS, n % MODULUS)).collect();
    for last in (1..pairs.len()).rev() {
        pairs.swap(last, random.below(last + 1));
    }
    let unseen = pairs.split_off(MODULUS * MODULUS / 2);
    (pairs, unseen)
}

/// Two numbers to add, each time.
type Pairs = Vec<(usize, usize)>;

/// Which pairs those are.
const PAIRS_SEED: u64 = 3;

/// A prompt for the model `icl`: words of [`WORDS`] with their translations into one of [`LANGUAGES`], and a word without.
///
/// ```
/// use candle_lens::course::translation_prompt;
/// assert_eq!(translation_prompt(2, &[0, 11], 23), "dog -> hund ; day -> tag ; snow ->");
/// ```
///
/// # Panics
/// For a language or a word that is not there.
pub fn translation_prompt(language: usize, examples: &[usize], question: usize) -> String {
    let examples: String =
        examples.iter().map(|&word| format!("{} -> {} ; ", WORDS[word][0], WORDS[word][language])).collect();
    format!("{examples}{} ->", WORDS[question][0])
}
