//! The course's small models are those that their cards describe, and do what these claim.

use std::fs;
use std::path::{Path, PathBuf};

use candle_lens::prelude::*;

use crate::claims::{CLAIMS, table};

/// Cards have three decimals, and the rounding of another processor may decide one of a hundred tokens otherwise.
const PRINTED: f64 = 0.011;

/// Losses near 0 are sums over a few tokens that are hard, and may not double unseen.
const OF_SMALL: f64 = 0.3;

/// What a model of the course may add to the crate.
const MOST_BYTES: u64 = 400_000;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/storage").join(name)
}

/// With `UPDATE_MODEL_CARD=1` the tables are printed instead, to be put into the cards.
#[test]
fn cards_say_what_the_models_do() -> Result<()> {
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_string()).collect::<Vec<_>>();
    for (name, measure) in CLAIMS {
        let model = HookedTransformer::from_pretrained_no_processing(name)?;
        let (measured, crc32) = (measure(&model)?, model.provenance().crc32.expect("weights that were read"));
        if std::env::var_os("UPDATE_MODEL_CARD").is_some() {
            println!("{name}, CRC-32 {crc32}\n{}", table(&measured));
            continue;
        }
        let card = fs::read_to_string(folder(name).join("README.md")).expect("a card");
        assert!(card.contains(&crc32), "the card of {name} is not of weights whose CRC-32 is {crc32}");
        for (what, value) in measured {
            let row = card.lines().map(cells).find(|row| row.get(1) == Some(&what));
            let printed = row.and_then(|row| row.get(2)?.parse::<f64>().ok());
            let printed = printed.unwrap_or_else(|| panic!("the card of {name} has no number for {what:?}"));
            let allowed = PRINTED.min((OF_SMALL * printed.abs()).max(0.001));
            assert!((printed - value).abs() < allowed, "the card of {name}: {what} is {value}, not {printed}");
        }
    }
    Ok(())
}

#[test]
fn models_of_the_course_are_embedded_named_and_small() -> Result<()> {
    let unknown = HookedTransformer::from_pretrained("no such model").expect_err("an unknown name").to_string();
    for (name, _) in CLAIMS {
        assert!(unknown.contains(&format!("{name:?}")), "{unknown}");
        let model = HookedTransformer::from_pretrained(name)?;
        assert_eq!(
            (model.provenance().model, model.provenance().source),
            (name.to_string(), "embedded in candle-lens".to_string())
        );
        let files = fs::read_dir(folder(name)).expect("a folder").map(|entry| entry.expect("a file").metadata());
        let bytes: u64 = files.map(|data| data.expect("its size").len()).sum();
        assert!(bytes < MOST_BYTES, "{name} has {bytes} bytes");
    }
    Ok(())
}
