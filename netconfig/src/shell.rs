//! Writing commands that a person can paste.

use std::net::IpAddr;

/// The word as a shell wants it: as it is if nothing in it is special, else in quotes.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:%@,+=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    // Double quotes, as the guides write it, unless something in it is special even there.
    if !word.contains(['"', '$', '`', '\\', '!']) {
        return format!("\"{word}\"");
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The words of a command, quoted where needed.
pub(crate) fn command<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// An address as commands take it: one of the link alone with its interface.
pub(crate) fn scoped(ip: IpAddr, interface: &str) -> String {
    match ip {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => format!("{v6}%{interface}"),
        ip => ip.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_where_a_shell_would_split_or_expand_them() {
        assert_eq!(
            command(["networksetup", "-setmanual", "Thunderbolt Bridge", "192.168.2.1", ""]),
            r#"networksetup -setmanual "Thunderbolt Bridge" 192.168.2.1 """#
        );
        assert_eq!(quoted("000香港专线-[分流模式]"), "\"000香港专线-[分流模式]\"");
        assert_eq!(quoted("$HOME's"), r"'$HOME'\''s'");
    }
}
