//! Reads GGUF files of version 3: metadata, then descriptions of tensors, then their bytes. Format:
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

const MAGIC: &[u8] = b"GGUF";
const VERSION: u32 = 3;
/// Bytes to whose multiples tensors are aligned unless the metadata says otherwise.
const ALIGNMENT: usize = 32;

/// A value of the metadata; numbers of all widths are read as the widest of their kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    List(Vec<Value>),
}

/// A tensor as it is described; its bytes begin at `offset`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Description {
    /// Sizes, fastest first.
    pub(super) shape: Vec<usize>,
    /// Number of the type.
    pub(super) kind: u32,
    offset: usize,
}

/// A file in memory.
pub(super) struct Gguf<'a> {
    bytes: &'a [u8],
    pub(super) metadata: BTreeMap<String, Value>,
    pub(super) tensors: BTreeMap<String, Description>,
}

impl<'a> Gguf<'a> {
    /// Reads metadata and descriptions.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Reader { bytes, position: 0 };
        if reader.take(MAGIC.len())? != MAGIC {
            bail!("not a GGUF file");
        }
        let version = reader.u32()?;
        if version != VERSION {
            bail!("GGUF version {version}, expected {VERSION}");
        }
        let (tensor_count, value_count) = (reader.u64()?, reader.u64()?);
        let mut metadata = BTreeMap::new();
        for _ in 0..value_count {
            let name = reader.text()?;
            let kind = reader.u32()?;
            metadata.insert(name, reader.value(kind)?);
        }
        let mut tensors = BTreeMap::new();
        for _ in 0..tensor_count {
            let name = reader.text()?;
            let dimensions = reader.u32()?;
            let shape = (0..dimensions)
                .map(|_| reader.size())
                .collect::<Result<Vec<usize>>>()?;
            let (kind, offset) = (reader.u32()?, reader.size()?);
            tensors.insert(name, Description { shape, kind, offset });
        }
        let alignment = match metadata.get("general.alignment") {
            Some(Value::Unsigned(alignment)) => usize::try_from(*alignment)?.max(1),
            _ => ALIGNMENT,
        };
        let start = reader.position.next_multiple_of(alignment);
        for description in tensors.values_mut() {
            description.offset = description
                .offset
                .checked_add(start)
                .context("an offset too large")?;
        }
        Ok(Self {
            bytes,
            metadata,
            tensors,
        })
    }

    /// Returns `size` bytes of a tensor.
    pub(super) fn data(&self, description: &Description, size: usize) -> Result<&'a [u8]> {
        let end = description
            .offset
            .checked_add(size)
            .context("a tensor too large")?;
        self.bytes
            .get(description.offset..end)
            .context("the file ends within a tensor")
    }

    /// Returns a whole number of the metadata.
    pub(super) fn number(&self, name: &str) -> Result<u64> {
        match self.metadata.get(name) {
            Some(Value::Unsigned(number)) => Ok(*number),
            other => bail!("{name} is {other:?}, expected a whole number"),
        }
    }

    /// Returns a number of the metadata.
    pub(super) fn float(&self, name: &str) -> Result<f64> {
        match self.metadata.get(name) {
            Some(Value::Float(number)) => Ok(*number),
            other => bail!("{name} is {other:?}, expected a number"),
        }
    }

    /// Returns a text of the metadata.
    pub(super) fn text(&self, name: &str) -> Result<&str> {
        match self.metadata.get(name) {
            Some(Value::Text(text)) => Ok(text),
            _ => bail!("{name} is no text"),
        }
    }

    /// Returns a list of the metadata.
    pub(super) fn list(&self, name: &str) -> Result<&[Value]> {
        match self.metadata.get(name) {
            Some(Value::List(values)) => Ok(values),
            _ => bail!("{name} is no list"),
        }
    }

    /// Returns a list of texts of the metadata.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<&str>> {
        let texts = self.list(name)?.iter().map(|value| match value {
            Value::Text(text) => Ok(text.as_str()),
            _ => bail!("{name} holds something that is no text"),
        });
        texts.collect()
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, size: usize) -> Result<&'a [u8]> {
        let end = self.position.checked_add(size).context("a size too large")?;
        let taken = self
            .bytes
            .get(self.position..end)
            .context("the file ends within its header")?;
        self.position = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn size(&mut self) -> Result<usize> {
        Ok(usize::try_from(self.u64()?)?)
    }

    fn text(&mut self) -> Result<String> {
        let size = self.size()?;
        Ok(String::from_utf8(self.take(size)?.to_vec())?)
    }

    fn value(&mut self, kind: u32) -> Result<Value> {
        Ok(match kind {
            0 => Value::Unsigned(u8::from_le_bytes(self.array()?).into()),
            1 => Value::Signed(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Unsigned(self.u32()?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            7 => Value::Bool(self.array::<1>()? != [0]),
            8 => Value::Text(self.text()?),
            9 => {
                let (kind, count) = (self.u32()?, self.size()?);
                // A list of lists would let a short file nest deeply; none is needed.
                if kind == 9 {
                    bail!("a list of lists in the metadata");
                }
                Value::List((0..count).map(|_| self.value(kind)).collect::<Result<_>>()?)
            }
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            other => bail!("a value of type {other} in the metadata"),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    /// A file with one number, one list and one tensor of four bytes.
    fn file() -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(2_u64.to_le_bytes());
        let text = |bytes: &mut Vec<u8>, text: &str| {
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.as_bytes());
        };
        text(&mut bytes, "n");
        bytes.extend(4_u32.to_le_bytes());
        bytes.extend(77_u32.to_le_bytes());
        text(&mut bytes, "l");
        bytes.extend(9_u32.to_le_bytes());
        bytes.extend(8_u32.to_le_bytes());
        bytes.extend(1_u64.to_le_bytes());
        text(&mut bytes, "word");
        text(&mut bytes, "t");
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend(0_u64.to_le_bytes());
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend([1, 2, 3, 4]);
        bytes
    }

    #[test]
    fn metadata_and_tensors_are_read() {
        let bytes = file();
        let gguf = Gguf::read(&bytes).unwrap();
        assert_eq!(gguf.number("n").unwrap(), 77);
        assert_eq!(gguf.texts("l").unwrap(), ["word"]);
        let tensor = &gguf.tensors["t"];
        assert_eq!((tensor.shape.as_slice(), tensor.kind), (&[1][..], 0));
        assert_eq!(gguf.data(tensor, 4).unwrap(), [1, 2, 3, 4]);
        assert!(gguf.data(tensor, 5).is_err());
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_an_error() {
        let bytes = file();
        let header = bytes.len() - 40;
        for length in 0..header {
            assert!(Gguf::read(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}
