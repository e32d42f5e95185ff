//! How bare numbers are shown: candle's tensors, ndarray's arrays, Rust's numbers. Each says its shape and
//! type, its range and mean, how many are not finite, and a corner; a matrix is drawn as well.

use candle_core::{DType, Device, Tensor};
use ndarray::{Array2, ArrayBase, Axis as NdAxis, Data, Dimension};

use crate::error::{Context, Result};
use crate::views::figure::imshow;
use crate::views::html::Html;
use crate::views::number::{column, number};
use crate::views::page::{Rendered, View};
use crate::views::source::Number;
use crate::views::table::Table;

/// How many rows and columns of a corner are written.
const CORNER: usize = 6;
/// How many rows and columns a drawing has at most; of more, means of blocks are drawn.
const DRAWN: usize = 32;
/// How many numbers of a tensor are read at once.
const AT_ONCE: usize = 1 << 20;
/// The most numbers of a list that are written out.
const LISTED: usize = 64;

impl View for Tensor {
    fn render(&self) -> Result<Rendered> {
        let mut digest = Digest::new(self.dims());
        let here = self.to_device(&Device::Cpu).context("fetching a tensor to show it")?;
        let (rows, length) = match self.dims() {
            [rows, rest @ ..] if !rest.is_empty() => (*rows, rest.iter().product()),
            _ => (1, self.elem_count()),
        };
        // A few rows at a time, so that not all numbers are copied at once.
        let at_once = (AT_ONCE / length.max(1)).max(1);
        for first in (0..rows).step_by(at_once) {
            let part = match self.rank() {
                0 | 1 => Ok(here.clone()),
                _ => here.narrow(0, first, at_once.min(rows - first)),
            };
            let values = part.and_then(|part| part.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>());
            let values = values.context("reading a tensor to show it")?;
            values.chunks(length.max(1)).enumerate().for_each(|(i, row)| digest.add(first + i, row));
        }
        let place = format!("{:?}", self.device().location());
        digest.render(&format!("Tensor {:?} {} on {place}", self.dims(), self.dtype().as_str()))
    }
}

impl<T: Number, S: Data<Elem = T>, D: Dimension> View for ArrayBase<S, D> {
    fn render(&self) -> Result<Rendered> {
        let values = self.view().into_dyn();
        let mut digest = Digest::new(values.shape());
        if values.ndim() < 2 {
            digest.add(0, &values.iter().map(|value| value.to_f64()).collect::<Vec<_>>());
        } else {
            for (row, part) in values.axis_iter(NdAxis(0)).enumerate() {
                digest.add(row, &part.iter().map(|value| value.to_f64()).collect::<Vec<_>>());
            }
        }
        digest.render(&format!("Array {:?} {}", values.shape(), std::any::type_name::<T>()))
    }
}

macro_rules! shown_numbers {
    ($($number:ty),+) => {$(
        impl View for $number {
            fn render(&self) -> Result<Rendered> {
                Html::escaped(&self.to_string()).render()
            }

            fn render_list(list: &[Self]) -> Result<Rendered> {
                if list.len() <= LISTED {
                    return Html::escaped(&format!("{list:?}")).render();
                }
                let mut digest = Digest::new(&[list.len()]);
                digest.add(0, &list.iter().map(|&value| value as f64).collect::<Vec<_>>());
                digest.render(&format!("{} numbers {}", list.len(), stringify!($number)))
            }
        }
    )+};
}
shown_numbers!(f32, f64, u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);

/// A summary of numbers, gathered part by part along their first axis.
struct Digest {
    shape: Vec<usize>,
    count: usize,
    nan: usize,
    infinite: usize,
    /// Of the finite numbers.
    min: f64,
    max: f64,
    sum: f64,
    /// The first rows and columns; of three axes and more, those at the first index of the others.
    corner: Vec<Vec<f64>>,
    /// Of a matrix, its blocks, and how many rows and columns each has.
    blocks: Option<(Array2<Block>, [usize; 2])>,
}

/// A summary of some rows and columns.
#[derive(Clone, Copy)]
struct Block {
    /// Of the finite numbers.
    sum: f64,
    count: usize,
    /// The last that is not finite.
    odd: f64,
}

impl Block {
    const EMPTY: Self = Self { sum: 0.0, count: 0, odd: f64::NAN };

    fn add(&mut self, value: f64) {
        if value.is_finite() {
            (self.sum, self.count) = (self.sum + value, self.count + 1);
        } else {
            self.odd = value;
        }
    }

