//! Kinds of things and their members, all in the plural.

/// A kind of thing: how it may be called, and its members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Category {
    /// The kind in the singular.
    pub name: &'static str,
    /// The words that complete "diamonds, and other", each right.
    pub answers: &'static [&'static str],
    /// The members.
    pub members: &'static [&'static str],
}

/// The categories of the hypernymy task; no word is a member of two.
#[rustfmt::skip]
pub const CATEGORIES: [Category; 14] = [
    Category { name: "gem", answers: &["gems", "gemstones"],
        members: &["diamonds", "rubies", "emeralds", "sapphires", "pearls", "opals", "garnets", "amethysts"] },
    Category { name: "fruit", answers: &["fruits", "fruit"],
        members: &["apples", "oranges", "bananas", "grapes", "pears", "peaches", "cherries", "lemons", "plums"] },
    Category { name: "vegetable", answers: &["vegetables"],
        members: &["carrots", "potatoes", "onions", "peas", "beans", "turnips", "radishes", "cabbages", "cucumbers"] },
    Category { name: "vehicle", answers: &["vehicles"],
        members: &["cars", "trucks", "buses", "vans", "trains", "motorcycles", "bicycles", "tractors", "trams"] },
    Category { name: "bird", answers: &["birds"],
        members: &["eagles", "sparrows", "robins", "crows", "owls", "ducks", "pigeons", "swans", "parrots"] },
    Category { name: "insect", answers: &["insects", "bugs"],
        members: &["ants", "bees", "wasps", "moths", "beetles", "flies", "butterflies", "mosquitoes"] },
    Category { name: "tree", answers: &["trees"],
        members: &["oaks", "pines", "maples", "elms", "birches", "willows", "cedars", "palms"] },
    Category { name: "flower", answers: &["flowers", "blossoms"],
        members: &["roses", "tulips", "daisies", "lilies", "orchids", "violets", "sunflowers", "poppies"] },
    Category { name: "tool", answers: &["tools"],
        members: &["hammers", "saws", "wrenches", "drills", "screwdrivers", "axes", "shovels", "chisels"] },
    Category { name: "instrument", answers: &["instruments"],
        members: &["violins", "pianos", "guitars", "flutes", "drums", "trumpets", "cellos", "harps"] },
    Category { name: "piece of clothing", answers: &["clothes", "clothing", "garments"],
        members: &["shirts", "jackets", "dresses", "skirts", "socks", "gloves", "scarves", "trousers"] },
    Category { name: "relative", answers: &["relatives", "family"],
        members: &["uncles", "aunts", "cousins", "nephews", "nieces", "grandparents"] },
    Category { name: "weapon", answers: &["weapons", "arms"],
        members: &["swords", "rifles", "spears", "guns", "daggers", "cannons", "knives", "arrows"] },
    Category { name: "building", answers: &["buildings"],
        members: &["churches", "castles", "hotels", "schools", "museums", "libraries", "temples", "barns"] },
];
