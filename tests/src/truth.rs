//! The account that `make_tree` gives of itself; its documentation describes the format.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::compare::{End, Life};

/// Reads a truth file. The top is the first life, without a parent; the others follow in the order
/// in which they logged their births.
///
/// # Errors
///
/// Says which line is not as it should be. A tree that was cut short is not an error: lives
/// without an end are [`End::Alive`].
pub fn parse(text: &str) -> Result<Vec<Life>, String> {
    let mut lives = Vec::new();
    let mut latest = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        parse_line(line, &mut lives, &mut latest)
            .map_err(|error| format!("line {}: {error}: {line:?}", number + 1))?;
    }
    if lives.is_empty() { Err("there is no top".into()) } else { Ok(lives) }
}

fn parse_line(line: &str, lives: &mut Vec<Life>, latest: &mut HashMap<u32, usize>) -> Result<(), String> {
    let words: Vec<&str> = line.split(' ').collect();
    let (kind, pid) = match words[..] {
        [kind, pid, ..] => (kind, number(pid)?),
        _ => return Err("too short".into()),
    };
    match (kind, &words[2..]) {
        ("top", []) if lives.is_empty() => {
            latest.insert(pid, lives.len());
            lives.push(Life::born(pid, None));
        }
        ("birth", [parent]) if !lives.is_empty() => {
            latest.insert(pid, lives.len());
            lives.push(Life::born(pid, Some(number(parent)?)));
        }
        ("exec", [argv]) => living(pid, lives, latest)?.execs.push(Some(from_hex(argv)?)),
        ("end", ["code", code]) => living(pid, lives, latest)?.end = End::Code(number(code)?),
        ("end", ["signal", signal]) => living(pid, lives, latest)?.end = End::Signal(number(signal)?),
        _ => return Err("unknown, or out of place".into()),
    }
    Ok(())
}

/// The life that has the pid at this line.
fn living<'a>(pid: u32, lives: &'a mut [Life], latest: &HashMap<u32, usize>) -> Result<&'a mut Life, String> {
    latest
        .get(&pid)
        .map(|&life| &mut lives[life])
        .filter(|life| life.end == End::Alive)
        .ok_or_else(|| "of a process that is not alive".into())
}

fn number<N: std::str::FromStr>(word: &str) -> Result<N, String> {
    word.parse().map_err(|_| format!("{word:?} is not such a number"))
}

fn from_hex(hex: &str) -> Result<Vec<OsString>, String> {
    let digits: Option<Vec<u32>> = hex.chars().map(|digit| digit.to_digit(16)).collect();
    let bytes = digits.filter(|digits| digits.len() % 2 == 0).and_then(|digits| {
        digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect::<Option<Vec<u8>>>()
    });
    let bytes = bytes.ok_or("arguments are not in hex")?;
    Ok(bytes.split(|&byte| byte == 0).map(|arg| OsString::from_vec(arg.to_vec())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUTH: &str = "top 10\nbirth 11 10\nbirth 12 11\nend 11 code 255\nexec 12 6100ff0a00\n\
                         exec 12 62\nend 12 signal 9\nbirth 11 10\nend 11 signal 37\nend 10 code 0\n";

    #[test]
    fn a_whole_file() {
        let arguments: Vec<OsString> =
            [&b"a"[..], b"\xff\n", b""].iter().map(|arg| OsString::from_vec(arg.to_vec())).collect();
        let expected = [
            Life { end: End::Code(0), ..Life::born(10, None) },
            Life { end: End::Code(255), ..Life::born(11, Some(10)) },
            Life {
                execs: vec![Some(arguments), Some(vec!["b".into()])],
                end: End::Signal(9),
                ..Life::born(12, Some(11))
            },
            Life { end: End::Signal(37), ..Life::born(11, Some(10)) },
        ];
        assert_eq!(parse(TRUTH).unwrap(), expected);
    }

    #[test]
    fn a_cut_never_panics() {
        for cut in 0..TRUTH.len() {
            // Whether it is an error depends on where the cut is.
            let _ = parse(&TRUTH[..cut]);
            let _ = parse(&TRUTH[cut..]);
        }
        assert_eq!(parse("top 10\nbirth 11 10\n").unwrap()[1].end, End::Alive);
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        let wrong = [
            "",
            "birth 2 1",
            "top 1\ntop 2",
            "top 1\nend 2 code 0",
            "top 1\nend 1 code 0\nend 1 code 0",
            "top 1\nend 1 code 0\nexec 1 61",
            "top 1\nexec 1 6",
            "top 1\nexec 1 6x",
            "top 1\nexec 1 \u{e9}\u{e9}",
            "top 1\nend 1 code -",
            "top 1\nbirth 2",
            "top 1\n\n",
        ];
        for text in wrong {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
