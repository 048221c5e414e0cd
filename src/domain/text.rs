//! Properties of characters that more than one value type asks for.

use icu_properties::{CodePointSetData, CodePointSetDataBorrowed, props::DefaultIgnorableCodePoint};

const DEFAULT_IGNORABLE: CodePointSetDataBorrowed<'static> = CodePointSetData::new::<DefaultIgnorableCodePoint>();

/// Whether `c` has Unicode's property Default_Ignorable_Code_Point (UAX #44): a renderer that does not support it shows
/// nothing. Examples: U+00AD soft hyphen, U+200B zero width space, U+3164 Hangul filler, U+FE0F variation selector.
pub(super) fn is_default_ignorable(c: char) -> bool {
    // None is in ASCII.
    !c.is_ascii() && DEFAULT_IGNORABLE.contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_show_nothing_are_default_ignorable() {
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
