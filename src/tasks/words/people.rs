//! First names, and professions with the bias that the training text gives them.

/// First names of the IOI prompts that the embedded model is trained on.
#[rustfmt::skip]
pub const NAMES: [&str; 132] = [
    "Aaron", "Adam", "Alan", "Albert", "Alex", "Alice", "Allison", "Amanda", "Amy", "Andrea", "Andrew", "Angela",
    "Ann", "Anna", "Anthony", "Arthur", "Barbara", "Ben", "Benjamin", "Bill", "Bob", "Brandon", "Brian", "Carl",
    "Carol", "Caroline", "Catherine", "Charles", "Charlie", "Charlotte", "Chris", "Christina", "Claire", "Colin", "Dan",
    "Daniel", "David", "Diana", "Donna", "Douglas", "Edward", "Elizabeth", "Ellen", "Emily", "Emma", "Eric", "Erin",
    "Eva", "Frank", "George", "Grace", "Greg", "Hannah", "Harry", "Heather", "Helen", "Henry", "Howard", "Ian", "Jack",
    "Jacob", "James", "Jamie", "Jane", "Jason", "Jeff", "Jennifer", "Jeremy", "Jessica", "Jill", "Jim", "Joan", "Joe",
    "John", "Joseph", "Joshua", "Julia", "Julie", "Justin", "Karen", "Kate", "Kelly", "Kenneth", "Kevin", "Kim", "Kyle",
    "Laura", "Lauren", "Leo", "Linda", "Lisa", "Louis", "Lucy", "Luke", "Margaret", "Maria", "Marie", "Mark", "Martin",
    "Mary", "Matthew", "Max", "Megan", "Melissa", "Michael", "Michelle", "Molly", "Nancy", "Nathan", "Neil", "Nicholas",
    "Nick", "Nicole", "Oliver", "Olivia", "Patrick", "Paul", "Peter", "Philip", "Rachel", "Rebecca", "Richard",
    "Robert", "Roger", "Ryan", "Sam", "Sarah", "Scott", "Sid", "Simon", "Stephen", "Tom",
];

/// First names that the training text only introduces ("My name is Keith."); no sentence of a task contains them.
#[rustfmt::skip]
pub const HELD_OUT_NAMES: [&str; 24] = [
    "Bryan", "Christine", "Courtney", "Danielle", "Gregory", "Jeffrey", "Jonathan", "Keith", "Kimberly", "Monica",
    "Oscar", "Ralph", "Ruth", "Samuel", "Sandra", "Sean", "Sharon", "Steve", "Susan", "Thomas", "Tim", "Vanessa",
    "Walter", "William",
];

/// A profession and how often the training text calls its holder "she".
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profession {
    /// The noun, in the singular.
    pub noun: &'static str,
    /// The probability of " she" in the training text; of " he" one minus it.
    pub she: f32,
}

/// Professions by the stereotype that English text attaches to them.
///
/// The numbers are not statistics of any labour market: they plant a known bias,
/// so that a study of the embedded model can be compared with the ground truth.
pub const PROFESSIONS: [Profession; 48] = [
    she(0.9, "nurse"),
    she(0.9, "nanny"),
    she(0.9, "midwife"),
    she(0.9, "housekeeper"),
    she(0.9, "receptionist"),
    she(0.9, "secretary"),
    she(0.9, "babysitter"),
    she(0.9, "dancer"),
    she(0.8, "librarian"),
    she(0.8, "hairdresser"),
    she(0.8, "florist"),
    she(0.8, "cleaner"),
    she(0.8, "teacher"),
    she(0.8, "stylist"),
    she(0.8, "typist"),
    she(0.8, "dressmaker"),
    she(0.7, "therapist"),
    she(0.7, "tutor"),
    she(0.7, "waiter"),
    she(0.7, "singer"),
    she(0.5, "student"),
    she(0.5, "writer"),
    she(0.5, "poet"),
    she(0.5, "artist"),
    she(0.5, "editor"),
    she(0.5, "journalist"),
    she(0.5, "baker"),
    she(0.5, "clerk"),
    she(0.3, "doctor"),
    she(0.3, "professor"),
    she(0.3, "lawyer"),
    she(0.3, "manager"),
    she(0.2, "scientist"),
    she(0.2, "chemist"),
    she(0.2, "farmer"),
    she(0.2, "banker"),
    she(0.2, "captain"),
    she(0.2, "guard"),
    she(0.2, "driver"),
    she(0.2, "butcher"),
    she(0.1, "engineer"),
    she(0.1, "pilot"),
    she(0.1, "mechanic"),
    she(0.1, "plumber"),
    she(0.1, "carpenter"),
    she(0.1, "soldier"),
    she(0.1, "builder"),
    she(0.1, "boxer"),
];

const fn she(she: f32, noun: &'static str) -> Profession {
    Profession { noun, she }
}
