//! Rules for text that people read, based on the properties of the Unicode Character Database.
//!
//! The properties come from `icu_properties` (ICU4X, maintained by the Unicode Consortium), which
//! is also a dependency of `idna`. Some texts mislead a buyer: two texts that look alike, a text
//! that shows nothing, and a text whose characters are shown in another order than the stored
//! order.

use icu_properties::{
    CodePointMapData, CodePointSetData, CodePointSetDataBorrowed,
    props::{BidiControl, DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup},
};
use unicode_normalization::UnicodeNormalization;

const DEFAULT_IGNORABLE: CodePointSetDataBorrowed<'static> =
    CodePointSetData::new::<DefaultIgnorableCodePoint>();
/// U+061C, U+200E, U+200F, U+202A to U+202E and U+2066 to U+2069 (UAX #9).
const BIDI_CONTROL: CodePointSetDataBorrowed<'static> = CodePointSetData::new::<BidiControl>();

/// The reason why a text cannot be shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("must not be empty")]
    Empty,
    #[error("must have at most {chars_max} characters")]
    TooLong { chars_max: usize },
    #[error("must not contain control characters")]
    Control,
    #[error("must be one line: line and paragraph separators are not allowed")]
    Separator,
    #[error("must not contain characters that change the direction of text")]
    Direction,
    #[error("must contain at least one visible character")]
    Invisible,
}

/// Returns the stored form of a text that people read: trimmed, NFC, 1 to `chars_max` Unicode
/// scalar values.
///
/// # Errors
/// [`TextError`] if nothing visible is left, if the text is too long, or if it contains control
/// characters, line or paragraph separators, or characters that change the direction of text.
pub fn visible_text(text: &str, chars_max: usize) -> Result<Box<str>, TextError> {
    let text: String = text.trim().nfc().collect();
    if text.is_empty() {
        return Err(TextError::Empty);
    }
    for c in text.chars() {
        if c.is_control() {
            return Err(TextError::Control);
        }
        if matches!(c, '\u{2028}' | '\u{2029}') {
            return Err(TextError::Separator);
        }
        if BIDI_CONTROL.contains(c) {
            return Err(TextError::Direction);
        }
    }
    if !text.chars().any(is_visible) {
        return Err(TextError::Invisible);
    }
    if text.chars().count() > chars_max {
        return Err(TextError::TooLong { chars_max });
    }
    Ok(text.into_boxed_str())
}

/// Whether `c` has Unicode's property Default_Ignorable_Code_Point (UAX #44). A renderer that does
/// not support such a character shows nothing. Examples: U+00AD soft hyphen, U+200B zero width
/// space, U+3164 Hangul filler, U+FE0F variation selector.
pub(super) fn is_default_ignorable(c: char) -> bool {
    // No ASCII character has this property.
    !c.is_ascii() && DEFAULT_IGNORABLE.contains(c)
}

/// Whether the character alone shows something that every reader can see.
///
/// This is true of letters, numbers, punctuation and symbols. It is not true of white space, of
/// marks, which need a base character, and of private and unassigned code points, for which most
/// fonts have no glyph.
fn is_visible(c: char) -> bool {
    if c.is_ascii_graphic() {
        return true;
    }
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    let group = GeneralCategoryGroup::Letter
        .union(GeneralCategoryGroup::Number)
        .union(GeneralCategoryGroup::Punctuation)
        .union(GeneralCategoryGroup::Symbol);
    group.contains(category) && !is_default_ignorable(c) && !is_blank(c)
}

