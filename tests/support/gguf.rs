//! GGUF files written by hand, so that a test can make one wrong at any place.

/// A file in the making; what is not said is valid.
#[derive(Clone)]
pub struct GgufFile {
    pub magic: [u8; 4],
    pub version: u32,
    /// Keys, and the type and value as they are stored.
    pub entries: Vec<(String, Vec<u8>)>,
    /// How many entries and tensors the header says there are; `None` for as many as there are.
    pub counts: (Option<u64>, Option<u64>),
    /// Names, sizes with the innermost first, type number, offset.
    pub tensors: Vec<(String, Vec<u64>, u32, u64)>,
    pub data: Vec<u8>,
    pub alignment: usize,
}

/// A text as it is stored.
pub fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// A value: its type number and its bytes.
pub fn value(kind: u32, bytes: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes(), bytes].concat()
}

pub fn u32_value(number: u32) -> Vec<u8> {
    value(4, &number.to_le_bytes())
}

pub fn f32_value(number: f32) -> Vec<u8> {
    value(6, &number.to_le_bytes())
}

pub fn text_value(said: &str) -> Vec<u8> {
    value(8, &text(said))
}

/// A list: the type number of its items, how many it says it has, and their bytes.
pub fn list_value(kind: u32, count: u64, bytes: &[u8]) -> Vec<u8> {
    value(9, &[&kind.to_le_bytes(), count.to_le_bytes().as_slice(), bytes].concat())
}

impl GgufFile {
    /// A file with one tensor `a`, `[2, 3]` of f32 from 0 to 5.
    pub fn small() -> Self {
        let numbers = (0..6).flat_map(|number| (number as f32).to_le_bytes());
        Self {
            magic: *b"GGUF",
            version: 3,
            entries: vec![("general.architecture".into(), text_value("none"))],
            counts: (None, None),
            tensors: vec![("a".into(), vec![3, 2], 0, 0)],
            data: numbers.collect(),
            alignment: 32,
        }
    }

    /// The file that these bytes are, of which no value is a list.
    pub fn of(bytes: &[u8]) -> Self {
        let mut rest = Rest(bytes);
        let magic = rest.array();
        let version = rest.u32();
        let (tensors, entries) = (rest.u64(), rest.u64());
        let entries = (0..entries).map(|_| (rest.text(), rest.value())).collect();
        let tensors = (0..tensors).map(|_| {
            let (name, axes) = (rest.text(), rest.u32());
            (name, (0..axes).map(|_| rest.u64()).collect(), rest.u32(), rest.u64())
        });
        let tensors = tensors.collect();
        let data = bytes[(bytes.len() - rest.0.len()).next_multiple_of(32)..].to_vec();
        Self { magic, version, entries, counts: (None, None), tensors, data, alignment: 32 }
    }

    pub fn with(mut self, key: &str, value: Vec<u8>) -> Self {
        self.entries.retain(|(known, _)| known != key);
        self.entries.push((key.into(), value));
        self
    }

    pub fn without(mut self, key: &str) -> Self {
        self.entries.retain(|(known, _)| known != key);
        self
    }

    pub fn tensor(mut self, sizes: &[u64], kind: u32, offset: u64) -> Self {
        self.tensors = vec![("a".into(), sizes.into(), kind, offset)];
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let (entries, tensors) = self.counts;
        let mut file = self.magic.to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend(tensors.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        file.extend(entries.unwrap_or(self.entries.len() as u64).to_le_bytes());
        for (key, value) in &self.entries {
            file.extend(text(key));
            file.extend(value);
        }
        for (name, sizes, kind, offset) in &self.tensors {
            file.extend(text(name));
            file.extend((sizes.len() as u32).to_le_bytes());
            sizes.iter().for_each(|size| file.extend(size.to_le_bytes()));
            file.extend(kind.to_le_bytes());
            file.extend(offset.to_le_bytes());
        }
        file.resize(file.len().next_multiple_of(self.alignment), 0);
        file.extend(&self.data);
        file
    }
}

/// The bytes that are left.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        self.take(N).try_into().expect("as many as were taken")
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    fn text(&mut self) -> String {
        let length = self.u64() as usize;
        String::from_utf8(self.take(length).to_vec()).expect("UTF-8")
    }

    /// The type and the bytes of a value.
    fn value(&mut self) -> Vec<u8> {
        let kind = self.u32();
        let bytes = match kind {
            0 | 1 | 7 => self.take(1).to_vec(),
            2 | 3 => self.take(2).to_vec(),
            4..=6 => self.take(4).to_vec(),
            8 => text(&self.text()),
            10..=12 => self.take(8).to_vec(),
            other => panic!("values of type {other} are not read here"),
        };
        value(kind, &bytes)
    }
}
