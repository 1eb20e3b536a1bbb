//! What the shop sells: twelve biscuits, each with a picture of its own.

use crate::money::{Currency, Money};

/// One biscuit, sold in tins of six.
#[derive(Debug)]
pub(crate) struct Product {
    /// Names it in addresses, forms and carts.
    pub(crate) sku: &'static str,
    pub(crate) name: &'static str,
    pub(crate) tagline: &'static str,
    pub(crate) story: &'static str,
    pub(crate) contains: &'static str,
    /// The list price of one tin.
    pub(crate) euro_cents: u64,
    /// Which of the tints in `style.css` lies behind the picture.
    pub(crate) tint: &'static str,
    /// The picture, an `<svg>` element of our own that needs no escaping.
    pub(crate) art: &'static str,
}

impl Product {
    pub(crate) fn price(&self, currency: Currency) -> Money {
        currency.price(self.euro_cents)
    }
}

/// Finds a product by its SKU.
pub(crate) fn find(sku: &str) -> Option<&'static Product> {
    PRODUCTS.iter().find(|product| product.sku == sku)
}

macro_rules! product {
    ($sku:literal, $name:literal, $euro_cents:literal, $tint:literal, $tagline:literal, $story:literal, $contains:literal) => {
        Product {
            sku: $sku,
            name: $name,
            tagline: $tagline,
            story: $story,
            contains: $contains,
            euro_cents: $euro_cents,
            tint: $tint,
            art: include_str!(concat!("art/", $sku, ".svg")),
        }
    };
}

/// Every product, in the order the shop window shows them.
pub(crate) static PRODUCTS: [Product; 12] = [
    product!(
        "brown-butter-chip",
        "Brown Butter Chip",
        690,
        "butter",
        "Dark chocolate, flaked salt, soft middle",
        "We brown the butter until it smells of hazelnuts, then let the dough rest for two nights. \
         The edges snap, the middle does not, and the salt arrives last.",
        "wheat, milk, egg, soya"
    ),
    product!(
        "linzer-window",
        "Linzer Window",
        780,
        "rose",
        "Almond biscuit with a raspberry heart",
        "Two almond biscuits, one with a window in it, held together by raspberry jam we boil down ourselves. \
         Sugar falls on it like the first snow on a good coat.",
        "wheat, almond, milk, egg"
    ),
    product!(
        "stroopwafel",
        "Stroopwafel",
        640,
        "honey",
        "Two thin waffles around warm caramel",
        "Rest one on the rim of a hot cup for a minute and the caramel wakes up. \
         Pressed on a cast-iron plate from Gouda that is older than everyone who works here.",
        "wheat, milk, egg"
    ),
    product!(
        "pistachio-macaron",
        "Pistachio Macaron",
        1150,
        "sage",
        "Bronte pistachio, very little restraint",
        "The only biscuit we turn by hand while it bakes. Sicilian pistachios, ground the same morning, \
         and a filling that is more pistachio than anything else.",
        "pistachio, almond, milk, egg"
    ),
    product!(
        "butter-shortbread",
        "Butter Shortbread",
        560,
        "sky",
        "Three ingredients and nowhere to hide",
        "Flour, butter, sugar, and an afternoon of patience. Pricked with a fork, baked until it is barely blond, \
         and the best argument we know for a second cup of tea.",
        "wheat, milk"
    ),
    product!(
        "midnight-sandwich",
        "Midnight Sandwich",
        720,
        "plum",
        "Black cocoa, vanilla cream, no crumbs left",
        "Cocoa so dark it looks like a printing error, with a vanilla cream that knows its place. \
         Twist it, dunk it, or eat it standing at the fridge: we do not judge.",
        "wheat, milk, soya"
    ),
    product!(
        "ginger-fellow",
        "Ginger Fellow",
        670,
        "sage",
        "Three kinds of ginger, one bow tie",
        "Fresh, dried and candied ginger with black treacle. He has been told that he will be eaten \
         and is cheerful about it. Dressed by hand, so no two smile alike.",
        "wheat, milk, egg"
    ),
    product!(
        "party-ring",
        "Party Ring",
        520,
        "rose",
        "Crisp, pink and feathered by hand",
        "A crisp ring in two colours of icing, drawn through with a needle while it is wet. \
         Tastes of being seven years old and allowed to stay up.",
        "wheat, milk"
    ),
    product!(
        "chequerboard",
        "Chequerboard",
        650,
        "sky",
        "Sixteen squares of vanilla and cocoa",
        "Cut from one block that takes a ruler, a cold kitchen and some swearing to build. \
         White always moves first; nobody has ever finished the game.",
        "wheat, milk, egg"
    ),
    product!(
        "fortune-cookie",
        "Fortune Cookie",
        590,
        "honey",
        "Folded hot around a kind sentence",
        "There are four seconds between the oven and too late, and our hands know every one of them. \
         The fortunes are written in the shop; all of them are true.",
        "wheat, egg, sesame"
    ),
    product!(
        "vanilla-crescents",
        "Vanilla Crescents",
        740,
        "plum",
        "Ground almonds under a drift of sugar",
        "They break when you look at them sternly, so we pack each one in its own fold of paper. \
         Rolled in vanilla sugar while still warm, the way it is done in Vienna.",
        "wheat, almond, milk"
    ),
    product!(
        "cinnamon-star",
        "Cinnamon Star",
        820,
        "butter",
        "Chewy, glazed, and not only for December",
        "No flour at all: almonds, cinnamon and egg white, glazed before baking so that the star stays white. \
         Officially a Christmas biscuit; unofficially a Tuesday one.",
        "almond, egg"
    ),
];
