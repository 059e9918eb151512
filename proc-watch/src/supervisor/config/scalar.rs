//! Values that are one thing: texts, times, sizes, signals, addresses.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use proc_reactor::signal_name;
use toml::de::DeValue;

use crate::supervisor::config::fault::Faults;
use crate::supervisor::config::item::Item;
use crate::supervisor::config::near::nearest;

pub(crate) const TIME: &str =
    "a time such as \"250ms\", \"5s\", \"2m\" or \"1h 30m\", or a number of seconds";
pub(crate) const WORDS: &str = "an array of words, or the path of a program";
const SIZE: &str = "a number of bytes, or a size such as \"64KiB\" or \"10MB\"";
const SIGNAL: &str = "the name of a signal, such as \"TERM\" or \"SIGHUP\", or its number";
const ADDRESS: &str =
    "an IP address and a port, such as \"127.0.0.1:5432\" or \"[::1]:80\"; names are not looked up";

/// No clock goes wrong by it, and nobody waits for longer.
const LONGEST: Duration = Duration::from_secs(36_525 * 24 * 3600);

/// The highest number of a signal.
const LAST: i32 = if cfg!(target_os = "linux") {
    64
} else if cfg!(any(target_os = "freebsd", target_os = "dragonfly")) {
    128
} else if cfg!(target_os = "netbsd") {
    63
} else if cfg!(target_os = "openbsd") {
    32
} else {
    31
};

/// A text that the system takes: one without a NUL in it.
pub(crate) fn text<'a>(item: &Item<'a>, faults: &mut Faults) -> Option<&'a str> {
    match item.value {
        DeValue::String(text) if text.contains('\0') => item.cannot_be("no NUL in it", faults),
        DeValue::String(text) => Some(text),
        _ => item.is_no("a string", faults),
    }
}

/// A text that is not empty.
pub(crate) fn name<'a>(item: &Item<'a>, faults: &mut Faults) -> Option<&'a str> {
    match text(item, faults)? {
        "" => item.cannot_be("a string that is not empty", faults),
        text => Some(text),
    }
}

/// A program and its arguments: words, or the program alone. Nothing is split, and no shell is asked.
pub(crate) fn command(item: &Item<'_>, faults: &mut Faults) -> Option<Vec<String>> {
    let Some(elements) = item.elements() else {
        return match item.value {
            DeValue::String(_) => Some(vec![name(item, faults)?.to_owned()]),
            _ => item.is_no(WORDS, faults),
        };
    };
    let Some((program, args)) = elements.split_first() else {
        return item.cannot_be("a program, and its arguments after it", faults);
    };
    let program = name(program, faults);
    // Each, so that the faults of all are told.
    let args: Vec<_> = args.iter().map(|arg| text(arg, faults)).collect();
    let words: Option<Vec<_>> = std::iter::once(program).chain(args).collect();
    Some(words?.into_iter().map(str::to_owned).collect())
}

/// Names, each once.
pub(crate) fn names<'a>(item: &Item<'a>, faults: &mut Faults) -> Option<Vec<&'a str>> {
    let Some(elements) = item.elements() else { return item.is_no("an array of names", faults) };
    let (mut names, mut seen) = (Vec::new(), HashSet::new());
    let mut is_right = true;
    for element in &elements {
        match name(element, faults) {
            Some(name) if !seen.insert(name) => {
                is_right = element.cannot_be("each name once", faults).unwrap_or(false);
            }
            Some(name) => names.push(name),
            None => is_right = false,
        }
    }
    is_right.then_some(names)
}

pub(crate) fn boolean(item: &Item<'_>, faults: &mut Faults) -> Option<bool> {
    match item.value {
        DeValue::Boolean(value) => Some(*value),
        _ => item.is_no("true or false", faults),
    }
}

/// One of some words.
pub(crate) fn one_of<T: Copy>(choices: &[(&str, T)], item: &Item<'_>, faults: &mut Faults) -> Option<T> {
    let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
    let list = words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
    let DeValue::String(text) = item.value else { return item.is_no(format!("one of {list}"), faults) };
    if let Some((_, value)) = choices.iter().find(|(word, _)| word == text) {
        return Some(*value);
    }
    match nearest(text, &words) {
        Some(near) => item.cannot_be(format!("one of {list}; did you mean {near:?}?"), faults),
        None => item.cannot_be(format!("one of {list}"), faults),
    }
}

fn integer(value: &DeValue<'_>) -> Option<Option<i128>> {
    let DeValue::Integer(number) = value else { return None };
    Some(i128::from_str_radix(number.as_str(), number.radix()).ok())
}

/// A number from `least` to `most`.
pub(crate) fn number(least: u32, most: u32, item: &Item<'_>, faults: &mut Faults) -> Option<u32> {
    let want = match most {
        u32::MAX => format!("a number, {least} or more, that 32 bits hold"),
        _ => format!("a number from {least} to {most}"),
    };
    let Some(number) = integer(item.value) else { return item.is_no(want, faults) };
    match number.and_then(|number| u32::try_from(number).ok()) {
        Some(number) if (least..=most).contains(&number) => Some(number),
        _ => item.cannot_be(want, faults),
    }
}

