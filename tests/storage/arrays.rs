//! NumPy's files as NumPy wrote them (tests/fixtures/arrays.py), written by hand, and damaged.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use candle_lens::candle::DType;
use candle_lens::storage::Tensors;

use crate::support::damage::torture;
use crate::support::fixture::{path, stored_numbers, tiny_gpt2};
use crate::support::scratch;
use crate::support::sentence::sentence;

/// An array as NumPy writes it, with this header and these bytes of numbers.
fn npy(header: &str, numbers: &[u8]) -> Vec<u8> {
    let length = u16::try_from(header.len()).expect("a short header").to_le_bytes();
    [b"\x93NUMPY\x01\x00", length.as_slice(), header.as_bytes(), numbers].concat()
}

fn written(name: &str, bytes: &[u8]) -> PathBuf {
    let file = scratch("arrays").join(name);
    fs::File::create(&file).expect("a file").write_all(bytes).expect("it can be written");
    file
}

#[test]
fn every_dtype_and_order_is_read_as_numpy_wrote_it() {
    let file = Tensors::open(path("arrays.npz")).unwrap();
    assert_eq!(file.len(), 19);
    let halves: Vec<f64> = (0..6).map(|i| f64::from(i) + 0.5).collect();
    for (name, dtype) in [("f16", DType::F16), ("f32", DType::F32), ("f64", DType::F64), ("fortran", DType::F32)] {
        assert_eq!((file.dtype(name).unwrap(), file.shape(name).unwrap()), (dtype, vec![2, 3]), "{name}");
        assert_eq!(stored_numbers(&file, name), halves, "{name}");
    }
    let (from_0, from_12): (Vec<f64>, Vec<f64>) = (0..24).map(|i| (f64::from(i), f64::from(i - 12))).unzip();
    for (name, dtype, expected) in [
        ("i16", DType::I16, &from_12),
        ("i32", DType::I32, &from_12),
        ("i64", DType::I64, &from_12),
        ("fortran_cube", DType::I64, &from_12),
        ("u8", DType::U8, &from_0),
        ("u32", DType::U32, &from_0),
    ] {
        assert_eq!((file.dtype(name).unwrap(), file.shape(name).unwrap()), (dtype, vec![2, 3, 4]), "{name}");
        assert_eq!(&stored_numbers(&file, name), expected, "{name}");
    }
    assert_eq!((file.dtype("bool").unwrap(), stored_numbers(&file, "bool")), (DType::U8, vec![1., 0., 1.]));
    assert_eq!((file.shape("scalar").unwrap(), stored_numbers(&file, "scalar")), (vec![], vec![2.5]));
    assert_eq!((file.shape("empty").unwrap(), stored_numbers(&file, "empty")), (vec![0, 3], vec![]));
    assert_eq!(
        (file.shape("fortran_column").unwrap(), stored_numbers(&file, "fortran_column")),
        (vec![2, 1], vec![0.5, 3.5])
    );
    for (name, kind) in
        [("big_endian", ">f4"), ("complex", "<c8"), ("text", "<U2"), ("fields", "a structure"), ("objects", "|O")]
    {
        sentence(file.tensor(name), &["arrays.npz", name, kind]);
        sentence(file.dtype(name), &["arrays.npz", name, kind]);
    }
    sentence(file.tensor("f33"), &["f33", "nearest", "f32"]);
    sentence(file.shape(""), &["arrays.npz", "nearest"]);
    let text = file.to_string();
    assert!(text.contains("19 tensors") && text.contains("\n  i64: i64 [2, 3, 4]"), "{text}");
}

#[test]
fn packed_arrays_and_single_ones() {
    let file = Tensors::open(path("packed.npz")).unwrap();
    let expected: Vec<f64> = (0..3000).map(|i| f64::from(i) / 8.0).collect();
    for name in ["columns", "rows"] {
        assert_eq!(file.shape(name).unwrap(), [30, 100]);
        assert_eq!(stored_numbers(&file, name), expected, "{name}");
    }
    let file = Tensors::open(path("vector.npy")).unwrap();
    assert_eq!(file.names(), ["vector"]);
    assert_eq!(stored_numbers(&file, "vector"), [0.0, 0.25, 0.5, 0.75]);
}

