//! What the types of the standard library, of candle and of ndarray hold.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::mem::size_of;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use candle_core::{DType, Device, Tensor, Var};
use ndarray::{ArcArray, Array, Dimension};

use super::Held;
use crate::error::Error;

/// A value whose memory can be counted.
///
/// For your own types, so that [`variables`](super::variables) counts what they own:
///
/// ```
/// use candle_lens::prelude::*;
/// struct Pair {
///     first: Tensor,
///     second: Tensor,
/// }
///
/// impl Holds for Pair {
///     fn holds(&self, held: &mut Held) {
///         held.add(&self.first);
///         held.add(&self.second);
///     }
/// }
///
/// let first = Tensor::zeros(4, DType::F32, &Device::Cpu)?;
/// let mut held = Held::default();
/// held.add(&Pair { second: first.clone(), first });
/// assert_eq!(held.bytes(), 16);
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub trait Holds {
    /// Whether values of this type own nothing outside themselves, so that a long list need not be looked through.
    const IS_FLAT: bool = false;

    /// Counts what the value owns outside itself: not the `size_of` of its type.
    fn holds(&self, held: &mut Held);

    /// The shape, size or length in words, where there is one.
    fn shape(&self) -> Option<String> {
        None
    }
}

/// Says of a type what it holds: these of its fields, and nothing else of any size.
macro_rules! holds {
    ($($kind:ty { $($field:tt),* $(,)? })+) => {$(
        impl $crate::variables::Holds for $kind {
            fn holds(&self, held: &mut $crate::variables::Held) {
                $(held.add(&self.$field);)*
            }
        }
    )+};
    ($($kind:ty { $($field:tt),* $(,)? } = $shape:expr;)+) => {$(
        impl $crate::variables::Holds for $kind {
            fn holds(&self, held: &mut $crate::variables::Held) {
                $(held.add(&self.$field);)*
            }

            fn shape(&self) -> Option<String> {
                let shape: fn(&Self) -> String = $shape;
                Some(shape(self))
            }
        }
    )+};
}
pub(crate) use holds;

/// Says of types that they own nothing.
macro_rules! flat {
    ($($kind:ty),+ $(,)?) => {$(
        impl $crate::variables::Holds for $kind {
            const IS_FLAT: bool = true;

            fn holds(&self, _held: &mut $crate::variables::Held) {}
        }
    )+};
}
pub(crate) use flat;

flat!(
    u8,
    u16,
    u32,
    u64,
    u128,
    usize,
    i8,
    i16,
    i32,
    i64,
    i128,
    isize,
    f32,
    f64,
    bool,
    char,
    (),
    &'static str,
    Duration,
    DType,
    Device,
    Error,
);

impl Holds for Tensor {
    fn holds(&self, held: &mut Held) {
        held.add_tensor(self);
    }

    fn shape(&self) -> Option<String> {
        Some(format!("{:?} {}", self.dims(), self.dtype().as_str()))
    }
}

impl Holds for Var {
    fn holds(&self, held: &mut Held) {
        held.add_tensor(self.as_tensor());
    }

    fn shape(&self) -> Option<String> {
        Holds::shape(self.as_tensor())
    }
}

impl Holds for String {
    fn holds(&self, held: &mut Held) {
        held.add_bytes(self.capacity());
    }

    fn shape(&self) -> Option<String> {
        Some(format!("{} characters", self.chars().count()))
    }
}

impl Holds for PathBuf {
    fn holds(&self, held: &mut Held) {
        held.add_bytes(self.capacity());
    }
}

fn length(count: usize) -> Option<String> {
    Some(format!("[{count}]"))
}

/// The elements of a list, of which there is memory for `capacity`.
fn list<'a, T: Holds + 'a>(elements: impl IntoIterator<Item = &'a T>, capacity: usize, held: &mut Held) {
    held.add_bytes(capacity * size_of::<T>());
    if !T::IS_FLAT {
        elements.into_iter().for_each(|element| element.holds(held));
    }
}

impl<T: Holds> Holds for Vec<T> {
    fn holds(&self, held: &mut Held) {
        list(self, self.capacity(), held);
    }

    fn shape(&self) -> Option<String> {
        length(self.len())
    }
}

impl<T: Holds> Holds for VecDeque<T> {
    fn holds(&self, held: &mut Held) {
        list(self, self.capacity(), held);
    }

    fn shape(&self) -> Option<String> {
        length(self.len())
    }
}

