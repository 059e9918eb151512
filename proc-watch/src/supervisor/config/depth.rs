//! How deep a text goes, known before it is parsed: tables are parsed and dropped by recursion, and the parser's own limit is one of brackets and one of the
//! points in a key, whose product uses up the stack of a thread (79 times 60 in 2 MiB).

use toml_parser::Source;
use toml_parser::lexer::TokenKind;

/// Brackets in brackets, and points in a key. Nothing that is known is deeper than four.
const DEEPEST: usize = 16;

/// The byte at which it goes too deep.
pub(super) fn too_deep(text: &str) -> Option<usize> {
    let (mut brackets, mut points) = (0_usize, 0_usize);
    for token in Source::new(text).lex() {
        match token.kind() {
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => {
                (brackets, points) = (brackets + 1, 0)
            }
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                (brackets, points) = (brackets.saturating_sub(1), 0);
            }
            TokenKind::Equals | TokenKind::Comma | TokenKind::Newline => points = 0,
            TokenKind::Dot => points += 1,
            _ => {}
        }
        if brackets > DEEPEST || points > DEEPEST {
            return Some(token.span().start());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted() {
        assert_eq!(too_deep(&"[".repeat(16)), None);
        assert_eq!(too_deep(&"[".repeat(17)), Some(16));
        assert_eq!(too_deep(&"a.".repeat(17)), Some(33));
        assert_eq!(too_deep(&"[]\n{}".repeat(100)), None);
        assert_eq!(too_deep(&"a.b.c = 1.5\n".repeat(100)), None);
        // In strings and comments nothing is.
        let text = format!("a = \"{0}\"\nb = '{0}'\nc = '''\n{0}'''\n# {0}", "[{.".repeat(40));
        assert_eq!(too_deep(&text), None);
    }
}
