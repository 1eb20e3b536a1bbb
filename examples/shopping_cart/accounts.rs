//! The two demonstration accounts.
//!
//! A real shop keeps salted, slow hashes of passwords (argon2id) and limits how often one may guess. These passwords
//! are printed on the login page, so there is nothing to protect but the habit.

/// A demonstration account.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) name: &'static str,
    pub(crate) password: &'static str,
}

pub(crate) static ACCOUNTS: [Account; 2] =
    [Account { name: "alice", password: "shortbread" }, Account { name: "bruno", password: "gingerbread" }];

/// Finds the account that the name and the password belong to.
pub(crate) fn check(name: &str, password: &str) -> Option<&'static Account> {
    // Compares all accounts, so that the response time does not reveal which names exist.
    ACCOUNTS.iter().fold(None, |found, account| {
        let matches = same(account.name, name) & same(account.password, password);
        if matches { Some(account) } else { found }
    })
}

/// Compares in constant time, against timing attacks.
fn same(expected: &str, given: &str) -> bool {
    let difference = expected.bytes().zip(given.bytes()).fold(0, |seen, (a, b)| seen | (a ^ b));
    (expected.len() == given.len()) & (difference == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_name_with_its_own_password_is_let_in() {
        assert_eq!(check("alice", "shortbread").map(|account| account.name), Some("alice"));
        for (name, password) in [("alice", "gingerbread"), ("alice", "short"), ("alice", ""), ("", ""), ("eve", "x")] {
            assert!(check(name, password).is_none(), "{name:?} with {password:?}");
        }
    }
}
