//! GGUF files as PyPI's gguf wrote them (tests/fixtures/gguf_kinds.py), written by hand, and damaged. The types of their
//! metadata are tested where models read them.

use std::fs;
use std::path::PathBuf;

use candle_lens::candle::DType;
use candle_lens::storage::Tensors;

use crate::support::damage::torture;
use crate::support::fixture::{Reference, path, stored_numbers};
use crate::support::gguf::{GgufFile, f32_value, list_value, text_value, u32_value, value};
use crate::support::scratch;
use crate::support::sentence::sentence;

/// Dequantising is a product and a sum in f32, in either order: numbers here are below 128.
const ROUNDING: f64 = 1.6e-5;

fn written(name: &str, file: &GgufFile) -> PathBuf {
    let place = scratch(&format!("gguf_{name}")).join(name);
    fs::write(&place, file.bytes()).expect("the scratch folder can be written");
    place
}

#[test]
fn every_type_is_read_as_gguf_reads_it() {
    let file = Tensors::open(path("gguf/kinds.gguf")).unwrap();
    let reference = Reference::load("gguf/kinds.safetensors");
    let names = reference.names("");
    assert_eq!((names.len(), file.len()), (14, 16));
    for name in names {
        let expected = reference.get(&name);
        assert_eq!(file.shape(&name).unwrap(), expected.dims(), "{name}");
        let expected: Vec<f64> = expected.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap();
        let largest = expected.iter().fold(0f64, |largest, number| largest.max(number.abs()));
        assert!(largest > 0.1 && largest < 128.0, "{name}: {largest}");
        for (ours, theirs) in stored_numbers(&file, &name).iter().zip(expected) {
            assert!((ours - theirs).abs() < ROUNDING, "{name}: {ours} and {theirs}");
        }
    }
    let dtypes = [("f16", DType::F16), ("bf16", DType::BF16), ("f64", DType::F64), ("i32", DType::I32)];
    for (name, dtype) in dtypes.into_iter().chain([("q4_k", DType::F32), ("q8_0", DType::F32)]) {
        assert_eq!(file.dtype(name).unwrap(), dtype, "{name}");
    }
    assert_eq!(stored_numbers(&file, "i32"), [0., 1., 2., 3., 4., 5.]);
    sentence(file.tensor("iq4_nl"), &["kinds.gguf", "iq4_nl", "IQ4_NL"]);
    let text = file.to_string();
    assert!(text.contains("\n  q4_k: Q4_K [2, 256]") && text.contains("\n  f16: f16 [2, 3, 5]"), "{text}");
}

#[test]
fn written_by_hand() {
    for version in [2, 3] {
        let file = Tensors::open(written("small.gguf", &GgufFile { version, ..GgufFile::small() })).unwrap();
        assert_eq!((file.names(), stored_numbers(&file, "a")), (vec!["a".into()], vec![0., 1., 2., 3., 4., 5.]));
    }
    // The format is recognised by its first bytes, whatever the name says.
    let file = Tensors::open(written("small.bin", &GgufFile::small())).unwrap();
    assert_eq!(file.shape("a").unwrap(), [2, 3]);
    sentence(Tensors::open_under(path("gguf/kinds.gguf"), "model"), &["kinds.gguf", "a GGUF file", "leave key out"]);
    let aligned = GgufFile { alignment: 8, ..GgufFile::small() }.with("general.alignment", u32_value(8));
    assert_eq!(stored_numbers(&Tensors::open(written("aligned.gguf", &aligned)).unwrap(), "a")[5], 5.0);
    let scalar = GgufFile::small().tensor(&[], 0, 4);
    assert_eq!(stored_numbers(&Tensors::open(written("scalar.gguf", &scalar)).unwrap(), "a"), [1.0]);
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let small = GgufFile::small;
    let refused = |file: GgufFile, says: &str| {
        sentence(Tensors::open(written("wrong.gguf", &file)), &["wrong.gguf", says]);
    };
    refused(GgufFile { magic: *b"GGUX", ..small() }, "\"GGUX\" and not \"GGUF\"");
    refused(GgufFile { magic: *b"tjgg", ..small() }, "before GGUF");
    refused(GgufFile { version: 1, ..small() }, "version 1");
    refused(GgufFile { version: 4, ..small() }, "version 4");
    refused(GgufFile { version: 3u32.swap_bytes(), ..small() }, "little-endian");
    refused(GgufFile { counts: (Some(1 << 60), None), ..small() }, "claims 1152921504606846976 metadata entries, but");
    refused(GgufFile { counts: (None, Some(u64::MAX)), ..small() }, "claims 18446744073709551615 tensors, but");
    refused(GgufFile { counts: (Some(2), None), ..small() }, "");
    refused(GgufFile { entries: [small().entries, small().entries].concat(), ..small() }, "twice");
    refused(GgufFile { tensors: [small().tensors, small().tensors].concat(), ..small() }, "tensor \"a\" twice");
    refused(small().with("x", value(13, &[0; 8])), "type number 13");
    refused(small().with("x", value(7, &[2])), "stored as 2");
    refused(small().with("x", list_value(7, 2, &[1, 3])), "stored as 3");
    refused(small().with("x", list_value(9, 1, &list_value(4, 0, &[])[4..])), "list of lists");
    refused(small().with("x", list_value(4, 1 << 62, &[])), "numbers in a list, but the file is too short");
    refused(small().with("x", list_value(8, 1 << 50, &[])), "texts in a list, but the file is too short");
    refused(small().with("x", value(8, &[&1u64.to_le_bytes(), [0xff].as_slice()].concat())), "UTF-8");
    refused(small().with("x", value(8, &u64::MAX.to_le_bytes())), "the file is too short");
    refused(small().with("general.alignment", u32_value(0)), "power of two");
    refused(small().with("general.alignment", u32_value(33)), "power of two");
    refused(small().with("general.alignment", f32_value(32.0)), "power of two");
    refused(small().with("general.alignment", text_value("32")), "power of two");
    refused(small().with("general.alignment", value(10, &(1u64 << 63).to_le_bytes())), "past the end");
    refused(small().tensor(&[3, 2], 0, 1), "extends past the end of the file");
    refused(small().tensor(&[3, 2], 0, u64::MAX), "begins at byte");
    refused(small().tensor(&[1 << 40, 1 << 40], 0, 0), "too large for any file");
    refused(small().tensor(&[1 << 40], 0, 0), "extends past the end of the file");
    refused(small().tensor(&[1; 5], 0, 0), "5 axes");
    refused(small().tensor(&[6], 2, 0), "rows of 6 numbers");
    refused(small().tensor(&[3, 2], 99, 0), "type number 99");
    let two = vec![("a".into(), vec![3], 0, 0), ("b".into(), vec![3], 0, 8)];
    refused(GgufFile { tensors: two, ..small() }, "\"a\" and \"b\" share bytes");
    sentence(Tensors::open(scratch("gguf_absent").join("absent.gguf")), &["absent.gguf", "check the path"]);
}

