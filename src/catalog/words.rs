//! How a title, or a question, falls into words.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Splits a text into words, folded so that case and ways of writing the same character do not matter.
///
/// A word is a run of letters, digits and the marks on them (Unicode), in compatibility form (NFKC) and lower case; so a
/// word that differs only in its accents is another word, and `Straße` and `STRASSE` are two.
pub fn words(text: &str) -> Vec<String> {
    let folded: String = text.nfkc().flat_map(char::to_lowercase).map(plain_sigma).nfkc().collect();
    folded.split(|c: char| !c.is_alphanumeric() && !is_combining_mark(c)).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The lower case of a capital sigma depends on where it stands; a word is found by either.
fn plain_sigma(c: char) -> char {
    if c == 'ς' { 'σ' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_folded_runs_of_letters_digits_and_marks() {
        let table: [(&str, &[&str]); 9] = [
            ("  The Cure -- Live! (2026)", &["the", "cure", "live", "2026"]),
            ("Rock'n'Roll/Jazz_night", &["rock", "n", "roll", "jazz", "night"]),
            ("CAFE\u{301} del MAR", &["café", "del", "mar"]),
            ("ＦＵＬＬ ｗｉｄｔｈ ﬁnal", &["full", "width", "final"]),
            ("ΟΔΟΣ οδος οδοσ", &["οδοσ", "οδοσ", "οδοσ"]),
            ("Концерт Ёлка", &["концерт", "ёлка"]),
            ("हिन्दी संगीत", &["हिन्दी", "संगीत"]),
            ("東京 コンサート", &["東京", "コンサート"]),
            ("… — !", &[]),
        ];
        for (text, expected) in table {
            assert_eq!(words(text), expected, "{text}");
        }
    }
}
