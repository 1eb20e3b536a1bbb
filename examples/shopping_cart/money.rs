//! Prices, and the three currencies they are shown in.

use std::fmt;
use std::ops::{Add, Mul, Sub};

use serde::{Deserialize, Serialize};

/// The currencies a visitor may choose from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Currency {
    #[default]
    Eur,
    Usd,
    Gbp,
}

impl Currency {
    pub(crate) const ALL: [Self; 3] = [Self::Eur, Self::Usd, Self::Gbp];

    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Eur => "EUR",
            Self::Usd => "USD",
            Self::Gbp => "GBP",
        }
    }

    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Eur => "€",
            Self::Usd => "$",
            Self::Gbp => "£",
        }
    }

    /// Converts a list price in euro cents, rounded half up. The rates are examples and never change.
    pub(crate) fn price(self, euro_cents: u64) -> Money {
        let cents_a_euro = match self {
            Self::Eur => 100,
            Self::Usd => 108,
            Self::Gbp => 85,
        };
        Money { minor: (euro_cents * cents_a_euro + 50) / 100, currency: self }
    }
}

/// An amount in cents or pence of one currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Money {
    minor: u64,
    currency: Currency,
}

impl Money {
    pub(crate) fn new(minor: u64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// How many cents or pence it is.
    pub(crate) fn minor(self) -> u64 {
        self.minor
    }

    pub(crate) fn currency(self) -> Currency {
        self.currency
    }

    pub(crate) fn is_zero(self) -> bool {
        self.minor == 0
    }
}

impl Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        debug_assert_eq!(self.currency, other.currency, "amounts of two currencies cannot be added");
        Self { minor: self.minor + other.minor, currency: self.currency }
    }
}

impl Sub for Money {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        debug_assert_eq!(self.currency, other.currency, "amounts of two currencies cannot be subtracted");
        Self { minor: self.minor.saturating_sub(other.minor), currency: self.currency }
    }
}

impl Mul<u8> for Money {
    type Output = Self;

    fn mul(self, times: u8) -> Self {
        Self { minor: self.minor * u64::from(times), currency: self.currency }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}.{:02}", self.currency.symbol(), self.minor / 100, self.minor % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_converted_and_rounded_half_up() {
        assert_eq!(Currency::Eur.price(690).to_string(), "€6.90");
        assert_eq!(Currency::Usd.price(690).to_string(), "$7.45");
        assert_eq!(Currency::Gbp.price(690).to_string(), "£5.87");
    }

    #[test]
    fn cents_are_always_two_digits() {
        assert_eq!(Currency::Eur.price(505).to_string(), "€5.05");
    }
}