#[test]
fn cut_off_anywhere() {
    let whole = GgufFile::small().bytes();
    for length in 0..whole.len() {
        let file = scratch("gguf_cut").join("cut.gguf");
        fs::write(&file, &whole[..length]).unwrap();
        sentence(Tensors::open(&file), &["cut.gguf", "cut off"]);
    }
}

/// A file of a split of three, with its share of `total` tensors.
fn part(number: u16, tensors: &[&str], total: i32) -> GgufFile {
    let mut file = GgufFile::small()
        .with("split.no", value(2, &number.to_le_bytes()))
        .with("split.count", value(2, &3u16.to_le_bytes()))
        .with("split.tensors.count", value(5, &total.to_le_bytes()));
    file.tensors = tensors.iter().map(|name| (name.to_string(), vec![3, 2], 0, 0)).collect();
    file
}

#[test]
fn split_files_are_read_together() {
    let folder = scratch("gguf_split");
    let place = |number: usize| folder.join(format!("m-{number:05}-of-00003.gguf"));
    let write = |number: usize, file: &GgufFile| fs::write(place(number), file.bytes()).unwrap();
    write(1, &part(0, &["a"], 3));
    sentence(
        Tensors::open(place(1)),
        &["m-00001-of-00003.gguf", "missing: m-00002-of-00003.gguf, m-00003-of-00003.gguf"],
    );
    write(2, &part(1, &["b"], 3));
    write(3, &part(2, &["c"], 3));
    for number in 1..=3 {
        let file = Tensors::open(place(number)).unwrap();
        assert_eq!(file.names(), ["a", "b", "c"], "opened by file {number}");
        assert_eq!(stored_numbers(&file, "c")[1], 1.0);
    }
    write(3, &part(2, &["c"], 4));
    assert!(Tensors::open(place(1)).is_ok(), "the first file counts");
    write(1, &part(0, &["a"], 4));
    sentence(Tensors::open(place(2)), &["has 4 tensors, but together they have 3"]);
    write(1, &part(0, &["a"], 3));
    write(3, &part(1, &["c"], 3));
    sentence(Tensors::open(place(1)), &["m-00003-of-00003.gguf", "split.no is 1"]);
    write(3, &part(2, &["a"], 3));
    sentence(Tensors::open(place(1)), &["twice"]);
    fs::rename(place(2), folder.join("renamed.gguf")).unwrap();
    sentence(Tensors::open(folder.join("renamed.gguf")), &["renamed.gguf", "-00001-of-00003.gguf"]);
}

#[test]
fn damaged_files() {
    let file = scratch("fuzz_gguf").join("kinds.gguf");
    let whole = fs::read(path("gguf/kinds.gguf")).unwrap();
    let valid = torture(70, 3000, &file, &whole, || {
        let tensors = Tensors::open(&file)?;
        let _ = tensors.to_string();
        tensors.names().iter().try_for_each(|name| match tensors.dtype(name) {
            Ok(_) => tensors.tensor(name).map(drop),
            Err(_) => Ok(()),
        })
    });
    assert!(valid > 0.0 && valid < 0.9, "{valid} of all were still valid, so the damage is of no use");
}