macro_rules! maps {
    ($($map:ident),+) => {$(
        impl<K: Holds, V: Holds> Holds for $map<K, V> {
            fn holds(&self, held: &mut Held) {
                list(self.keys(), self.len(), held);
                list(self.values(), self.len(), held);
            }

            fn shape(&self) -> Option<String> {
                length(self.len())
            }
        }
    )+};
}

maps!(BTreeMap, HashMap);

macro_rules! sets {
    ($($set:ident),+) => {$(
        impl<T: Holds> Holds for $set<T> {
            fn holds(&self, held: &mut Held) {
                list(self, self.len(), held);
            }

            fn shape(&self) -> Option<String> {
                length(self.len())
            }
        }
    )+};
}

sets!(BTreeSet, HashSet);

impl<T: Holds, const N: usize> Holds for [T; N] {
    const IS_FLAT: bool = T::IS_FLAT;

    fn holds(&self, held: &mut Held) {
        list(self, 0, held);
    }

    fn shape(&self) -> Option<String> {
        length(N)
    }
}

impl<T: Holds> Holds for Option<T> {
    const IS_FLAT: bool = T::IS_FLAT;

    fn holds(&self, held: &mut Held) {
        self.iter().for_each(|value| value.holds(held));
    }

    fn shape(&self) -> Option<String> {
        self.as_ref().and_then(Holds::shape)
    }
}

impl<T: Holds, E: Holds> Holds for std::result::Result<T, E> {
    fn holds(&self, held: &mut Held) {
        match self {
            Ok(value) => value.holds(held),
            Err(error) => error.holds(held),
        }
    }
}

impl<T: Holds> Holds for Box<T> {
    fn holds(&self, held: &mut Held) {
        held.add_bytes(size_of::<T>());
        (**self).holds(held);
    }

    fn shape(&self) -> Option<String> {
        (**self).shape()
    }
}

macro_rules! counted {
    ($($pointer:ident),+) => {$(
        impl<T: Holds> Holds for $pointer<T> {
            fn holds(&self, held: &mut Held) {
                held.add_shared($pointer::as_ptr(self).addr(), size_of::<T>(), |held| (**self).holds(held));
            }

            fn shape(&self) -> Option<String> {
                (**self).shape()
            }
        }

        impl<T: Holds> Holds for $pointer<[T]> {
            fn holds(&self, held: &mut Held) {
                held.add_shared(self.as_ptr().addr(), 0, |held| list(self.iter(), self.len(), held));
            }

            fn shape(&self) -> Option<String> {
                length(self.len())
            }
        }
    )+};
}

counted!(Arc, Rc);

impl<T: Copy + Holds> Holds for Cell<T> {
    fn holds(&self, held: &mut Held) {
        self.get().holds(held);
    }
}

impl<T: Holds> Holds for RefCell<T> {
    fn holds(&self, held: &mut Held) {
        match self.try_borrow() {
            Ok(value) => value.holds(held),
            Err(_) => held.at_least(),
        }
    }
}

impl<T: Holds> Holds for Mutex<T> {
    fn holds(&self, held: &mut Held) {
        match self.try_lock() {
            Ok(value) => value.holds(held),
            Err(_) => held.at_least(),
        }
    }
}

impl<T: Holds> Holds for OnceLock<T> {
    fn holds(&self, held: &mut Held) {
        self.get().iter().for_each(|value| value.holds(held));
    }
}

impl<T: Holds, D: Dimension> Holds for Array<T, D> {
    fn holds(&self, held: &mut Held) {
        list(self, self.len(), held);
    }

    fn shape(&self) -> Option<String> {
        Some(format!("{:?}", self.shape()))
    }
}

impl<T: Holds, D: Dimension> Holds for ArcArray<T, D> {
    fn holds(&self, held: &mut Held) {
        held.add_shared(self.as_ptr().addr(), 0, |held| list(self, self.len(), held));
    }

    fn shape(&self) -> Option<String> {
        Some(format!("{:?}", self.shape()))
    }
}

macro_rules! tuples {
    ($(($($name:ident $place:tt),+))+) => {$(
        impl<$($name: Holds),+> Holds for ($($name,)+) {
            const IS_FLAT: bool = $($name::IS_FLAT)&&+;

            fn holds(&self, held: &mut Held) {
                $(self.$place.holds(held);)+
            }

            fn shape(&self) -> Option<String> {
                let parts = [$(self.$place.shape()),+];
                let parts: Vec<String> = parts.into_iter().map(|part| part.unwrap_or_else(|| "-".into())).collect();
                parts.iter().any(|part| part != "-").then(|| format!("({})", parts.join(", ")))
            }
        }
    )+};
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
}
