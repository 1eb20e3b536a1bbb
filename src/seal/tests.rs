//! Tests of the whole: what a seal opens to, and everything that keeps it from opening.

use super::*;
use crate::base64url;

const BOTH: [Algorithm; 2] = [Algorithm::Encrypted, Algorithm::Signed];
const NONCE: &[u8; 24] = b"abcdefghijklmnopqrstuvwx";
const CONTEXT: Context<'_> =
    Context { cookie_name: "__Host-Http-id", purpose: "session", application: "shop", binding: b"0123456789abcdef" };

/// Everything that a seal is bound to, by name.
#[derive(Clone, Copy, Debug)]
struct Context<'a> {
    cookie_name: &'a str,
    purpose: &'a str,
    application: &'a str,
    binding: &'a [u8],
}

impl Context<'_> {
    fn encoded<T>(&self, work: impl FnOnce(&super::Context<'_>) -> T) -> T {
        let place = Place::new(self.cookie_name, self.purpose, self.application);
        work(&super::Context { place: &place, binding: self.binding })
    }
}

fn open(algorithm: Algorithm, ring: &KeyRing, context: &Context<'_>, text: &[u8]) -> Option<envelope::Opened> {
    context.encoded(|context| super::open(algorithm, ring, context, text))
}

/// A key whose bytes are spelled out, for seals that are frozen.
fn key(seed: u8) -> Key {
    let bytes: Vec<u8> = (0..32_u8).map(|i| i.wrapping_mul(i).wrapping_mul(7) ^ i.wrapping_add(seed)).collect();
    Key::from_bytes(&bytes).unwrap()
}

fn ring() -> KeyRing {
    KeyRing::new(key(1))
}

fn seal(algorithm: Algorithm, ring: &KeyRing, context: &Context<'_>, plaintext: &[u8], nonce: &[u8; 24]) -> Vec<u8> {
    let mut text = Vec::new();
    let put = |out: &mut Vec<u8>| out.extend_from_slice(plaintext);
    context.encoded(|context| super::seal(algorithm, ring, context, nonce, plaintext.len(), put).put_text(&mut text));
    text
}

fn sealed(algorithm: Algorithm, plaintext: &[u8]) -> Vec<u8> {
    seal(algorithm, &ring(), &CONTEXT, plaintext, NONCE)
}

fn opens(algorithm: Algorithm, text: &[u8]) -> bool {
    open(algorithm, &ring(), &CONTEXT, text).is_some()
}

/// Pseudo-random numbers (xorshift), the same in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

#[test]
fn seals_of_format_version_1_are_frozen() {
    for (algorithm, plaintext, text) in [
        (Algorithm::Encrypted, "", "AQHfUBmaYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4KMISOLsZEE22CTkARU8Dxg"),
        (
            Algorithm::Encrypted,
            r#"{"n":42}"#,
            "AQHfUBmaYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4pcjqu-Uu1jnlouQ7CR_HApRK3y8hUt6_",
        ),
        (Algorithm::Signed, "", "AQLfUBmaZGURjukn6b5JxtAdZvYZIErhQiQgzfsp_A4j55I44tk"),
        (Algorithm::Signed, r#"{"n":42}"#, "AQLfUBmaeyJuIjo0Mn2HSGxeDrdAor4IsJiKKxSM3fb5vwaYqBpFDiAAtRzXNQ"),
        (Algorithm::Signed, r#"{"n":421}"#, "AQLfUBmaeyJuIjo0MjF9WnslTKrN8NeLDNh29qfBLSPU_t2K1yJtKA0v4UzmFyI"),
    ] {
        let made = sealed(algorithm, plaintext.as_bytes());
        assert_eq!(String::from_utf8(made).unwrap(), text, "{algorithm:?} {plaintext:?}");
        let opened = open(algorithm, &ring(), &CONTEXT, text.as_bytes()).unwrap();
        assert_eq!(opened.content(), plaintext.as_bytes());
        assert!(opened.by_primary);
    }
}

#[test]
fn whatever_is_sealed_opens_to_the_same_bytes() {
    let mut numbers = Numbers(0x5eed);
    for round in 0..600 {
        let len = if round < 200 { round } else { (numbers.next() % 5000) as usize };
        let plaintext = numbers.bytes(len);
        let lens = [(); 4].map(|()| (numbers.next() % 60) as usize);
        let [cookie_name, purpose, application, binding] = lens.map(|len| numbers.bytes(len));
        let [cookie_name, purpose, application] =
            [cookie_name, purpose, application].map(|name| base64url::encode(&name));
        let context =
            Context { cookie_name: &cookie_name, purpose: &purpose, application: &application, binding: &binding };
        let nonce = numbers.bytes(24).try_into().unwrap();
        for algorithm in BOTH {
            let text = seal(algorithm, &ring(), &context, &plaintext, &nonce);
            assert_eq!(text.len(), sealed_len(algorithm, len));
            assert_eq!(text.capacity(), text.len(), "nothing is allocated in vain");
            assert!(text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)));
            let opened = open(algorithm, &ring(), &context, &text).unwrap();
            assert_eq!(opened.content(), plaintext);
        }
    }
}

