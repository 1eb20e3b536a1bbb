//! Finds our cookie among those of a request.

use http::HeaderValue;
use memchr::memchr;

/// The most bytes of `Cookie` headers that are looked at in one request. Servers limit all headers together to
/// 8 to 64 KiB as a rule, and a value in all its chunks takes little more than that. As every
/// name needs a byte, this bounds the number of cookies too.
pub(super) const MAX_SCANNED: usize = 128 * 1024;

/// The cookies of a name in a request.
///
/// It holds a secret, so it has no `Debug` but in tests.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) enum Found<'h> {
    /// No cookie has the name.
    Absent,
    /// One cookie has the name, or several with the same value; these are the bytes of it.
    One(&'h [u8]),
    /// Cookies of the name have different values, or the list is too long to be sure that none have.
    Duplicate,
}

/// Looks for the cookie of a name in the `Cookie` headers of one request, which count as one list.
///
/// The name is compared byte by byte. A list of more than 128 KiB is not looked at to its end and is
/// [`Found::Duplicate`] whatever it holds: the part that was not scanned may hold our name again.
pub(crate) fn find<'h>(headers: impl Iterator<Item = &'h HeaderValue>, name: &[u8]) -> Found<'h> {
    let mut found = None;
    let mut room = MAX_SCANNED;
    for header in headers {
        // One more for the separator that joins two headers, so that empty ones count as well.
        let Some(left) = room.checked_sub(header.len() + 1) else { return Found::Duplicate };
        room = left;
        for pair in pairs(header.as_bytes()) {
            if let Some(value) = value_of(pair, name)
                && found.replace(value).is_some_and(|other| other != value)
            {
                return Found::Duplicate;
            }
        }
    }
    found.map_or(Found::Absent, Found::One)
}

/// Returns the value of a pair that has the name.
#[inline]
pub(super) fn value_of<'h>(pair: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
    value_after_name(trim_start(pair).strip_prefix(name)?)
}

/// Returns the value, if what follows the name is the end of a name and not more of it.
///
/// A name of ours has no `=`, so the `=` found here is the pair's first.
pub(super) fn value_after_name(rest: &[u8]) -> Option<&[u8]> {
    trim_start(rest).strip_prefix(b"=").map(trim)
}

/// Cuts a header at every `;`.
pub(super) fn pairs(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(header);
    std::iter::from_fn(move || {
        let header = rest?;
        match memchr(b';', header) {
            Some(end) => {
                rest = Some(&header[end + 1..]);
                Some(&header[..end])
            }
            None => rest.take(),
        }
    })
}

/// Trims space and tab: not vertical tab, not form feed, not Unicode white space (RFC 6265bis §5.6).
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let mut bytes = trim_start(bytes);
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

