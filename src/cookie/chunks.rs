//! One value in several cookies, for state that is larger than one cookie and asked to be chunked.
//!
//! The first cookie has the name itself, the others are `NAME.1`, `NAME.2` and so on. A value in more than one chunk
//! starts with their number and `~`, which base64url does not have: chunks left over from a larger value are not
//! mistaken for part of it, and a value in one cookie is written as it is without chunking.

use std::borrow::Cow;

use http::HeaderValue;

use super::read::{MAX_SCANNED, pairs, trim_start, value_after_name};
use super::write::{CookieWriter, MAX_NAME_AND_VALUE};

/// The most chunks of a value. Many servers refuse headers of 64 KiB, which these would fill.
pub(crate) const MAX_CHUNKS: usize = 16;

const AFTER_COUNT: u8 = b'~';

/// The chunks of a name in a request.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) enum FoundChunks<'h> {
    /// Each name has one value.
    Chunks(Chunks<'h>),
    /// A name has different values, or the list is too long to be sure that none has. Only the numbers of the chunks
    /// count.
    Duplicate(Chunks<'h>),
}

/// The chunks that a request carried.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct Chunks<'h> {
    values: [Option<&'h [u8]>; MAX_CHUNKS],
}

/// Looks for all chunks of a name, in one pass over the `Cookie` headers and by the rules of [`find`](super::find).
///
/// All of [`MAX_CHUNKS`] are looked for whatever the budget is now, so that those of an earlier, larger one are known.
pub(crate) fn find_chunks<'h>(headers: impl Iterator<Item = &'h HeaderValue>, name: &[u8]) -> FoundChunks<'h> {
    let mut chunks = Chunks::default();
    let mut is_duplicate = false;
    let mut room = MAX_SCANNED;
    for header in headers {
        let Some(left) = room.checked_sub(header.len() + 1) else { return FoundChunks::Duplicate(chunks) };
        room = left;
        for pair in pairs(header.as_bytes()) {
            let Some(rest) = trim_start(pair).strip_prefix(name) else { continue };
            let Some((index, rest)) = split_index(rest) else { continue };
            let Some(value) = value_after_name(rest) else { continue };
            is_duplicate |= chunks.values[index].replace(value).is_some_and(|other| other != value);
        }
    }
    if is_duplicate { FoundChunks::Duplicate(chunks) } else { FoundChunks::Chunks(chunks) }
}

impl<'h> Chunks<'h> {
    /// Returns the numbers of the chunks that the request carried, rising; 0 is the cookie of the name itself.
    pub(crate) fn carried(&self) -> impl Iterator<Item = usize> {
        let values = self.values;
        (0..MAX_CHUNKS).filter(move |&index| values[index].is_some())
    }

    /// Returns the value, if its first chunk is there and all the others that it counts, `max` at most.
    pub(crate) fn join(&self, max: usize) -> Option<Cow<'h, [u8]>> {
        let first = self.values[0]?;
        let Some(end) = first.iter().position(|&byte| byte == AFTER_COUNT) else { return Some(Cow::Borrowed(first)) };
        let count = parse_number(&first[..end]).filter(|&count| count > 1 && count <= max.min(MAX_CHUNKS))?;
        let mut value = first[end + 1..].to_vec();
        for chunk in &self.values[1..count] {
            value.extend_from_slice((*chunk)?);
        }
        Some(Cow::Owned(value))
    }
}

impl CookieWriter {
    /// Makes the writer of a chunk; number 0 is the cookie itself.
    pub(crate) fn chunk(&self, index: usize) -> Self {
        if index == 0 { self.clone() } else { self.renamed(&format!("{}.{index}", self.name())) }
    }

    /// Splits a value into as few chunks as it fits into, at most `max`, or returns `None` where it does not fit.
    pub(crate) fn split<'v>(&self, value: &'v str, max: usize) -> Option<Vec<Cow<'v, str>>> {
        let count = (1..=max.min(MAX_CHUNKS)).find(|&count| value.len() <= self.capacity(count))?;
        if count == 1 {
            return Some(vec![Cow::Borrowed(value)]);
        }
        let (first, mut rest) = value.split_at_checked(self.chunk_capacity(0, count))?;
        let mut chunks = vec![Cow::Owned(format!("{count}{}{first}", char::from(AFTER_COUNT)))];
        for index in 1..count {
            let (chunk, after) = rest.split_at_checked(self.chunk_capacity(index, count).min(rest.len()))?;
            chunks.push(Cow::Borrowed(chunk));
            rest = after;
        }
        Some(chunks)
    }

    /// Returns how many bytes of a value fit into so many chunks, at most [`MAX_CHUNKS`].
    pub(crate) fn capacity(&self, count: usize) -> usize {
        let count = count.min(MAX_CHUNKS);
        (0..count).map(|index| self.chunk_capacity(index, count)).sum()
    }

    fn chunk_capacity(&self, index: usize, count: usize) -> usize {
        let overhead = match index {
            0 if count == 1 => 0,
            0 => decimal_digits(count) + 1,
            _ => decimal_digits(index) + 1,
        };
        MAX_NAME_AND_VALUE - self.name().len() - overhead
    }
}