#[test]
fn one_door_for_every_format() {
    let file = Tensors::open(tiny_gpt2().join("model.safetensors")).unwrap();
    assert_eq!(file.shape("transformer.wte.weight").unwrap(), file.tensor("transformer.wte.weight").unwrap().dims());
    let file = Tensors::open_under(path("checkpoints/trained.pth"), "model_state_dict").unwrap();
    let wte = "_orig_mod.transformer.wte.weight";
    let same = Tensors::open(tiny_gpt2().join("model.safetensors")).unwrap();
    assert_eq!(stored_numbers(&file, wte), stored_numbers(&same, "transformer.wte.weight"));
    // The same weights as views with strides.
    let views = Tensors::open(path("checkpoints/views.pt")).unwrap();
    let straight = Tensors::open(path("checkpoints/legacy.pt")).unwrap();
    assert_eq!(views.names(), straight.names());
    for name in views.names() {
        assert_eq!(stored_numbers(&views, &name), stored_numbers(&straight, &name), "{name}");
    }
    sentence(Tensors::open_under(path("arrays.npz"), "weights"), &["arrays.npz", "NumPy", "leave key out"]);
    sentence(Tensors::open(path("nothing.npz")), &["nothing.npz", "cannot be read"]);
}

#[test]
fn headers_that_lie_are_refused() {
    let ok = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n";
    let numbers = [0; 8];
    assert!(Tensors::open(written("ok.npy", &npy(ok, &numbers))).is_ok());
    for (header, says) in [
        (ok.replace("(2,)", "(3,)"), "shape [3]"),
        (ok.replace("(2,)", "(1,)"), "shape [1]"),
        (ok.replace("(2,)", "(4294967296, 4294967296, 4294967296)"), "shape"),
        (ok.replace("(2,)", "(-2,)"), "not NumPy's"),
        (ok.replace("(2,)", "(1,1,1,1,1,1,1,1,2)"), "not NumPy's"),
        (ok.replace("(2,)", "(2 3)"), "not NumPy's"),
        (ok.replace("False", "None"), "not NumPy's"),
        (ok.replace("'<f4'", "__import__('os')"), "not NumPy's"),
        (ok.replace("'shape'", "'descr'"), "not NumPy's"),
        (ok.replace("'shape': (2,), ", ""), "not NumPy's"),
        (ok.replace("}", "} + {}"), "not NumPy's"),
        (format!("{}{ok}", " ".repeat(60_000)), ""),
        (String::new(), "not NumPy's"),
    ] {
        match says {
            "" => assert!(Tensors::open(written("long.npy", &npy(&header, &numbers))).is_ok()),
            says => drop(sentence(Tensors::open(written("lie.npy", &npy(&header, &numbers))), &["lie.npy", says])),
        }
    }
    let huge = [b"\x93NUMPY\x03\x00".as_slice(), &u32::MAX.to_le_bytes(), ok.as_bytes(), &numbers].concat();
    sentence(Tensors::open(written("huge.npy", &huge)), &["huge.npy", "header of 4294967295 bytes"]);
    sentence(Tensors::open(written("new.npy", b"\x93NUMPY\x09\x00\x00\x00")), &["version 9"]);
    sentence(Tensors::open(written("cut.npy", b"\x93NUMPY\x01")), &["cut.npy", "ends within its header"]);
    sentence(Tensors::open(written("no.npz", b"PK no")), &["no.npz", "NumPy"]);
}

#[test]
fn damaged_arrays() {
    let folder = scratch("fuzz_arrays");
    for (seed, name) in ["arrays.npz", "packed.npz", "vector.npy"].into_iter().enumerate() {
        let whole = fs::read(path(name)).unwrap();
        let file = folder.join(name);
        let valid = torture(60 + seed as u64, 500, &file, &whole, || {
            let tensors = Tensors::open(&file)?;
            let _ = tensors.to_string();
            tensors.names().iter().try_for_each(|name| match tensors.dtype(name) {
                Ok(_) => tensors.tensor(name).map(drop),
                Err(_) => Ok(()),
            })
        });
        assert!(valid > 0.0 && valid < 0.9, "{name}: {valid} of all were still valid, so the damage is of no use");
    }
}
