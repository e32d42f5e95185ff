//! Scan.
mod icl;
mod modular;
fn main() -> candle_lens::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    if args[1] == "icl" {
        return icl::train(&args[2], args[3].parse().unwrap(), args[4].parse().unwrap());
    }
    for seed in args[1].parse::<u64>().unwrap()..args[2].parse().unwrap() {
        modular::scan(args[3].parse().unwrap(), args[4].parse().unwrap(), seed, args[5].parse().unwrap())?;
    }
    Ok(())
}
