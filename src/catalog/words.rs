//! The words of titles and searches, and their comparison.

use memchr::memmem::Finder;
use unicase::UniCase;
use unicode_normalization::{
    UnicodeNormalization,
    char::{canonical_combining_class, is_combining_mark},
};

/// Number of words of a title that can be found: the first ones.
pub const INDEXED_WORDS_MAX: usize = 32;

/// Combining classes of marks that are written above, below and beside letters, such as accents and
/// cedillas. Marks of other classes (Indic vowel signs, nuktas and viramas, Hebrew and Arabic
/// vowels, Japanese voicing marks) are kept.
const IGNORED_MARKS: std::ops::RangeInclusive<u8> = 202..=240;

/// Splits a text into words, folded so that case, accents and different encodings of a character do
/// not matter.
///
/// A word is a run of letters, digits and marks (Unicode) with at least one letter or digit. It is
/// in full case folding and compatibility form (NFKC), without `IGNORED_MARKS`: `Straße` is
/// `strasse`, `İstanbul` is `istanbul`.
pub fn words(text: &str) -> Vec<String> {
    split(&fold(text)).map(str::to_owned).collect()
}

fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    // The text is decomposed first, so that each mark is folded and left out separately.
    let decomposed: String = text.nfkd().collect();
    let folded = UniCase::unicode(decomposed).to_folded_case();
    folded
        .nfkd()
        .filter(|c| !IGNORED_MARKS.contains(&canonical_combining_class(*c)))
        .nfc()
        .collect()
}

fn split(folded: &str) -> impl Iterator<Item = &str> {
    let runs = folded.split(|c: char| !c.is_alphanumeric() && !is_combining_mark(c));
    // An emoji can leave a run that consists of a variation selector only.
    runs.filter(|run| run.chars().any(|c| c.is_alphanumeric() && !is_combining_mark(c)))
}

/// The searchable words of a title, in the form that [`Filter`] tests.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SearchWords {
    /// Each word once, with a space before each.
    pub(super) text: String,
    pub(super) signature: Signature,
}

impl SearchWords {
    pub(super) fn of(title: &str) -> Self {
        let folded = fold(title);
        let mut distinct: Vec<&str> = Vec::new();
        for word in split(&folded).take(INDEXED_WORDS_MAX) {
            if !distinct.contains(&word) {
                distinct.push(word);
            }
        }
        let mut signature = Signature::default();
        let mut text = String::with_capacity(distinct.iter().map(|word| 1 + word.len()).sum());
        for word in distinct {
            signature.add(word);
            text.push(' ');
            text.push_str(word);
        }
        Self { text, signature }
    }
}

/// Returns the words in a [`SearchWords::text`].
pub(super) fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').skip(1)
}

/// A Bloom filter over the beginnings of words. It excludes most titles that lack a searched word
/// before their text is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Signature(u64);

impl Signature {
    /// Maximum number of characters of a beginning that has a bit.
    const BEGINNING_CHARS_MAX: usize = 4;

    /// Sets one bit for each beginning of `word` (FNV-1a; its upper bits are mixed best).
    fn add(&mut self, word: &str) {
        let mut hash: u64 = 0xCBF2_9CE4_8422_2325;
        for c in word.chars().take(Self::BEGINNING_CHARS_MAX) {
            hash = (hash ^ u64::from(u32::from(c))).wrapping_mul(0x0000_0100_0000_01B3);
            self.0 |= 1 << (hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58);
        }
    }

    fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The test whether a title has, for each word of a search, a word that begins with it.
#[derive(Debug)]
pub(super) struct Filter<'a> {
    words: Vec<&'a str>,
    signature: Signature,
    finders: Vec<Finder<'static>>,
}

impl<'a> Filter<'a> {
    pub(super) fn new(words: &'a [String]) -> Self {
        // A word that is the beginning of another search word needs no test: each title with the
        // other one has it too.
        let implied = |at: usize, word: &str| {
            words.iter().enumerate().any(|(other, longer)| {
                longer.starts_with(word) && (longer.len() > word.len() || other < at)
            })
        };
        let words: Vec<&str> = words
            .iter()
            .enumerate()
            .filter(|(at, word)| !implied(*at, word))
            .map(|(_, word)| word.as_str())
            .collect();
        let mut signature = Signature::default();
        words.iter().for_each(|word| signature.add(word));
        let finders =
            words.iter().map(|word| Finder::new(&format!(" {word}")).into_owned()).collect();
        Self { words, signature, finders }
    }

