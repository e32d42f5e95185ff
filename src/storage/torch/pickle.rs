//! Reads pickles without running them: the result is a list of plain values, in which a call only records what was to
//! be called.
//!
//! Reference: Python's `pickletools`. Values are stored in one list and refer to each other by index, so that a hostile
//! pickle can neither create more of them than it has bytes nor nest them so deeply that dropping them overflows the
//! stack.

use std::collections::HashMap;
use std::rc::Rc;

/// The index of a value.
pub(super) type Id = usize;

/// A value of a pickle.
#[derive(Clone, Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// A number with a point, an integer of more than eight bytes, or bytes.
    Other,
    Text(Rc<str>),
    /// A class or function, by module and name.
    Global(Rc<str>, Rc<str>),
    /// A tuple, list or set.
    Sequence(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// What would be called, and with which arguments.
    Call(Id, Id),
    /// Something that the file stores outside the pickle, by its name.
    Persistent(Id),
}

/// A pickle's values.
pub(super) struct Pickle {
    values: Vec<Value>,
    /// The state that objects would be given: of most classes, a dictionary of their attributes.
    states: HashMap<Id, Id>,
    pub root: Id,
    /// How many bytes the pickle has.
    pub len: usize,
}

impl Pickle {
    pub(super) fn get(&self, id: Id) -> &Value {
        &self.values[id]
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Value> {
        self.values.iter()
    }

    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn sequence(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn size(&self, id: Id) -> Option<usize> {
        match self.get(id) {
            Value::Int(number) => usize::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The entries of a dictionary, whichever kind of dictionary it is.
    pub(super) fn dict(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.get(id) {
            Value::Dict(items) => Some(items),
            _ => None,
        }
    }

    /// The attributes of an object, and whatever else has a dictionary as its state.
    pub(super) fn attributes(&self, id: Id) -> Option<&[(Id, Id)]> {
        let state = *self.states.get(&id)?;
        // Of a class with slots the state is a pair, its ordinary attributes first.
        match self.get(state) {
            Value::Sequence(pair) => self.dict(*pair.first()?),
            _ => self.dict(state),
        }
    }

    /// Reads the pickle at the start of `bytes`.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut machine = Machine {
            bytes,
            at: 0,
            values: CONSTANTS.to_vec(),
            states: HashMap::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        let root = loop {
            let at = machine.at;
            match machine.step() {
                Ok(None) => {}
                Ok(Some(root)) => break root,
                Err(why) => return Err(format!("its pickle is invalid at byte {at}: {why}")),
            }
        };
        Ok(Self { values: machine.values, states: machine.states, root, len: machine.at })
    }
}

/// Constants are stored only once, because lists of a million numbers are common in checkpoints.
const CONSTANTS: [Value; 4] = [Value::None, Value::Bool(false), Value::Bool(true), Value::Other];

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    states: HashMap<Id, Id>,
    stack: Vec<Id>,
    /// The height of the stack at each mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl<'a> Machine<'a> {
    /// Executes one instruction; the last one returns the value of the whole pickle.
    fn step(&mut self) -> Result<Option<Id>, String> {
        let code = self.take(1)?[0];
        match code {
            b'.' => return self.pop().map(Some),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.until_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'N' => self.push(Value::None),
            0x88 | 0x89 => self.push(Value::Bool(code == 0x88)),
            b'G' => {
                self.take(8)?;
                self.push(Value::Other);
            }
            b'J' | b'K' | b'M' | 0x8a | 0x8b => self.int(code)?,
            b'X' | 0x8c | 0x8d | b'U' | b'T' | b'C' | b'B' | 0x8e | 0x96 => self.text(code)?,
            b'c' | 0x93 => self.global(code)?,
            b'q' | b'r' | 0x94 | b'p' | b'h' | b'j' | b'g' => self.memo(code)?,
            b')' | b']' | 0x8f => self.push(Value::Sequence(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            b't' | b'l' | 0x91 => {
                let items = self.until_mark()?;
                self.push(Value::Sequence(items));
            }
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let first = self.stack.len().checked_sub(count).ok_or("the stack is empty")?;
                let items = self.stack.split_off(first);
                self.push(Value::Sequence(items));
            }
            b'd' | b's' | b'u' => self.entries(code)?,
            b'a' | b'e' | 0x90 => self.items(code)?,
            b'R' | 0x81 | 0x92 | b'b' => self.call(code)?,
            b'Q' => {
                let name = self.pop()?;
                self.push(Value::Persistent(name));
            }
            other => return Err(format!("{other:#04x} is not an instruction that checkpoints use")),
        }
        Ok(None)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or("it ends too early")?;
        let part = &self.bytes[self.at..end];
        self.at = end;
        Ok(part)
    }

    /// A little-endian integer of up to eight bytes.
    fn number(&mut self, bytes: usize) -> Result<u64, String> {
        let part = self.take(bytes)?;
        Ok(part.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or("a line is not terminated")?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| "a name is not text".into())
    }

    fn push(&mut self, value: Value) {
        let constant = match value {
            Value::None => Some(0),
            Value::Bool(yes) => Some(1 + usize::from(yes)),
            Value::Other => Some(3),
            _ => None,
        };
        self.stack.push(constant.unwrap_or(self.values.len()));
        if constant.is_none() {
            self.values.push(value);
        }
    }

    fn top(&self) -> Result<Id, String> {
        self.stack.last().copied().ok_or_else(|| "the stack is empty".into())
    }

    fn pop(&mut self) -> Result<Id, String> {
        self.stack.pop().ok_or_else(|| "the stack is empty".into())
    }

    fn until_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("a mark is missing")?;
        if mark > self.stack.len() {
            return Err("the stack is lower than at the last mark".into());
        }
        Ok(self.stack.split_off(mark))
    }

    fn int(&mut self, code: u8) -> Result<(), String> {
        let value = match code {
            b'J' => i64::from(self.number(4)? as u32 as i32),
            b'K' => self.number(1)? as i64,
            b'M' => self.number(2)? as i64,
            _ => {
                let len = self.number(if code == 0x8a { 1 } else { 4 })? as usize;
                if len > 8 {
                    self.take(len)?;
                    self.push(Value::Other);
                    return Ok(());
                }
                let unused = 64 - 8 * len as u32;
                self.number(len)?.checked_shl(unused).map_or(0, |high| high as i64 >> unused)
            }
        };
        self.push(Value::Int(value));
        Ok(())
    }

    fn text(&mut self, code: u8) -> Result<(), String> {
        let width = match code {
            0x8c | b'U' | b'C' => 1,
            b'X' | b'T' | b'B' => 4,
            _ => 8,
        };
        let len = usize::try_from(self.number(width)?).map_err(|_| "it ends too early")?;
        let part = self.take(len)?;
        let value = match (code, std::str::from_utf8(part)) {
            (b'C' | b'B' | 0x8e | 0x96, _) => Value::Other,
            (_, Ok(text)) => Value::Text(text.into()),
            // Python 2 wrote bytes as text.
            (b'U' | b'T', Err(_)) => Value::Other,
            (_, Err(_)) => return Err("a text is not UTF-8".into()),
        };
        self.push(value);
        Ok(())
    }

    fn global(&mut self, code: u8) -> Result<(), String> {
        let value = if code == b'c' {
            Value::Global(self.line()?.into(), self.line()?.into())
        } else {
            let (name, module) = (self.pop()?, self.pop()?);
            match (&self.values[module], &self.values[name]) {
                (Value::Text(module), Value::Text(name)) => Value::Global(module.clone(), name.clone()),
                _ => return Err("a class has no name".into()),
            }
        };
        self.push(value);
        Ok(())
    }

    fn memo(&mut self, code: u8) -> Result<(), String> {
        let key = match code {
            b'q' | b'h' => self.number(1)?,
            b'r' | b'j' => self.number(4)?,
            0x94 => self.memo.len() as u64,
            _ => self.line()?.trim().parse().map_err(|_| "an index into the memo is not a number")?,
        };
        if matches!(code, b'h' | b'j' | b'g') {
            let id = *self.memo.get(&key).ok_or("a memo entry is used before it is set")?;
            self.stack.push(id);
        } else {
            let top = self.top()?;
            self.memo.insert(key, top);
        }
        Ok(())
    }

    fn entries(&mut self, code: u8) -> Result<(), String> {
        let items = if code == b's' {
            let first = self.stack.len().checked_sub(2).ok_or("the stack is empty")?;
            self.stack.split_off(first)
        } else {
            self.until_mark()?
        };
        let (pairs, odd) = items.as_chunks::<2>();
        if !odd.is_empty() {
            return Err("a key has no value".into());
        }
        let pairs = pairs.iter().map(|[key, value]| (*key, *value));
        if code == b'd' {
            self.push(Value::Dict(pairs.collect()));
            return Ok(());
        }
        let at = self.top()?;
        match &mut self.values[at] {
            Value::Dict(entries) => entries.extend(pairs),
            // An object of another kind, whose contents are not needed.
            Value::Call(..) => {}
            _ => return Err("entries are added to something that is not a dictionary".into()),
        }
        Ok(())
    }

    fn items(&mut self, code: u8) -> Result<(), String> {
        let items = if code == b'a' { vec![self.pop()?] } else { self.until_mark()? };
        let at = self.top()?;
        match &mut self.values[at] {
            Value::Sequence(list) => list.extend(items),
            Value::Call(..) => {}
            _ => return Err("items are added to something that is not a list".into()),
        }
        Ok(())
    }

    /// Records a call, or the state that an object is given; Python's own dictionary types become dictionaries, whose
    /// attributes are ignored.
    fn call(&mut self, code: u8) -> Result<(), String> {
        let argument = self.pop()?;
        if code == b'b' {
            let object = self.top()?;
            if matches!(self.values[object], Value::Call(..)) && self.states.insert(object, argument).is_some() {
                return Err("an object is given its state twice".into());
            }
            return Ok(());
        }
        let argument = if code == 0x92 { self.pop()? } else { argument };
        let callable = self.pop()?;
        let value = match &self.values[callable] {
            Value::Global(module, name)
                if &**module == "collections" && ["OrderedDict", "defaultdict"].contains(&&**name) =>
            {
                Value::Dict(Vec::new())
            }
            _ => Value::Call(callable, argument),
        };
        self.push(value);
        Ok(())
    }
}