pub(super) fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cookie::chunks::find_chunks;
    use crate::cookie::{FoundChunks, MAX_CHUNKS};

    const NAME: &[u8] = b"__Host-Http-id";

    fn headers(lines: &[&[u8]]) -> Vec<HeaderValue> {
        lines.iter().map(|line| HeaderValue::from_bytes(line).unwrap()).collect()
    }

    #[track_caller]
    fn assert_found(lines: &[&[u8]], expected: Found<'_>) {
        let headers = headers(lines);
        let shown: Vec<_> = lines.iter().map(|line| line.escape_ascii().to_string()).collect();
        assert_eq!(find(headers.iter(), NAME), expected, "{shown:?}");
    }

    #[test]
    fn one_cookie_of_the_name_is_found_wherever_it_stands() {
        let lists: [&[&[u8]]; 16] = [
            &[b"__Host-Http-id=value"],
            &[b"__Host-Http-id=value;"],
            &[b";__Host-Http-id=value"],
            &[b"; ;; __Host-Http-id=value;;"],
            &[b"a=b; __Host-Http-id=value"],
            &[b"__Host-Http-id=value; a=b"],
            &[b"a=b;__Host-Http-id=value;c=d"],
            &[b"a=b;\t \t__Host-Http-id\t =\t value \t; c=d"],
            &[b"a=b", b"__Host-Http-id=value", b"c=d"],
            &[b"", b"__Host-Http-id=value", b""],
            &[b"__Host-Http-id; __Host-Http-id=value"],
            &[b"__Host-Http-i=1; __Host-Http-id2=2; x__Host-Http-id=3; __Host-Http-id=value"],
            &[b"=__Host-Http-id; __Host-Http-id=value"],
            &[b"a=__Host-Http-id=1; __Host-Http-id=value"],
            &[b"caf\xc3\xa9=\xff\x80; __Host-Http-id=value; \xf0=\x9f"],
            &[b"\xc2=\xa0", b"__Host-Http-id=value"],
        ];
        for list in lists {
            assert_found(list, Found::One(b"value"));
        }
    }

    #[test]
    fn the_value_is_handed_over_byte_by_byte() {
        let values: [&[u8]; 8] =
            [b"", b"a=b==", b"\"quoted\"", b"a%20b%3D", b"a b\tc", b"\xff\x80", b"a,b", b"back\\slash"];
        for value in values {
            assert_found(&[&[b"a=b; __Host-Http-id=", value, b"; c=d"].concat()], Found::One(value));
        }
    }

    #[test]
    fn a_name_that_is_not_ours_byte_by_byte_is_another_cookie() {
        let lists: [&[u8]; 13] = [
            b"",
            b"__Host-Http-id",
            b"__host-http-id=v",
            b"__HOST-HTTP-ID=v",
            b"\"__Host-Http-id\"=v",
            b"$__Host-Http-id=v",
            b"__Host-Http-id\xa0=v",
            b"\xa0__Host-Http-id=v",
            b"__Host-Http-id,=v",
            b"a=b, __Host-Http-id=v",
            b"=__Host-Http-id=v",
            b"__Host-Http-id.1=v",
            b"__Host-Http-=id=v",
        ];
        for list in lists {
            assert_found(&[list], Found::Absent);
        }
        assert_found(&[], Found::Absent);
        assert_found(&[b"__Host-Http-", b"id=v"], Found::Absent);
    }

    #[test]
    fn the_same_value_twice_is_one_cookie() {
        let lists: [&[&[u8]]; 5] = [
            &[b"__Host-Http-id=v; __Host-Http-id=v"],
            &[b"__Host-Http-id=v", b"__Host-Http-id=v"],
            &[b"__Host-Http-id=v; a=b", b"", b"c=d;\t__Host-Http-id =v "],
            &[b"__Host-Http-id=v;__Host-Http-id=v;__Host-Http-id=v"],
            &[b"__Host-Http-id=v; __Host-Http-id2=w; __Host-Http-id=v"],
        ];
        for list in lists {
            assert_found(list, Found::One(b"v"));
        }
        assert_found(&[b"__Host-Http-id=; __Host-Http-id="], Found::One(b""));
    }

    #[test]
    fn different_values_are_a_duplicate() {
        let lists: [&[&[u8]]; 9] = [
            &[b"__Host-Http-id=v; __Host-Http-id=w"],
            &[b"__Host-Http-id=; __Host-Http-id=v"],
            &[b"__Host-Http-id=v; a=b; __Host-Http-id="],
            &[b"__Host-Http-id=v", b"__Host-Http-id=V"],
            &[b"__Host-Http-id=v; a=b", b"", b"c=d;\t__Host-Http-id =vv"],
            &[b"__Host-Http-id=v;__Host-Http-id=v;__Host-Http-id=w"],
            &[b"__Host-Http-id=v;__Host-Http-id=w;__Host-Http-id=v"],
            &[b"__Host-Http-id=v; __Host-Http-id=\"v\""],
            &[b"__Host-Http-id=v; __Host-Http-id=%76"],
        ];
        for list in lists {
            assert_found(list, Found::Duplicate);
        }
    }

    /// CVE-2020-8184 (Rack) and CVE-2020-7070 (PHP): names were percent-decoded, so that `%5F%5FHost-id`, which any
    /// host of the domain may set, arrived as `__Host-id`.
    #[test]
    fn a_percent_encoded_name_is_another_cookie() {
        assert_found(&[b"%5F%5FHost-Http-id=evil"], Found::Absent);
        assert_found(&[b"__Host%2DHttp-id=evil; __Host-Http-id=value"], Found::One(b"value"));
    }

    /// CVE-2022-31629 (PHP): `.`, space and `[` in names became `_`.
    #[test]
    fn a_name_with_other_characters_for_underscores_is_another_cookie() {
        for evil in
            [&b"..Host-Http-id=evil"[..], b"_[Host-Http-id=evil", b"_ Host-Http-id=evil", b"._Host-Http-id=evil"]
        {
            assert_found(&[evil], Found::Absent);
            assert_found(&[evil, b"__Host-Http-id=value"], Found::One(b"value"));
        }
    }

    /// Servers that trim Unicode white space read U+2000 before the name away; browsers take it for part of the name
    /// and apply no rule of the prefix.
    #[test]
    fn a_name_after_unicode_or_rare_ascii_white_space_is_another_cookie() {
        for space in
            [&b"\xe2\x80\x80"[..], b"\xc2\xa0", b"\xc2\x85", b"\xe3\x80\x80", b"\xef\xbb\xbf", b"\xa0", b"\x85"]
        {
            let evil = [space, b"__Host-Http-id=evil"].concat();
            assert_found(&[&evil], Found::Absent);
            assert_found(&[&evil, b"__Host-Http-id=value"], Found::One(b"value"));
            let kept = [b"__Host-Http-id=", space, b"v", space].concat();
            assert_found(&[&kept], Found::One(&kept[15..]));
        }
        // A header cannot hold vertical tab and form feed, so only the function itself can be shown them.
        for rare in [b'\x0b', b'\x0c', b'\r', b'\n'] {
            assert_eq!(trim(&[b' ', b'\t', rare, b'v', rare, b'\t', b' ']), [rare, b'v', rare]);
        }
    }

    /// CVE-2023-26049 (Jetty): after `$Version`, or inside quotes, a value was read up to the closing quote and so took
    /// in the cookies between.
    #[test]
    fn quotes_and_dollar_names_do_not_swallow_the_cookies_between() {
        assert_found(&[b"$Version=1; trap=\"start; __Host-Http-id=value; end=\"; other=x"], Found::One(b"value"));
        assert_found(&[b"__Host-Http-id=\"open; a=b\""], Found::One(b"\"open"));
        assert_found(&[b"$Version=1; __Host-Http-id=\"a\"; $Path=/"], Found::One(b"\"a\""));
        assert_found(&[b"a=\"\\\"; __Host-Http-id=value; b=\"\\\""], Found::One(b"value"));
    }

    /// CVE-2022-27924 (Zimbra): a line break that reached memcached in a key was read as a second command. It cannot
    /// stand in a header, and nothing here turns its encoded form into one.
    #[test]
    fn an_encoded_line_break_stays_encoded() {
        assert_found(&[b"__Host-Http-id=a%0d%0aflush_all"], Found::One(b"a%0d%0aflush_all"));
    }

    #[test]
    fn a_list_longer_than_what_is_scanned_is_a_duplicate() {
        let ours = b"__Host-Http-id=value; x=";
        let fill = |len: usize| [&ours[..], &vec![b'x'; len - ours.len()]].concat();
        assert_found(&[&fill(MAX_SCANNED - 1)], Found::One(b"value"));
        assert_found(&[&fill(MAX_SCANNED)], Found::Duplicate);
        assert_found(&[&fill(MAX_SCANNED / 2 - 1), &vec![b';'; MAX_SCANNED / 2 - 1]], Found::One(b"value"));
        assert_found(&[&fill(MAX_SCANNED / 2 - 1), &vec![b';'; MAX_SCANNED / 2]], Found::Duplicate);
        assert_found(&[&vec![b'x'; MAX_SCANNED]], Found::Duplicate);
        assert_found(&vec![&b""[..]; MAX_SCANNED], Found::Absent);
        assert_found(&vec![&b""[..]; MAX_SCANNED + 1], Found::Duplicate);
    }

    /// The rules once more, slow and obvious: all headers joined, cut, trimmed and put into a list.
    fn reference(lines: &[Vec<u8>], name: &[u8]) -> Vec<Vec<u8>> {
        fn trimmed(bytes: &[u8]) -> Vec<u8> {
            let mut bytes = bytes.to_vec();
            while bytes.first().is_some_and(|byte| [b' ', b'\t'].contains(byte)) {
                bytes.remove(0);
            }
            while bytes.last().is_some_and(|byte| [b' ', b'\t'].contains(byte)) {
                bytes.pop();
            }
            bytes
        }
        let mut values = Vec::new();
        for pair in lines.join(&b"; "[..]).split(|&byte| byte == b';') {
            let Some(equals) = pair.iter().position(|&byte| byte == b'=') else { continue };
            let value = trimmed(&pair[equals + 1..]);
            if trimmed(&pair[..equals]) == name && !values.contains(&value) {
                values.push(value);
            }
        }
        values
    }

    /// SplitMix64: the same inputs in every run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
        }
    }

    fn nasty_line(random: &mut Random) -> Vec<u8> {
        const PIECES: [&[u8]; 26] = [
            b";",
            b";",
            b"; ",
            b"=",
            b"=",
            b" ",
            b"\t",
            b"\"",
            b"%",
            b"\\",
            b",",
            b"\x80",
            b"\xff",
            b"\xe2\x80\x80",
            b"$Version=1",
            b"id",
            b"id",
            b"id=",
            b"; id=v",
            b"ID",
            b"iD=",
            b"%69d=",
            b"id.1=",
            b"id.15=",
            b"id.",
            b"a-longer-value",
        ];
        let pieces = random.below(12);
        (0..pieces).flat_map(|_| PIECES[random.below(PIECES.len())]).copied().collect()
    }

    #[test]
    fn a_slow_and_obvious_parser_finds_the_same() {
        let mut random = Random(1);
        let mut seen = [0_u32; 3];
        for _ in 0..60_000 {
            let lines: Vec<_> = (0..=random.below(3)).map(|_| nasty_line(&mut random)).collect();
            let values: Vec<_> = lines.iter().map(|line| HeaderValue::from_bytes(line).unwrap()).collect();
            let shown = || lines.iter().map(|line| line.escape_ascii().to_string()).collect::<Vec<_>>();

            let expected = reference(&lines, b"id");
            let found = find(values.iter(), b"id");
            seen[expected.len().min(2)] += 1;
            match &expected[..] {
                [] => assert_eq!(found, Found::Absent, "{:?}", shown()),
                [one] => assert_eq!(found, Found::One(one), "{:?}", shown()),
                _ => assert_eq!(found, Found::Duplicate, "{:?}", shown()),
            }

            let names = (0..MAX_CHUNKS).map(|index| if index == 0 { "id".into() } else { format!("id.{index}") });
            let expected: Vec<_> = names.map(|name| reference(&lines, name.as_bytes())).collect();
            let carried: Vec<_> = (0..MAX_CHUNKS).filter(|&index| !expected[index].is_empty()).collect();
            match find_chunks(values.iter(), b"id") {
                FoundChunks::Duplicate(chunks) => {
                    assert!(expected.iter().any(|values| values.len() > 1), "{:?}", shown());
                    assert_eq!(chunks.carried().collect::<Vec<_>>(), carried, "{:?}", shown());
                }
                FoundChunks::Chunks(chunks) => {
                    assert!(expected.iter().all(|values| values.len() <= 1), "{:?}", shown());
                    assert_eq!(chunks.carried().collect::<Vec<_>>(), carried, "{:?}", shown());
                }
            }
        }
        assert!(seen.iter().all(|&count| count > 1000), "the inputs reach every outcome: {seen:?}");
    }
}
