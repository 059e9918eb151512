//! No text is a panic, and what is told of it lies in it.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::supervisor::config::document::Document;
use crate::supervisor::config::fault::ConfigError;
use crate::supervisor::config::whole::WHOLE;

/// One change of a text: at a place of a thousand, so many bytes go, and this comes.
type Change = (usize, usize, &'static str);

const PIECES: &[&str] = &[
    "",
    "\"",
    "'",
    "\"\"\"",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "\n",
    "\r",
    "#",
    "-",
    "0",
    "9e99",
    "0x",
    "nan",
    "inf",
    "true",
    "\\",
    "\\u0000",
    "\0",
    "\u{feff}",
    "é",
    "service",
    "[service.web]\n",
    "[service]\n",
    "needs = [\"web\"]\n",
    "a.b.c.d = 1\n",
    "1979-05-27",
    "\u{10ffff}",
    "99999999999999999999",
    "[[service.web.stop]]\n",
    "stop = ",
];

fn changed(text: &str, changes: &[Change]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for (at, gone, piece) in changes {
        let from = bytes.len() * at / 1000;
        let to = (from + gone).min(bytes.len());
        bytes.splice(from..to, piece.bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn holds(text: &str) {
    let error = match Document::parse(text) {
        Ok(document) => {
            // What has been checked is taken.
            let ordered = crate::supervisor::spec::in_order(document.services);
            assert!(ordered.is_ok(), "{ordered:?}\n{text}");
            return;
        }
        Err(error) => error,
    };
    let ConfigError::Wrong { path: None, faults, .. } = &error else { panic!("{error}") };
    assert!((1..=20).contains(&faults.len()), "{faults:?}");
    let places: Vec<_> = faults.iter().map(|fault| (fault.line, fault.column)).collect();
    assert!(places.is_sorted(), "{places:?}");
    for fault in faults {
        let line = text.split('\n').nth(fault.line - 1);
        let line = line.unwrap_or_else(|| panic!("no line {}: {fault}\n{text}", fault.line));
        assert!(fault.column <= line.chars().count() + 1, "{fault}\n{text}");
        assert!(!fault.kind.to_string().is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changes_of_a_good_text(changes in vec((0..1000_usize, 0..40_usize, select(PIECES)), 1..6)) {
        holds(&changed(WHOLE, &changes));
    }

    #[test]
    fn pieces_put_together(pieces in vec(select(PIECES), 0..40)) {
        holds(&pieces.concat());
    }

    #[test]
    fn lines_of_it_in_any_order(lines in vec(select(WHOLE.lines().collect::<Vec<_>>()), 0..50)) {
        holds(&lines.join("\n"));
    }

    #[test]
    fn any_text(text in any::<String>()) {
        holds(&text);
    }
}

/// Tables in tables, as deep as the parser lets them be and deeper: the stack is not used up.
#[test]
fn very_deep() {
    for (keys, depth) in [(79, 10), (79, 78), (79, 500), (16, 15), (16, 16), (16, 79), (1, 80)] {
        let key = vec!["a"; keys].join(".");
        let step = format!("{{{key}=");
        holds(&format!("[{key}]\n{key}={}1{}", step.repeat(depth), "}".repeat(depth)));
        holds(&format!("{key}={}1", step.repeat(depth)));
        holds(&format!("a={}", "[".repeat(depth * 100)));
    }
}

/// As large as a file may be, and as bad: no time is spent on what nobody is told.
#[test]
fn very_large() {
    let filled = |begin: &str, line: &dyn Fn(usize) -> String| {
        let mut text = begin.to_owned();
        for at in 0.. {
            text.push_str(&line(at));
            if text.len() > 1 << 18 {
                return text;
            }
        }
        unreachable!()
    };
    let texts = [
        filled("", &|_| "a = 1\n".to_owned()),
        filled("", &|at| format!("a{at} = 1\n")),
        filled("", &|_| "= \n".to_owned()),
        filled("", &|at| format!("[service.a{at}]\nneeds = [\"b{at}\"]\n")),
        filled("[service.a]\ncommand = \"x\"\nneeds = [", &|at| format!("\"{at}\", ")) + "]",
    ];
    for text in texts {
        let begun = std::time::Instant::now();
        holds(&text);
        assert!(
            begun.elapsed() < std::time::Duration::from_secs(30),
            "{:?}: {}",
            begun.elapsed(),
            &text[..60]
        );
    }
}
