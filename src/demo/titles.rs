//! The titles and prices of the demo's tickets.

use rand::RngExt;

use super::Chooser;

/// Shows, with their minimum prices in major units.
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

const SEATS: [&str; 8] =
    ["Row A", "Row C", "Row K", "Balcony", "Box 4", "Standing", "Block 12", "Front of Stage"];

/// Returns a random title, and a price in minor units.
pub(super) fn offer(chooser: &mut Chooser) -> (String, u32) {
    let (show, price_min) = *chooser.one_of(&SHOWS).expect("the list is not empty");
    let place = chooser.one_of(&PLACES).expect("the list is not empty");
    let seats = chooser.one_of(&SEATS).expect("the list is not empty");
    let seat = chooser.random.random_range(1..=40);
    let extra = chooser.random.random_range(0..=price_min);
    let cents = *chooser.one_of(&[0, 50, 90, 99]).expect("the list is not empty");
    (format!("{show} – {place}, {seats}, Seat {seat}"), (price_min + extra) * 100 + cents)
}
