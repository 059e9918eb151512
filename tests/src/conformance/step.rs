//! What is being done just now, for whoever wants to say what hung.

use std::sync::{Mutex, PoisonError};

static STEP: Mutex<String> = Mutex::new(String::new());

/// From here on it is this.
pub(crate) fn now(step: String) {
    *STEP.lock().unwrap_or_else(PoisonError::into_inner) = step;
}

/// The last step that was begun. Tests of one program that run at the same time share it.
pub(crate) fn last() -> String {
    STEP.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