/// Splits what follows the base name into the number of the chunk and what follows its name.
fn split_index(rest: &[u8]) -> Option<(usize, &[u8])> {
    let Some(rest) = rest.strip_prefix(b".") else { return Some((0, rest)) };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = rest.split_at(digits);
    let index = parse_number(number).filter(|&index| index < MAX_CHUNKS)?;
    Some((index, rest))
}

/// Reads a number in its only spelling: one or two digits, the first of them not zero.
fn parse_number(digits: &[u8]) -> Option<usize> {
    let value = |digit: u8| digit.is_ascii_digit().then(|| usize::from(digit - b'0'));
    match *digits {
        [b'0', ..] => None,
        [ones] => value(ones),
        [tens, ones] => Some(value(tens)? * 10 + value(ones)?),
        _ => None,
    }
}

const fn decimal_digits(number: usize) -> usize {
    if number < 10 { 1 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cookie::CookieConfig;
    use crate::cookie::write::fits;

    fn writer(name: &'static str) -> CookieWriter {
        CookieWriter::new(&CookieConfig::new().with_insecure_http().with_name(name).unwrap()).unwrap()
    }

    fn found(lines: &[&str]) -> Option<(Vec<usize>, Option<Vec<u8>>)> {
        let headers: Vec<_> = lines.iter().map(|line| HeaderValue::from_str(line).unwrap()).collect();
        match find_chunks(headers.iter(), b"id") {
            FoundChunks::Duplicate(_) => None,
            FoundChunks::Chunks(chunks) => Some((chunks.carried().collect(), chunks.join(4).map(Cow::into_owned))),
        }
    }

    #[test]
    fn chunks_are_collected_from_all_headers_in_any_order() {
        let cases: [(&[&str], &[usize], Option<&str>); 19] = [
            (&[], &[], None),
            (&["id=whole"], &[0], Some("whole")),
            (&["id="], &[0], Some("")),
            (&["id=whole; id.1=left; id.3=over"], &[0, 1, 3], Some("whole")),
            (&["id=3~a; id.1=b; id.2=c"], &[0, 1, 2], Some("abc")),
            (&["id.2=c; x=y", "id.1=b", "id=3~a"], &[0, 1, 2], Some("abc")),
            (&["id=2~a; id.1=b; id.2=surplus; id.15=old"], &[0, 1, 2, 15], Some("ab")),
            (&["id=3~a; id.1=b"], &[0, 1], None),
            (&["id.1=b; id.2=c"], &[1, 2], None),
            (&["id=0~a"], &[0], None),
            (&["id=1~a"], &[0], None),
            (&["id=02~a; id.1=b"], &[0, 1], None),
            (&["id=~a"], &[0], None),
            (&["id=x~a; id.1=b"], &[0, 1], None),
            (&["id=2~a~b; id.1=c"], &[0, 1], Some("a~bc")),
            (&["id=4~a; id.1=b; id.2=c; id.3=d"], &[0, 1, 2, 3], Some("abcd")),
            (&["id=5~a; id.1=b; id.2=c; id.3=d; id.4=e"], &[0, 1, 2, 3, 4], None),
            (&["id=99999999999999999999~a"], &[0], None),
            (&["id=a; id.0=b; id.01=c; id.16=d; id.=e; id.1x=f; id.x=g; ID.1=h; id.1.1=i; id.+1=j"], &[0], Some("a")),
        ];
        for (lines, carried, joined) in cases {
            let joined = joined.map(|joined| joined.as_bytes().to_vec());
            assert_eq!(found(lines), Some((carried.to_vec(), joined)), "{lines:?}");
        }
    }

    #[test]
    fn any_chunk_with_two_values_is_a_duplicate() {
        let too_long = "x".repeat(MAX_SCANNED);
        for lines in [
            &["id=a; id=b"][..],
            &["id=2~a; id.1=b; id.1=c; id.1=b"],
            &["id=a; id.7=", "id.7=x"],
            &["id.15=x", "id=a", "id.15=y"],
            &["id=a", &too_long],
        ] {
            assert_eq!(found(lines), None);
        }
    }

    #[test]
    fn chunks_with_the_same_value_twice_are_joined() {
        let joined = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(found(&["id=a; id=a"]), Some((vec![0], joined("a"))));
        assert_eq!(found(&["id=2~a; id.1=b", "id.1=b; id=2~a"]), Some((vec![0, 1], joined("ab"))));
    }

    #[test]
    fn a_duplicate_tells_which_chunks_the_request_carried() {
        let header = HeaderValue::from_static("id=2~a; id.1=b; id=x; id.3=c");
        let FoundChunks::Duplicate(chunks) = find_chunks([&header].into_iter(), b"id") else { panic!("a duplicate") };
        assert_eq!(chunks.carried().collect::<Vec<_>>(), [0, 1, 3]);
    }

    #[test]
    fn the_budget_bounds_what_is_joined() {
        let header = HeaderValue::from_static("id=3~a; id.1=b; id.2=c");
        let FoundChunks::Chunks(chunks) = find_chunks([&header].into_iter(), b"id") else { panic!("no duplicate") };
        assert_eq!(Chunks::default().join(3), None);
        assert_eq!(chunks.join(2), None);
        assert_eq!(chunks.join(3).as_deref(), Some(&b"abc"[..]));
        assert_eq!(chunks.join(usize::MAX).as_deref(), Some(&b"abc"[..]));
    }

    #[test]
    fn a_chunk_is_written_under_its_own_name_with_the_same_attributes() {
        let writer = writer("id");
        assert_eq!(writer.chunk(0).name(), "id");
        assert_eq!(writer.chunk(3).set("v", None), "id.3=v; HttpOnly; SameSite=Lax; Path=/");
        assert_eq!(
            writer.chunk(15).removal(),
            "id.15=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
        );
    }

    #[test]
    fn what_is_split_fits_and_joins_to_the_same_value() {
        let writer = writer("id");
        let mut lens: Vec<_> = (1..=MAX_CHUNKS)
            .flat_map(|count| [writer.capacity(count) - 1, writer.capacity(count), writer.capacity(count) + 1])
            .collect();
        lens.extend([0, 1, 4094, 4095, 20_000]);
        for len in lens {
            let value: String = (0..len).map(|index| char::from(b'a' + (index % 23) as u8)).collect();
            let Some(chunks) = writer.split(&value, MAX_CHUNKS) else {
                assert!(len > writer.capacity(MAX_CHUNKS), "{len} bytes fit");
                continue;
            };
            let is_least = chunks.len() == 1 || len > writer.capacity(chunks.len() - 1);
            assert!(is_least && len <= writer.capacity(chunks.len()), "{len} bytes in {} chunks", chunks.len());

            let mut header = String::from("other=1");
            for (index, chunk) in chunks.iter().enumerate() {
                let writer = writer.chunk(index);
                assert!(fits(writer.name(), chunk), "chunk {index} of {len} bytes");
                header.push_str(&format!("; {}={chunk}", writer.name()));
            }
            let header = HeaderValue::try_from(header).unwrap();
            let FoundChunks::Chunks(read) = find_chunks([&header].into_iter(), b"id") else { panic!("no duplicate") };
            assert_eq!(read.carried().count(), chunks.len());
            assert_eq!(read.join(MAX_CHUNKS).as_deref(), Some(value.as_bytes()), "{len} bytes");
        }
    }

    #[test]
    fn a_value_over_the_budget_is_not_split() {
        let writer = writer("id");
        assert_eq!(writer.capacity(1), 4094);
        assert_eq!(writer.capacity(2), (4094 - 2) * 2);
        assert_eq!(writer.capacity(MAX_CHUNKS + 1), writer.capacity(MAX_CHUNKS));
        assert_eq!(writer.split(&"x".repeat(4094), 1), Some(vec!["x".repeat(4094).into()]));
        assert_eq!(writer.split(&"x".repeat(4095), 1), None);
        assert_eq!(writer.split(&"x".repeat(4092 * 2 + 1), 2), None);
        assert_eq!(writer.split("x", 0), None);
        assert_eq!(writer.split(&"x".repeat(writer.capacity(MAX_CHUNKS) + 1), usize::MAX), None);
    }
}
