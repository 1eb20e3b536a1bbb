//! Untrusted bytes: some ten thousand inputs of each kind, the same in every run. The targets in `fuzz/` search for
//! more.

mod entries;

use std::time::Duration;

use session_state::Timestamp;
use session_state::store::{Handle, Record, Values};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// Up to `limit` bytes, most of them from `alphabet`.
    fn bytes(&mut self, limit: usize, alphabet: &[u8]) -> Vec<u8> {
        let one = |random: &mut Self| match random.below(16) {
            0 => random.byte(),
            _ => alphabet[random.below(alphabet.len())],
        };
        (0..self.below(limit)).map(|_| one(self)).collect()
    }
}

#[test]
fn only_a_valid_cookie_of_the_exact_name_without_another_opens_the_session() {
    let mut random = Random(1);
    for _ in 0..20_000 {
        entries::cookie_headers(&random.bytes(12, b"\x01\x02\x03\x03\x04;;== \tx\"%\xe2"));
    }
    // Inputs that random bytes would hardly produce.
    let headers: [&[u8]; 12] = [
        b"\x03",
        b"a=\xff; \t\x01 \t= \x02\t;",
        b"\x03;\x03",
        b"\x03\x04\x03",
        b"$Version=1; \x03",
        b"a=\"b; \x03; c=d\"",
        b"\x01=\"\x02\"",
        b"\xe2\x80\x80\x03",
        b"\x03\xe2\x80\x80",
        b"__host-http-id=\x02",
        b"%5F%5FHost-Http-id=\x02",
        b"__Host-Http-id%3D\x02",
    ];
    for header in headers {
        entries::cookie_headers(header);
    }
}

#[test]
fn no_value_but_the_good_one_opens_the_session() {
    let mut random = Random(2);
    entries::changed_value(&[]);
    for _ in 0..10_000 {
        let bytes: Vec<u8> = (0..4 * (1 + random.below(3))).map(|_| random.byte()).collect();
        entries::changed_value(&bytes);
    }
}

#[test]
fn any_bytes_are_a_record_or_none() {
    let mut random = Random(3);
    let good = good_record().encode();
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] = random.byte(),
                1 => bytes[at] ^= 1 << random.below(8),
                2 => bytes.insert(at, random.byte()),
                _ => bytes.truncate(at.max(1)),
            }
        }
        entries::record(&bytes);
        let mut bytes = random.bytes(300, &[0, 1, 2, 0x7f, 0x80, 0xff]);
        bytes.insert(0, 1);
        entries::record(&bytes);
    }
}

fn good_record() -> Record {
    let at = Timestamp::from_millis(1_700_000_000_000);
    let mut record = Record::new(Handle::from_bytes([9; 16]), at, at.after(Duration::from_secs(60)));
    record.idle_timeout = Some(Duration::from_secs(60));
    record.principal = Some("alice".into());
    record.authenticated_at = Some(at);
    record.values = Values::from_pairs([("n", b"1".as_slice()), ("@cart", b"{\"lines\":[]}")]);
    record
}
