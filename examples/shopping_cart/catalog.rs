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
    /// How many tins there are when the shop opens for the first time.
    pub(crate) first_delivery: i64,
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

/// Every product, in the order the shop window shows them.
pub(crate) static PRODUCTS: [Product; 12] = [
    Product {
        sku: "brown-butter-chip",
        name: "Brown Butter Chip",
        tagline: "Dark chocolate, flaked salt, soft middle",
        story: "We brown the butter until it smells of hazelnuts, then let the dough rest for two nights. \
                The edges snap, the middle does not, and the salt arrives last.",
        contains: "wheat, milk, egg, soya",
        euro_cents: 690,
        first_delivery: 96,
        tint: "butter",
        art: include_str!("art/brown-butter-chip.svg"),
    },
    Product {
        sku: "linzer-window",
        name: "Linzer Window",
        tagline: "Almond biscuit with a raspberry heart",
        story: "Two almond biscuits, one with a window in it, held together by raspberry jam we boil down ourselves. \
                Sugar falls on it like the first snow on a good coat.",
        contains: "wheat, almond, milk, egg",
        euro_cents: 780,
        first_delivery: 72,
        tint: "rose",
        art: include_str!("art/linzer-window.svg"),
    },
    Product {
        sku: "stroopwafel",
        name: "Stroopwafel",
        tagline: "Two thin waffles around warm caramel",
        story: "Rest one on the rim of a hot cup for a minute and the caramel wakes up. \
                Pressed on a cast-iron plate from Gouda that is older than everyone who works here.",
        contains: "wheat, milk, egg",
        euro_cents: 640,
        first_delivery: 84,
        tint: "honey",
        art: include_str!("art/stroopwafel.svg"),
    },
    Product {
        sku: "pistachio-macaron",
        name: "Pistachio Macaron",
        tagline: "Bronte pistachio, very little restraint",
        story: "The only biscuit we turn by hand while it bakes. Sicilian pistachios, ground the same morning, \
                and a filling that is more pistachio than anything else.",
        contains: "pistachio, almond, milk, egg",
        euro_cents: 1150,
        first_delivery: 3,
        tint: "sage",
        art: include_str!("art/pistachio-macaron.svg"),
    },
    Product {
        sku: "butter-shortbread",
        name: "Butter Shortbread",
        tagline: "Three ingredients and nowhere to hide",
        story: "Flour, butter, sugar, and an afternoon of patience. Pricked with a fork, baked until it is barely blond, \
                and the best argument we know for a second cup of tea.",
        contains: "wheat, milk",
        euro_cents: 560,
        first_delivery: 120,
        tint: "sky",
        art: include_str!("art/butter-shortbread.svg"),
    },
    Product {
        sku: "midnight-sandwich",
        name: "Midnight Sandwich",
        tagline: "Black cocoa, vanilla cream, no crumbs left",
        story: "Cocoa so dark it looks like a printing error, with a vanilla cream that knows its place. \
                Twist it, dunk it, or eat it standing at the fridge: we do not judge.",
        contains: "wheat, milk, soya",
        euro_cents: 720,
        first_delivery: 60,
        tint: "plum",
        art: include_str!("art/midnight-sandwich.svg"),
    },
    Product {
        sku: "ginger-fellow",
        name: "Ginger Fellow",
        tagline: "Three kinds of ginger, one bow tie",
        story: "Fresh, dried and candied ginger with black treacle. He has been told that he will be eaten \
                and is cheerful about it. Dressed by hand, so no two smile alike.",
        contains: "wheat, milk, egg",
        euro_cents: 670,
        first_delivery: 66,
        tint: "sage",
        art: include_str!("art/ginger-fellow.svg"),
    },
    Product {
        sku: "party-ring",
        name: "Party Ring",
        tagline: "Crisp, pink and feathered by hand",
        story: "A crisp ring in two colours of icing, drawn through with a needle while it is wet. \
                Tastes of being seven years old and allowed to stay up.",
        contains: "wheat, milk",
        euro_cents: 520,
        first_delivery: 108,
        tint: "rose",
        art: include_str!("art/party-ring.svg"),
    },
    Product {
        sku: "chequerboard",
        name: "Chequerboard",
        tagline: "Sixteen squares of vanilla and cocoa",
        story: "Cut from one block that takes a ruler, a cold kitchen and some swearing to build. \
                White always moves first; nobody has ever finished the game.",
        contains: "wheat, milk, egg",
        euro_cents: 650,
        first_delivery: 36,
        tint: "sky",
        art: include_str!("art/chequerboard.svg"),
    },
    Product {
        sku: "fortune-cookie",
        name: "Fortune Cookie",
        tagline: "Folded hot around a kind sentence",
        story: "There are four seconds between the oven and too late, and our hands know every one of them. \
                The fortunes are written in the shop; all of them are true.",
        contains: "wheat, egg, sesame",
        euro_cents: 590,
        first_delivery: 48,
        tint: "honey",
        art: include_str!("art/fortune-cookie.svg"),
    },
    Product {
        sku: "vanilla-crescents",
        name: "Vanilla Crescents",
        tagline: "Ground almonds under a drift of sugar",
        story: "They break when you look at them sternly, so we pack each one in its own fold of paper. \
                Rolled in vanilla sugar while still warm, the way it is done in Vienna.",
        contains: "wheat, almond, milk",
        euro_cents: 740,
        first_delivery: 5,
        tint: "plum",
        art: include_str!("art/vanilla-crescents.svg"),
    },
    Product {
        sku: "cinnamon-star",
        name: "Cinnamon Star",
        tagline: "Chewy, glazed, and not only for December",
        story: "No flour at all: almonds, cinnamon and egg white, glazed before baking so that the star stays white. \
                Officially a Christmas biscuit; unofficially a Tuesday one.",
        contains: "almond, egg",
        euro_cents: 820,
        first_delivery: 90,
        tint: "butter",
        art: include_str!("art/cinnamon-star.svg"),
    },
];