/// A fraction from `least` to `most`; without a point as well.
pub(crate) fn fraction(least: f64, most: f64, item: &Item<'_>, faults: &mut Faults) -> Option<f64> {
    let want = if most == f64::MAX {
        format!("a number, {least} or more")
    } else {
        format!("a number from {least} to {most}")
    };
    let number = match item.value {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse::<f64>(),
        DeValue::Float(number) => number.as_str().parse(),
        _ => return item.is_no(want, faults),
    };
    match number {
        // Nothing is in a range with NaN.
        Ok(number) if (least..=most).contains(&number) => Some(number),
        _ => item.cannot_be(want, faults),
    }
}

/// A time that may be none.
pub(crate) fn time(item: &Item<'_>, faults: &mut Faults) -> Option<Duration> {
    time_or(TIME, item, faults)
}

/// A time, where other things could be as well.
pub(crate) fn time_or(want: &str, item: &Item<'_>, faults: &mut Faults) -> Option<Duration> {
    let time = match item.value {
        DeValue::String(text) => match humantime::parse_duration(text) {
            Ok(time) => Some(time),
            Err(error) => return item.cannot_be(format!("{TIME} ({error})"), faults),
        },
        DeValue::Integer(_) => integer(item.value)
            .flatten()
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map(Duration::from_secs),
        DeValue::Float(number) => {
            number.as_str().parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        }
        _ => return item.is_no(want, faults),
    };
    match time {
        Some(time) if time <= LONGEST => Some(time),
        _ => item.cannot_be("a time that is not negative, and not longer than 100 years", faults),
    }
}

/// A time that is not none.
pub(crate) fn some_time(item: &Item<'_>, faults: &mut Faults) -> Option<Duration> {
    match time(item, faults)? {
        Duration::ZERO => item.cannot_be("a time longer than none", faults),
        time => Some(time),
    }
}

/// A number of bytes, one at least.
pub(crate) fn size(item: &Item<'_>, faults: &mut Faults) -> Option<u64> {
    let bytes = match item.value {
        DeValue::Integer(_) => integer(item.value).flatten().and_then(|bytes| u64::try_from(bytes).ok()),
        DeValue::String(text) => parse_size(text),
        _ => return item.is_no(SIZE, faults),
    };
    match bytes {
        Some(bytes @ 1..) => Some(bytes),
        _ => item.cannot_be(SIZE, faults),
    }
}

/// kB, MB, GB, TB are powers of 1000, KiB, MiB, GiB, TiB of 1024. A letter alone is neither, and so not taken.
fn parse_size(text: &str) -> Option<u64> {
    let at = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let factor: u64 = match unit.trim_start() {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" | "kiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

pub(crate) fn signal(item: &Item<'_>, faults: &mut Faults) -> Option<i32> {
    let found = match item.value {
        DeValue::Integer(_) => {
            let number = integer(item.value).flatten().and_then(|number| i32::try_from(number).ok());
            number.filter(|number| (1..=LAST).contains(number))
        }
        DeValue::String(text) => by_name(text),
        _ => return item.is_no(SIGNAL, faults),
    };
    match found {
        Some(signal) => Some(signal),
        None => item.cannot_be(format!("{SIGNAL}, from 1 to {LAST}"), faults),
    }
}

/// With SIG or without, in letters of either case.
fn by_name(text: &str) -> Option<i32> {
    let is_it = |name: &str| {
        name.eq_ignore_ascii_case(text)
            || name.strip_prefix("SIG").is_some_and(|name| name.eq_ignore_ascii_case(text))
    };
    (1..=LAST).find(|number| u8::try_from(*number).ok().and_then(signal_name).is_some_and(is_it))
}

pub(crate) fn address(item: &Item<'_>, faults: &mut Faults) -> Option<SocketAddr> {
    let DeValue::String(text) = item.value else { return item.is_no(ADDRESS, faults) };
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Some(address),
        _ => item.cannot_be(ADDRESS, faults),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let sizes = ["10MB", "10 MB", "1KiB", "0B", "18446744073709551615B", "2TiB"].map(parse_size);
        assert_eq!(
            sizes,
            [Some(10_000_000), Some(10_000_000), Some(1024), Some(0), Some(u64::MAX), Some(2 << 40)]
        );
        for wrong in [
            "",
            "10",
            "MB",
            "10M",
            "-1B",
            "1.5MB",
            "18446744073709551616B",
            "18446744073709551615kB",
            "10 mb",
        ] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn signals_by_name() {
        assert_eq!(["TERM", "SIGTERM", "sigterm", "hup", "Kill"].map(by_name), [15, 15, 15, 1, 9].map(Some));
        for wrong in ["", "SIG", "TERMINATE", "15", "SIGSIGTERM"] {
            assert_eq!(by_name(wrong), None, "{wrong}");
        }
    }
}