#[test]
fn an_encrypted_seal_depends_on_the_nonce_and_hides_the_content() {
    let one = sealed(Algorithm::Encrypted, b"content");
    let other = seal(Algorithm::Encrypted, &ring(), &CONTEXT, b"content", b"another nonce of 24 byte");
    assert_ne!(one[40..], other[40..]);
    assert_eq!(
        sealed(Algorithm::Signed, b"content"),
        seal(Algorithm::Signed, &ring(), &CONTEXT, b"content", b"another nonce of 24 byte")
    );
    let decoded = base64url::decode(&one).unwrap();
    assert!(!decoded.windows(3).any(|window| b"content".windows(3).any(|part| part == window)));
}

#[test]
fn a_seal_with_any_bit_changed_does_not_open() {
    for algorithm in BOTH {
        for plaintext in [b"".as_slice(), b"c", b"co", b"{\"cart\":[1,2,3],\"name\":\"Ada\"}"] {
            let text = sealed(algorithm, plaintext);
            for bit in 0..text.len() * 8 {
                let mut changed = text.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(!opens(algorithm, &changed), "{algorithm:?}, text bit {bit}");
            }
            let bytes = base64url::decode(&text).unwrap();
            for bit in 0..bytes.len() * 8 {
                let mut changed = bytes.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                let mut text = Vec::new();
                base64url::encode_onto(&mut text, &changed);
                assert!(!opens(algorithm, &text), "{algorithm:?}, bit {bit}");
            }
        }
    }
}

#[test]
fn a_seal_cut_short_or_extended_does_not_open() {
    for algorithm in BOTH {
        for len in [0, 1, 2, 3, 30] {
            let text = sealed(algorithm, &vec![b'x'; len]);
            for cut in 0..text.len() {
                assert!(!opens(algorithm, &text[..cut]), "{algorithm:?} cut to {cut}");
                assert!(!opens(algorithm, &text[text.len() - cut..]), "{algorithm:?} last {cut}");
            }
            for tail in ["A", "AA", "AAA", "AAAA", "=", "==", " ", "\n", "\0", ";"] {
                assert!(!opens(algorithm, &[&text, tail.as_bytes()].concat()), "{algorithm:?} and {tail:?}");
                assert!(!opens(algorithm, &[tail.as_bytes(), &text].concat()), "{algorithm:?} after {tail:?}");
            }
            assert!(!opens(algorithm, &[&text[..], &text].concat()));
        }
    }
}

#[test]
fn a_seal_has_one_spelling() {
    for algorithm in BOTH {
        let bytes = |text: &[u8]| base64url::decode(text);
        // One content byte leaves spare bits in the last character, or needs padding, with either algorithm.
        for len in 0..3 {
            let text = sealed(algorithm, &vec![b'x'; len]);
            for (from, to) in [(b'-', b'+'), (b'_', b'/')] {
                let other: Vec<u8> = text.iter().map(|&byte| if byte == from { to } else { byte }).collect();
                assert!(other == text || !opens(algorithm, &other));
            }
            let mut other = text.clone();
            let last = other.len() - 1;
            for byte in 0..=255 {
                other[last] = byte;
                assert!(byte == text[last] || !opens(algorithm, &other));
                assert!(byte == text[last] || bytes(&other) != bytes(&text));
            }
        }
    }
}

#[test]
fn a_seal_opens_in_its_own_place_only() {
    let others = [
        Context { cookie_name: "__Host-http-id", ..CONTEXT },
        Context { cookie_name: "__Host-Http-i", ..CONTEXT },
        Context { cookie_name: "", ..CONTEXT },
        Context { purpose: "part:session", ..CONTEXT },
        Context { purpose: "", ..CONTEXT },
        Context { application: "blog", ..CONTEXT },
        Context { application: "", ..CONTEXT },
        Context { binding: b"0123456789abcdeg", ..CONTEXT },
        Context { binding: b"", ..CONTEXT },
        Context { cookie_name: "__Host-Http-idsession", purpose: "", ..CONTEXT },
        Context { cookie_name: "__Host-Http-ids", purpose: "ession", ..CONTEXT },
        Context { cookie_name: "__Host-Http-i", purpose: "dsession", ..CONTEXT },
        Context { purpose: "sessions", application: "hop", ..CONTEXT },
        Context { purpose: "shop", application: "session", ..CONTEXT },
        Context { application: "shop0", binding: b"123456789abcdef", ..CONTEXT },
        Context { application: "0123456789abcdef", binding: b"shop", ..CONTEXT },
    ];
    for algorithm in BOTH {
        let text = sealed(algorithm, b"content");
        assert!(opens(algorithm, &text));
        for other in &others {
            assert!(open(algorithm, &ring(), other, &text).is_none(), "{algorithm:?} {other:?}");
            let moved = seal(algorithm, &ring(), other, b"content", NONCE);
            assert!(!opens(algorithm, &moved), "{algorithm:?} {other:?}");
        }
    }
}

