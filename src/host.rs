//! Numbers copied from the device on which a model computes.
//!
//! Such a copy waits until the device has done everything that it was told to do before. So what a loop over sites, points or layers
//! makes stays on the device, and is copied once behind the loop. tests/host.rs finds copies that go past this file, and work whose
//! copies are more the more it is asked for.

use std::borrow::Borrow;
use std::cell::Cell;

use candle_core::{Result, Tensor, WithDType};

thread_local! {
    static COPIES: Cell<u64> = const { Cell::new(0) };
}

/// How many times this thread has copied numbers from a device.
pub fn copies() -> u64 {
    COPIES.get()
}

/// The numbers of a tensor, row-major.
pub(crate) fn numbers<N: WithDType>(x: &Tensor) -> Result<Vec<N>> {
    COPIES.set(COPIES.get() + 1);
    flat::<N>(x)?.to_vec1()
}

/// The numbers of each of these tensors of one device, in one copy.
pub(crate) fn numbers_of_all<N: WithDType>(all: &[impl Borrow<Tensor>]) -> Result<Vec<Vec<N>>> {
    COPIES.set(COPIES.get() + 1);
    match all.iter().all(|x| x.borrow().device().is_cpu()) {
        // There nothing waits, and joined they would be held twice.
        true => all.iter().map(|x| flat::<N>(x.borrow())?.to_vec1()).collect(),
        false => joined(all),
    }
}

fn joined<N: WithDType>(all: &[impl Borrow<Tensor>]) -> Result<Vec<Vec<N>>> {
    let flat = all.iter().map(|x| flat::<N>(x.borrow())).collect::<Result<Vec<_>>>()?;
    let numbers = Tensor::cat(&flat, 0)?.to_vec1::<N>()?;
    let mut rest = &numbers[..];
    let own = flat.iter().map(|x| {
        let (own, others) = rest.split_at(x.elem_count());
        rest = others;
        own.to_vec()
    });
    Ok(own.collect())
}

fn flat<N: WithDType>(x: &Tensor) -> Result<Tensor> {
    x.to_dtype(N::DTYPE)?.flatten_all()
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn joined_numbers_are_those_of_each() -> Result<()> {
        let x = Tensor::arange(0f32, 24., &Device::Cpu)?.reshape((2, 3, 4))?;
        let all = [x.transpose(0, 2)?, x.narrow(1, 1, 0)?, x.narrow(2, 1, 2)?.to_dtype(DType::BF16)?, x.get(1)?];
        let each = all.iter().map(numbers::<f32>).collect::<Result<Vec<_>>>()?;
        assert_eq!(joined::<f32>(&all)?, each);
        assert_eq!(numbers_of_all::<f32>(&all)?, each);
        assert_eq!(each.iter().map(Vec::len).collect::<Vec<_>>(), [24, 0, 12, 12]);
        Ok(())
    }
}
