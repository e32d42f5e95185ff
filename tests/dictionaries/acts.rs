//! What is read of sparse activations, against loops over the dense tensor.

use candle_lens::candle::{Device, Tensor};
use candle_lens::dictionaries::{FeatureAct, FeatureActs};
use candle_lens::random::Random;
use candle_lens::{Error, Result};

const F: usize = 6;

/// Values of one batch, of which about a third are not 0, some of them equal or negative.
fn dense(seed: u64, batch: usize) -> Result<(Tensor, FeatureActs)> {
    let mut random = Random::new(seed);
    let value = |_| if random.chance(0.35) { random.below(7) as f32 - 3. } else { 0. };
    let numbers: Vec<f32> = (0..batch * 4 * F).map(value).collect();
    let tensor = Tensor::from_vec(numbers, (batch, 4, F), &Device::Cpu)?;
    let acts = FeatureActs::from_dense(&tensor)?;
    Ok((tensor, acts))
}

/// Everything that is not 0, by loops.
fn all(tensor: &Tensor) -> Result<Vec<FeatureAct>> {
    let mut found = Vec::new();
    for (b, rows) in tensor.to_vec3::<f32>()?.into_iter().enumerate() {
        for (p, row) in rows.into_iter().enumerate() {
            for (feature, value) in row.into_iter().enumerate().filter(|(_, value)| *value != 0.) {
                found.push(FeatureAct { index: vec![b, p], feature, value });
            }
        }
    }
    Ok(found)
}

#[test]
fn positions_features_and_rows_are_those_of_the_dense_tensor() -> Result<()> {
    let (tensor, acts) = dense(1, 3)?;
    let expected = all(&tensor)?;
    assert_eq!(acts.rows().flatten().collect::<Vec<_>>(), expected);
    assert_eq!(acts.rows().count(), 12);
    for feature in 0..F {
        let of_feature: Vec<_> = expected.iter().filter(|act| act.feature == feature).cloned().collect();
        assert_eq!(acts.counts()[feature], of_feature.len());
        assert_eq!(acts.feature(feature)?, of_feature);
    }
    for (b, p) in [(0, 0), (1, 3), (2, 2)] {
        let mut here: Vec<_> = expected.iter().filter(|act| act.index == [b, p]).cloned().collect();
        here.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()));
        assert_eq!(acts.at([b as isize, p as isize])?, here);
        assert_eq!(acts.at([b as isize - 3, p as isize - 4])?, here, "from the end");
    }
    Ok(())
}

#[test]
fn the_strongest_come_first() -> Result<()> {
    let (tensor, acts) = dense(2, 3)?;
    let mut expected = all(&tensor)?;
    // Stable: of equal ones the first.
    expected.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()));
    for k in [0, 1, 5, expected.len(), 1000] {
        assert_eq!(acts.top(k), expected[..k.min(expected.len())], "{k}");
    }
    Ok(())
}

#[test]
fn parts_and_unions_are_those_of_the_dense_tensor() -> Result<()> {
    let ((a, of_a), (b, of_b)) = (dense(3, 2)?, dense(4, 3)?);
    let joined = FeatureActs::concat([of_a.clone(), of_b.clone()])?;
    assert!(joined == FeatureActs::from_dense(&Tensor::cat(&[&a, &b], 0)?)?);
    let picked = joined.select([4, 0, 0])?;
    let index = Tensor::new(&[4u32, 0, 0], &Device::Cpu)?;
    assert!(picked == FeatureActs::from_dense(&joined.dense()?.index_select(&index, 0)?)?);
    let only = joined.only([1, 5])?;
    let mask = Tensor::new(&[0f32, 1., 0., 0., 0., 1.], &Device::Cpu)?;
    assert!(only == FeatureActs::from_dense(&joined.dense()?.broadcast_mul(&mask)?)?);
    assert_eq!(joined.select([])?.shape(), [0, 4]);
    Ok(())
}

#[test]
fn what_is_not_there_is_named() -> Result<()> {
    let (_, acts) = dense(5, 2)?;
    assert!(matches!(acts.feature(F), Err(Error::IndexOutOfRange { axis: "feature", .. })));
    assert!(matches!(acts.only([0, 9]), Err(Error::IndexOutOfRange { .. })));
    assert!(matches!(acts.at([0, 4]), Err(Error::IndexOutOfRange { .. })));
    assert!(matches!(acts.select([2]), Err(Error::IndexOutOfRange { .. })));
    let message = acts.at([0]).expect_err("one index").to_string();
    assert!(message.contains("1 indices") && message.contains("[2, 4]"), "{message}");
    let (_, narrow) = (0, FeatureActs::from_rows(&[1, 4], F + 1, &vec![vec![]; 4])?);
    assert!(matches!(FeatureActs::concat([acts.clone(), narrow]), Err(Error::Shape { .. })));
    assert!(FeatureActs::concat([]).is_err());
    for rows in [vec![vec![(9, 1.)]], vec![vec![(2, 1.), (2, 1.)]], vec![vec![(2, 1.), (1, 1.)]], vec![]] {
        assert!(FeatureActs::from_rows(&[1], F, &rows).is_err(), "{rows:?}");
    }
    Ok(())
}