#[test]
fn a_name_and_purpose_with_one_concatenation_are_two_places() {
    let one = Context { cookie_name: "ab", purpose: "c", application: "", binding: b"" };
    let other = Context { cookie_name: "a", purpose: "bc", application: "", binding: b"" };
    for algorithm in BOTH {
        let text = seal(algorithm, &ring(), &one, b"content", NONCE);
        assert!(open(algorithm, &ring(), &one, &text).is_some());
        assert!(open(algorithm, &ring(), &other, &text).is_none());
    }
}

#[test]
fn content_cannot_be_taken_for_a_part_of_the_place() {
    let long = Context { binding: b"0123456789abcdef", ..CONTEXT };
    let short = Context { binding: b"", ..CONTEXT };
    let text = seal(Algorithm::Signed, &ring(), &short, b"0123456789abcdefcontent", NONCE);
    let mut bytes = base64url::decode(&text).unwrap();
    bytes.drain(6..22);
    let mut text = Vec::new();
    base64url::encode_onto(&mut text, &bytes);
    assert!(open(Algorithm::Signed, &ring(), &long, &text).is_none());
}

#[test]
fn the_reader_chooses_the_algorithm() {
    for (made, asked, byte) in
        [(Algorithm::Encrypted, Algorithm::Signed, 2), (Algorithm::Signed, Algorithm::Encrypted, 1)]
    {
        let text = sealed(made, b"content that is long enough for either of the two");
        assert!(opens(made, &text));
        assert!(!opens(asked, &text));
        let mut bytes = base64url::decode(&text).unwrap();
        bytes[1] = byte;
        let mut text = Vec::new();
        base64url::encode_onto(&mut text, &bytes);
        assert!(!opens(asked, &text));
        assert!(!opens(made, &text));
    }
}

#[test]
fn an_unknown_version_does_not_open() {
    for algorithm in BOTH {
        let mut bytes = base64url::decode(&sealed(algorithm, b"content")).unwrap();
        for version in (0..=255).filter(|&version| version != 1) {
            bytes[0] = version;
            let mut text = Vec::new();
            base64url::encode_onto(&mut text, &bytes);
            assert!(!opens(algorithm, &text));
        }
    }
}

#[test]
fn a_rotated_key_opens_until_it_is_dropped() {
    for algorithm in BOTH {
        let text = sealed(algorithm, b"content");
        let rotated = ring().rotate(key(2)).unwrap();
        let opened = open(algorithm, &rotated, &CONTEXT, &text).unwrap();
        assert!(!opened.by_primary);

        let renewed = seal(algorithm, &rotated, &CONTEXT, opened.content(), NONCE);
        let opened = open(algorithm, &rotated, &CONTEXT, &renewed).unwrap();
        assert!(opened.by_primary && opened.content() == b"content");

        let dropped = KeyRing::new(key(2));
        assert!(open(algorithm, &dropped, &CONTEXT, &text).is_none());
        assert!(open(algorithm, &dropped, &CONTEXT, &renewed).unwrap().by_primary);

        let ahead = ring().add_fallback(key(2)).unwrap();
        assert!(!open(algorithm, &ahead, &CONTEXT, &renewed).unwrap().by_primary);
    }
}

#[test]
fn a_seal_that_names_another_key_of_the_ring_does_not_open() {
    let both = ring().add_fallback(key(2)).unwrap();
    for algorithm in BOTH {
        let mut bytes = base64url::decode(&sealed(algorithm, b"content")).unwrap();
        let other = base64url::decode(&seal(algorithm, &KeyRing::new(key(2)), &CONTEXT, b"content", NONCE)).unwrap();
        bytes[2..6].copy_from_slice(&other[2..6]);
        let mut text = Vec::new();
        base64url::encode_onto(&mut text, &bytes);
        assert!(open(algorithm, &both, &CONTEXT, &text).is_none());
    }
}

#[test]
fn the_longest_text_that_opens_has_64_kib() {
    for (algorithm, longest) in [(Algorithm::Encrypted, 49_106), (Algorithm::Signed, 49_114)] {
        let text = sealed(algorithm, &vec![b'x'; longest]);
        assert_eq!(text.len(), 65_536);
        assert!(opens(algorithm, &text));
        let text = sealed(algorithm, &vec![b'x'; longest + 1]);
        assert!(text.len() > 65_536);
        assert!(!opens(algorithm, &text));
    }
}

#[test]
fn bytes_that_are_no_seal_do_not_open() {
    let mut numbers = Numbers(0xbad);
    for round in 0..5000 {
        let noise = numbers.bytes(round % 300);
        let mut text = sealed(Algorithm::Signed, b"")[..8].to_vec();
        base64url::encode_onto(&mut text, &noise);
        for algorithm in BOTH {
            assert!(!opens(algorithm, &noise));
            assert!(!opens(algorithm, &text));
        }
    }
}
