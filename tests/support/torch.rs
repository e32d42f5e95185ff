//! Small archives as PyTorch writes them, made by hand to cost much: a zip of stored parts, and pickles in it.

/// A zip archive of these parts, none of them compressed.
pub fn zip(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut list) = (Vec::new(), Vec::new());
    for (name, data) in parts {
        let mut crc = flate2::Crc::new();
        crc.update(data);
        let start = bytes.len() as u32;
        let mut about = Vec::new();
        // Version, flags, method, time, date.
        about.extend([10u16, 0, 0, 0, 0].iter().flat_map(|n| n.to_le_bytes()));
        about.extend([crc.sum(), data.len() as u32, data.len() as u32].iter().flat_map(|n| n.to_le_bytes()));
        about.extend([name.len() as u16, 0].iter().flat_map(|n| n.to_le_bytes()));
        bytes.extend([&b"PK\x03\x04"[..], &about, name.as_bytes(), data].concat());
        // The list has the same, and then: comment, disk, kind (16 bits each), kind, place (32 bits each).
        let rest = [[0; 10].to_vec(), start.to_le_bytes().to_vec(), name.as_bytes().to_vec()].concat();
        list.extend([&b"PK\x01\x02\x0a\x00"[..], &about, &rest].concat());
    }
    let count = parts.len() as u16;
    let (size, start) = (list.len() as u32, bytes.len() as u32);
    bytes.extend(list);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend([count, count].iter().flat_map(|n| n.to_le_bytes()));
    bytes.extend([size, start].iter().flat_map(|n| n.to_le_bytes()));
    bytes.extend([0, 0]);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [b"X".to_vec(), (text.len() as u32).to_le_bytes().to_vec(), text.as_bytes().to_vec()].concat()
}

fn int(number: u64) -> Vec<u8> {
    [vec![0x8a, 8], number.to_le_bytes().to_vec()].concat()
}

/// `levels` dictionaries, each of which has the next one `times` times: as many values as a power, in a few hundred bytes.
pub fn shared_dictionaries(levels: u8, times: u8) -> Vec<u8> {
    let mut pickle = [&b"\x80\x02}q\x00("[..], &text("a"), b"K\x01u"].concat();
    for level in 0..levels {
        pickle.extend(b"}(");
        for time in 0..times {
            pickle.extend([&text(&time.to_string())[..], &[b'h', level]].concat());
        }
        pickle.extend([b'u', b'q', level + 1]);
    }
    [pickle, b".".to_vec()].concat()
}

/// The call that builds a tensor of these sizes from storage 0 of so many numbers, its memo at 1.
fn tensor(sizes: &[u64], room: u64) -> Vec<u8> {
    let list =
        |numbers: &[u64]| [b"(".to_vec(), numbers.iter().flat_map(|n| int(*n)).collect(), b"t".to_vec()].concat();
    let mut strides = vec![1u64; sizes.len()];
    for axis in (1..sizes.len()).rev() {
        strides[axis - 1] = strides[axis].wrapping_mul(sizes[axis]) & (i64::MAX as u64);
    }
    let storage = [
        b"(".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        int(room),
        b"tQ".to_vec(),
    ];
    let rest = [int(0), list(sizes), list(&strides), b"\x89}tRq\x01".to_vec()];
    [b"ctorch._utils\n_rebuild_tensor_v2\n(".to_vec(), storage.concat(), rest.concat()].concat()
}

/// A dictionary with one tensor of these sizes.
pub fn tensor_of(sizes: &[u64]) -> Vec<u8> {
    [&b"\x80\x02}("[..], &text("embed.W_E"), &tensor(sizes, 16), b"u."].concat()
}

/// One tensor of 4 MB under many names.
pub fn one_tensor_often(times: usize) -> Vec<u8> {
    let mut pickle = [&b"\x80\x02}("[..], &text("0"), &tensor(&[1 << 20], 1 << 20)].concat();
    for time in 1..times {
        pickle.extend([&text(&time.to_string())[..], b"h\x01"].concat());
    }
    [pickle, b"u.".to_vec()].concat()
}

/// One text of so many bytes as the key of many entries.
pub fn long_key(bytes: usize, times: usize) -> Vec<u8> {
    let mut pickle = [&b"\x80\x02}("[..], &text(&"k".repeat(bytes)), b"q\x02", &tensor(&[4], 4)].concat();
    (1..times).for_each(|_| pickle.extend(b"h\x02h\x01"));
    [pickle, b"u.".to_vec()].concat()
}