    /// The mean of the finite numbers; where there are none, the block is a gap.
    fn mean(self) -> f64 {
        if self.count > 0 { self.sum / self.count as f64 } else { self.odd }
    }
}

impl Digest {
    fn new(shape: &[usize]) -> Self {
        let blocks = match *shape {
            [rows, columns] if rows > 1 && columns > 1 => {
                let sides = [rows, columns].map(|side| side.div_ceil(DRAWN));
                Some((Array2::from_elem((rows.div_ceil(sides[0]), columns.div_ceil(sides[1])), Block::EMPTY), sides))
            }
            _ => None,
        };
        let (count, nan, infinite, sum) = (0, 0, 0, 0.0);
        let (min, max, corner) = (f64::INFINITY, f64::NEG_INFINITY, Vec::new());
        Self { shape: shape.to_vec(), count, nan, infinite, min, max, sum, corner, blocks }
    }

    /// Adds all numbers at this index of the first axis; of less than two axes, all there are.
    fn add(&mut self, row: usize, values: &[f64]) {
        self.count += values.len();
        for &value in values {
            if value.is_finite() {
                (self.min, self.max) = (self.min.min(value), self.max.max(value));
                self.sum += value;
            } else if value.is_nan() {
                self.nan += 1;
            } else {
                self.infinite += 1;
            }
        }
        if (self.shape.len() <= 2 || row == 0) && self.corner.len() < CORNER && !values.is_empty() {
            let columns = self.shape.last().copied().unwrap_or(1);
            let rows = values.chunks(columns).take(CORNER - self.corner.len());
            self.corner.extend(rows.map(|row| row.iter().copied().take(CORNER).collect()));
        }
        if let Some((sums, [tall, wide])) = &mut self.blocks {
            for (column, &value) in values.iter().enumerate() {
                sums[(row / *tall, column / *wide)].add(value);
            }
        }
    }

    fn render(self, what: &str) -> Result<Rendered> {
        let mut all = Html::escaped(&format!("{what}\n{}", self.range())).render()?;
        if self.count > 0 {
            all.append(&self.corner_table().render()?);
        }
        if let Some((sums, [tall, wide])) = self.blocks.as_ref().filter(|_| self.count > 0) {
            let means = sums.mapv(Block::mean);
            let title = if tall * wide > 1 { format!("Means of blocks of {tall} x {wide}") } else { String::new() };
            // Numbers beyond 32 bits are written above, but have no colour.
            if !means.iter().any(|&mean| mean.is_finite() && (mean as f32).is_infinite()) {
                let mut drawn = imshow(means).title(title).width(420).render()?;
                if self.is_in_corner() {
                    drawn.text.clear(); // The same numbers are above.
                }
                all.append(&drawn);
            }
        }
        Ok(all)
    }

    fn range(&self) -> String {
        let finite = self.count - self.nan - self.infinite;
        let mut text = match finite {
            0 => format!("{} numbers, none of them finite", self.count),
            _ => {
                format!("min {}, max {}, mean {}", number(self.min), number(self.max), number(self.sum / finite as f64))
            }
        };
        if self.count == 0 {
            text = "no numbers".into();
        }
        for (count, kind) in [(self.nan, "NaN"), (self.infinite, "infinite")] {
            if count > 0 {
                text += &format!(", {count} {kind}");
            }
        }
        text
    }

    /// Whether the corner contains all numbers.
    fn is_in_corner(&self) -> bool {
        self.corner.iter().map(Vec::len).sum::<usize>() == self.count
    }

    fn corner_table(&self) -> Table {
        let columns = self.corner.first().map_or(0, Vec::len);
        let more = !self.is_in_corner();
        let place = "0, ".repeat(self.shape.len().saturating_sub(2));
        let written = column(&self.corner.concat());
        let widest = written.iter().map(String::len).max().unwrap_or(0);
        let table = Table::new([String::new()].into_iter().chain((0..columns).map(|column| column.to_string())));
        let table = written.chunks(columns.max(1)).enumerate().fold(table, |table, (row, values)| {
            let label = if self.shape.len() < 2 { String::new() } else { format!("[{place}{row}]") };
            table.row([label].into_iter().chain(values.iter().map(|v| format!("{v:>widest$}"))).collect::<Vec<_>>())
        });
        if more { table.note(format!("a corner of {} numbers", self.count)) } else { table }
    }
}
