//! Built-in scores of every head: how much it attends to the previous, the first and the same token.

use ndarray::{Array3, ArrayView2, Axis as NdAxis};

use crate::error::Result;
use crate::views::page::View;
use crate::views::table::{Cell, Table};
use crate::views::widget::samples::most;

/// The scores of every head from its finite numbers, in the order in which the reader finds them.
pub(super) fn usual_scores(values: &Array3<f32>) -> Vec<(String, Vec<f32>)> {
    let positions = values.dim().1;
    let mean = |head: ArrayView2<f32>, from: usize, src: &dyn Fn(usize) -> usize| {
        let values = || (from..positions).map(|dest| head[[dest, src(dest)]]).filter(|value| value.is_finite());
        values().sum::<f32>() / values().count().max(1) as f32
    };
    let score = |name: &str, of: &dyn Fn(ArrayView2<f32>) -> f32| {
        (name.to_owned(), values.axis_iter(NdAxis(0)).map(of).collect::<Vec<f32>>())
    };
    vec![
        score("previous token", &|head| mean(head, 1, &|dest| dest - 1)),
        score("first token", &|head| mean(head, 1, &|_| 0)),
        score("same token", &|head| mean(head, 0, &|dest| dest)),
        score("largest value", &|head| most(head.iter())),
    ]
}

/// The heads and their scores, for a terminal.
pub(super) fn table(names: &[String], scores: &[(String, Vec<f32>)]) -> Result<String> {
    let columns = ["head"].into_iter().chain(scores.iter().map(|(name, _)| name.as_str()));
    let table = names.iter().enumerate().fold(Table::new(columns), |table, (i, name)| {
        let cells = scores.iter().map(|(_, values)| values[i].into());
        table.row([name.into()].into_iter().chain(cells).collect::<Vec<Cell>>())
    });
    Ok(table.render()?.text().to_owned())
}
