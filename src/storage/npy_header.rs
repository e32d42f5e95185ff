//! The header of a NumPy array: `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`, and nothing else that
//! Python could evaluate.

/// The maximum number of axes.
const MOST_AXES: usize = 8;

/// What the header says about the numbers.
pub(super) struct Header {
    /// The name of the dtype; `"a structure"` for a structured dtype with several fields.
    pub descr: String,
    /// Column-major order: neighbouring numbers differ in the first index.
    pub fortran_order: bool,
    pub shape: Vec<usize>,
}

impl Header {
    /// # Errors
    /// The end of a sentence, for anything but a dictionary with these three keys.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "has a header that is not text")?;
        Self::of(&mut Words(text.trim())).ok_or_else(|| {
            let start: String = text.trim().chars().take(80).collect();
            format!("has a header that is not NumPy's ({start:?})")
        })
    }

    fn of(words: &mut Words) -> Option<Self> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        words.eat("{")?;
        while words.eat("}").is_none() {
            let key = words.text()?;
            words.eat(":")?;
            let new = match key {
                "descr" => descr.replace(words.descr()?).is_none(),
                "fortran_order" => fortran_order.replace(words.flag()?).is_none(),
                "shape" => shape.replace(words.sizes()?).is_none(),
                _ => false,
            };
            if !new || (words.eat(",").is_none() && !words.0.starts_with('}')) {
                return None;
            }
        }
        words.0.is_empty().then_some(())?;
        Some(Self { descr: descr?, fortran_order: fortran_order?, shape: shape? })
    }
}

/// The rest of the text.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn eat(&mut self, word: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(word)?.trim_start();
        Some(())
    }

    /// A quoted string without escapes.
    fn text(&mut self) -> Option<&'a str> {
        let quote = self.0.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (text, rest) = self.0[1..].split_once(quote)?;
        self.0 = rest.trim_start();
        (!text.contains('\\')).then_some(text)
    }

    /// The name of a dtype. A list, which describes a structure, is skipped.
    fn descr(&mut self) -> Option<String> {
        if !self.0.starts_with('[') {
            return self.text().map(String::from);
        }
        let mut depth = 0;
        let end = self.0.char_indices().find_map(|(at, c)| {
            depth += i32::from(c == '[') - i32::from(c == ']');
            (depth == 0).then_some(at + 1)
        })?;
        self.0 = self.0[end..].trim_start();
        Some("a structure".into())
    }

    fn flag(&mut self) -> Option<bool> {
        self.eat("True").map(|()| true).or_else(|| self.eat("False").map(|()| false))
    }

    /// A tuple of sizes.
    fn sizes(&mut self) -> Option<Vec<usize>> {
        self.eat("(")?;
        let mut sizes = Vec::new();
        while self.eat(")").is_none() {
            let digits = self.0.find(|c: char| !c.is_ascii_digit())?;
            sizes.push(self.0[..digits].parse().ok()?);
            self.0 = self.0[digits..].trim_start();
            if sizes.len() > MOST_AXES || (self.eat(",").is_none() && !self.0.starts_with(')')) {
                return None;
            }
        }
        Some(sizes)
    }
}
