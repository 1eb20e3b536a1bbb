//! The bytes of a record: numbers of variable length and length-prefixed strings.

/// Appends a number, seven bits a byte, the lowest first (LEB128).
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Returns the number of bytes that [`put_number`] writes for a length.
pub(super) fn size_of_number(number: usize) -> usize {
    let bits = usize::BITS - (number | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Appends bytes with their length before them.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads the length at `at`. Returns it and the position after it.
pub(super) fn length_at(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    match *bytes.get(at..)? {
        [only, ..] if only < 0x80 => Some((usize::from(only), at + 1)),
        [low, high, ..] if high < 0x80 => Some((usize::from(low & 0x7f) | usize::from(high) << 7, at + 2)),
        ref rest => {
            let mut reader = Reader::new(rest);
            let length = usize::try_from(reader.number()?).ok()?;
            Some((length, bytes.len() - reader.rest().len()))
        }
    }
}

/// Reads the output of the functions above. Every method returns `None` if the input is truncated or malformed.
#[derive(Clone)]
pub(super) struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn rest(&self) -> &'b [u8] {
        self.rest
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let first = self.byte()?;
        if first < 0x80 {
            return Some(u64::from(first));
        }
        let mut number = u64::from(first & 0x7f);
        let mut shift = 7;
        loop {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return None;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
            shift += 7;
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    pub(super) fn bytes(&mut self) -> Option<&'b [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_a_round_trip_and_have_the_computed_size() {
        for number in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put_number(&mut out, number);
            assert_eq!(out.len(), size_of_number(number as usize), "{number}");
            assert_eq!(Reader::new(&out).number(), Some(number));
            assert_eq!(length_at(&out, 0), Some((number as usize, out.len())));
        }
    }

    #[test]
    fn truncated_or_overflowing_input_is_rejected() {
        assert_eq!(Reader::new(&[]).number(), None);
        assert_eq!(Reader::new(&[0x80]).number(), None);
        assert_eq!((length_at(&[0x80], 0), length_at(&[], 0), length_at(&[1], 2)), (None, None, None));
        assert_eq!(Reader::new(&[0xff; 11]).number(), None);
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]).number(), None);
        assert_eq!(Reader::new(&[3, 1, 2]).bytes(), None);
        assert_eq!(Reader::new(&[1, 2, 3]).array::<4>(), None);
    }
}
