//! What one run comes to, in words that are the same each time.

use tests::observed::{Observed, Watched};

/// The words for it. Losses are only in order where the reader slept.
///
/// # Errors
/// It breaks a promise of the source, or does not show what it was to show.
pub(crate) fn cell(observed: &Observed, asleep: bool) -> Result<String, String> {
    match observed {
        Observed::Refused { tried } => Ok(format!("unavailable: {}", tried[0].reason)),
        Observed::Watched(watched) if asleep => overslept(watched),
        Observed::Watched(watched) => undisturbed(watched),
    }
}

fn undisturbed(watched: &Watched) -> Result<String, String> {
    if watched.lost > 0 {
        return Err(format!("{} records were lost each time, on a machine that is too busy", watched.lost));
    }
    if !watched.broken.is_empty() || !watched.untrue.is_empty() {
        return Err(format!("it is wrong: {:?}, {:?}", watched.broken, watched.untrue));
    }
    if watched.unseen > 0 {
        return match (&watched.differences, watched.own_status) {
            (None, _) => Err("it says that it does not see all, and misses nothing".to_owned()),
            (_, false) => Err("the status of an own child is unknown".to_owned()),
            (Some(_), true) => {
                Ok("incomplete, and says so: who runs it is out of sight but for the end".to_owned())
            }
        };
    }
    let tree = match (&watched.differences, watched.exact_tree) {
        (None, true) => "exact",
        (_, false) => "incomplete",
        (Some(differences), true) => return Err(format!("it promises an exact tree: {differences}")),
    };
    let statuses = match (watched.known == watched.told, watched.statuses) {
        (true, true) => "all statuses",
        (false, true) => {
            return Err(format!("it promises all statuses: {} of {}", watched.known, watched.told));
        }
        (_, false) if watched.own_status => {
            "statuses of own children, of others where they can be read in time"
        }
        (_, false) => return Err("the status of an own child is unknown".to_owned()),
    };
    Ok(format!("{tree}; {statuses}"))
}

/// What was told is true, and that there is more was told.
fn overslept(watched: &Watched) -> Result<String, String> {
    if watched.lost == 0 {
        return Err("nothing was lost, so that this shows nothing".to_owned());
    }
    if watched.differences.is_none() {
        return Err("a loss is told, and nothing is missing".to_owned());
    }
    if !watched.broken.is_empty() || !watched.untrue.is_empty() {
        return Err(format!("it is wrong: {:?}, {:?}", watched.broken, watched.untrue));
    }
    let number = if watched.counts_losses { "with its number" } else { "without a number" };
    Ok(format!("exact with gap: the loss is told, {number}"))
}