    pub(super) fn words(&self) -> &[&'a str] {
        &self.words
    }

    /// Removes the test for the word of this number, because each title that will be tested has it.
    pub(super) fn skip(&mut self, number: usize) {
        self.finders.remove(number);
    }

    /// Returns `false` if the title with this signature certainly lacks a word.
    pub(super) fn may_match(&self, title: Signature) -> bool {
        title.contains(self.signature)
    }

    /// Returns the number of searches through the text that the test of a title takes.
    pub(super) fn searches(&self) -> usize {
        self.finders.len()
    }

    /// Returns whether the title with this [`SearchWords::text`] has all words.
    pub(super) fn matches(&self, text: &str) -> bool {
        self.finders.iter().all(|finder| finder.find(text.as_bytes()).is_some())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_split_into_folded_runs_of_letters_digits_and_marks() {
        let table: [(&str, &[&str]); 16] = [
            ("  The Cure -- Live! (2026)", &["the", "cure", "live", "2026"]),
            ("Rock'n'Roll/Jazz_night", &["rock", "n", "roll", "jazz", "night"]),
            ("CAFE\u{301} del MAR", &["cafe", "del", "mar"]),
            ("ＦＵＬＬ ｗｉｄｔｈ ﬁnal", &["full", "width", "final"]),
            ("ΟΔΟΣ οδος οδοσ", &["οδοσ", "οδοσ", "οδοσ"]),
            ("Концерт Ёлка", &["концерт", "елка"]),
            ("हिन्दी संगीत", &["हिन्दी", "संगीत"]),
            ("東京 コンサート", &["東京", "コンサート"]),
            ("か\u{3099} ガ", &["が", "ガ"]),
            ("İstanbul STRASSENFEST Straßenfest", &["istanbul", "strassenfest", "strassenfest"]),
            ("Beyoncé Ångström phở", &["beyonce", "angstrom", "pho"]),
            ("ᾼ ᾳ ΑΙ", &["αι", "αι", "αι"]),
            ("한국 한국", &["한국", "한국"]),
            ("… — !", &[]),
            ("🎸 ⚽\u{fe0f} \u{301} \u{94d}", &[]),
            ("", &[]),
        ];
        for (text, expected) in table {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn upper_and_lower_case_of_every_letter_are_equal() {
        for c in ('\0'..=char::MAX).filter(|c| c.is_alphabetic()) {
            let upper: String = c.to_uppercase().collect();
            // Turkish dotless ı is a separate letter in full case folding (CaseFolding.txt, status
            // T).
            if c != 'ı' {
                assert_eq!(
                    words(&format!("x{c}")),
                    words(&format!("x{upper}")),
                    "{c} U+{:04X}",
                    u32::from(c)
                );
            }
        }
    }

    #[test]
    fn title_words_after_the_thirty_second_are_left_out() {
        let title: String = (0..40).map(|number| format!("w{number} ")).collect();
        let words: Vec<String> =
            words_of(&SearchWords::of(&title).text).map(str::to_owned).collect();
        assert_eq!(words, (0..32).map(|number| format!("w{number}")).collect::<Vec<_>>());
        let repeated = SearchWords::of(&"again ".repeat(33));
        assert_eq!(repeated.text, " again");
    }

    #[test]
    fn search_words_that_begin_other_search_words_are_dropped() {
        let words = ["ja", "jazz", "night", "jazz", "j"].map(str::to_owned);
        assert_eq!(Filter::new(&words).words(), ["jazz", "night"]);
    }

    fn some_text() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "[aAbé ßİΣ\u{301}\u{345}가か\u{3099}़ि1!]{0,24}"]
    }

    proptest! {
        #[test]
        fn folding_a_folded_word_changes_nothing(text in some_text()) {
            for word in words(&text) {
                prop_assert_eq!(words(&word), vec![word]);
            }
        }

        #[test]
        fn filter_matches_if_each_word_begins_a_title_word(title in "[abcé ]{0,20}", search in "[abc ]{0,8}") {
            let (title_words, search_words) = (words(&title), words(&search));
            let expected = search_words.iter().all(|word| title_words.iter().any(|other| other.starts_with(word.as_str())));
            let (filter, indexed) = (Filter::new(&search_words), SearchWords::of(&title));
            prop_assert_eq!(filter.matches(&indexed.text), expected);
            prop_assert!(!expected || filter.may_match(indexed.signature));
        }
    }
}
