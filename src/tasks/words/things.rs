//! Places, things to give, and nouns with both numbers.

/// Places of the IOI prompts; each follows "the".
#[rustfmt::skip]
pub const PLACES: [&str; 32] = [
    "airport", "bakery", "bank", "beach", "cafe", "church", "cinema", "farm", "garden", "gym", "harbor", "hospital",
    "hotel", "house", "library", "mall", "market", "museum", "office", "palace", "park", "pool", "pub", "restaurant",
    "school", "shop", "shops", "stadium", "station", "store", "theater", "zoo",
];

/// Things that are given in the IOI prompts, each with its article.
#[rustfmt::skip]
pub const OBJECTS: [&str; 40] = [
    "a basket", "a book", "a camera", "a cake", "a coat", "a computer", "a drink", "a flower", "a gift", "a guitar",
    "a kiss", "a lamp", "a letter", "a map", "a necklace", "a pencil", "a phone", "a ring", "a snack", "a ticket",
    "an apple", "an egg", "an envelope", "an orange", "an umbrella", "the bag", "the ball", "the bottle", "the box",
    "the cup", "the hat", "the key", "the knife", "the money", "the newspaper", "the painting", "the photo", "the plate",
    "the toy", "the watch",
];

/// Nouns of the agreement sentences: singular and plural.
#[rustfmt::skip]
pub const NOUNS: [(&str, &str); 48] = [
    ("key", "keys"), ("cabinet", "cabinets"), ("book", "books"), ("table", "tables"), ("picture", "pictures"),
    ("wall", "walls"), ("car", "cars"), ("road", "roads"), ("teacher", "teachers"), ("student", "students"),
    ("doctor", "doctors"), ("manager", "managers"), ("farmer", "farmers"), ("author", "authors"), ("guard", "guards"),
    ("door", "doors"), ("window", "windows"), ("garden", "gardens"), ("house", "houses"), ("tree", "trees"),
    ("river", "rivers"), ("letter", "letters"), ("drawer", "drawers"), ("box", "boxes"), ("bottle", "bottles"),
    ("shelf", "shelves"), ("lamp", "lamps"), ("desk", "desks"), ("chair", "chairs"), ("cup", "cups"),
    ("plate", "plates"), ("dog", "dogs"), ("cat", "cats"), ("bird", "birds"), ("horse", "horses"), ("boy", "boys"),
    ("girl", "girls"), ("painting", "paintings"), ("building", "buildings"), ("bridge", "bridges"), ("ship", "ships"),
    ("flag", "flags"), ("tower", "towers"), ("clock", "clocks"), ("phone", "phones"), ("coat", "coats"),
    ("child", "children"), ("woman", "women"),
];
