//! Which features point the same way, against loops.

use candle_lens::Result;
use candle_lens::prelude::*;

use super::made::{FEATURES, at, dot, every_kind, made, row, rows, times, tiny, transcoder, unprocessed, written};
use crate::support::sentence::sentence;
use crate::support::tolerance::REORDERED;

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn neighbours_have_the_largest_cosines() -> Result<()> {
    for dictionary in every_kind() {
        let all = rows(&dictionary.w_dec());
        let found = dictionary.neighbours(4, 5)?;
        let mut expected: Vec<(usize, f64)> =
            (0..FEATURES).filter(|&other| other != 4).map(|other| (other, cosine(&all[4], &all[other]))).collect();
        expected.sort_by(|a, b| b.1.total_cmp(&a.1));
        for (neighbour, (other, cosine)) in found.nearest.iter().zip(&expected) {
            assert_eq!((neighbour.feature, &neighbour.dictionary), (*other, &dictionary.name()), "{dictionary}");
            assert!((f64::from(neighbour.cosine) - cosine).abs() < f64::from(REORDERED), "{neighbour} {cosine}");
        }
        assert_eq!(found.nearest.len(), 5);
        assert_eq!(dictionary.neighbours(4, 1000)?.nearest.len(), FEATURES - 1);
    }
    Ok(())
}

#[test]
fn features_of_all_layers_are_compared_in_the_residual_stream() -> Result<()> {
    for model in [tiny(), unprocessed()] {
        let (all, z) = (every_kind(), made(2, at("z2"), |parts| parts));
        let from = written(&z.for_model(&model)?, &model, 6)?;
        let mut expected = Vec::new();
        for other in &all {
            for feature in (0..FEATURES).filter(|&feature| (other.name(), feature) != (z.name(), 6)) {
                let there = written(&other.for_model(&model)?, &model, feature)?;
                expected.push((other.name(), feature, cosine(&from, &there)));
            }
        }
        expected.sort_by(|a, b| b.2.total_cmp(&a.2));
        let found = model.feature_neighbours(&z, 6, &all, 6)?;
        for (neighbour, (name, feature, cosine)) in found.nearest.iter().zip(&expected) {
            assert_eq!((&neighbour.dictionary, neighbour.feature), (name, *feature));
            assert!((f64::from(neighbour.cosine) - cosine).abs() < f64::from(REORDERED), "{neighbour} {cosine}");
        }
    }
    Ok(())
}

#[test]
fn layers_share_features_that_point_the_same_way() -> Result<()> {
    let model = unprocessed();
    let (z, mlp) = (made(2, at("z2"), |parts| parts), made(3, transcoder(3), |parts| parts));
    // What each reads of the residual stream: the transcoder behind a norm that centres, z through W_V and the norm's weights.
    let columns = |dictionary: &Dictionary| rows(&dictionary.w_enc().t().unwrap().contiguous().unwrap());
    let (w_v, ln1) = (
        rows(&model.weight("blocks.2.attn.W_V")?.transpose(1, 2)?.flatten(0, 1)?),
        row(&model.weight("blocks.2.ln1.w")?),
    );
    let z_reads = |column: &Vec<f64>| {
        let read: Vec<f64> = times(column, &w_v).iter().zip(&ln1).map(|(x, w)| x * w).collect();
        super::made::less_mean(&read)
    };
    let reads_of_z: Vec<_> = columns(&z).iter().map(z_reads).collect();
    let reads_of_mlp: Vec<_> = columns(&mlp).iter().map(|column| super::made::less_mean(column)).collect();
    let writes = |dictionary: &Dictionary| {
        (0..FEATURES).map(|feature| written(dictionary, &model, feature)).collect::<Result<Vec<_>>>()
    };
    for (by, from, to) in [
        (FeatureDirections::Decoders, writes(&z)?, writes(&mlp)?),
        (FeatureDirections::Encoders, reads_of_z, reads_of_mlp.clone()),
        (FeatureDirections::DecoderToEncoder, writes(&z)?, reads_of_mlp),
    ] {
        let shared = model.shared_features(&z, &mlp, by)?;
        let mut sum = 0.;
        for (feature, found) in shared.features.iter().enumerate() {
            let cosines: Vec<f64> = to.iter().map(|other| cosine(&from[feature], other)).collect();
            let best = (0..FEATURES).max_by(|a, b| cosines[*a].total_cmp(&cosines[*b])).expect("features");
            assert_eq!((found.feature, found.other), (feature, best), "{by}");
            assert!((f64::from(found.cosine) - cosines[best]).abs() < f64::from(REORDERED), "{by}: {found}");
            sum += cosines[best];
        }
        assert!((shared.mean() - sum / FEATURES as f64).abs() < f64::from(REORDERED));
        assert_eq!(shared.top(1)[0].cosine, shared.features.iter().map(|shared| shared.cosine).fold(-1., f32::max));
    }
    let overlap = model.feature_overlap([&z, &mlp], FeatureDirections::Decoders)?;
    assert_eq!(overlap.shape(), [2, 2]);
    assert!((overlap.values()[[0, 0]] - 1.).abs() < REORDERED && (overlap.values()[[1, 1]] - 1.).abs() < REORDERED);
    let mean = model.shared_features(&z, &mlp, FeatureDirections::Decoders)?.mean() as f32;
    assert!((overlap.values()[[0, 1]] - mean).abs() < REORDERED);
    Ok(())
}

#[test]
fn mistakes_are_named() {
    let (model, z) = (tiny(), made(2, at("z2"), |parts| parts));
    sentence(z.neighbours(FEATURES, 3), &["feature", "40"]);
    sentence(model.feature_neighbours(&z, 0, Vec::<Dictionary>::new(), 3), &["no dictionary"]);
    let neurons = super::made::wide((9, 512, 8), at("post3"), |parts| parts);
    sentence(model.shared_features(&z, &neurons, FeatureDirections::Encoders), &["hook_post", "linear"]);
}
