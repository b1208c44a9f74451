//! How an entry of the catalogue becomes a function.

/// Entries of the catalogue; see the module above.
macro_rules! catalogue {
    ($($key:ident $(($($arg:ident),+ $(,)?))? { en: $en:literal, ko: $ko:literal $(,)? })+) => {
        $(
            // As it is: what stands in brackets or between `<` and `>` is no link and no markup.
            #[doc = concat!("```text\n", $en, "\n```")]
            pub fn $key($($($arg: impl $crate::text::Say),+)?) -> $crate::text::Text {
                $crate::text::Text::made(|lang| {
                    $($(let $arg = $arg.say(lang);)+)?
                    match lang {
                        $crate::text::Lang::En => format!($en),
                        $crate::text::Lang::Ko => format!($ko),
                    }
                })
            }
        )+

        /// Every entry of this file.
        pub const ENTRIES: &[$crate::text::Entry] = &[$($crate::text::Entry {
            key: stringify!($key),
            args: &[$($(stringify!($arg)),+)?],
            en: $en,
            ko: $ko,
        }),+];
    };
}