/// Whether `c` is a letter or symbol whose glyph is empty by definition: BRAILLE PATTERN BLANK,
/// EGYPTIAN HIEROGLYPH FULL BLANK and HALF BLANK, MUSICAL SYMBOL NULL NOTEHEAD. No Unicode property
/// identifies them.
fn is_blank(c: char) -> bool {
    matches!(c, '\u{2800}' | '\u{13441}' | '\u{13442}' | '\u{1D159}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, TextError> {
        visible_text(text, 40).map(String::from)
    }

    #[test]
    fn text_without_a_visible_character_is_refused() {
        let ignorable = [
            "\u{200B}", "\u{3164}", "\u{2060}", "\u{AD}", "\u{180E}", "\u{115F}", "\u{1160}",
            "\u{FFA0}", "\u{34F}",
        ];
        let joiners =
            ["\u{200C}", "\u{200D}", "\u{FEFF}", "\u{FE0F}", "\u{E0041}", "\u{E0100}", "\u{17B4}"];
        let blanks = ["\u{2800}", "\u{13441}", "\u{13442}", "\u{1D159}"];
        let marks = ["\u{301}", "\u{20DD}", "\u{93F}"];
        let unassigned = ["\u{E000}", "\u{F0000}", "\u{378}", "\u{FFFF}"];
        let all = [&ignorable[..], &joiners, &blanks, &marks, &unassigned].concat();
        for text in &all {
            assert_eq!(parse(text), Err(TextError::Invisible), "{text:?}");
            for other in &all {
                assert_eq!(
                    parse(&format!("{text}\u{A0}{other} {text}")),
                    Err(TextError::Invisible),
                    "{text:?} {other:?}"
                );
            }
        }
    }

    #[test]
    fn text_of_white_space_is_empty() {
        for text in [
            "",
            " ",
            "\t\r\n",
            "\u{A0}",
            "\u{2003}\u{3000}",
            "\u{1680}\u{205F}",
            "\u{2028}",
            "\u{2029} ",
        ] {
            assert_eq!(parse(text), Err(TextError::Empty), "{text:?}");
        }
    }

    #[test]
    fn control_characters_and_separators_are_refused_anywhere() {
        for c in ['\0', '\n', '\u{7F}', '\u{85}', '\u{9B}'] {
            assert_eq!(parse(&format!("a{c}b")), Err(TextError::Control), "{c:?}");
        }
        for c in ['\u{2028}', '\u{2029}'] {
            assert_eq!(parse(&format!("a{c}b")), Err(TextError::Separator), "{c:?}");
        }
    }

    #[test]
    fn bidirectional_controls_are_refused_anywhere() {
        let ranges = [
            '\u{61C}'..='\u{61C}',
            '\u{200E}'..='\u{200F}',
            '\u{202A}'..='\u{202E}',
            '\u{2066}'..='\u{2069}',
        ];
        for c in ranges.into_iter().flatten() {
            for text in [c.to_string(), format!("{c}Jazz"), format!("Jazz{c}"), format!("Ja{c}zz")]
            {
                assert_eq!(parse(&text), Err(TextError::Direction), "{text:?}");
            }
        }
        assert_eq!(parse("Final \u{202E}4202 tekciT"), Err(TextError::Direction));
    }

    #[test]
    fn joiners_between_visible_characters_are_kept() {
        for text in ["👩‍👩‍👧", "می‌خواهم", "क्‍ष", "❤️", "1️⃣", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "co\u{AD}operate", "a\u{200B}b"]
        {
            assert_eq!(parse(text).as_deref(), Ok(text), "{text:?}");
        }
    }

    #[test]
    fn text_of_any_script_is_kept() {
        let texts = [
            "Jazz",
            "!",
            "…",
            "5",
            "Ж",
            "東京",
            "서울",
            "القاهرة",
            "ירושלים",
            "กรุงเทพ",
            "हिन्दी",
            "🎸",
            "🇩🇪",
            "½",
            "€",
            "ᚠ",
            "𓀀",
            "⠁",
            "ㅎ",
        ];
        for text in texts {
            assert_eq!(parse(text).as_deref(), Ok(text), "{text:?}");
        }
    }

    #[test]
    fn stored_form_is_trimmed_composed_and_bounded() {
        assert_eq!(parse("\u{2003}Cafe\u{301}\u{2028}").as_deref(), Ok("Café"));
        assert_eq!(parse(&"e\u{301}".repeat(40)).map(|text| text.chars().count()), Ok(40));
        assert_eq!(parse(&"x".repeat(41)), Err(TextError::TooLong { chars_max: 40 }));
    }

    #[test]
    fn invisible_characters_are_default_ignorable() {
        for c in [
            '\u{AD}',
            '\u{34F}',
            '\u{61C}',
            '\u{180E}',
            '\u{200B}',
            '\u{200D}',
            '\u{2060}',
            '\u{3164}',
            '\u{FE0F}',
            '\u{FEFF}',
            '\u{E0041}',
        ] {
            assert!(is_default_ignorable(c), "{c:?}");
        }
    }

    #[test]
    fn visible_characters_and_spaces_are_not_default_ignorable() {
        for c in ['a', ' ', '\u{A0}', 'é', '\u{301}', 'İ', '中', '🎸'] {
            assert!(!is_default_ignorable(c), "{c:?}");
        }
    }
}
