//! What may have been meant by a word that there is not.

/// What others call the same.
const ELSEWHERE: [(&str, &str); 14] = [
    ("args", "command"),
    ("cmd", "command"),
    ("exec", "command"),
    ("program", "command"),
    ("cwd", "dir"),
    ("working_directory", "dir"),
    ("environment", "env"),
    ("user", "uid"),
    ("group", "gid"),
    ("after", "needs"),
    ("depends_on", "needs"),
    ("requires", "needs"),
    ("healthcheck", "health"),
    ("retries", "failures"),
];

/// The nearest, if one is near enough: a third of its letters may be wrong.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word: String = word.chars().take(64).collect::<String>().to_lowercase().replace('-', "_");
    let meant = ELSEWHERE.iter().find(|(other, _)| *other == word).map(|(_, ours)| *ours);
    if let Some(found) = known.iter().find(|name| Some(**name) == meant) {
        return Some(found);
    }
    let far = |name: &str| strsim::osa_distance(&word, &name.to_lowercase());
    let (distance, name) = known.iter().map(|name| (far(name), *name)).min_by_key(|(far, _)| *far)?;
    (distance <= (name.chars().count() / 3).max(1)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_enough_or_not_at_all() {
        let known = ["command", "ready", "ready_within", "dir", "env", "needs"];
        let near = |word| nearest(word, &known);
        assert_eq!(near("comand"), Some("command"));
        assert_eq!(near("Ready-Within"), Some("ready_within"));
        assert_eq!(near("raedy"), Some("ready"));
        assert_eq!(near("depends_on"), Some("needs"));
        assert_eq!(near("user"), None, "what others call so is no key here");
        assert_eq!(near("colour"), None);
        assert_eq!(near(""), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
