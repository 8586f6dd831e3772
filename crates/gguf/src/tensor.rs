//! Tensors: their types, sizes and places.

use crate::GgufError;

/// A type of ggml's, by its number in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TensorType(u32);

/// Number, name, numbers in a block, bytes of a block; ggml's own table (`ggml.c`, `type_traits`).
/// The numbers that are missing have been taken back.
const TYPES: [(u32, &str, u64, u64); 35] = [
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
    (42, "Q2_0", 64, 18),
];

impl TensorType {
    /// Numbers as they are computed with.
    pub const F32: Self = Self(0);
    /// Half precision.
    pub const F16: Self = Self(1);
    /// The upper half of an F32.
    pub const BF16: Self = Self(30);

    /// Every type that is known here.
    pub fn all() -> impl Iterator<Item = Self> {
        TYPES.iter().map(|&(number, ..)| Self(number))
    }

    /// The type of this number in a file.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::all().find(|known| known.0 == number)
    }

    /// Its number in files.
    pub fn number(self) -> u32 {
        self.0
    }

    /// Its name: `Q4_K`.
    pub fn name(self) -> &'static str {
        self.entry().1
    }

    /// How many numbers are stored together, and in how many bytes.
    pub fn block(self) -> (u64, u64) {
        let (_, _, numbers, bytes) = self.entry();
        (numbers, bytes)
    }

    fn entry(self) -> (u32, &'static str, u64, u64) {
        *TYPES.iter().find(|entry| entry.0 == self.0).expect("only types of the table are made")
    }
}

/// A tensor, checked: its size fits 63 bits, and it lies within the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// As llama.cpp calls it: `blk.0.attn_q.weight`.
    pub name: String,
    /// Columns first; up to four, none of them 0.
    pub dimensions: Vec<u64>,
    /// How its numbers are stored.
    pub kind: TensorType,
    /// Where they begin, counted from [`crate::Header::data`].
    pub offset: u64,
    /// How many bytes they are.
    pub size_bytes: u64,
}

impl Tensor {
    /// Columns and rows, if it is a matrix.
    pub fn matrix(&self) -> Option<[u64; 2]> {
        match *self.dimensions.as_slice() {
            [columns, rows] | [columns, rows, 1] | [columns, rows, 1, 1] => Some([columns, rows]),
            _ => None,
        }
    }

    pub(crate) fn new(name: String, dimensions: Vec<u64>, kind: u32, offset: u64) -> Result<Self, GgufError> {
        let wrong = |reason: String| GgufError::tensor(&name, reason);
        let kind = TensorType::from_number(kind)
            .ok_or_else(|| wrong(format!("type {kind} is not known here; the file is newer than this program")))?;
        if dimensions.contains(&0) {
            return Err(wrong(format!("{dimensions:?} has no numbers")));
        }
        let (block, bytes) = kind.block();
        let columns = dimensions.first().copied().unwrap_or(1);
        if columns % block != 0 {
            let name = kind.name();
            return Err(wrong(format!("{columns} columns do not divide into blocks of {block}, as {name} has them")));
        }
        let numbers = dimensions.iter().try_fold(1u64, |product, &dimension| product.checked_mul(dimension));
        let size = numbers.and_then(|numbers| (numbers / block).checked_mul(bytes));
        let size =
            size.filter(|&size| i64::try_from(size).is_ok() && numbers.is_some_and(|n| i64::try_from(n).is_ok()));
        let size_bytes = size.ok_or_else(|| wrong(format!("{dimensions:?} is larger than any file")))?;
        Ok(Self { name, dimensions, kind, offset, size_bytes })
    }
}
