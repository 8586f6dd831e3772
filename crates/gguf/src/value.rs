//! Values of the metadata.

use std::io::{Read, Seek};

use crate::GgufError;
use crate::source::Source;

/// Longest text that is a value. Chat templates are the longest there are, at some tens of kilobytes.
const MAX_TEXT: u64 = 4 << 20;
/// Longest array of numbers that is kept: one for every layer that llama.cpp could have.
const MAX_KEPT: u64 = 512;

/// The type of a value, or of an array's items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are what they say")]
pub enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    Array,
    U64,
    I64,
    F64,
}

impl ValueType {
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        const ALL: [ValueType; 13] = [
            ValueType::U8,
            ValueType::I8,
            ValueType::U16,
            ValueType::I16,
            ValueType::U32,
            ValueType::I32,
            ValueType::F32,
            ValueType::Bool,
            ValueType::Text,
            ValueType::Array,
            ValueType::U64,
            ValueType::I64,
            ValueType::F64,
        ];
        ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Bytes of one, where they are all of the same size.
    fn size(self) -> Option<u64> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Text | Self::Array => None,
        }
    }
}

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "they are what they say")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    /// What is not UTF-8 in it has become U+FFFD.
    Text(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// An array, of which only short ones of whole numbers are kept; texts can be read with [`crate::Header::texts`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    /// The type of its items.
    pub items: ValueType,
    /// How many there are.
    pub count: u64,
    /// The items, where they are whole numbers and at most 512.
    pub numbers: Option<Vec<i64>>,
    /// Where the items begin in the file.
    pub(crate) place: u64,
}

impl Value {
    /// The type.
    pub fn kind(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::Text(_) => ValueType::Text,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// A whole number that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U64(number) => Some(number),
            _ => u64::try_from(self.as_i64()?).ok(),
        }
    }

    fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::U8(number) => Some(number.into()),
            Self::I8(number) => Some(number.into()),
            Self::U16(number) => Some(number.into()),
            Self::I16(number) => Some(number.into()),
            Self::U32(number) => Some(number.into()),
            Self::I32(number) => Some(number.into()),
            Self::I64(number) => Some(number),
            Self::U64(number) => i64::try_from(number).ok(),
            Self::Bool(value) => Some(value.into()),
            Self::F32(_) | Self::F64(_) | Self::Text(_) | Self::Array(_) => None,
        }
    }

    /// Any number.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::F32(number) => Some(number.into()),
            Self::F64(number) => Some(number),
            #[expect(clippy::cast_precision_loss, reason = "who wants all digits asks for a whole number")]
            _ => self.as_i64().map(|number| number as f64),
        }
    }

    /// A text.
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// A truth.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// An array.
    pub fn as_array(&self) -> Option<&Array> {
        if let Self::Array(array) = self { Some(array) } else { None }
    }

    pub(crate) fn read<R: Read + Seek>(kind: ValueType, key: &str, source: &mut Source<R>) -> Result<Self, GgufError> {
        Ok(match kind {
            ValueType::U8 => Self::U8(source.bytes::<1>(key)?[0]),
            ValueType::I8 => Self::I8(i8::from_le_bytes(source.bytes(key)?)),
            ValueType::U16 => Self::U16(u16::from_le_bytes(source.bytes(key)?)),
            ValueType::I16 => Self::I16(i16::from_le_bytes(source.bytes(key)?)),
            ValueType::U32 => Self::U32(source.u32(key)?),
            ValueType::I32 => Self::I32(i32::from_le_bytes(source.bytes(key)?)),
            ValueType::F32 => Self::F32(f32::from_le_bytes(source.bytes(key)?)),
            ValueType::Bool => Self::Bool(source.bytes::<1>(key)?[0] != 0),
            ValueType::U64 => Self::U64(source.u64(key)?),
            ValueType::I64 => Self::I64(i64::from_le_bytes(source.bytes(key)?)),
            ValueType::F64 => Self::F64(f64::from_le_bytes(source.bytes(key)?)),
            ValueType::Text => {
                let length = source.u64(key)?;
                source.claim(length, key)?;
                if length > MAX_TEXT {
                    return Err(GgufError::key(key, format!("a text of {length} bytes, longer than any")));
                }
                Self::Text(String::from_utf8_lossy(&source.vec(length, key)?).into_owned())
            }
            ValueType::Array => Self::Array(read_array(key, source)?),
        })
    }
}

fn read_array<R: Read + Seek>(key: &str, source: &mut Source<R>) -> Result<Array, GgufError> {
    let kind = source.u32(key)?;
    let items = ValueType::from_number(kind).filter(|&items| items != ValueType::Array);
    let items = items.ok_or_else(|| GgufError::key(key, format!("an array of type {kind}, which there is not")))?;
    let count = source.u64(key)?;
    let mut array = Array { items, count, numbers: None, place: source.position };
    let Some(size) = items.size() else {
        // Each has at least its length.
        source.claim(count.saturating_mul(8), key)?;
        for _ in 0..count {
            let length = source.u64(key)?;
            source.skip(length, key)?;
        }
        return Ok(array);
    };
    source.claim(count.saturating_mul(size), key)?;
    if count <= MAX_KEPT && !matches!(items, ValueType::F32 | ValueType::F64) {
        let read = |_| Value::read(items, key, source).map(|value| value.as_i64());
        array.numbers = (0..count).map(read).collect::<Result<_, _>>()?;
    } else {
        source.skip(count * size, key)?;
    }
    Ok(array)
}
