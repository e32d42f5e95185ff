"""The Rust kernel of candle-lens for Jupyter: `candle-lens-kernel install`."""
