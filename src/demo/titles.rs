//! What there is to see, on the demo's posters.

use rand::RngExt;

use super::Mood;

/// Who or what is on, and what a seat costs at least, in whole units of money.
#[rustfmt::skip]
const SHOWS: [(&str, u32); 30] = [
    ("The Midnight Foxes", 35), ("Aurora Strings", 40), ("Elena Duarte Quartet", 28), ("Paper Lanterns", 22), ("Velvet Harbour", 45),
    ("DJ Kasimir", 18), ("Brass & Bones Orchestra", 30), ("Sólveig", 38), ("The Long Weekend", 25), ("Orquesta Río Norte", 27),
    ("Beethoven: Symphony No. 9", 55), ("Verdi: La Traviata", 70), ("Bach: St Matthew Passion", 48), ("Swan Lake", 65),
    ("Hamlet", 32), ("A Midsummer Night's Dream", 29), ("The Cherry Orchard", 31), ("Waiting for Godot", 24), ("Antigone", 26),
    ("Improv Night", 12), ("Stand-up Late Show", 16), ("Les Misérables", 75),
    ("City Derby", 42), ("Cup Final", 95), ("Ice Hockey Playoffs", 50), ("Basketball Semi-final", 55), ("Night of Athletics", 20),
    ("Chess World Match, Day 3", 15), ("Six Nations Rugby", 85), ("Tennis Open, Centre Court", 110),
];

const PLACES: [&str; 12] = [
    "Royal Hall",
    "Old Opera",
    "Harbour Arena",
    "Open Air Park",
    "Club Zero",
    "Kulturhaus",
    "Stadium North",
    "Teatro Central",
    "Globe Stage",
    "Philharmonie",
    "Riverside Tent",
    "Palais 7",
];

const SEATS: [&str; 8] = ["Row A", "Row C", "Row K", "Balcony", "Box 4", "Standing", "Block 12", "Front of Stage"];

/// A title, and a price in minor units.
pub(super) fn offer(mood: &mut Mood) -> (String, u32) {
    let (show, least) = *mood.one_of(&SHOWS).expect("there are shows");
    let place = mood.one_of(&PLACES).expect("there are places");
    let seats = mood.one_of(&SEATS).expect("there are seats");
    let seat = mood.random.random_range(1..=40);
    let extra = mood.random.random_range(0..=least);
    let cents = *mood.one_of(&[0, 50, 90, 99]).expect("there are prices");
    (format!("{show} – {place}, {seats}, Seat {seat}"), (least + extra) * 100 + cents)
}
