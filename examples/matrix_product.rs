//! How fast matrices are multiplied: `cargo lab measure` runs this as a program and as a notebook cell.
use candle_lens::prelude::*;

/// The best of several products of two `size` x `size` matrices, in GFLOP/s.
fn gflops(size: usize) -> candle_lens::Result<f64> {
    let a = Tensor::randn(0f32, 1.0, (size, size), &Device::Cpu)?;
    let mut best = f64::INFINITY;
    for _ in 0..30 {
        let start = std::time::Instant::now();
        a.matmul(&a)?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(2.0 * (size as f64).powi(3) / best / 1e9)
}

fn main() -> candle_lens::Result<()> {
    println!("{:.1}", gflops(1024)?);
    Ok(())
}
